"""A lock that a child of ``fork`` finds free.

Another thread of the parent may hold a lock at the moment of the fork.  It is
not in the child to release it.
"""

from __future__ import annotations

import os
import threading
import weakref

__all__ = ["ForkSafeLock"]


class ForkSafeLock:
    """A lock for a ``with`` in which nothing is waited for, and not forked."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _every_lock.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_every_lock: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_every_lock):
        lock._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
