"""A hit stands exactly as long as an ordinary look would be one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from mako.lookup import TemplateLookup

from mako_cacheplug import CacheRegion
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.standing import TRUST_SECONDS
from mako_cacheplug.testing import ManualClock


class Counting(MemoryBackend):
    """Memory that counts how often it is looked into."""

    looks = 0

    def get_entry(self, key: str) -> CacheEntry | NoValue:
        self.looks += 1
        return super().get_entry(key)


class Site:
    """Templates over one region in memory."""

    def __init__(self, clock: ManualClock, **given: Any):
        self.backend = Counting(clock=clock)
        self.region = CacheRegion(self.backend, clock=clock, **given)
        self.lookup = TemplateLookup(
            cache_impl="cacheplug",
            cache_args={"regions": {"r": self.region}, "region": "r"},
        )
        self.made = 0

    def tick(self) -> int:
        self.made += 1
        return self.made

    def put(self, text: str, uri: str = "/page") -> None:
        self.lookup.put_string(uri, text)

    def show(self, uri: str = "/page", **data: Any) -> str:
        template = self.lookup.get_template(uri)
        text: str = template.render(tick=self.tick, **data)
        return text

    def stands(self, uri: str = "/page", **data: Any) -> bool:
        """Tell whether a render looks into the store at all."""
        before = self.backend.looks
        self.show(uri, **data)
        return self.backend.looks == before


@pytest.fixture
def site(clock: ManualClock) -> Site:
    return Site(clock)


DEF = '<%def name="d()" cached="True" {}>${{tick()}}</%def>${{d()}}'


def warm(site: Site, options: str = "") -> None:
    site.put(DEF.format(options))
    assert [site.show(), site.show()] == ["1", "1"]
    assert site.stands()


@pytest.mark.parametrize(
    "remove",
    [
        lambda s: s.lookup.get_template("/page").cache.invalidate_def("d"),
        lambda s: s.lookup.get_template("/page").cache.impl.invalidate_tags(
            "news"
        ),
        lambda s: s.region.invalidate_tags("news"),
        lambda s: s.region.clear(),
        lambda s: s.backend.clear(),
        lambda s: [s.backend.delete(key) for key in list(s.backend._table)],
    ],
)
def test_what_goes_is_gone_at_once(
    site: Site, remove: Callable[[Site], object]
) -> None:
    warm(site, 'cache_tags="news user:42"')
    remove(site)
    assert [site.show(), site.show()] == ["2", "2"]


def test_it_is_looked_up_once_a_second(site: Site, clock: ManualClock) -> None:
    warm(site)
    clock.advance(TRUST_SECONDS * 0.99)
    assert site.stands()
    clock.advance(TRUST_SECONDS * 0.02)
    assert not site.stands()
    assert site.stands()


def test_it_ends_when_the_entry_expires(
    site: Site, clock: ManualClock
) -> None:
    warm(site, 'cache_ttl="500ms"')
    clock.advance(0.499)
    assert site.show() == "1"
    clock.advance(0.002)
    assert site.show() == "2"


def test_a_clock_that_is_put_back_ends_it(
    site: Site, clock: ManualClock
) -> None:
    warm(site)
    clock.advance(-3600.0)
    assert not site.stands()


def test_every_hit_is_counted_and_hooks_see_it(site: Site) -> None:
    warm(site)
    before = site.region.stats()
    for _ in range(5):
        site.show()
    assert site.region.stats() == before._replace(hits=before.hits + 5)
    seen: list[Any] = []
    site.region.add_hook(seen.append)
    site.show()
    assert [event.kind.value for event in seen] == ["hit"]
    site.region.remove_hook(seen.append)
    assert site.region.stats().hits == before.hits + 6


def test_what_is_hit_is_what_was_used_last(clock: ManualClock) -> None:
    region = CacheRegion(MemoryBackend(2**20, 2, clock), clock=clock)
    made = []

    def ask(key: str) -> None:
        region.get_or_create(key, lambda: made.append(key) or key)  # type: ignore[func-returns-value]  # None is false

    for key in "aabaca":
        ask(key)
    assert made == ["a", "b", "c"]
    ask("b")
    assert made == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    ("options", "data", "other"),
    [
        ('cache_tags="${tags}"', {"tags": "a"}, {"tags": "b"}),
        ('cache_vary="${v}"', {"v": 1}, {"v": True}),
        ('cache_enabled="${on}"', {"on": True}, {"on": False}),
        ('cache_key="${k}"', {"k": "render_d"}, {"k": "x"}),
    ],
)
def test_a_call_with_other_options_is_another(
    site: Site, options: str, data: dict[str, Any], other: dict[str, Any]
) -> None:
    site.put(DEF.format(options))
    shown = [site.show(**given) for given in (data, data, data)]
    assert shown == ["1", "1", "1"]
    assert site.show(**other) == "2"


def test_a_list_of_tags_that_grows(site: Site) -> None:
    site.put(DEF.format('cache_tags="${tags}"'))
    tags = ["a"]
    assert [site.show(tags=tags) for _ in range(3)] == ["1", "1", "1"]
    tags.append("b")
    assert site.show(tags=tags) == "2"
    site.region.invalidate_tags("b")
    assert site.show(tags=tags) == "3"


def test_an_entry_that_has_not_the_tags_of_a_call(site: Site) -> None:
    """Stored a moment ago without them, it would outlive them."""
    site.put(DEF.format('cache_tags="${tags}"'))
    assert [site.show(tags="") for _ in range(3)] == ["1", "1", "1"]
    assert site.show(tags="news") == "2"
    site.region.invalidate_tags("news")
    assert site.show(tags="news") == "3"


def test_a_hit_of_other_tags_is_not_that_of_what_was_not_stored(
    site: Site,
) -> None:
    """It is still there, and still one, but for other calls."""
    site.put(
        "<%! from mako_cacheplug import nocache %>"
        + DEF.format('cache_tags="${tags}"').replace(
            "${tick()}", "${nocache() if private else ''}${tick()}"
        )
    )
    for _ in range(3):
        assert site.show(tags="a", private=False) == "1"
    assert site.show(tags="b", private=True) == "2"
    assert site.show(tags="b", private=True) == "3"


def test_two_defs_of_one_name_in_two_others(site: Site) -> None:
    nested = (
        '<%def name="{0}()"><%def name="d()" cached="True">{0}</%def>'
        "${{d()}}</%def>"
    )
    site.put(nested.format("x") + nested.format("y") + "${x()}${y()}")
    assert [site.show() for _ in range(4)] == ["xy"] * 4


def test_for_an_heir_it_may_be_another(site: Site) -> None:
    site.put(
        '<%def name="d()" cached="True">${tick()}${self.who()}</%def>'
        '<%def name="who()">base</%def>${d()}',
        "/base",
    )
    site.put('<%inherit file="/base"/><%def name="who()">heir</%def>', "/heir")
    for _ in range(3):
        assert site.show("/base") == "1base"
        assert site.show("/heir") == "2heir"


def test_a_template_that_needs_others(site: Site) -> None:
    site.put('<%def name="n()">old</%def>', "/names")
    site.put(
        '<%namespace name="names" file="/names"/>'
        '<%def name="d()" cached="True">${names.n()}</%def>${d()}'
    )
    assert [site.show() for _ in range(3)] == ["old"] * 3
    site.put('<%def name="n()">new</%def>', "/names")
    assert [site.show() for _ in range(3)] == ["new"] * 3


def test_switched_off_it_is_made_each_time(site: Site) -> None:
    warm(site)
    template = site.lookup.get_template("/page")
    template.cache_enabled = False
    assert [site.show(), site.show()] == ["2", "3"]
    template.cache_enabled = True
    assert site.show() == "1"


def test_inside_a_creation_it_is_noted(site: Site) -> None:
    """A page that shows it goes with it, though it is a standing hit."""
    warm(site, 'cache_tags="news"')
    site.put(
        '<%page cached="True"/><%namespace name="p" file="/page"/>${p.d()}',
        "/around",
    )
    assert site.show("/around") == "1"
    site.region.invalidate_tags("news")
    assert site.show("/around") == "2"


def test_arguments_stand_too(site: Site) -> None:
    site.put(
        '<%def name="d(n)" cached="True">${tick()}:${n}</%def>${d(a)}${d(b)}'
    )
    first = site.show(a=1, b=2)
    assert first == "1:12:2"
    assert [site.show(a=1, b=2) for _ in range(2)] == [first] * 2
    assert site.stands(a=2, b=1)
    assert site.show(a=3, b=2) == "3:32:2"


def test_arguments_under_other_tags(site: Site) -> None:
    site.put(
        '<%def name="d(n)" cached="True" cache_tags="${tags}">${tick()}'
        "</%def>${d(n)}"
    )
    for _ in range(3):
        assert site.show(n=1, tags="a") == "1"
    for _ in range(3):
        assert site.show(n=2, tags="b") == "2"
    assert site.show(n=1, tags="b") == "3"
    site.region.invalidate_tags("b")
    assert site.show(n=1, tags="b") == "4"


def test_keys_stand_too(site: Site) -> None:
    site.put(
        '<%def name="d(n)" cached="True" cache_key="${k}" cache_tags="${t}">'
        "${tick()}</%def>${d(n)}"
    )
    for key, shown in (("a", "1"), (1, "2"), (True, "3"), ("render_d", "4")):
        for n in range(4):
            assert site.show(k=key, n=n, t="x") == shown
    assert site.stands(k="a", n=9, t="x")
    cache = site.lookup.get_template("/page").cache
    cache.impl.invalidate("a")
    assert site.show(k="a", n=1, t="x") == "5"
    assert site.show(k=1, n=1, t="x") == "2"
    assert site.show(k=1, n=1, t="y") == "6"


def test_keys_and_arguments_stand_too(site: Site) -> None:
    site.put(
        '<%def name="d(n)" cached="True" cache_key="${k}"'
        ' cache_vary_args="true">${tick()}</%def>${d(n)}'
    )
    for k, n, shown in (("a", 1, "1"), ("a", 2, "2"), ("b", 1, "3")):
        for _ in range(3):
            assert site.show(k=k, n=n) == shown
    assert site.stands(k="a", n=2)


def test_what_is_no_text_comes_back_as_itself(site: Site) -> None:
    """A decorator's own value, which is kept as JSON."""
    site.put(
        "<%!\n def listed(fn):\n  return lambda context: [1, 2]\n%>"
        '<%def name="d()" cached="True" buffered="True" decorator="listed">'
        "</%def><% shown = d() %>${repr(shown)}"
    )
    assert [site.show() for _ in range(4)] == ["[1, 2]"] * 4


