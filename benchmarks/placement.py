"""Which processor cores client and server run on.

A request to a server on another core wakes that core up, which on many
machines takes longer than the request itself: figures without their
placement say little.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Placement", "pinned", "placements"]


class Placement(NamedTuple):
    """Where the two sides of a connection run.

    A core of -1 is any: this system cannot pin.
    """

    name: str
    client: int
    server: int


def _cores() -> list[int]:
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))


def placements() -> list[Placement]:
    """Return those that this machine allows: one core, and two."""
    cores = _cores()
    if not cores:
        return [Placement("not pinned", -1, -1)]
    found = [Placement("one core", cores[-1], cores[-1])]
    if len(cores) > 1:
        found.append(Placement("two cores", cores[-1], cores[-2]))
    return found


@contextlib.contextmanager
def pinned(core: int | None = None) -> Iterator[None]:
    """Keep this thread, and what it starts, on one core.

    :param core: which; by default the last; -1 for any.
    """
    cores = _cores()
    if core == -1 or not cores:
        yield
        return
    os.sched_setaffinity(0, {cores[-1] if core is None else core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
