"""Threads and forked children for tests: started together, never left over.

Nothing here waits for ever: what is not done in time is a failure, and
children are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any
from typing import Final
from typing import TypeVar

__all__ = [
    "LIMIT",
    "Child",
    "children",
    "fork_context",
    "give_up_privileges",
    "in_threads",
    "within",
]

_T = TypeVar("_T")

LIMIT: Final = 30.0
"""Seconds after which whatever still runs hangs, even on a busy machine."""

fork_context: Final = multiprocessing.get_context("fork")


def in_threads(
    functions: Sequence[Callable[[], _T]], limit: float = LIMIT
) -> list[_T]:
    """Return what *functions* return, run in as many threads at once.

    :param limit: seconds until they hang.
    :raises BaseException: the first that one of them raised.
    """
    start = threading.Barrier(len(functions))
    results: dict[int, _T] = {}
    errors: list[BaseException] = []

    def run(index: int, function: Callable[[], _T]) -> None:
        try:
            start.wait(limit)
            results[index] = function()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=each, daemon=True)
        for each in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if errors:
        raise errors[0]
    hanging = [thread for thread in threads if thread.is_alive()]
    assert not hanging, (
        f"{len(hanging)} threads still run after {limit} s\n"
        + "\n".join(map(_stack, hanging))
    )
    return [results[index] for index in range(len(functions))]


def _stack(thread: threading.Thread) -> str:
    """Return where *thread* is."""
    frame = sys._current_frames().get(thread.ident or 0)
    where = "" if frame is None else "".join(traceback.format_stack(frame))
    return f"{thread.name}:\n{where}"


def within(seconds: float, function: Callable[[], _T]) -> _T:
    """Return what *function* returns; it fails if it takes longer."""
    return in_threads([function], seconds)[0]


class Child:
    """A forked process that runs *function* and sends back its result.

    :param function: what it runs; its result must be picklable.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._receiver, sender = fork_context.Pipe(duplex=False)
        self._process = fork_context.Process(
            target=_run, args=(sender, function), daemon=True
        )
        with warnings.catch_warnings():
            # To fork while threads run is what some tests are about.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        sender.close()

    def result(self, limit: float = LIMIT) -> Any:
        """Return what the function returned.

        :param limit: seconds until the child hangs.
        :raises AssertionError: if it raised, died or hangs.
        """
        assert self._receiver.poll(limit), f"a child hangs after {limit} s"
        try:
            failed, result = self._receiver.recv()
        except EOFError:
            raise AssertionError("a child died without an answer") from None
        assert not failed, f"in a child:\n{result}"
        return result

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it has ended."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """Let it end, or kill it, and give back what it needed."""
        self._process.join(0.2)
        self.kill()
        self._process.close()
        self._receiver.close()


def _run(sender: Connection, function: Callable[[], Any]) -> None:
    try:
        outcome = (False, function())
    except BaseException:
        outcome = (True, traceback.format_exc())
    sender.send(outcome)
    sender.close()


def give_up_privileges() -> None:
    """Let permissions count in this process also if it is root's.

    root stays the owner of what is root's, without the capabilities to which
    nothing is forbidden; see ``capabilities(7)``.

    :raises OSError: if the kernel refuses.
    """
    if os.geteuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    version, this_process = 0x20080522, 0
    header = struct.pack("=Ii", version, this_process)
    if libc.capset(header, bytes(24)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def children(*functions: Callable[[], Any]) -> Iterator[list[Child]]:
    """Give a forked child for each of *functions*; none survives the end."""
    with contextlib.ExitStack() as stack:
        started = []
        for function in functions:
            child = Child(function)
            stack.callback(child.close)
            started.append(child)
        yield started
