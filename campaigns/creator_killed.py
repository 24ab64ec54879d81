"""A creator is killed with SIGKILL at a random moment, while others wait.

One process asks for a cold key and creates for a while; it is killed before,
while or after it does, or while it stores.  Two others ask for the same key
meanwhile.  Each store in turn: files, whose locks are the kernel's, and
memcached, where a lock lasts as long as its lease.
"""

from __future__ import annotations

import contextlib
import functools
import random
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import Protocol

from beaker.cache import CacheManager
from dogpile.cache import make_region

from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug import CacheRegion
from mako_cacheplug.testing.running import Child
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import LIMIT
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")

_KILLS: Final = {Scale.SHORT: 3, Scale.LONG: 200}
"""Of creators that had not ended."""

_PEERS_KILLS: Final = 20
_MOST_TRIALS: Final = 10
"""For each of the kills: some creators end before theirs."""

_CREATION_SECONDS: Final = 0.03
_LAST_KILL_SECONDS: Final = 0.06
_HEAD_START_SECONDS: Final = 0.01
_LEASE_SECONDS: Final = 0.5
_SLACK_SECONDS: Final = 0.3
_PEERS_LIMIT: Final = 3.0

_VALUE: Final = "value " * 10_000


class _Store(NamedTuple):
    """One that the others get to by a function of their own."""

    kind: str
    open: Callable[[], _Cache]
    most: float
    """Seconds after the kill in which waiters are served: the goal."""

    limit: float = LIMIT
    """Seconds after which a waiter hangs."""


class _Served(NamedTuple):
    """What a waiter got."""

    at: float
    """In monotonic seconds."""

    is_right: bool


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return when those who waited were served, and with what."""
    kills = _KILLS[scale]
    if contender != "cacheplug":
        kills = min(kills, _PEERS_KILLS)
    with tempfile.TemporaryDirectory() as folder, MemcachedServer() as server:
        return [
            finding
            for store in _STORES[contender](folder, server)
            for finding in _campaign(contender, store, kills, scale)
        ]


def _campaign(
    contender: str, store: _Store, kills: int, scale: Scale
) -> list[Finding]:
    longest = 0.0
    hung = torn = died = trials = 0
    while died < kills and trials < _MOST_TRIALS * kills:
        killed_at, is_killed, served = _trial(store, f"key-{trials}")
        trials += 1
        died += is_killed
        for one in served:
            if one is None:
                hung += 1
                continue
            longest = max(longest, one.at - killed_at)
            torn += not one.is_right
    return [
        Finding(
            contender,
            f"{store.kind}: waiters that hang",
            hung,
            most=0,
            note=f"who is not served in {store.limit:g} s hangs",
        ),
        Finding(
            contender,
            f"{store.kind}: creators killed before their end",
            died,
            least=kills,
            note=f"in {trials} trials",
        ),
        Finding(contender, f"{store.kind}: torn entries", torn, most=0),
        Finding(
            contender,
            f"{store.kind}: longest wait after the kill",
            longest,
            "s",
            # In a short pass it says more about the machine.
            most=store.most if scale is Scale.LONG else None,
        ),
    ]


def _trial(
    store: _Store, key: str
) -> tuple[float, bool, list[_Served | None]]:
    """Return when one was killed, whether before its end, and who was served.

    After the waiters one more asks, who finds what is stored by now.
    """
    begun = fork_context.Event()
    creator = Child(functools.partial(_create, store, key, begun))
    waiter = functools.partial(_wait, store, key, begun)
    try:
        with children(waiter, waiter) as waiters:
            begun.wait(LIMIT)
            time.sleep(random.uniform(0.0, _LAST_KILL_SECONDS))  # no secret
            killed_at = time.monotonic()
            creator.kill()
            served = [_result(one, store.limit) for one in waiters]
        is_killed = _result(creator, store.limit) is None
    finally:
        creator.close()
    if None not in served:
        with children(waiter) as (late,):
            later = _result(late, store.limit)
        if later is None or not later.is_right:
            served.append(later)
    return killed_at, is_killed, served


def _result(child: Child, limit: float) -> Any:
    with contextlib.suppress(AssertionError):
        return child.result(limit)
    return None


def _create(store: _Store, key: str, begun: Event) -> bool:
    cache = store.open()

    def create() -> str:
        time.sleep(_CREATION_SECONDS)
        return _VALUE

    begun.set()
    return cache.get_or_create(key, create) == _VALUE


def _wait(store: _Store, key: str, begun: Event) -> _Served:
    cache = store.open()
    begun.wait(LIMIT)
    time.sleep(_HEAD_START_SECONDS)
    value = cache.get_or_create(key, lambda: _VALUE)
    return _Served(time.monotonic(), value == _VALUE)


class _Cache(Protocol):
    """What all of them do."""

    def get_or_create(self, key: str, create: Callable[[], str], /) -> object:
        """Return the value."""


class _Beaker:
    def __init__(self, folder: str) -> None:
        self._cache: Any = CacheManager(
            type="file", data_dir=folder, lock_dir=folder
        ).get_cache("page")

    def get_or_create(self, key: str, create: Callable[[], str]) -> object:
        return self._cache.get(key, createfunc=create)


def _ours(folder: str, server: MemcachedServer) -> Iterator[_Store]:
    for name, url, most in (
        ("file", f"file://{folder}/store", _SLACK_SECONDS),
        ("memcached", server.url, _LEASE_SECONDS + _SLACK_SECONDS),
    ):
        yield _Store(
            name,
            functools.partial(
                CacheRegion, url, lease=_LEASE_SECONDS, wait=2 * LIMIT
            ),
            most,
        )


def _dogpile(folder: str, server: MemcachedServer) -> Iterator[_Store]:
    for kind, name, arguments in (
        ("file", "dbm", {"filename": f"{folder}/dogpile"}),
        (
            "memcached",
            "pylibmc",
            {
                "url": [f"{server.host}:{server.port}"],
                "distributed_lock": True,
            },
        ),
    ):
        yield _Store(
            kind,
            functools.partial(
                make_region().configure,
                f"dogpile.cache.{name}",
                arguments=arguments,
            ),
            _SLACK_SECONDS,
            _PEERS_LIMIT,
        )


def _beaker(folder: str, server: MemcachedServer) -> Iterator[_Store]:
    yield _Store(
        "file",
        functools.partial(_Beaker, folder),
        _SLACK_SECONDS,
        _PEERS_LIMIT,
    )


_STORES: Final[
    dict[str, Callable[[str, MemcachedServer], Iterator[_Store]]]
] = {"cacheplug": _ours, "dogpile.cache": _dogpile, "beaker": _beaker}
