"""What an output may show: knows nothing of how it is cached.

Text must be what the same site shows without a cache.  Data may be older
than they are, but not older than the last invalidation that concerns the
fragment in which they stand, nor than its timeout.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Final
from typing import NamedTuple

__all__ = ["Bracket", "Invalidation", "Model", "parse", "skeleton"]

_TOKEN: Final = re.compile(r"\{(\w+)=(\w+)\}")
_PIECE: Final = re.compile(
    r"(?P<open>\[[^|\[\]]*\|)|(?P<close>\])|(?P<hole><)|(?P<filled>>)"
    r"|\{(?P<name>\w+)=(?P<value>\w+)\}|(?P<forbid>!)(?!\w)"
)
SELDOM_SECONDS: Final = 1.0
"""As documented: how late an invalidation is noticed by what is cached of
another version of the template."""


def skeleton(output: str) -> str:
    """Return *output* without what may be old."""
    return _TOKEN.sub(r"{\1}", output)


@dataclass
class Bracket:
    """A cached fragment in an output, or a hole, or the output itself."""

    around: Bracket | None
    is_hole: bool = False
    uri: str = ""
    name: str = ""
    number: str = ""
    tags: tuple[str, ...] = ()
    key: str = ""
    timeout: float | None = None
    region: str = ""
    is_worked_on: bool = False
    shown: list[tuple[str, str]] = field(default_factory=list)
    inner: list[Bracket] = field(default_factory=list)
    has_forbidden: bool = False

    @property
    def is_fragment(self) -> bool:
        """Tell whether it is a cached fragment."""
        return bool(self.name)

    def walk(self) -> Iterator[Bracket]:
        """Yield this and all inside it."""
        yield self
        for one in self.inner:
            yield from one.walk()

    def stored_with(self) -> Iterator[Bracket]:
        """Yield this and what is kept in it: not what holes show."""
        yield self
        for one in self.inner:
            if not one.is_hole:
                yield from one.stored_with()

    def stored_in(self) -> Iterator[Bracket]:
        """Yield this and the fragments in which it is kept."""
        one: Bracket | None = self
        while one is not None and one.is_fragment:
            yield one
            one = one.around

    def is_private(self) -> bool:
        """Tell whether something in it forbids to store it."""
        return any(
            one.has_forbidden
            or any(name == "m" and value != "on" for name, value in one.shown)
            for one in self.stored_with()
        )

    def can_be_left_open(self) -> bool:
        """Tell whether no filter or buffer is around a hole in it."""
        return not any(
            part.is_worked_on and any(one.is_hole for one in part.walk())
            for part in self.stored_with()
        )


def parse(output: str) -> Bracket:
    """Return the brackets of an output."""
    here = top = Bracket(None)
    for piece in _PIECE.finditer(output):
        if piece["open"]:
            place, number, tags, key, timeout, region, worked_on = piece[
                "open"
            ][1:-1].split(";")
            uri, _, name = place.partition("!")
            new = Bracket(
                here,
                False,
                uri,
                name,
                number,
                tuple(tags.split(",")) if tags else (),
                key,
                float(timeout) if timeout else None,
                region,
                bool(worked_on),
            )
            here.inner.append(new)
            here = new
        elif piece["hole"]:
            new = Bracket(here, is_hole=True)
            here.inner.append(new)
            here = new
        elif piece["close"] or piece["filled"]:
            assert here.around is not None, output
            here = here.around
        elif piece["forbid"]:
            here.has_forbidden = True
        else:
            here.shown.append((piece["name"], piece["value"]))
    assert here is top, output
    return top


class Invalidation(NamedTuple):
    """What was invalidated, when, and what the data were then."""

    what: str
    versions: Mapping[str, int]
    time: float
    site: Mapping[str, int]
    """The sources that the invalidating site had, by uri."""

    tags: Collection[str] = ()
    places: Collection[tuple[str, str, str]] = ()
    """Fragments: uri, name, region."""

    key: str | None = None
    """Only variants with that key."""

    stores: Collection[str] = ()
    """Regions whose stores were emptied."""

    is_during: bool = False
    """Whether a render was under way: what it had shown by then need not be
    newer for the sake of a fragment that it got to only afterwards."""

    process: object = None
    """Where it was done: others may be behind it."""

    def concerns(
        self, one: Bracket, site: Mapping[str, int], now: float
    ) -> bool:
        """Tell whether what is kept of a fragment must be newer.

        :param site: the sources with which it is shown.
        """
        if self.stores:
            return all(f.region in self.stores for f in one.stored_in())
        if any(tag in one.tags for tag in self.tags):
            return True
        if (one.uri, one.name, one.region) not in self.places:
            return False
        if self.key is not None and one.key != self.key:
            return False
        if "anon" in one.name and str(self.site[one.uri]) != one.number:
            return False  # It has no name that lasts.
        return site == self.site or now >= self.time + SELDOM_SECONDS


class Model:
    """The data, and what has happened."""

    def __init__(self, names: Collection[str], staleness: float = 0.0):
        """Begin.

        :param staleness: seconds that a process may be behind the others.
        """
        self.staleness = staleness
        self.versions = dict.fromkeys(names, 1)
        self._replaced: dict[tuple[str, int], float] = {}
        self._invalidations: list[Invalidation] = []

    def change(self, name: str, now: float) -> None:
        """Give some data their next version."""
        self._replaced[name, self.versions[name]] = now
        self.versions[name] += 1

    def note(self, invalidation: Invalidation) -> None:
        """Note what was invalidated."""
        self._invalidations.append(invalidation)

    def check(
        self,
        output: str,
        site: Mapping[str, int],
        now: float,
        mode: str,
        late: float = 0.0,
        process: object = None,
    ) -> None:
        """Raise if something in *output* is older than it may be.

        :param site: the sources with which it is shown.
        :param mode: what :class:`Private` parts show in this render.
        :param late: seconds that an expired fragment may be served.
        :param process: where it is shown.
        """
        known = [
            one
            for one in self._invalidations
            if one.process is process or now >= one.time + self.staleness
        ]
        for one in parse(output).walk():
            for name, value in one.shown:
                if name == "m":
                    self._check_mode(one, value, mode)
                else:
                    why = self._why_too_old(
                        one, name, int(value), site, now, known
                    )
                    if why and not (
                        why.startswith("expired")
                        and self._was_fresh(one, name, int(value), now - late)
                    ):
                        raise AssertionError(
                            f"{name} is {value} and not"
                            f" {self.versions[name]} in"
                            f" {one.uri}!{one.name}: {why}\n{output}"
                        )

    def _check_mode(self, one: Bracket, value: str, mode: str) -> None:
        if mode == "on" or value != "on" or not one.is_fragment:
            assert value == mode, f"{value} is shown for {mode}"

    def _why_too_old(
        self,
        one: Bracket,
        name: str,
        version: int,
        site: Mapping[str, int],
        now: float,
        known: Collection[Invalidation],
    ) -> str:
        current = self.versions[name]
        if version == current:
            return ""
        if version > current:
            return "never was"
        if not one.is_fragment:
            return "not cached"
        if one.is_private():
            return "not to be stored"
        for part in one.stored_with():
            for past in known:
                if (
                    version < past.versions[name]
                    and (part is one or not past.is_during)
                    and past.concerns(part, site, now)
                ):
                    return f"invalidated with {part.name}: {past}"
        if not self._was_fresh(one, name, version, now):
            return "expired"
        return ""

    def _was_fresh(
        self, one: Bracket, name: str, version: int, now: float
    ) -> bool:
        timeout = min(
            (
                part.timeout
                for part in one.stored_with()
                if part.timeout is not None
            ),
            default=None,
        )
        if timeout is None:
            return True
        return self._replaced[name, version] > now - timeout

    @staticmethod
    def most_creations(output: str) -> int:
        """Return how much data is read if all was rendered just before."""
        count = 0
        for one in parse(output).walk():
            if not any(
                not part.is_private() and part.can_be_left_open()
                for part in one.stored_in()
            ):
                count += sum(name != "m" for name, _ in one.shown)
        return count
