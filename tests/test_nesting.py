"""What is true inside a creation is true around it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from cached_sites import Ticks
from mako.lookup import TemplateLookup

from mako_cacheplug import cached
from mako_cacheplug import CacheRegion
from mako_cacheplug import nesting
from mako_cacheplug import nocache
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import in_threads

CACHED = '<%page cached="True"/>'


class Site:
    """Templates whose regions have one clock, and a counter."""

    def __init__(
        self, clock: ManualClock, regions: dict[str, CacheRegion]
    ) -> None:
        self.tick = Ticks()
        self.clock = clock
        self.regions = regions
        self.lookup = TemplateLookup(
            cache_impl="cacheplug",
            cache_args={"regions": regions, "region": "r"},
        )

    def put(self, **sources: str) -> None:
        for name, source in sources.items():
            self.lookup.put_string(f"/{name}", source)

    def show(self, name: str = "page", **given: Any) -> str:
        template = self.lookup.get_template(f"/{name}")
        return " ".join(template.render(tick=self.tick, **given).split())

    def cache(self, name: str = "page") -> Any:
        return self.lookup.get_template(f"/{name}").cache


@pytest.fixture(params=["memory", "file", "two stores"])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> Site:
    urls = {
        "memory": ("memory://?max_entries=5000",) * 2,
        "file": (f"file://{tmp_path}/store",) * 2,
        "two stores": ("memory://?max_entries=5001", f"file://{tmp_path}/far"),
    }[request.param]
    regions = {
        name: CacheRegion(url, name=name, clock=clock, grace=0)
        for name, url in zip(("r", "far"), urls, strict=True)
    }
    return Site(clock, regions)


PAGE = CACHED + '[${tick()} ${i(1)} <%include file="/part"/>]'
INNER = '<%def name="i(n)" cached="True" cache_region="far" {}>{}</%def>'


def put(site: Site, attributes: str = "", body: str = "i${tick()}") -> None:
    """Put a page around a def, and around an included page with a def."""
    site.put(
        page=INNER.format(attributes, body) + PAGE,
        part=CACHED
        + INNER.replace("i(n)", "j()").format("", "j${tick()}")
        + "(${tick()} ${j()})",
    )


def test_a_tag_rises_from_what_is_created(site: Site) -> None:
    put(site, "cache_tags=\"${['user:%d' % n]}\"")
    assert site.show() == site.show() == "[1 i2 (3 j4)]"
    site.cache("part").impl.invalidate_tags("user:2")
    assert site.show() == "[1 i2 (3 j4)]"
    site.cache("part").impl.invalidate_tags("user:1")
    assert site.show() == site.show() == "[5 i6 (3 j4)]"


def test_a_tag_rises_from_a_hit(site: Site) -> None:
    put(site, 'cache_tags="a"')
    site.put(other='<%namespace name="p" file="/page"/>${p.i(1)}')
    assert site.show("other") == "i1"
    assert site.show() == "[2 i1 (3 j4)]"
    site.cache("part").impl.invalidate_tags("a")
    assert site.show() == "[5 i6 (3 j4)]"


def test_a_tag_rises_through_hits_in_hits(site: Site) -> None:
    put(site)
    site.put(
        outer=CACHED + '<%include file="/page"/>${tick()}',
        part=CACHED + '<%def name="k()" cached="True" cache_tags="deep"'
        ' cache_region="far">k${tick()}</%def>(${k()})',
    )
    assert site.show("part") == "(k1)"
    assert site.show() == "[2 i3 (k1)]"
    assert site.show("outer") == site.show("outer") == "[2 i3 (k1)]4"
    site.cache().impl.invalidate_tags("deep")
    assert site.show("outer") == site.show("outer") == "[5 i3 (k6)]7"


def test_a_hit_that_has_to_be_read_again_is_one(site: Site) -> None:
    """Its labels in the other store were not known at the first look."""
    site.put(
        page='<%def name="t()" cached="True" cache_region="far"'
        ' cache_tags="a">x</%def>'
        '<%def name="i()" cached="True" cache_region="far">${t()}</%def>'
        '<%def name="o()" cached="True">${i()}</%def>'
        "${o() if around else i()}"
    )
    site.show(around=False)
    before = site.regions["far"].stats()
    assert site.show(around=True) == "x"
    after = site.regions["far"].stats()
    assert after[:3] == (before.hits + 1, before.misses, before.stale)


@pytest.mark.parametrize(
    ("attributes", "action", "renews"),
    [
        ("", "invalidate_def('i')", True),
        ("", "invalidate_def('i') # again", True),
        ('cache_key="k"', "invalidate('k')", True),
        ('cache_key="k"', "invalidate_def('i')", True),
        ('cache_key="k"', "invalidate('other')", False),
        ('cache_vary_args="no"', "invalidate_def('i')", True),
        ("", "impl.invalidate_template()", True),
    ],
)
@pytest.mark.parametrize("hit", [True, False])
def test_an_invalidation_of_what_is_inside_takes_effect_around(
    attributes: str, action: str, renews: bool, hit: bool, site: Site
) -> None:
    put(site, attributes)
    site.put(other='<%namespace name="p" file="/page"/>${p.i(1)}')
    if hit:
        site.show("other")
    shown = site.show()
    assert site.show() == shown
    eval(f"cache.{action}", {"cache": site.cache()})
    again = site.show()
    assert (again.split()[1] != shown.split()[1]) is renews
    assert (again != shown) is renews
    assert site.show() == again


def test_one_tag_in_two_stores_is_invalidated_around_from_either(
    site: Site,
) -> None:
    far = site.regions["far"]
    site.put(
        page=CACHED
        + """
