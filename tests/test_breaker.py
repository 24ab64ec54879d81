"""A store that fails is left alone, and asked again."""

from __future__ import annotations

import logging

import pytest
from mako.template import Template

from mako_cacheplug import BackendError
from mako_cacheplug import CacheEvent
from mako_cacheplug import CacheRegion
from mako_cacheplug import EventKind
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.backends.tiered import TieredBackend
from mako_cacheplug.breaker import breaker_of
from mako_cacheplug.breaker import CircuitBreaker
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import children

AWAY = BackendError("away")


class Chance:
    """Not by chance."""

    value = 0.0

    def __call__(self) -> float:
        return self.value


@pytest.fixture
def chance() -> Chance:
    return Chance()


@pytest.fixture
def breaker(clock: ManualClock, chance: Chance) -> CircuitBreaker:
    return CircuitBreaker("it", "it://", clock, chance)


def fail(breaker: CircuitBreaker, times: int, seconds: float = 0.0) -> None:
    for _ in range(times):
        breaker.admit()
        breaker.failed(AWAY, seconds)


def refuses(breaker: CircuitBreaker) -> bool:
    """Tell whether a call is refused.  One that is not is a probe."""
    expected = breaker.is_refusing()
    try:
        breaker.admit()
    except NotAskedError as error:
        assert error.url == "it://"
        assert expected
        return True
    assert not expected
    return False


def test_it_opens_after_three_failures_in_a_row(
    breaker: CircuitBreaker,
) -> None:
    assert breaker.is_well
    fail(breaker, 2)
    assert not breaker.is_well
    breaker.succeeded()
    assert breaker.is_well
    fail(breaker, 2)
    assert not refuses(breaker)
    fail(breaker, 1)
    assert refuses(breaker)


def test_one_that_took_long_opens_it(breaker: CircuitBreaker) -> None:
    fail(breaker, 1, 0.049)
    assert not refuses(breaker)
    breaker.succeeded()
    fail(breaker, 1, 0.05)
    assert refuses(breaker)


def test_each_rest_is_twice_the_one_before(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 3)
    for milliseconds in (200, 400, 800, 1600, 1600, 1600):
        clock.advance(milliseconds / 1000 - 0.001)
        assert refuses(breaker)
        clock.advance(0.002)
        fail(breaker, 1)
    clock.advance(2)
    assert not refuses(breaker)
    breaker.succeeded()
    fail(breaker, 3)
    clock.advance(0.201)
    assert not refuses(breaker)


def test_a_rest_is_shortened_by_up_to_a_half(
    breaker: CircuitBreaker, clock: ManualClock, chance: Chance
) -> None:
    chance.value = 1.0
    fail(breaker, 3)
    clock.advance(0.099)
    assert refuses(breaker)
    clock.advance(0.002)
    assert not refuses(breaker)


def test_one_caller_probes(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 3)
    clock.advance(0.2)
    assert not refuses(breaker)
    assert refuses(breaker)
    clock.advance(1.5)
    assert refuses(breaker)
    breaker.succeeded()
    assert breaker.is_well
    assert not refuses(breaker)


def test_a_probe_that_never_returns_is_followed_by_another(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 3)
    clock.advance(0.2)
    assert not refuses(breaker)
    clock.advance(1.6)
    assert not refuses(breaker)
    assert refuses(breaker)


def test_what_began_before_it_opened_does_not_count(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 3)
    for _ in range(9):
        breaker.failed(AWAY)
    clock.advance(0.2)
    assert not refuses(breaker)
    # But an answer is an answer.
    breaker.failed(AWAY)
    assert refuses(breaker)
    breaker.succeeded()
    assert not refuses(breaker)


def test_it_says_once_that_it_opens_and_once_that_it_closes(
    breaker: CircuitBreaker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "mako_cacheplug")
    for _ in range(2):
        fail(breaker, 3)
        for _ in range(5):
            clock.advance(1.6)
            fail(breaker, 1)
        breaker.succeeded()
        breaker.succeeded()
    said = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert said == 2 * [
        ("WARNING", "it fails; going on without it until it answers: away"),
        ("INFO", "it answers again"),
    ]


