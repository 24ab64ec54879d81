"""Log lines for what others can make happen at any rate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from mako_cacheplug.forks import ForkSafeLock

__all__ = ["Seldom"]

_PAUSE: Final = 60.0


class Seldom:
    """A warning that is written once a minute at most.  Safe in threads.

    The first is written at once; each later one says how many were left out
    before it.

    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        logger: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._next = float("-inf")
        self._left_out = 0
        self._guard = ForkSafeLock()

    def warn(self, message: str, *args: object) -> None:
        """Write *message*, unless one was written just now."""
        with self._guard:
            now = self._clock()
            if now < self._next:
                self._left_out += 1
                return
            self._next = now + _PAUSE
            left_out, self._left_out = self._left_out, 0
        if left_out:
            message += " (and %d before that were not told)"
            args += (left_out,)
        self._logger.warning(message, *args)
