"""A herd on one key: who creates, and how long the others take.

32 threads, then 8 processes of 4 threads, ask at the same moment for a value
whose creation takes 0.2 s; first cold, then after its expiry.
``python -m benchmarks.herd [--trials N] [--url URL]``
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from typing import Any
from typing import NamedTuple

from mako_cacheplug import CacheRegion
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.servers import ServerNotInstalled

CREATION_SECONDS = 0.2
TIMEOUT_SECONDS = 100.0


class Call(NamedTuple):
    """What one caller saw."""

    created: bool
    seconds: float
    ended_at: float


class Herd:
    """Processes of threads that ask for a key all at once.

    :param url: the store.
    :param processes: how many; with one, it is this process.
    :param threads: in each process.
    """

    def __init__(self, url: str, processes: int, threads: int):
        self._url = url
        self._threads = threads
        context = multiprocessing.get_context("spawn")
        self._barrier = context.Barrier(processes * threads)
        self._pipes = []
        self._workers = []
        for _ in range(processes):
            here, there = context.Pipe()
            worker = context.Process(
                target=_work, args=(there, self._barrier, url, threads)
            )
            worker.start()
            self._pipes.append(here)
            self._workers.append(worker)

    def ask(self, key: str, later: float) -> list[Call]:
        """Return what every caller saw.

        :param later: seconds by which the region's clock is ahead.
        """
        for pipe in self._pipes:
            pipe.send((key, later))
        return [call for pipe in self._pipes for call in pipe.recv()]

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.send(None)
        for worker in self._workers:
            worker.join(10)


def _work(pipe: Any, barrier: Barrier, url: str, threads: int) -> None:
    later = 0.0
    region = CacheRegion(
        url,
        clock=lambda: time.time() + later,
        timeout=TIMEOUT_SECONDS,
        grace=10 * TIMEOUT_SECONDS,
    )
    while (order := pipe.recv()) is not None:
        key, later = order
        calls: list[Call] = []
        team = [
            threading.Thread(target=_ask, args=(region, key, barrier, calls))
            for _ in range(threads)
        ]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()
        pipe.send(calls)


def _ask(
    region: CacheRegion, key: str, barrier: Barrier, calls: list[Call]
) -> None:
    created = False

    def create() -> str:
        nonlocal created
        created = True
        time.sleep(CREATION_SECONDS)
        return "x" * 2048

    barrier.wait(60)
    started = time.monotonic()
    region.get_or_create(key, create)
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


def percentile(values: list[float], percent: int) -> float:
    """Return the *percent*-th percentile of *values*."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def run(
    name: str, url: str, processes: int, threads: int, trials: int
) -> None:
    """Print one line for the cold and one for the expired trials."""
    herd = Herd(url, processes, threads)
    who = f"{processes} x {threads}"
    try:
        herd.ask("warm-up", 0.0)
        phases = (("cold", 0.0), ("expired", 1.5 * TIMEOUT_SECONDS))
        for phase, later in phases:
            creations = []
            waits: list[float] = []
            after: list[float] = []
            for trial in range(trials):
                calls = herd.ask(f"{who} key {trial}", later)
                creations.append(sum(call.created for call in calls))
                others = [call for call in calls if not call.created]
                end = max(call.ended_at for call in calls if call.created)
                waits += [1e3 * call.seconds for call in others]
                after += [1e3 * (call.ended_at - end) for call in others]
            print(
                f"{name:10} {who:7} {phase:8}"
                f" creations {min(creations)}-{max(creations)},"
                f" others ms: p50 {statistics.median(waits):6.1f}"
                f" p99 {percentile(waits, 99):6.1f} max {max(waits):6.1f};"
                f" after the creation's end: p50"
                f" {statistics.median(after):6.1f} max {max(after):6.1f}"
            )
    finally:
        herd.close()


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
