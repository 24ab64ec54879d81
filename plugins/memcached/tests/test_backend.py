"""Values, keys, sizes and times on a real server, with both clients."""

from __future__ import annotations

import pickle
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.api import SupportsUsage
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.servers import MemcachedServer

MONTH = 30 * 86400


def test_powers(backend: MemcachedBackend) -> None:
    for power in (SupportsBulk, SupportsMutex, SupportsClear, SupportsUsage):
        assert isinstance(backend, power)


@pytest.mark.parametrize(
    "payload", [b"", b"v", bytes(range(256)), b"a\r\nEND\r\n", b"x" * 300_000]
)
def test_bytes_come_back(backend: MemcachedBackend, payload: bytes) -> None:
    assert backend.get("k") is NO_VALUE
    backend.set("k", payload, None)
    assert backend.get("k") == payload
    assert backend.get_many(["k", "other"]) == {"k": payload}
    backend.delete("k")
    backend.delete("k")
    assert backend.get("k") is NO_VALUE


def test_values_are_stored_as_they_are(
    backend: MemcachedBackend, raw: Any
) -> None:
    backend.set("k", b"x" * 2048, 60)
    assert raw(b"mg k f s") == b"HD f0 s2048"


def test_many(backend: MemcachedBackend) -> None:
    payloads = {f"k {n}": b"%d" % n for n in range(300)}
    backend.set_many(payloads, 60)
    assert backend.get_many([*payloads, "no"]) == payloads
    assert backend.get_many(iter([])) == {}
    backend.delete_many(iter(list(payloads)[1:]))
    assert backend.get_many(payloads) == {"k 0": b"0"}


def test_several_servers(make: Any, server: MemcachedServer) -> None:
    with MemcachedServer() as second:
        both = make(server, second)
        payloads = {f"k{n}": b"%d" % n for n in range(50)}
        both.set_many(payloads, 60)
        assert both.get_many(payloads) == payloads
        assert make(second, server).get_many(payloads) == payloads
        for single in (make(server), make(second)):
            assert 5 < single.usage().entries < 45
        assert both.usage().entries == 50
        assert {k: both.get(k) for k in payloads} == payloads
        both.clear()
        assert both.get_many(payloads) == {}
        both.close()


def test_both_clients_find_each_others_entries(
    server: MemcachedServer,
) -> None:
    with MemcachedServer() as second:
        servers = [(s.host, s.port) for s in (server, second)]
        keys = [f"k {n}" for n in range(30)]
        pylibmc = MemcachedBackend(servers, client="pylibmc")
        pymemcache = MemcachedBackend(servers, client="pymemcache")
        pylibmc.set_many(dict.fromkeys(keys, b"v"), 60)
        assert pymemcache.get_many(keys) == dict.fromkeys(keys, b"v")
        assert pylibmc.mutex("k", 9).acquire()
        assert not pymemcache.mutex("k", 9).acquire()
        pylibmc.close()
        pymemcache.close()


@pytest.mark.parametrize(
    "key",
    ["", " ", "a b", "x\r\nset n 0 0 1\r\nv", "\0", "é", "\ud800", "k" * 999],
)
def test_any_key_is_itself_and_no_command(
    backend: MemcachedBackend, key: str
) -> None:
    backend.set("n", b"neighbour", None)
    backend.set(key, b"v", None)
    assert backend.get(key) == b"v"
    assert backend.get_many([key, "n"]) == {key: b"v", "n": b"neighbour"}
    assert backend.mutex(key, 9).acquire()
    assert backend.usage().entries == 3
    backend.delete(key)
    assert backend.get(key) is NO_VALUE
    assert backend.get("n") == b"neighbour"


@pytest.mark.parametrize(
    ("ttl", "low", "high"),
    [
        (0.4, 1, 3),
        (60, 60, 62),
        (MONTH - 1, MONTH - 1, MONTH + 1),
        (MONTH, MONTH, MONTH + 3),
        (10 * MONTH, 10 * MONTH, 10 * MONTH + 3),
        (None, -1, -1),
    ],
)
def test_the_server_keeps_it_as_long(
    make: Any,
    server: MemcachedServer,
    raw: Any,
    ttl: float | None,
    low: int,
    high: int,
) -> None:
    make(server, clock=time.time).set("k", b"v", ttl)
    left = int(raw(b"mg k t").removeprefix(b"HD t"))
    # The machine may be slow, and the server's second old.
    assert low - 20 * (ttl is not None and ttl > 60) <= left <= high


