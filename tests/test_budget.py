"""A render does without the store when that has taken it too long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

import pytest
from mako.runtime import Context
from mako.template import Template

from mako_cacheplug import budget
from mako_cacheplug import CacheEvent
from mako_cacheplug import CacheRegion
from mako_cacheplug import EventKind
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.backends.tiered import TieredBackend
from mako_cacheplug.options import StoreURL
from mako_cacheplug.testing import ManualClock


class Plain(CacheBackend):
    """A far store that takes its time, for each key anew."""

    def __init__(self, clock: ManualClock) -> None:
        self.memory = MemoryBackend()
        self.clock = clock
        self.seconds = 0.0
        self.asked: list[str] = []

    @classmethod
    def from_url(cls, url: StoreURL) -> Plain:
        return cls(ManualClock())

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        self.clock.advance(self.seconds)

    def get(self, key: str) -> bytes | NoValue:
        self._ask("get")
        return self.memory.get(key)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self._ask("set")
        self.memory.set(key, payload, ttl)

    def delete(self, key: str) -> None:
        self._ask("delete")
        self.memory.delete(key)

    def clear(self) -> None:
        self.memory.clear()

    def close(self) -> None:
        pass


class Slow(Plain):
    """One that is asked for many keys at once."""

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        self._ask("get_many")
        found = {key: self.memory.get(key) for key in keys}
        return {k: p for k, p in found.items() if p is not NO_VALUE}

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        self._ask("set_many")
        for key, payload in payloads.items():
            self.memory.set(key, payload, ttl)

    def delete_many(self, keys: Iterable[str]) -> None:
        self._ask("delete_many")
        for key in keys:
            self.memory.delete(key)


class Elsewhere(Slow):
    """One in which another process is making what is missing."""

    made: MemoryBackend | None = None
    """What is there when it is done."""

    def mutex(self, key: str, lease: float) -> Elsewhere:
        return self

    def acquire(self) -> bool:
        self._ask("acquire")
        return self.made is None

    def holder(self) -> str | None:
        self._ask("holder")
        if self.made is None or self.asked.count("holder") < 100:
            return "another"
        self.memory, self.made = self.made, None
        return None

    def release(self) -> bool:
        return True


PAGE = """
<%def name="part(n)" cached="True" cache_timeout="50">${made(n)}</%def>
% for n in numbers:
${part(n)}
% endfor
"""

AROUND = """
<%def name="part(n)" cached="True">${made(n)}</%def>
<%def name="around()" cached="True" cache_region="STORE">
${slow()}${part(1)}
</%def>
${part(0)} ${around()}
"""


STORES = {"one by one": Plain, "elsewhere": Elsewhere}


class Site:
    """Pages over a slow store, and what they did."""

    def __init__(
        self, clock: ManualClock, limit: object, way: str = "in bulk"
    ) -> None:
        self.clock = clock
        self.now = ManualClock()
        self.store = STORES.get(way, Slow)(clock)
        self.region = CacheRegion(
            TieredBackend(self.store) if way == "tiered" else self.store,
            name="r",
            clock=self.now,
            budget=limit,
            read_ahead=way != "without read-ahead",
        )
        self.events: list[CacheEvent] = []
        self.region.add_hook(self.events.append)
        self.made: list[int] = []
        self._args = {
            "cache_impl": "cacheplug",
            "cache_args": {
                "regions": {
                    "r": self.region,
                    "near": CacheRegion(MemoryBackend(), name="near"),
                },
                "region": "r",
            },
        }
        self.page = self.template(PAGE)

    def template(self, source: str) -> Template:
        return Template(source, uri="/page", **self._args)

    def make(self, number: int) -> str:
        self.made.append(number)
        return f"<{number}>"

    def render(self, numbers: Iterable[int] = range(4)) -> str:
        """Return the page; forget what was done before."""
        self.made.clear()
        self.events.clear()
        self.store.asked.clear()
        text: str = self.page.render(numbers=numbers, made=self.make)
        assert text.split() == [f"<{number}>" for number in numbers]
        return text

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


@pytest.fixture
def open_site(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Site]:
    monkeypatch.setattr(budget, "clock", clock)
    return lambda limit="250ms", *way: Site(clock, limit, *way)


def test_a_page_in_time_asks_as_often_as_ever(
    open_site: Callable[..., Site],
) -> None:
    site = open_site()
    site.store.seconds = 0.001
    site.render()
    assert site.made == [0, 1, 2, 3]
    site.render()
    assert site.made == []
    assert EventKind.OVER_BUDGET not in site.kinds()


def test_what_is_left_of_a_page_does_without(
    open_site: Callable[..., Site],
) -> None:
    site = open_site()
    site.store.seconds = 0.1
    for count in (4, 40):
        site.render(range(count))
        assert site.made == [*range(count)]
        # That fragment's labels had never been made.
        assert len(site.store.asked) <= 6
        assert site.kinds().count(EventKind.OVER_BUDGET) == 1
        assert site.kinds().count(EventKind.MISS) == count
        assert EventKind.STORE_ERROR not in site.kinds()
    assert site.region.stats().errors == 0
    site.store.seconds = 0.0
    site.render()
    site.render()
    assert site.made == []


@pytest.mark.parametrize(
    "way", ["in bulk", "one by one", "tiered", "without read-ahead"]
)
@pytest.mark.parametrize("stored", [False, True])
def test_whatever_the_way_to_a_slow_store(
    open_site: Callable[..., Site], way: str, stored: bool
) -> None:
    site = open_site("250ms", way)
    if stored:
        site.render(range(40))
        site.region.backend.close()  # Of copies, if there are any.
        site.now.advance(3.0)
    site.store.seconds = 0.1
    began = site.clock()
    site.render(range(40))
    # What is over it by the calls that one creation needs.
    assert site.clock() - began <= 0.25 + 0.6
    at_once = stored and way == "in bulk"
    assert site.kinds().count(EventKind.OVER_BUDGET) == (not at_once)
    site.store.seconds = 0.0
    site.render(range(40))
    site.render(range(40))
    assert site.made == []


def test_a_fragment_with_many_labels_of_which_none_has_been_made(
    open_site: Callable[..., Site],
) -> None:
    """They are made by one page after the other."""
    site = open_site()
    tags = " ".join(map(str, range(20)))
    page = site.template(PAGE.replace('="50"', f'="50" cache_tags="{tags}"'))
    site.store.seconds = 0.05
    for _ in range(20):
        began = site.clock()
        page.render(numbers=[1], made=site.make)
        assert site.clock() - began <= 0.25 + 2 * 0.05
    assert len(site.made) < 20


def test_a_creator_takes_the_time_that_it_takes(
    open_site: Callable[..., Site],
) -> None:
    site = open_site()
    make = site.make

    def slowly(number: int) -> str:
        site.clock.advance(10.0)
        return make(number)

    site.make = slowly  # type: ignore[method-assign]
    site.render()
    assert site.made == [0, 1, 2, 3]
    site.render()
    assert site.made == []


@pytest.mark.parametrize("limit", ["none", "1h", 3600])
def test_the_budget_is_an_option(
    open_site: Callable[..., Site], limit: object
) -> None:
    site = open_site(limit)
    site.store.seconds = 9.0
    site.render()
    site.render()
    assert site.made == []


def test_what_is_at_hand_is_served(open_site: Callable[..., Site]) -> None:
    """One long trip brings what the whole page needs."""
    site = open_site()
    for _ in range(4):
        site.render()
    site.store.seconds = 0.3
    site.render()
    assert site.made == []
    assert site.store.asked == ["get_many"]


def test_a_stale_value_is_served_and_not_regenerated(
    open_site: Callable[..., Site],
) -> None:
    site = open_site()
    for _ in range(4):
        site.render()
    site.now.advance(60)
    site.store.seconds = 0.3
    site.render()
    assert site.made == []
    assert site.store.asked == ["get_many"]
    assert site.kinds() == [EventKind.STALE] * 4


@pytest.mark.parametrize("around", ["r", "near"])
def test_what_is_created_around_is_not_stored(
    open_site: Callable[..., Site], around: str
) -> None:
    """Of its inner fragment's labels nothing was read."""
    site = open_site()
    page = site.template(AROUND.replace("STORE", around))

    def slow() -> str:
        site.store.seconds = 1.0
        site.region.get("nothing")
        site.store.seconds = 0.0
        return ""

    for made in ([0, 1], [1]):
        site.made.clear()
        page.render(made=site.make, slow=slow)
        assert site.made == made
    for _ in range(2):
        site.made.clear()
        page.render(made=site.make, slow=str)
    assert site.made == []


