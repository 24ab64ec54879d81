"""A mechanism, and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Mechanism(NamedTuple):
    take_out: Callable[[], None]
    """To be called before the tests are imported."""

    tests: tuple[str, ...]
    """Those that must fail without it, as pytest calls them in
    ``tests``."""


MECHANISMS: dict[str, Mechanism] = {}


def mechanism(
    name: str, *tests: str
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(take_out: Callable[[], None]) -> Callable[[], None]:
        assert name not in MECHANISMS
        MECHANISMS[name] = Mechanism(take_out, tests)
        return take_out

    return add


def replace(holder: object, name: str, new: object) -> None:
    getattr(holder, name)  # what is not there cannot be taken out
    setattr(holder, name, new)