def test_thirty_days_are_counted_from_the_clock(
    backend: MemcachedBackend, clock: ManualClock, raw: Any
) -> None:
    # This clock is years behind: what it says is over by then, is over.
    backend.set("k", b"v", MONTH)
    assert backend.get("k") is NO_VALUE


@pytest.mark.parametrize("ttl", [0, -1.5])
def test_no_time_is_a_deletion(backend: MemcachedBackend, ttl: float) -> None:
    backend.set("k", b"old", None)
    backend.set("k", b"new", ttl)
    assert backend.get("k") is NO_VALUE


def test_a_value_over_our_limit_removes_the_old(
    make: Any, server: Any
) -> None:
    backend = make(server, max_value_bytes=10)
    backend.set("k", b"old", None)
    with pytest.raises(ValueTooLargeError, match="limit of 10") as caught:
        backend.set("k", b"x" * 11, None)
    assert (caught.value.size, caught.value.limit) == (11, 10)
    assert backend.get("k") is NO_VALUE
    backend.set("k", b"x" * 10, None)
    assert backend.get("k") == b"x" * 10


def test_a_value_over_the_servers_limit_removes_the_old(
    make: Any, server: MemcachedServer
) -> None:
    backend = make(server, max_value_bytes=None)
    backend.set("k", b"old", None)
    with pytest.raises(ValueTooLargeError, match="server's limit") as caught:
        backend.set("k", b"x" * (2**20 + 9), None)
    assert caught.value.size == 2**20 + 9
    assert backend.get("k") is NO_VALUE
    with pytest.raises(ValueTooLargeError):
        backend.set_many({"big": b"x" * 2**20, "k": b"v"}, None)
    assert backend.get("k") == b"v"


def test_our_limit_is_within_the_servers(backend: MemcachedBackend) -> None:
    assert backend.max_value_bytes is not None
    payload = b"x" * backend.max_value_bytes
    backend.set("k" * backend.max_key_bytes, payload, 60)
    assert backend.get("k" * backend.max_key_bytes) == payload


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("flags", [1, 2, 4, 8, 9, 16, 32, 255, 65535])
@pytest.mark.parametrize("packed", [False, True])
def test_another_programs_item_is_a_miss_and_not_unpacked(
    backend: MemcachedBackend,
    raw: Any,
    tmp_path: Path,
    flags: int,
    packed: bool,
) -> None:
    trap = tmp_path / "unpickled"
    data = pickle.dumps(Bomb(trap))
    pickle.loads(data)
    trap.unlink()  # It works.
    data = zlib.compress(data) if packed else data
    item = b"k 0 %d\r\n%s" % (len(data), data)
    raw(b"set " + item.replace(b"k 0", b"k %d 0" % flags, 1))
    backend.set("n", b"v", None)
    assert backend.get("k") is NO_VALUE
    assert backend.get_many(["n", "k"]) == {"n": b"v"}
    assert not trap.exists()
    backend.set("k", b"ours", 60)
    assert backend.get("k") == b"ours"


def test_clear_and_usage(backend: MemcachedBackend) -> None:
    assert backend.usage().entries == 0
    backend.set("k", b"x" * 1000, None)
    entries, size = backend.usage()
    assert entries == 1
    assert 1000 < size < 1200
    backend.clear()
    assert backend.get("k") is NO_VALUE
    backend.set("k", b"v", None)
    assert backend.get("k") == b"v"


def test_close_twice_and_use_again(backend: MemcachedBackend) -> None:
    backend.set("k", b"v", None)
    backend.close()
    backend.close()
    assert backend.get("k") == b"v"


# -- claims ------------------------------------------------------------------