def test_waiting_for_another_process_takes_nothing_of_it(
    open_site: Callable[..., Site],
) -> None:
    """Or whoever waited long would have no time left to look what was made,
    and make it once more."""
    site = open_site("250ms", "elsewhere")
    site.render([1])
    assert isinstance(site.store, Elsewhere)
    site.store.made, site.store.memory = site.store.memory, MemoryBackend()
    site.store.seconds = 0.01
    site.region._lock._clock = site.clock
    site.region._lock._sleep = site.clock.advance
    site.render([1])
    assert site.store.made is None
    assert site.made == []


class Output:
    """Something to write to that takes no attributes."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.written.append(text)


def test_whatever_the_page_is_written_to(
    open_site: Callable[..., Site],
) -> None:
    site = open_site()
    site.store.seconds = 0.1
    output = Output()
    site.page.render_context(
        Context(output, numbers=range(40), made=site.make)
    )
    shown = "".join(output.written).split()
    assert shown == [f"<{number}>" for number in range(40)]
    assert site.kinds().count(EventKind.OVER_BUDGET) == 1
    assert len(site.store.asked) <= 6


def test_plain_code_has_no_budget(open_site: Callable[..., Site]) -> None:
    site = open_site()
    site.store.seconds = 9.0
    for _ in range(3):
        site.region.get_or_create("k", lambda: "v")
    assert site.region.stats().hits == 2


def test_each_render_and_each_thread_has_its_own(
    open_site: Callable[..., Site],
) -> None:
    site = open_site()
    site.store.seconds = 0.2
    mine = budget.Budget(0.3)
    budget.spend(0.2)
    other = threading.Thread(target=budget.spend, args=(9.0,))
    other.start()
    other.join()
    assert not mine.is_spent
    budget.spend(0.1)
    assert mine.is_spent
    assert not budget.Budget(0.3).is_spent
