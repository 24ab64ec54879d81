"""The model of what a site costs: its arithmetic, and that its rules hold.

Trips are counted on a real wire; nothing depends on how fast anything is.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator

import pytest

from benchmarks.contenders import ours
from benchmarks.herd import CREATION_SECONDS
from benchmarks.model import rules
from benchmarks.model.pages import cards
from benchmarks.model.pages import LABELS
from benchmarks.model.rules import AHEAD
from benchmarks.model.rules import ALONE
from benchmarks.model.rules import Costs
from benchmarks.model.rules import Election
from benchmarks.model.rules import FILE
from benchmarks.model.rules import MEMORY
from benchmarks.model.rules import Site
from benchmarks.model.rules import STORES
from benchmarks.model.rules import TIERED
from benchmarks.sites import LocalSite
from mako_cacheplug import CacheRegion
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with MemcachedServer() as server, Wire(server) as wire:
        yield wire
        wire.close()


# -- rules -----------------------------------------------------------------


@pytest.mark.parametrize("servers", [1, 2, 3, 4])
@pytest.mark.parametrize("names", [0, 1, 2, 5])
def test_servers_touched(servers: int, names: int) -> None:
    """As counted over every way in which names can fall on servers."""
    ways = itertools.product(range(servers), repeat=names)
    counted = statistics.mean(len({*way}) for way in ways)
    assert rules.servers_touched(servers, names) == pytest.approx(counted)


@pytest.mark.parametrize(
    ("store", "options"), [(AHEAD, {}), (ALONE, {"read_ahead": False})]
)
@pytest.mark.parametrize("size", [0, 1, 10, 256, 257])
def test_trips_of_a_page(
    wire: Wire, store: str, options: dict[str, bool], size: int
) -> None:
    site = LocalSite(cards(size), ours(store, wire.url, **options))
    counted = set()
    for _ in range(3):
        wire.trips()
        site.render()
        counted.add(len(wire.trips()))
    assert rules.page_trips(store, size, labels=LABELS) in counted


def test_trips_where_none_are_made() -> None:
    assert rules.page_trips(MEMORY, 50) == rules.page_trips(FILE, 50) == 0.0


def test_trips_on_a_ring() -> None:
    assert rules.page_trips(ALONE, 50, 8) == 50.0
    # A label that is elsewhere is a trip of its own.
    assert rules.page_trips(ALONE, 50, 8, 1) == pytest.approx(50 * 15 / 8)
    assert rules.page_trips(AHEAD, 2, 8, 1) == (
        pytest.approx(rules.servers_touched(8, 3))
    )
    assert rules.page_trips(AHEAD, 258, 8, 1) == (
        pytest.approx(
            rules.servers_touched(8, 257) + rules.servers_touched(8, 2)
        )
    )


@pytest.mark.parametrize("size", [1, 2, 5])
def test_trips_of_a_cold_page(wire: Wire, size: int) -> None:
    site = LocalSite(cards(size), ours("cold", wire.url))
    CacheRegion(wire.url).clear()
    wire.trips()
    site.render()
    trips = wire.trips()
    parts = sum(trip.startswith(b"set ") for trip in trips)
    assert len(trips) == rules.cold_trips(size, LABELS, parts)


class _Held(CacheMutex):
    """Another process's, until a moment."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self._clock = clock
        self._until = clock() + seconds
        self.asked = 0

    def acquire(self) -> bool:
        return False

    def release(self) -> bool:
        return False

    def holder(self) -> str | None:
        self.asked += 1
        return "another" if self._clock() < self._until else None


@pytest.mark.parametrize("seconds", [0.001, 0.005, 0.02, 0.2, 1.0])
def test_questions_are_those_of_the_lock(seconds: float) -> None:
    clock = ManualClock()
    mutex = _Held(clock, seconds)
    looks = 0

    def look() -> object:
        nonlocal looks
        looks += 1
        return NO_VALUE

    lock = DogpileLock[object](clock, clock.advance, lambda: 0.5)
    lock.get_or_create("key", look, object, wait=10.0, mutex=mutex)
    # The first question is who holds it, and the last look the value's.
    asked = mutex.asked - 1 + looks - 1
    assert asked == pytest.approx(rules.questions(seconds), abs=1)


