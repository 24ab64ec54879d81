"""What the checker says: what is wrong, where, and how bad it is."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["Finding", "Place", "Problem", "Severity"]


class Severity(enum.Enum):
    """How bad it is."""

    ERROR = "error"
    """It fails, or shows something wrong."""

    WARNING = "warning"
    """It is likely meant otherwise."""


class Place(NamedTuple):
    """Where something stands in a template; lines and columns from 1."""

    line: int
    column: int = 0
    """0 if it is not known."""

    length: int = 1
    """How many characters it has."""

    start: int = 0
    """The line in which the tag or piece of Python begins that it is in:
    a comment that suppresses it stands before that one.  0 is *line*."""


class Problem(NamedTuple):
    """What a rule found."""

    place: Place
    message: str
    help: str = ""
    """What to write instead; may be empty."""


class Finding(NamedTuple):
    """A problem with the rule that found it and the file that has it."""

    code: str
    name: str
    severity: Severity
    path: str
    line: int
    column: int
    length: int
    message: str
    help: str
    text: str
    """The line of the template."""