def test_a_mark_ends_by_itself_and_not_soon(
    backend: MemcachedBackend, raw: Any
) -> None:
    backend.claim("k")
    _, flags, seconds = raw(b"mg k f t").split()
    assert flags == b"f27904"
    assert 1800 <= int(seconds[1:]) <= 7200
    claim = backend.claim("k")
    assert backend.check_and_set("k", b"v", 60.0, claim) is True
    assert raw(b"mg k f") == b"HD f0"


@pytest.mark.parametrize("flags", [1, 2, 4, 8, 9, 16, 32, 255, 65535])
def test_another_programs_item_is_replaced_under_a_claim(
    backend: MemcachedBackend, raw: Any, flags: int
) -> None:
    """And is no failure of the server, which would be left alone."""
    backend.set("n", b"v", None)
    for number in range(9):
        raw(b"set k %d 0 4\r\njunk" % flags)
        claim = backend.claim("k")
        assert backend.get("k") is NO_VALUE
        assert backend.check_and_set("k", b"%d" % number, 60.0, claim) is True
        assert backend.get("k") == b"%d" % number
        assert backend.get("n") == b"v"


@pytest.mark.parametrize("ttl", [0.0, -1.0])
def test_what_has_no_time_left_is_not_kept_under_a_claim(
    backend: MemcachedBackend, ttl: float
) -> None:
    backend.set("k", b"old", None)
    claim = backend.claim("k")
    assert backend.check_and_set("k", b"v", ttl, claim) is True
    assert backend.get("k") is NO_VALUE


def test_claims_of_both_clients_are_alike(server: MemcachedServer) -> None:
    address = [(server.host, server.port)]
    one, other = (
        MemcachedBackend(address, client=client)
        for client in ("pylibmc", "pymemcache")
    )
    for first, second in ((one, other), (other, one)):
        claim = first.claim("k")
        assert second.get("k") is NO_VALUE
        late = second.claim("k")
        assert first.check_and_set("k", b"v", None, claim) is True
        assert second.check_and_set("k", b"late", None, late) is False
        claim = first.claim("k")
        second.delete("k")
        second.claim("k")
        assert first.check_and_set("k", b"late", None, claim) is False
        second.delete("k")
    one.close()
    other.close()


@pytest.mark.parametrize("old", [b"", b"old"])
def test_a_server_that_was_restarted_knows_no_claim(
    backend: MemcachedBackend, server: MemcachedServer, old: bytes
) -> None:
    """Though it counts its items from the beginning again."""
    if old:
        backend.set("k", old, None)
    claims = [backend.claim("k"), backend.claim("k")]
    server.restart()
    backend.close()
    if old:
        backend.set("k", b"new", None)
    else:
        backend.claim("k")
    for claim in claims:
        assert backend.check_and_set("k", b"late", None, claim) is False
    assert backend.get("k") == (b"new" if old else NO_VALUE)


def test_another_programs_item_gives_way_to_a_claim_as_to_a_set(
    backend: MemcachedBackend, raw: Any
) -> None:
    """Left there, it would keep ours from being stored for ever."""
    raw(b"set k 1 0 1\r\nx")
    assert backend.check_and_set("k", b"v", None, None) is False
    assert backend.check_and_set("k", b"v", None, backend.claim("k")) is True
    assert backend.get("k") == b"v"


def test_claims_on_several_servers(make: Any, server: MemcachedServer) -> None:
    with MemcachedServer() as second:
        backend = make(server, second)
        keys = [f"k{n}" for n in range(40)]
        claims = {key: backend.claim(key) for key in keys}
        for key in keys[::2]:
            backend.delete(key)
        stored = [
            key
            for key in keys
            if backend.check_and_set(key, b"v", None, claims[key])
        ]
        assert stored == keys[1::2]
        assert sorted(backend.get_many(keys)) == sorted(stored)


def test_the_servers_own_limit_under_a_claim(make: Any, server: Any) -> None:
    backend = make(server, max_value_bytes=None)
    backend.set("k", b"old", None)
    claim = backend.claim("k")
    with pytest.raises(ValueTooLargeError):
        backend.check_and_set("k", bytes(2**21), None, claim)
    assert backend.get("k") is NO_VALUE