<%def name="f()" cached="True" cache_tags="t">${tick()}</%def>
${f()} ${far.get_or_create("k", tick, tags="t")}"""
    )
    assert site.show(far=far) == "1 2"
    far.invalidate_tags("t")
    assert site.show(far=far).split()[1] == str(site.tick.count) != "2"


def test_an_invalidation_inside_reaches_an_unrelated_page(site: Site) -> None:
    site.put(
        lib='<%def name="f()" cached="True" cache_region="far">f${tick()}'
        "</%def>",
        page=CACHED + '<%namespace name="lib" file="/lib"/>'
        "${lib.f()} ${tick()}",
    )
    assert site.show() == site.show() == "f1 2"
    site.cache("lib").invalidate_def("f")
    assert site.show() == site.show() == "f3 4"


@pytest.mark.parametrize("hit", [True, False])
def test_a_nearer_expiry_rises(hit: bool, site: Site) -> None:
    put(site, 'cache_timeout="10"')
    site.put(other='<%namespace name="p" file="/page"/>${p.i(1)}')
    if hit:
        site.show("other")
        site.clock.advance(6)
    shown = site.show()
    site.clock.advance(3)
    assert site.show() == shown
    site.clock.advance(1 if hit else 7)
    again = site.show()
    assert again.split()[:2] != shown.split()[:2]
    assert again.split()[2:] == shown.split()[2:]
    assert site.show() == again


def test_a_store_keeps_it_no_longer_than_it_is_of_use(
    clock: ManualClock,
) -> None:
    backend = MemoryBackend(clock=clock)
    region = CacheRegion(backend, clock=clock, timeout=1000, grace=5)
    site = Site(clock, {"r": region, "far": region})
    put(site, 'cache_timeout="10"')
    site.show()
    ends = sorted(
        ends_at - clock()
        for key, ends_at in backend._ends.items()
        if key.startswith("8:fragment")
    )
    assert ends == [15, 15, 1005, 1005]


def test_a_farther_expiry_does_not(site: Site) -> None:
    put(site, 'cache_timeout="1000"')
    site.put(
        page=site.lookup.get_template("/page").source.replace(
            '<%page cached="True"', '<%page cached="True" cache_timeout="10"'
        )
    )
    shown = site.show()
    site.clock.advance(9)
    assert site.show() == shown
    site.clock.advance(2)
    assert site.show() != shown


def test_a_stale_value_inside_makes_what_is_around_stale(
    clock: ManualClock,
) -> None:
    regions = {
        "r": CacheRegion("memory://?max_entries=5002", clock=clock, grace=0),
        "far": CacheRegion(
            "memory://?max_entries=5003", clock=clock, stale_if_error=100
        ),
    }
    site = Site(clock, regions)
    put(site, 'cache_timeout="10"', "i${tick() if ok else 1 // 0}")
    assert site.show("page", ok=True) == "[1 i2 (3 j4)]"
    clock.advance(20)
    assert site.show("page", ok=False) == "[5 i2 (3 j4)]"
    assert site.show("page", ok=True) == "[6 i7 (3 j4)]"
    assert site.show("page", ok=False) == "[6 i7 (3 j4)]"


# -- do not cache this -------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "i${tick()}${nocache(context) if private else ''}",
        "i${tick()}${beneath(private)}",
    ],
)
def test_nocache_rises(body: str, site: Site) -> None:
    def beneath(private: bool) -> str:
        return nocache() if private else ""

    put(site, "", body)
    given = {"nocache": nocache, "beneath": beneath}
    assert site.show(private=True, **given) == "[1 i2 (3 j4)]"
    assert site.show(private=True, **given) == "[5 i6 (3 j4)]"
    assert site.show(private=False, **given) == "[7 i8 (3 j4)]"
    assert site.show(private=True, **given) == "[7 i8 (3 j4)]"


def test_what_is_not_stored_is_made_once_though_it_shows_other_stores(
    site: Site,
) -> None:
    site.put(
        page=CACHED
        + """
