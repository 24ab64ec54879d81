"""A circuit breaker: a store that fails is left alone for a while.

After M. Nygard, "Release It!" (2007).  Closed, it lets every call pass and
counts the failures in a row.  After a few of them it *opens*: calls are
refused at once, for a time that grows with each failure to come back.  When
that is over one call passes, as the *probe*; the others are refused until its
outcome is known.  If it is answered, the breaker is closed.

===================================== =======================================
failures in a row that open it        3
or one that took this long            50 ms, as a server that hangs lets it
the first rest                        200 ms
each further rest                     twice the one before
the longest rest                      1600 ms
jitter                                each rest is shortened by up to a half,
                                      by chance: processes that were refused
                                      together do not ask together again
===================================== =======================================

Nobody waits here, and nothing runs in the background: the probe is an
ordinary call that somebody made anyway.
"""

from __future__ import annotations

import logging
import random
import time
import weakref
from collections.abc import Callable
from typing import Final

from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.seldom import Seldom

__all__ = ["CircuitBreaker", "breaker_of"]

_log = logging.getLogger(__name__)

FAILURES: Final = 3
SLOW_SECONDS: Final = 0.05
FIRST_REST_SECONDS: Final = 0.2
LONGEST_REST_SECONDS: Final = 1.6
JITTER: Final = 0.5


class CircuitBreaker:
    """Whether one server, or one store, is to be asked.  Safe in threads.

    Whoever asks calls :meth:`admit` before, unless :attr:`is_well`, and
    afterwards :meth:`succeeded`, unless :attr:`is_well`, or :meth:`failed`.
    What must be tried whatever happened before, as an invalidation, is not
    admitted, but its outcome counts.

    In a forked child it goes on as it was in the parent.

    :param name: of what is asked, for the log.
    :param url: of the same, without secrets, for errors.
    :param clock: monotonic seconds.
    :param chance: random numbers from 0 to 1.
    """

    def __init__(
        self,
        name: str,
        url: str = "",
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.url = url
        self.is_well = True
        """Whether nothing has failed since the latest answer.  To look at it
        is all that a breaker costs then."""

        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._error: BaseException | None = None
        self._is_open = False
        self._is_probing = False
        self._rest = 0.0
        self._until = 0.0
        self._seldom = Seldom(_log, clock)
        self._guard = ForkSafeLock()

    def is_refusing(self) -> bool:
        """Tell whether :meth:`admit` would raise now."""
        return self._is_open and self._clock() < self._until

    def admit(self) -> None:
        """Let a call pass.

        :raises NotAskedError: if it must not.
        """
        if not self._is_open:
            return
        with self._guard:
            now = self._clock()
            if not self._is_open:
                return
            if now >= self._until:
                self._is_probing = True
                # If its outcome never comes, another one follows.
                self._until = now + LONGEST_REST_SECONDS
                return
        raise NotAskedError(
            f"{self.name}: failed just now, not asked again yet", url=self.url
        )

    def succeeded(self) -> None:
        """Take note that a call was answered."""
        if self.is_well:
            return
        with self._guard:
            error = self._error
            was_open = self._is_open
            self._is_open = self._is_probing = False
            self._failures = 0
            self._error = None
            self._rest = 0.0
            self.is_well = True
        if was_open:
            _log.info("%s answers again", self.name)
        elif error is not None:
            self._seldom.warn(
                "%s failed and answers again: %s", self.name, error
            )

    def failed(self, error: BaseException, seconds: float = 0.0) -> None:
        """Take note that a call was not answered.

        :param seconds: how long that took.
        """
        with self._guard:
            self.is_well = False
            # What began before it opened has nothing new to tell.
            if self._is_open and not self._is_probing:
                return
            self._failures += 1
            self._error = error
            opens = not self._is_open
            if opens and self._failures < FAILURES and seconds < SLOW_SECONDS:
                return
            self._is_open = True
            self._is_probing = False
            self._rest = min(
                max(FIRST_REST_SECONDS, 2.0 * self._rest), LONGEST_REST_SECONDS
            )
            rest = self._rest * (1.0 - JITTER * self._chance())
            self._until = self._clock() + rest
        if opens:
            _log.warning(
                "%s fails; going on without it until it answers: %s",
                self.name,
                error,
            )


_breakers: Final[weakref.WeakKeyDictionary[object, CircuitBreaker]] = (
    weakref.WeakKeyDictionary()
)
_guard: Final = ForkSafeLock()


def breaker_of(backend: object) -> CircuitBreaker:
    """Return the one breaker of *backend*, for all regions over it."""
    with _guard:
        return _breakers.setdefault(
            backend, CircuitBreaker(f"the store {type(backend).__name__}")
        )
