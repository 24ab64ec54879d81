"""A creator dies by SIGKILL: when are the others served?

One process holds the lock on a cold key and is killed; two others are
waiting.  Printed is the time from the kill until each of them has a value.
``python -m benchmarks.dead_creator [--trials N]``
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection

from benchmarks.herd import stores
from mako_cacheplug import CacheRegion

LEASE_SECONDS = 2.0


def measure(url: str, key: str, lease: float = LEASE_SECONDS) -> list[float]:
    """Return after how many seconds each of two waiting processes is served.

    :param lease: the lock's lease in seconds.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    holder = context.Process(target=_hold, args=(url, key, lease, there))
    holder.start()
    here.recv()
    waiters = []
    for _ in range(2):
        mine, its = context.Pipe()
        waiter = context.Process(target=_wait, args=(url, key, lease, its))
        waiter.start()
        waiters.append((waiter, mine))
    for _, pipe in waiters:
        pipe.recv()
    # They have said that they are about to ask; now they are asking.
    time.sleep(0.2)
    assert holder.pid is not None
    killed_at = time.monotonic()
    os.kill(holder.pid, signal.SIGKILL)
    served_at = [pipe.recv() for _, pipe in waiters]
    for process in (holder, *(waiter for waiter, _ in waiters)):
        process.join(10)
    return [at - killed_at for at in served_at]


def _hold(url: str, key: str, lease: float, pipe: Connection) -> None:
    def create() -> str:
        pipe.send("creating")
        time.sleep(600)
        return "never"

    CacheRegion(url, lease=lease).get_or_create(key, create)


def _wait(url: str, key: str, lease: float, pipe: Connection) -> None:
    region = CacheRegion(url, lease=lease, wait=60)
    region.get("warm the connection")
    pipe.send("asking")
    region.get_or_create(key, lambda: "value")
    pipe.send(time.monotonic())


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3)
    trials = parser.parse_args().trials
    with stores() as urls:
        for name, url in urls.items():
            if name == "memory":
                continue
            seconds = [
                one
                for trial in range(trials)
                for one in measure(url, f"key {trial}")
            ]
            print(
                f"{name:10} lease {LEASE_SECONDS:g} s, served after the kill:"
                f" {min(seconds):.3f} to {max(seconds):.3f} s"
            )


if __name__ == "__main__":
    main()