# -- costs -----------------------------------------------------------------


def costs() -> Costs:
    return Costs.calibrated(
        10.0,
        8.0,
        0.5,
        20.0,
        (1, dict.fromkeys(STORES, 30.0)),
        (101, dict.fromkeys(STORES, 1030.0)),
    )


@pytest.mark.parametrize("store", STORES)
def test_costs_are_those_given(store: str) -> None:
    assert costs().page(store, 1) == pytest.approx(30.0)
    assert costs().page(store, 51) == pytest.approx(530.0)
    assert costs().page(store, 101) == pytest.approx(1030.0)


def test_costs_of_a_slow_trip() -> None:
    found = costs()
    assert found.page(MEMORY, 51, trip=1000.0) == pytest.approx(530.0)
    assert found.page(AHEAD, 51, trip=1000.0) == (
        pytest.approx(530.0 - 8.0 + 1000.0)
    )
    assert found.page(ALONE, 51, trip=1000.0) == (
        pytest.approx(530.0 + 51 * (1000.0 - 8.0))
    )


def test_costs_of_a_ring() -> None:
    more = rules.servers_touched(4, 52) - 1.0
    assert costs().page(AHEAD, 51, servers=4, labels=1) == (
        pytest.approx(530.0 + more * 20.0 + 52 * 0.5)
    )
    assert costs().page(AHEAD, 51, servers=4, labels=1, trip=100.0) == (
        pytest.approx(530.0 - 8.0 + 100.0 + more * 100.0 + 52 * 0.5)
    )
    assert costs().page(ALONE, 51, servers=4) == (
        pytest.approx(530.0 + 51 * 0.5)
    )


def test_from_when_a_tier_pays() -> None:
    """From where pages cost the same with it and without."""
    found = costs()
    pages = found.tier_pays_from(51, trip=200.0, servers=4, labels=1)
    near, ahead = (
        found.page(store, 51, trip=200.0, servers=4, labels=1)
        for store in (TIERED, AHEAD)
    )
    first = found.page(ALONE, 51, trip=200.0, servers=4)
    assert pages > 1.0
    assert first + (pages - 1.0) * near == pytest.approx(pages * ahead)


# -- many ------------------------------------------------------------------


def test_an_election_is_that_of_two() -> None:
    election = Election.calibrated(14.0, 38.0, CREATION_SECONDS)
    assert election.requests(1, CREATION_SECONDS) == 14.0
    assert election.requests(2, CREATION_SECONDS) == 38.0
    assert election.requests(8, CREATION_SECONDS) == 14.0 + 7 * 24.0
    longer = rules.questions(1.0) - rules.questions(CREATION_SECONDS)
    assert election.requests(2, 1.0) == 38.0 + longer


def test_a_site() -> None:
    site = Site(100, 10, fragments=50, labels=1, pages=20.0, processes=4)
    assert site.trips == pytest.approx(rules.servers_touched(10, 51))
    assert site.gets == pytest.approx(100 * 20 * 51 / 10)
    assert site.requests == pytest.approx(100 * 20 * site.trips / 10)
    assert site.connections == 100 * 4 * 4
    assert site.creations == {MEMORY: 400, FILE: 100, AHEAD: 1}
    assert site.questions(0.2) == pytest.approx(399 * 13 / 0.2)
    # Four processes of each host read each of ten keys once a second.
    assert site.gets_behind_tiers(10) == pytest.approx(100 * 4 * 10 / 10)
    # Never more than without.
    assert site.gets_behind_tiers(10_000) == site.gets


def test_far_reads() -> None:
    assert rules.far_reads(10, 3.0, 0.5) == 60.0
    assert Site(1, 1, staleness=0.5).gets_behind_tiers(10) == 8 * 10 / 0.5


def test_connections_are_pooled() -> None:
    assert Site(2, 1, processes=3, threads=32, pool=16).connections == 96
