"""Children of a process whose connections are warm.

A parent reads by several threads until its client has connections, then
forks while it goes on reading.  Each child, and the parent, check every
value that they read: over a connection that two processes share, one of them
reads what the other asked for.
"""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable
from typing import Final
from typing import NamedTuple

from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.testing.running import Child
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache")
"""Beaker has let go of the clients that can be installed beside ours."""

_KEYS: Final = 50
_CHILDREN: Final = 4
_WARM: Final = 8

_SHAPES: Final = {
    # rounds, reads of each child, seconds after which a child hangs
    Scale.SHORT: (3, 200, 20.0),
    Scale.LONG: (50, 2000, 60.0),
}
_PEERS_ROUNDS: Final = 5
_PEERS_LIMIT: Final = 10.0

Read = Callable[[str], object]


class _Reads(NamedTuple):
    """What one process has read."""

    foreign: int = 0
    missed: int = 0
    """Nothing where there was something: a read that failed."""
    errors: int = 0

    def __add__(self, other: object) -> _Reads:
        assert isinstance(other, _Reads)
        return _Reads(*map(sum, zip(self, other, strict=True)))


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return how many of a child's reads were another process's."""
    findings = []
    with MemcachedServer() as server:
        for label, open_reader in _openers(contender, server).items():
            reads, hung, checked = _campaign(contender, open_reader, scale)
            note = f"{checked} reads were checked"
            goal = 0 if contender == "cacheplug" else None
            findings += [
                Finding(
                    contender, f"{label}: {what}", value, most=goal, note=note
                )
                for what, value in (
                    ("foreign values after fork", reads.foreign),
                    ("reads that failed after fork", reads.missed),
                    ("exceptions after fork", reads.errors),
                    ("children that hang or died", hung),
                )
            ]
            server.restart()
    return findings


def _campaign(
    contender: str, open_reader: Callable[[], Read], scale: Scale
) -> tuple[_Reads, int, int]:
    rounds, count, limit = _SHAPES[scale]
    if contender != "cacheplug":
        rounds = min(rounds, _PEERS_ROUNDS)
        limit = _PEERS_LIMIT
    read = open_reader()
    total, hung, checked = _Reads(), 0, 0
    for _ in range(rounds):
        warm = functools.partial(_check, read, count // 10)
        in_threads([warm] * _WARM)
        warm()
        over = threading.Event()
        busy = threading.Thread(target=_go_on, args=(read, over), daemon=True)
        busy.start()
        started = [
            Child(functools.partial(_check, read, count))
            for _ in range(_CHILDREN)
        ]
        try:
            total += _check(read, count)
            checked += count
            for child in started:
                try:
                    total += child.result(limit)
                    checked += count
                except AssertionError:
                    hung += 1
        finally:
            over.set()
            busy.join(limit)
            for child in started:
                child.close()
    return total, hung, checked


def _go_on(read: Read, over: threading.Event) -> None:
    while not over.is_set():
        _check(read, 20)


def _check(read: Read, count: int) -> _Reads:
    chance = random.Random()  # no secret
    total = _Reads()
    for _ in range(count):
        number = chance.randrange(_KEYS)
        try:
            found = read(_key(number))
        except Exception:
            total += _Reads(errors=1)
            continue
        if not isinstance(found, str):
            total += _Reads(missed=1)
        elif found != _value(number):
            total += _Reads(foreign=1)
    return total


def _key(number: int) -> str:
    return f"key-{number}"


def _value(number: int) -> str:
    return f"value {number};" * 200


def _openers(
    contender: str, server: MemcachedServer
) -> dict[str, Callable[[], Read]]:
    if contender == "cacheplug":
        return {
            client: functools.partial(_open_ours, f"{server.url}?{query}")
            for client, query in (
                # What a busy machine delays has not failed.
                ("pylibmc", "client=pylibmc&timeout=10s"),
                ("pymemcache", "client=pymemcache&timeout=10s"),
            )
        }
    where = f"{server.host}:{server.port}"
    return {"pylibmc": functools.partial(_open_dogpile, where)}


def _open_ours(url: str) -> Read:
    region = CacheRegion(url)
    for number in range(_KEYS):
        region.set(_key(number), _value(number))
    return region.get


def _open_dogpile(where: str) -> Read:
    from dogpile.cache import make_region

    region = make_region().configure(
        "dogpile.cache.pylibmc", arguments={"url": [where]}
    )
    for number in range(_KEYS):
        region.set(_key(number), _value(number))
    read: Read = region.get
    return read
