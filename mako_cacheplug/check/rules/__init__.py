"""The rules, one function each, with its text beside it."""

from __future__ import annotations

from typing import Final

from mako_cacheplug.check.rule import Rule
from mako_cacheplug.check.rules import arguments
from mako_cacheplug.check.rules import content
from mako_cacheplug.check.rules import dependencies
from mako_cacheplug.check.rules import files
from mako_cacheplug.check.rules import holes
from mako_cacheplug.check.rules import keys
from mako_cacheplug.check.rules import options
from mako_cacheplug.check.rules import sharing

__all__ = ["RULES", "find"]

RULES: Final[tuple[Rule, ...]] = (
    *files.RULES,
    *options.RULES,
    *arguments.RULES,
    *keys.RULES,
    *sharing.RULES,
    *dependencies.RULES,
    *content.RULES,
    *holes.RULES,
)
"""All of them, in the order of their codes."""

_BY_NAME: Final = {name: r for r in RULES for name in (r.code, r.name)}


def find(name: str) -> Rule | None:
    """Return the rule with a code or name, in upper or lower case."""
    return _BY_NAME.get(name.upper()) or _BY_NAME.get(name.lower())