def test_an_early_regeneration_has_its_chance(clock: ManualClock) -> None:
    region = CacheRegion(
        MemoryBackend(clock=clock),
        clock=clock,
        chance=lambda: 1.0 - 1e-9,
        timeout=10,
    )
    made: list[int] = []

    def make() -> str:
        made.append(1)
        clock.advance(1.0)
        return "x"

    for _ in range(3):
        region.get_or_create("k", make)
    assert len(made) == 1
    region.get_or_create("k", make, early=1000)
    assert len(made) == 2


def test_a_fragment_has_that_chance_at_each_call(clock: ManualClock) -> None:
    chances = iter([0.0] * 4 + [1.0 - 1e-9] * 2)
    site = Site(clock, chance=lambda: next(chances))
    site.put(
        '<%def name="d()" cached="True" cache_ttl="10s" cache_early="1000">'
        "<% now.advance(1.0) %>${tick()}</%def>${d()}"
    )
    assert [site.show(now=clock) for _ in range(4)] == ["1"] * 4
    assert site.show(now=clock) == "2"


def test_threads_see_no_hit_after_an_invalidation(site: Site) -> None:
    """Whoever begins to render after it is over gets a newer value."""
    warm(site)
    cache = site.lookup.get_template("/page").cache
    floor = 0
    wrong: list[tuple[int, int]] = []
    ended = threading.Event()

    def render() -> None:
        while not ended.is_set():
            least = floor
            shown = int(site.show())
            if shown < least:
                wrong.append((shown, least))

    threads = [threading.Thread(target=render) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        newest = site.made
        cache.invalidate_def("d")
        floor = newest + 1
    ended.set()
    for thread in threads:
        thread.join()
    assert not wrong
