"""What the checker is told: names, folders, limits."""

from __future__ import annotations

import dataclasses
from typing import Final

from mako_cacheplug.check.lookup import Lookup

__all__ = ["REQUEST_NAMES", "Settings"]

REQUEST_NAMES: Final = frozenset(
    {
        "cookies",
        "csrf_field",
        "csrf_input",
        "csrf_token",
        "current_user",
        "flash",
        "get_csrf_token",
        "get_flashed_messages",
        "lang",
        "locale",
        "request",
        "session",
        "user",
    }
)
"""The names by which templates usually know who asks, and for what."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to check."""

    request_names: frozenset[str] = REQUEST_NAMES
    """What a cached fragment must not read without its being in the key."""

    lookup: Lookup | None = None
    """Which templates there are; ``None`` if that is not known."""

    encoding: str = "utf-8"
    """Of files that do not say it themselves."""

    max_bytes: int = 2**20
    """Larger files are not read."""

    seconds: float = 5.0
    """Of the processor, for one file."""
