"""memcached and Redis for a scenario, and the contenders on them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks.contenders import BEAKER_PYLIBMC
from benchmarks.contenders import beaker_pylibmc
from benchmarks.contenders import BEAKER_PYLIBMC_FOLDER
from benchmarks.contenders import Contender
from benchmarks.contenders import dogpile
from benchmarks.contenders import has_read_ahead
from benchmarks.contenders import ours
from benchmarks.placement import pinned
from benchmarks.placement import Placement
from benchmarks.proxy import Proxy
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.servers import RedisServer
from mako_cacheplug.testing.servers import ServerNotInstalled

__all__ = [
    "DOGPILE_PYLIBMC",
    "DOGPILE_REDIS",
    "GET",
    "GET_MULTI",
    "OURS",
    "OURS_AHEAD_OFF",
    "Network",
    "bare_clients",
    "memcached_stats",
    "network",
    "ours_on_memcached",
]

OURS = "mako-cacheplug memcached"
OURS_AHEAD_OFF = "mako-cacheplug memcached, read-ahead off"
DOGPILE_PYLIBMC = "dogpile.cache pylibmc"
DOGPILE_REDIS = "dogpile.cache Redis"
GET = "bare pylibmc get"
GET_MULTI = "bare pylibmc get_multi"
BEHAVIORS = {"tcp_nodelay": True}


@dataclasses.dataclass
class Network:
    """Servers on the loopback, empty.

    :param memcached: its port.
    :param redis: its port, if it is installed.
    :param folder: for lock files.
    :param notes: what is missing here.
    """

    memcached: int
    redis: int | None
    folder: str
    notes: list[str]

    def contenders(self) -> list[Contender]:
        """Return those that can run here."""
        found = self._on_memcached(self.memcached)
        return found + (_on_redis(self.redis) if self.redis else [])

    def by_pymemcache(self) -> list[Contender]:
        """Return those that reach memcached without pylibmc."""
        address = f"127.0.0.1:{self.memcached}"
        url = f"memcached://{address}?client=pymemcache"
        return [
            ours("mako-cacheplug by pymemcache", url, **_ahead_off()),
            dogpile("dogpile.cache pymemcache", "pymemcache", url=[address]),
        ]

    @contextlib.contextmanager
    def proxied(
        self, delay: float = 0.0
    ) -> Iterator[list[tuple[Contender, Proxy]]]:
        """Yield the contenders, each with the proxy that it goes through.

        :param delay: seconds added to each round trip.
        """
        with contextlib.ExitStack() as stack:
            proxy = stack.enter_context(Proxy(self.memcached, delay))
            found = [(one, proxy) for one in self._on_memcached(proxy.port)]
            if self.redis:
                proxy = stack.enter_context(Proxy(self.redis, delay))
                found += [(one, proxy) for one in _on_redis(proxy.port)]
            yield found

    def _on_memcached(self, port: int) -> list[Contender]:
        address = f"127.0.0.1:{port}"
        theirs = dogpile(
            DOGPILE_PYLIBMC, "pylibmc", url=[address], behaviors=BEHAVIORS
        )
        beaker = beaker_pylibmc(port, self.folder)
        return [
            *ours_on_memcached(port),
            theirs,
            *([beaker] if beaker else []),
        ]


def _on_redis(port: int) -> list[Contender]:
    return [dogpile(DOGPILE_REDIS, "redis", host="127.0.0.1", port=port)]


def ours_on_memcached(port: int) -> list[Contender]:
    """Return this project's plugin, with read-ahead and without."""
    url = f"memcached://127.0.0.1:{port}"
    off = ours(OURS_AHEAD_OFF, url, **_ahead_off())
    return [ours(OURS, url), off] if has_read_ahead() else [off]


def _ahead_off() -> dict[str, bool]:
    return {"read_ahead": False} if has_read_ahead() else {}


@contextlib.contextmanager
def network(placement: Placement | None = None) -> Iterator[Network]:
    """Start the servers, and keep this thread where it belongs.

    :param placement: which cores; by default any.
    :raises ServerNotInstalled: if there is no memcached.
    """
    client, server = (
        (placement.client, placement.server)
        if placement
        else (
            -1,
            -1,
        )
    )
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        notes = []
        with pinned(server):
            memcached = stack.enter_context(MemcachedServer("-m", "256"))
            redis = None
            try:
                redis = stack.enter_context(RedisServer()).port
            except ServerNotInstalled as error:
                notes.append(f"{DOGPILE_REDIS}: {error}")
        if not BEAKER_PYLIBMC_FOLDER.is_dir():
            notes.append(f"{BEAKER_PYLIBMC}: not installed beside Beaker 1.14")
        if not has_read_ahead():
            notes.append(f"{OURS}: there is no read-ahead yet")
        stack.enter_context(pinned(client))
        yield Network(memcached.port, redis, folder, notes)


def bare_clients(net: Network, keys: int, size: int) -> dict[str, Any]:
    """Return what the clients do by themselves: functions that read once.

    :param keys: how many keys of *size* bytes ``get_multi`` reads.
    """
    import pylibmc

    names = [f"bare-{number}" for number in range(keys)]
    client = pylibmc.Client(
        [f"127.0.0.1:{net.memcached}"], behaviors=BEHAVIORS
    )
    client.set_multi(dict.fromkeys(names, b"x" * size))
    found = {
        GET: functools.partial(client.get, names[0]),
        GET_MULTI: functools.partial(client.get_multi, names),
    }
    if net.redis is not None:
        import redis

        other = redis.Redis(port=net.redis)
        other.set(names[0], b"x" * size)
        found["bare redis-py get"] = functools.partial(other.get, names[0])
    return found


def memcached_stats(port: int) -> dict[str, int]:
    """Return what a memcached on the loopback has counted, by its names."""
    with socket.create_connection(("127.0.0.1", port), 10.0) as wire:
        wire.sendall(b"stats\r\nquit\r\n")
        with wire.makefile("r") as lines:
            words = [line.split() for line in lines]
    return {w[1]: int(w[2]) for w in words if len(w) == 3 and w[2].isdigit()}