<%def name="f()" cached="True" cache_region="far">
${nocache(context)} ${tick()} ${g()}</%def>
<%def name="g()" cached="True">${h()}</%def>
<%def name="h()" cached="True">h</%def>
${f()}"""
    )
    assert [site.show(nocache=nocache) for _ in range(3)] == [
        "1 h",
        "2 h",
        "3 h",
    ]


def test_nocache_is_empty_where_nothing_is_cached(site: Site) -> None:
    site.put(page="[${nocache(context)}]")
    assert site.show(nocache=nocache) == "[]"
    assert nesting.current() is None


def test_what_is_switched_off_inside_is_not_cached_around(site: Site) -> None:
    put(site, 'cache_enabled="${not preview}"')
    assert site.show(preview=True) == "[1 i2 (3 j4)]"
    assert site.show(preview=False) == "[5 i6 (3 j4)]"
    assert site.show(preview=True) == "[5 i6 (3 j4)]"


def test_an_argument_that_cannot_be_in_a_key_does_not_rise(
    site: Site,
) -> None:
    site.put(
        page='<%def name="f(x)" cached="True">${tick()}</%def>'
        + CACHED
        + "${f(tick)}"
    )
    assert site.show() == site.show() == "1"


def test_tags_and_expiry_rise_from_what_cannot_be_in_a_key(site: Site) -> None:
    put(site, 'cache_tags="a" cache_timeout="10"')
    site.put(
        page=INNER.format('cache_tags="a" cache_timeout="10"', "${tick()}")
        + CACHED
        + "${i(tick)}"
    )
    assert site.show() == site.show() == "1"
    site.cache().impl.invalidate_tags("a")
    assert site.show() == site.show() == "2"
    site.cache().invalidate_def("i")
    assert site.show() == site.show() == "3"
    site.clock.advance(11)
    assert site.show() == site.show() == "4"


@pytest.mark.parametrize("key", ["'k'", "tick"])
def test_more_tags_than_are_kept_are_not_cached_nor_what_is_around(
    key: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """As from a request: to make a version of each would take a minute."""
    site.put(
        page='<%def name="f(x)" cached="True" cache_tags="${tags}">${tick()}'
        f"</%def>{CACHED}${{f({key})}}"
    )
    tags = " ".join(map(str, range(5000)))
    assert [site.show(tags=tags) for _ in range(3)] == ["1", "2", "3"]
    assert len(caplog.records) == 1
    assert site.show(tags="a b") == site.show(tags="a b") == "4"


def test_those_who_wait_are_not_shown_what_must_not_be_cached() -> None:
    region = CacheRegion(MemoryBackend())
    inside = threading.Event()
    waiting = threading.Event()
    lookup = TemplateLookup(
        cache_impl="cacheplug",
        cache_args={"regions": {"r": region}, "region": "r"},
    )
    lookup.put_string("/page", CACHED + "${who}${pause()}${nocache(context)}")

    def show(who: str, wait_for: threading.Event | None) -> str:
        def pause() -> str:
            inside.set()
            if who == "first":
                assert waiting.wait(10)
            return ""

        if wait_for is not None:
            assert wait_for.wait(10)
            threading.Timer(0.1, waiting.set).start()
        text: str = lookup.get_template("/page").render(
            who=who, pause=pause, nocache=nocache
        )
        return text

    shown = in_threads(
        [lambda: show("first", None), lambda: show("second", inside)], 15
    )
    assert shown == ["first", "second"]


# -- plain code --------------------------------------------------------------


def test_the_tags_of_a_function_rise_but_not_its_expiry(site: Site) -> None:
    prices = site.regions["far"]

    @cached(prices, namespace="n", tags="prices", timeout=10)
    def price() -> int:
        return site.tick()

    site.put(page=CACHED + "${price()} ${tick()}")
    assert site.show(price=price) == "1 2"
    site.clock.advance(100)
    assert site.show(price=price) == "1 2"
    prices.invalidate_tags("prices")
    assert site.show(price=price) == "3 4"


def test_a_function_that_renders_depends_on_its_fragments(site: Site) -> None:
    put(site, 'cache_tags="a" cache_timeout="10"')

    @cached(site.regions["r"], namespace="n")
    def text() -> str:
        return site.show()

    assert text() == text() == "[1 i2 (3 j4)]"
    site.cache().impl.invalidate_tags("a")
    assert text() == text() == "[5 i6 (3 j4)]"
    site.clock.advance(11)
    assert text() == text() == "[7 i8 (3 j4)]"


def test_a_creation_that_fails_leaves_nothing_behind(site: Site) -> None:
    put(site, "", "${1 // zero}")
    with pytest.raises(ZeroDivisionError):
        site.show(zero=0)
    assert nesting.current() is None
    assert site.show(zero=1).startswith("[2 1 ")


def test_a_store_that_is_away_inside_does_not_break_the_page(
    clock: ManualClock,
) -> None:
    regions = {
        "r": CacheRegion("memory://?max_entries=5004", clock=clock),
        "far": CacheRegion("memcached://127.0.0.1:1/?connect_timeout=0.1"),
    }
    site = Site(clock, regions)
    put(site)
    assert site.show() == "[1 i2 (3 j4)]"
    assert site.show().startswith("[")


def test_a_child_has_the_creations_of_the_thread_that_forked() -> None:
    """Another thread's would be under way there for ever."""
    region = CacheRegion(MemoryBackend())
    began, end = threading.Event(), threading.Event()

    def wait() -> str:
        began.set()
        assert end.wait(10)
        return "theirs"

    def fork() -> str:
        with children(lambda: len(nesting.under_way)) as (child,):
            return str(child.result())

    other = threading.Thread(
        target=region.get_or_create, args=("theirs", wait)
    )
    other.start()
    assert began.wait(10)
    try:
        assert fork() == "0"
        assert region.get_or_create("own", fork) == "1"
    finally:
        end.set()
        other.join()
    assert not nesting.under_way
