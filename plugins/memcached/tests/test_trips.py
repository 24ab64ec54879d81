"""What is sent, counted on the wire, with both clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug import CacheRegion
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import LIMIT
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire

MANY = [f"k{n}" for n in range(20)]


@pytest.fixture
def wire(server: MemcachedServer) -> Iterator[Wire]:
    with Wire(server) as wire:
        yield wire


@pytest.fixture
def far(make: Any, wire: Wire) -> MemcachedBackend:
    """Return a backend whose trips are counted; it is connected."""
    backend: MemcachedBackend = make(wire)
    backend.get("k")
    wire.trips()
    return backend


def test_a_hit_and_a_miss_are_one_trip_each(
    far: MemcachedBackend, wire: Wire
) -> None:
    assert far.get("k") is NO_VALUE
    assert len(wire.trips()) == 1
    far.set("k", b"v", 60)
    assert len(wire.trips()) == 1
    assert far.get("k") == b"v"
    assert len(wire.trips()) == 1


@pytest.mark.parametrize("there", [[], MANY[:1], MANY[-1:], MANY])
def test_many_are_read_in_one_trip(
    far: MemcachedBackend, wire: Wire, there: list[str]
) -> None:
    far.set_many(dict.fromkeys(there, b"v"), 60)
    wire.trips()
    assert far.get_many(MANY) == dict.fromkeys(there, b"v")
    assert len(wire.trips()) == 1


def test_many_are_stored_and_deleted_in_one_trip(
    far: MemcachedBackend, wire: Wire
) -> None:
    values = {key: key.encode() * 100 for key in MANY}
    far.set_many(values, 60)
    assert len(wire.trips()) == 1
    assert far.get_many(MANY) == values
    wire.trips()
    far.delete_many(MANY)
    assert len(wire.trips()) == 1
    assert far.get_many(MANY) == {}
    # What is asked next on the same connection is answered again.
    assert far.mutex("k", 9.0).acquire()
    assert not far.mutex("k", 9.0).acquire()


def test_many_of_which_one_is_over_the_limit(
    make: Any, server: MemcachedServer
) -> None:
    backend = make(server, max_value_bytes=10)
    backend.set_many({"k0": b"old", "k1": b"old"}, 60)
    with pytest.raises(ValueTooLargeError):
        backend.set_many({"k0": bytes(11), "k1": b"new"}, 60)
    assert backend.get_many(["k0", "k1"]) == {"k1": b"new"}


def test_many_of_which_the_server_refuses_one(
    client: str, clock: ManualClock
) -> None:
    """Told or not, the old one is gone and the others are stored."""
    with MemcachedServer("-I", "512k") as server:
        address = [(server.host, server.port)]
        backend = MemcachedBackend(address, client=client, clock=clock)
        backend.set_many({"k0": b"old", "k1": b"old"}, 60)
        try:
            backend.set_many({"k0": bytes(700_000), "k1": b"new"}, 60)
        except ValueTooLargeError:
            assert client == "pymemcache"
        assert backend.get_many(["k0", "k1"]) == {"k1": b"new"}
        backend.close()


def test_many_without_any_time_are_deleted(far: MemcachedBackend) -> None:
    far.set_many(dict.fromkeys(MANY, b"v"), None)
    far.set_many(dict.fromkeys(MANY[1:], b"new"), 0.0)
    assert far.get_many(MANY) == {MANY[0]: b"v"}


def test_storing_many_on_a_server_that_dies_is_an_error(
    far: MemcachedBackend, server: MemcachedServer
) -> None:
    """Though no answer is waited for that could fail to come."""
    server.pause()
    with pytest.raises(BackendError):
        far.set_many(dict.fromkeys(MANY, b"v"), 60)
    with pytest.raises(BackendError):
        far.delete_many(MANY)
    server.resume()


def test_a_creation(make: Any, wire: Wire) -> None:
    region = CacheRegion(make(wire))
    region.get("other")
    wire.trips()
    assert region.get_or_create("k", lambda: "made") == "made"
    asked = [trip.split()[0] for trip in wire.trips()]
    read = b"gets" if asked[0] == b"gets" else b"get"
    assert asked == [
        read,
        b"add",  # the mutex
        read,  # once more, as somebody may have finished
        b"add",  # the mark
        *(b"gets", b"cas"),  # the value in its place
        *(b"gets", b"cas"),  # the mutex is given back
    ]
    assert region.get_or_create("k", lambda: "again") == "made"
    assert len(wire.trips()) == 1


def test_who_waits_asks_one_small_question_at_a_time(
    make: Any, server: MemcachedServer, wire: Wire
) -> None:
    """Each thread reads once; then one of them asks for the process."""
    creator, waiter = CacheRegion(make(server)), CacheRegion(make(wire))
    begun, may_end = threading.Event(), threading.Event()
    trips: list[list[bytes]] = []

    def create() -> str:
        begun.set()
        assert may_end.wait(LIMIT)
        return "made"

    def sleep(seconds: float) -> None:
        trips.append(wire.trips())
        if len(trips) == 12:
            may_end.set()
            held.join(LIMIT)

    def never() -> str:
        raise AssertionError("created")

    waiter._lock._sleep = sleep
    held = threading.Thread(target=creator.get_or_create, args=("k", create))
    held.start()
    assert begun.wait(LIMIT)
    # Another thread may read in the midst of it, or when all is over.
    found = in_threads([lambda: waiter.get_or_create("k", never)] * 4)
    assert found == ["made"] * 4
    questions = [trip for asked in trips[1:] for trip in asked]
    locks = [trip for trip in questions if trip.startswith(b"gets mcp~l:")]
    assert len(trips) == 12
    assert len(locks) == 9
    assert len(questions) - len(locks) <= 2 + 3


def test_who_is_served_a_stale_value_mostly_makes_one_trip(
    make: Any, server: MemcachedServer, wire: Wire, clock: ManualClock
) -> None:
    given: dict[str, Any] = {"clock": clock, "timeout": 60, "grace": 600}
    creator = CacheRegion(make(server), **given)
    other = CacheRegion(make(wire), **given)
    other._lock._clock = lambda: 0.0
    creator.set("k", "old")
    clock.advance(61.0)
    trips: list[int] = []

    def create() -> str:
        for _ in range(20):
            assert other.get_or_create("k", lambda: "another") == "old"
            trips.append(len(wire.trips()))
        return "new"

    assert creator.get_or_create("k", create) == "new"
    assert trips == [3] + [1] * 19
