"""Processes that are told what to do, and answer.

For contenders that need a process of their own, and for crowds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Workers", "context"]

context: Final = multiprocessing.get_context("spawn")
"""Fresh interpreters: nothing of this one's is shared by accident."""

LIMIT: Final = 600.0
"""Seconds after which a worker hangs."""

Handler = Callable[..., Any]


class _Failure(NamedTuple):
    trace: str


class Workers:
    """Processes with one handler each, which answers what they are asked.

    They are ready when this returns, keep the processor cores of who makes
    them, and end with the ``with`` block.

    :param make: called in each process; returns its handler.  Picklable.
    :param count: how many.
    :param folder: where modules are looked for first.
    """

    def __init__(
        self, make: Callable[[], Handler], count: int = 1, folder: str = ""
    ) -> None:
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(
                target=_work, args=(there, make, folder), daemon=True
            )
            process.start()
            # Here nobody else holds it: a dead worker is the pipe's end.
            there.close()
            self._pipes.append(here)
            self._processes.append(process)
        try:
            self._answers()
        except BaseException:
            self.close()
            raise

    def ask(self, *order: object) -> list[Any]:
        """Return what every handler answers to *order*.

        :raises RuntimeError: if one of them raised, died or hangs.
        """
        for pipe in self._pipes:
            pipe.send(order)
        return self._answers()

    def _answers(self) -> list[Any]:
        answers = []
        for pipe in self._pipes:
            if not pipe.poll(LIMIT):
                raise RuntimeError(f"a worker hangs after {LIMIT:g} s")
            try:
                answer = pipe.recv()
            except EOFError:
                raise RuntimeError("a worker died") from None
            if isinstance(answer, _Failure):
                raise RuntimeError(f"in a worker:\n{answer.trace}")
            answers.append(answer)
        return answers

    def close(self) -> None:
        """End them."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
            process.kill()
            process.join()
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _work(pipe: Connection, make: Callable[[], Handler], folder: str) -> None:
    if folder:
        sys.path.insert(0, folder)
    try:
        handler = make()
        pipe.send(None)
        while True:
            try:
                order = pipe.recv()
            except EOFError:
                return
            pipe.send(handler(*order))
    except Exception:
        # Nobody may be there any more, if another one failed before.
        with contextlib.suppress(OSError):
            pipe.send(_Failure(traceback.format_exc()))
