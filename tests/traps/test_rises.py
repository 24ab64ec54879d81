"""What is true of a fragment inside is true of what is cached around it.

Over one store and over two, over one level and over two, whether the inner
one was created or was a hit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cached_sites import CACHED
from cached_sites import page
from cached_sites import Ticks
from cached_sites import url_of
from mako.cache import Cache
from mako.lookup import TemplateLookup

from mako_cacheplug import CacheRegion
from mako_cacheplug import nocache
from mako_cacheplug.testing import ManualClock

STORES = [
    ("memory", "memory"),
    ("file", "file"),
    ("memcached", "memcached"),
    ("memory", "file"),
    ("file", "memory"),
    ("memory", "memcached"),
    ("memcached", "memory"),
    ("memcached", "file"),
]

PAGES = {
    "/page": '<%page cached="True" cache_region="outer"/>p${tick()}'
    '<%include file="/middle"/>',
    "/middle": '<%page cached="True" cache_region="outer"/>m${tick()}'
    '<%include file="/inner"/>',
    "/short": '<%page cached="True" cache_region="outer"/>s${tick()}'
    '<%include file="/inner"/>',
    "/inner": '<%def name="f()" cached="True" cache_region="inner"'
    ' cache_key="k" cache_tags="t" cache_ttl="${ttl}">i${tick()}'
    "${inside()}</%def>${f()}",
}


class Site:
    def __init__(self, outer: str, inner: str, clock: ManualClock) -> None:
        # Two regions over one store, or over two.
        regions = {
            "outer": CacheRegion(outer, name="outer", clock=clock, grace=0),
            "inner": CacheRegion(inner, name="inner", clock=clock, grace=0),
        }
        self.lookup = TemplateLookup(
            cache_impl="cacheplug", cache_args={"regions": regions}
        )
        for uri, source in PAGES.items():
            self.lookup.put_string(uri, source)
        self.tick = Ticks()
        self.ttl = "none"
        self.inside: Callable[[], str] = str

    def show(self, uri: str) -> str:
        shown: str = self.lookup.get_template(uri).render(
            tick=self.tick, ttl=self.ttl, inside=self.inside
        )
        return shown

    def fill(self, hit: bool) -> None:
        """Show /page; with *hit*, what is innermost was cached before."""
        if hit:
            self.show("/inner")
        self.show("/page")
        self.show("/short")
        self.tick.count = 100

    def made(self) -> set[str]:
        """Return what is created anew when the page is shown."""
        shown = f"{self.show('/page')} {self.show('/short')}"
        text = shown.replace(" ", "")
        for letter in "pmsi":
            text = text.replace(letter, f" {letter}")
        return {word[0] for word in text.split() if int(word[1:]) > 100}


@pytest.fixture(params=STORES, ids="-".join)
def pages(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> Site:
    outer, inner = request.param
    urls = {}
    for store in dict.fromkeys((outer, inner)):
        urls[store] = url_of(store, request, tmp_path)
    return Site(urls[outer], urls[inner], clock)


INVALIDATIONS: dict[str, Callable[[Cache], None]] = {
    "tag": lambda cache: cache.impl.invalidate_tags("t"),
    "def": lambda cache: cache.invalidate_def("f"),
    "key": lambda cache: cache.invalidate("k"),
    "template": lambda cache: cache.impl.invalidate_template(),
}


@pytest.mark.parametrize("hit", [False, True], ids=["created", "hit"])
@pytest.mark.parametrize("way", INVALIDATIONS)
def test_an_invalidation(way: str, hit: bool, pages: Site) -> None:
    pages.fill(hit)
    assert pages.made() == set()
    INVALIDATIONS[way](pages.lookup.get_template("/inner").cache)
    assert pages.made() == set("pmsi")
    pages.tick.count = 0
    assert pages.made() == set("pmsi")  # these are the same, and kept
    assert pages.tick.count == 0


@pytest.mark.parametrize("hit", [False, True], ids=["created", "hit"])
def test_a_nearer_expiry(hit: bool, pages: Site, clock: ManualClock) -> None:
    pages.ttl = "10s"
    pages.fill(hit)
    clock.advance(9)
    assert pages.made() == set()
    clock.advance(2)
    assert pages.made() == set("pmsi")


def test_not_to_be_cached(pages: Site) -> None:
    pages.inside = nocache
    pages.fill(False)
    assert pages.made() == set("pmsi")
    count = pages.tick.count
    pages.made()
    assert pages.tick.count > count
    pages.inside = str
    pages.made()
    pages.tick.count = 0
    pages.made()
    assert pages.tick.count == 0


@pytest.mark.parametrize("inner", ["null", "memory", "file"])
def test_what_cannot_be_stored_inside_is_made_once(
    inner: str, url: str, tmp_path: Path
) -> None:
    source = CACHED + (
        f'<%def name="f()" cached="True" cache_impl="{inner}"'
        f' cache_dir="{tmp_path}/inner" cache_max_value_bytes="1"'
        ' cache_compress="none" cache_tags="t">${tick()}i</%def>'
        "[${f()}${tick()}]"
    )
    template = page(source, url, "/p.html")
    tick = Ticks()
    assert template.render(tick=tick) == "[1i2]"
    assert template.render(tick=tick) == "[1i2]"
    template.cache.impl.invalidate_tags("t")
    assert template.render(tick=tick) == "[3i4]"
