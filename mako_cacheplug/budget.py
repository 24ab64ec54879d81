"""The time that a render has for its store.

A thread adds up what it spends in calls to stores out of its memory.
A render is of one thread, so all that has to be kept of it is the sum at
which its time is over: nothing is handed on from call to call, and a page
within a page spends of both.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

__all__ = ["Budget", "clock", "free", "spend"]

clock = time.monotonic
"""Seconds, by which calls are measured."""


class _Spent(threading.local):
    seconds = 0.0
    is_counted = True


_spent = _Spent()


def spend(seconds: float) -> None:
    """Add *seconds* to what this thread has spent."""
    if _spent.is_counted:
        _spent.seconds += seconds


@contextlib.contextmanager
def free() -> Iterator[None]:
    """Let what this thread spends in the block not count."""
    before = _spent.is_counted
    _spent.is_counted = False
    try:
        yield
    finally:
        _spent.is_counted = before


class Budget:
    """What one render may spend.  Of one thread.

    It begins when it is made.

    :param seconds: infinite for no limit.
    """

    __slots__ = ("_end", "is_said")

    def __init__(self, seconds: float) -> None:
        self._end = _spent.seconds + seconds
        self.is_said = False
        """Whether it has been told that it is spent."""

    @property
    def is_spent(self) -> bool:
        """Whether it is used up: the rest is to do without the store."""
        return _spent.seconds >= self._end