def test_failures_that_do_not_open_it_are_said_once_a_minute(
    breaker: CircuitBreaker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A full disk: what is written fails, and what is read does not."""
    for minute in (1, 2):
        for _ in range(9):
            fail(breaker, 1)
            breaker.succeeded()
        assert len(caplog.records) == minute
        clock.advance(60)
    assert caplog.records[0].getMessage() == (
        "it failed and answers again: away"
    )


def test_a_forked_child_goes_on_with_it(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 3)
    with breaker._guard, children(lambda: refuses(breaker)) as (child,):
        assert child.result() is True


# -- in a region -------------------------------------------------------------


class Away(CacheBackend):
    """A store that is away, until it is not."""

    is_away = True

    def __init__(self) -> None:
        self.memory = MemoryBackend()
        self.asked = 0

    @classmethod
    def from_url(cls, url: StoreURL) -> Away:
        return cls()

    def _ask(self) -> None:
        self.asked += 1
        if self.is_away:
            raise AWAY

    def get(self, key: str) -> bytes | NoValue:
        self._ask()
        return self.memory.get(key)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self._ask()
        self.memory.set(key, payload, ttl)

    def delete(self, key: str) -> None:
        self._ask()
        self.memory.delete(key)

    def clear(self) -> None:
        self._ask()
        self.memory.clear()

    def close(self) -> None:
        pass


@pytest.fixture
def away(clock: ManualClock, chance: Chance) -> Away:
    backend = Away()
    breaker = breaker_of(backend)
    breaker._clock, breaker._chance = clock, chance
    return backend


def test_regions_over_one_store_share_its_breaker(away: Away) -> None:
    first, second = CacheRegion(away), CacheRegion(away)
    for _ in range(3):
        assert first.get_or_create("k", lambda: "v") == "v"
    assert away.asked == 3
    for region in (first, second):
        assert region.get_or_create("k", lambda: "v") == "v"
        region.set("k", "v")
        assert region.get("k") is None
    assert away.asked == 3


def test_what_is_not_asked_is_a_miss_and_no_error(
    away: Away, clock: ManualClock
) -> None:
    region = CacheRegion(away)
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    for _ in range(9):
        region.get_or_create("k", lambda: "v")
    kinds = [event.kind for event in events]
    assert kinds.count(EventKind.STORE_ERROR) == 3
    assert kinds.count(EventKind.MISS) == 9
    assert region.stats().errors == 3
    assert region.stats().misses == 9
    away.is_away = False
    clock.advance(0.2)
    for _ in range(2):
        region.get_or_create("k", lambda: "v")
    assert region.stats().hits == 1


def test_an_invalidation_is_tried_however_often_it_failed(
    away: Away,
) -> None:
    region = CacheRegion(away)
    actions = [
        lambda: region.invalidate("k"),
        lambda: region.invalidate_tags("t"),
        region.clear,
    ]
    for act in actions * 3:
        with pytest.raises(BackendError, match="away") as caught:
            act()
        assert not isinstance(caught.value, NotAskedError)
    assert away.asked == 9
    assert region._storage.is_away
    away.is_away = False
    region.invalidate("k")
    # It was answered, which is all that a probe could tell.
    assert not region._storage.is_away


PAGE = """
<%def name="plain()" cached="True">plain ${made()}</%def>
<%def name="of(n)" cached="True">of ${n} ${made()}</%def>
<%def name="vary()" cached="True" cache_vary="${'a'}">vary ${made()}</%def>
<%def name="around()" cached="True">around ${plain()} ${made()}</%def>
${plain()} ${of(1)} ${of(2)} ${vary()} ${around()}
"""


@pytest.mark.parametrize("is_tiered", [False, True])
@pytest.mark.parametrize("is_hooked", [False, True])
def test_a_page_asks_nothing_and_makes_everything(
    away: Away, clock: ManualClock, is_hooked: bool, is_tiered: bool
) -> None:
    store = TieredBackend(away, clock=clock) if is_tiered else away
    region = CacheRegion(store, name="r", clock=clock)
    events: list[CacheEvent] = []
    if is_hooked:
        region.add_hook(events.append)
    page = Template(
        PAGE,
        cache_impl="cacheplug",
        cache_args={"regions": {"r": region}, "region": "r"},
    )
    away.is_away = False
    made: list[int] = []

    def render() -> str:
        text: str = page.render(made=lambda: made.append(1) or "")
        return text

    expected = render()
    assert render() == expected
    away.is_away = True
    if is_tiered:
        asked = away.asked
        assert render() == expected
        assert away.asked == asked
        clock.advance(1.1)
    for _ in range(3):
        assert render() == expected
    away.asked = 0
    made.clear()
    events.clear()
    before = region.stats()
    assert render() == expected
    assert away.asked == 0
    assert len(made) == 6
    assert region.stats().errors == before.errors
    assert region.stats().hits == before.hits
    assert region.stats().misses == before.misses + 6
    # Nobody was elected, nor waited for.
    assert region.stats().creations == before.creations
    kinds = [event.kind for event in events if event.key]
    assert kinds == [EventKind.MISS] * (6 if is_hooked else 0)
    away.is_away = False
    clock.advance(1.6)
    assert render() == expected
    made.clear()
    assert render() == expected
    assert made == []
