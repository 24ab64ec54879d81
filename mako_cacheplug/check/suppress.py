"""Comments that suppress findings.

``## cacheplug: ignore[MC101]`` on the line before, or
``## cacheplug: ignore-file[MC101]`` for the whole file.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Final

from mako_cacheplug.check.finding import Place

__all__ = ["Suppression", "Suppressions", "suppressions"]

_COMMENT: Final = re.compile(
    r"\s{0,200}##\s{0,200}cacheplug:\s{0,200}ignore(-file)?(?:\[([^\]]*)\])?"
)


@dataclasses.dataclass
class Suppression:
    """One rule that a comment suppresses."""

    name: str
    """The code or name, as it is typed; "" if there is none."""

    line: int
    """Where the comment is."""

    target: int | None
    """The line that it is for; ``None`` is the whole file."""

    is_used: bool = False


def suppressions(lines: list[str]) -> list[Suppression]:
    """Return what the comments in a template suppress."""
    found: list[Suppression] = []
    waiting: list[Suppression] = []
    for number, text in enumerate(lines, 1):
        if not text.lstrip().startswith("##"):
            for one in waiting:
                one.target = number
            waiting.clear()
            continue
        comment = _COMMENT.match(text) if "cacheplug:" in text else None
        if comment is None:
            continue
        for name in (comment[2] or "").split(","):
            # Until a line comes that is no comment, it is for none.
            target = None if comment[1] else 0
            one = Suppression(name.strip(), number, target)
            found.append(one)
            if not comment[1]:
                waiting.append(one)
    return found


class Suppressions:
    """The comments of a template, found by what they suppress.

    :param lines: the template's.
    """

    def __init__(self, lines: list[str]):
        self.all = suppressions(lines)
        self._by_name: dict[tuple[str, int | None], list[Suppression]] = {}
        for one in self.all:
            key = (one.name.lower(), one.target)
            self._by_name.setdefault(key, []).append(one)

    def cover(self, names: Iterable[str], place: Place) -> bool:
        """Tell whether a finding is suppressed, and note what does it.

        :param names: code and name of the finding's rule.
        """
        covering = [
            one
            for name in names
            for target in {None, place.line, place.start}
            for one in self._by_name.get((name.lower(), target), ())
        ]
        for one in covering:
            one.is_used = True
        return bool(covering)
