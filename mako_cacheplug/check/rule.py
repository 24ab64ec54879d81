"""A rule: the function that looks, with its text beside it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from typing import Final

from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.template import Template

__all__ = ["Rule", "describe", "rule"]

_Check = Callable[[Template], Iterator[Problem]]

_BAD: Final = "\nBad::\n"
_GOOD: Final = "\nGood::\n"


@dataclasses.dataclass(frozen=True)
class Rule:
    """What can be wrong with a template."""

    code: str
    """``MC`` and three digits, of which the first is the group."""

    name: str
    """The same in words, joined by hyphens."""

    severity: Severity
    text: str
    """In reStructuredText: a line in short, why, and examples after
    ``Bad::`` and ``Good::``."""

    check: _Check | None = None
    """``None`` where the rule is about reading the file."""

    @property
    def summary(self) -> str:
        """The first line of the text."""
        return self.text.partition("\n")[0]

    @property
    def bad(self) -> str:
        """The template that has this problem; "" if the text shows none."""
        before_good = self.text.partition(_GOOD)[0]
        return inspect.cleandoc(before_good.partition(_BAD)[2])

    @property
    def good(self) -> str:
        """The same without the problem."""
        return inspect.cleandoc(self.text.partition(_GOOD)[2])


def describe(code: str, name: str, severity: Severity, text: str) -> Rule:
    """Return a rule that no function checks, with its text."""
    return Rule(code, name, severity, inspect.cleandoc(text))


def rule(code: str, name: str, severity: Severity) -> Callable[[_Check], Rule]:
    """Make a rule of a function, whose docstring is the rule's text."""

    def decorate(check: _Check) -> Rule:
        text = inspect.cleandoc(check.__doc__ or "")
        return Rule(code, name, severity, text, check)

    return decorate
