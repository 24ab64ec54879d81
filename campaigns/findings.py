"""What a campaign has found: figures, each beside its goal."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Campaign", "Finding", "Scale"]


class Scale(enum.Enum):
    """How long a campaign is."""

    SHORT = "short"
    """Seconds: a pass that belongs to the tests."""

    LONG = "long"
    """As the goals want it."""


class Finding(NamedTuple):
    """One figure of one contender."""

    contender: str
    what: str
    """What was counted or measured, such as ``"wrong pages"``."""

    value: float
    unit: str = ""
    """``""`` for a count, ``"s"``, ``"ms"``, ``"x"`` for a ratio, ``"%"``."""

    most: float | None = None
    """The goal: no more than this."""

    least: float | None = None
    """The goal: no less than this."""

    note: str = ""
    """What a reader has to know to understand the figure."""

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached, or there is none."""
        return (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )


class Campaign(NamedTuple):
    """What one campaign has found, of all contenders."""

    name: str
    about: str
    """What is done to whom, in the words of its module."""

    findings: Sequence[Finding]
    ran: str = ""
    """When, for how long, and how busy the machine was before."""
