"""An end to what would take too long.

Some of the patterns with which Mako reads a template try exponentially many
ways on text made for that, and what Python does for nested brackets is not
without end either.  A timer that counts the time of the processor, not that
of a busy machine, stops both.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

__all__ = ["TooLongError", "time_limit"]


_AGAIN: Final = 0.5
"""Seconds until the next try."""


class TooLongError(BaseException):
    """It took too long.  No ``Exception``: Mako catches all of these."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what is inside after so many seconds of the processor.

    There is no limit in another than the main thread, and on a system
    without this timer.

    :raises TooLongError: inside, wherever it is.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or not hasattr(signal, "setitimer")
    ):
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _stop)
    # Again and again: an exception in a destructor is lost.
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
