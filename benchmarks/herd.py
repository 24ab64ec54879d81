"""A herd on one key: who creates, and how long the others take.

32 threads, then 8 processes of 4 threads, ask at the same moment for a value
whose creation takes 0.2 s; first cold, then after its expiry.
``python -m benchmarks.herd [--trials N] [--url URL]``
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import tempfile
import threading
import time
from collections.abc import Iterator
from collections.abc import Mapping
from multiprocessing.synchronize import Barrier
from types import TracebackType
from typing import NamedTuple
from typing import TYPE_CHECKING

from benchmarks.crowds import Cache
from benchmarks.crowds import open_ours
from benchmarks.crowds import Opener
from benchmarks.results import percentile
from benchmarks.workers import context
from benchmarks.workers import Workers
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.servers import ServerNotInstalled

if TYPE_CHECKING:
    from typing_extensions import Self

CREATION_SECONDS = 0.2


class Call(NamedTuple):
    """What one caller saw."""

    created: bool
    seconds: float
    ended_at: float


class Herd:
    """Processes of threads that ask for a key all at once.

    :param openers: of the caches that they can ask, by name.
    :param processes: how many.
    :param threads: in each process.
    :param folder: where its modules are looked for first.
    """

    def __init__(
        self,
        openers: Mapping[str, Opener],
        processes: int,
        threads: int,
        folder: str = "",
    ) -> None:
        barrier = context.Barrier(processes * threads)
        make = functools.partial(_Member, dict(openers), barrier, threads)
        self._workers = Workers(make, processes, folder)

    def ask(self, name: str, key: str) -> list[Call]:
        """Return what every caller of the cache *name* saw."""
        answers = self._workers.ask("ask", name, key)
        return [call for calls in answers for call in calls]

    def expire(self, name: str) -> None:
        """Let all that is in the cache *name* be stale."""
        self._workers.ask("expire", name, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._workers.close()


class _Member:
    """One of its processes."""

    def __init__(
        self, openers: dict[str, Opener], barrier: Barrier, threads: int
    ) -> None:
        self._caches = {name: opener() for name, opener in openers.items()}
        self._barrier = barrier
        self._threads = threads

    def __call__(self, order: str, name: str, key: str) -> list[Call]:
        cache = self._caches[name]
        calls: list[Call] = []
        if order == "expire":
            cache.expire()
            return calls
        team = [
            threading.Thread(target=self._ask, args=(cache, key, calls))
            for _ in range(self._threads)
        ]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()
        return calls

    def _ask(self, cache: Cache, key: str, calls: list[Call]) -> None:
        created = False

        def create() -> str:
            nonlocal created
            created = True
            time.sleep(CREATION_SECONDS)
            return "x" * 2048

        self._barrier.wait(60)
        started = time.monotonic()
        cache.get_or_create(key, create)
        ended = time.monotonic()
        calls.append(Call(created, ended - started, ended))


@contextlib.contextmanager
def stores() -> Iterator[dict[str, str]]:
    """Yield the urls of the stores that can be had here, by name."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        urls = {"memory": "memory://", "file": f"file://{folder}/herd"}
        with contextlib.suppress(ServerNotInstalled):
            server = stack.enter_context(MemcachedServer())
            urls["memcached"] = server.url
        yield urls


def run(
    name: str, url: str, processes: int, threads: int, trials: int
) -> None:
    """Print one line for the cold and one for the expired trials."""
    who = f"{processes} x {threads}"
    with Herd({name: open_ours(url)}, processes, threads) as herd:
        herd.ask(name, "warm-up")
        for phase in ("cold", "expired"):
            creations = []
            waits: list[float] = []
            after: list[float] = []
            for trial in range(trials):
                calls = herd.ask(name, f"{who} key {trial}")
                creations.append(sum(call.created for call in calls))
                others = [call for call in calls if not call.created]
                end = max(call.ended_at for call in calls if call.created)
                waits += [1e3 * call.seconds for call in others]
                after += [1e3 * (call.ended_at - end) for call in others]
            print(
                f"{name:10} {who:7} {phase:8}"
                f" creations {min(creations)}-{max(creations)},"
                f" others ms: p50 {percentile(waits, 50):6.1f}"
                f" p99 {percentile(waits, 99):6.1f} max {max(waits):6.1f};"
                f" after the creation's end: p50"
                f" {percentile(after, 50):6.1f} max {max(after):6.1f}"
            )
            herd.expire(name)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--url", help="only this store")
    given = parser.parse_args()
    with stores() as urls:
        chosen = {given.url: given.url} if given.url else urls
        for name, url in chosen.items():
            for processes, threads in ((1, 32), (8, 4)):
                run(name, url, processes, threads, given.trials)


if __name__ == "__main__":
    main()
