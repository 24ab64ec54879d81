"""A region that holds no more than its share of a store."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from mako.lookup import TemplateLookup

from mako_cacheplug import options
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.events import CacheEvent
from mako_cacheplug.events import EventKind
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.testing import ManualClock

KEYS = 200


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend(max_bytes=2**18)


def fill(region: CacheRegion, count: int = KEYS, **given: object) -> None:
    for number in range(count):
        made = functools.partial("{:500}".format, number)
        region.get_or_create(number, made, **given)


def kept(region: CacheRegion, count: int = KEYS) -> list[int]:
    return [n for n in range(count) if region.get(n) is not None]


def test_a_flood_pushes_out_its_own_entries_first(
    store: MemoryBackend,
) -> None:
    calm = CacheRegion(store, name="calm")
    flooded = CacheRegion(store, name="flooded", max_share="25%")
    fill(calm, 100)
    before = store.usage().bytes
    fill(flooded, 2000)
    assert kept(calm, 100) == list(range(100))
    taken = store.usage().bytes - before
    assert 0.2 < taken / 2**18 <= 0.25


def test_without_a_share_it_pushes_out_others(store: MemoryBackend) -> None:
    calm = CacheRegion(store, name="calm")
    fill(calm, 100)
    fill(CacheRegion(store, name="flooded"), 2000)
    assert kept(calm, 100) == []


def test_what_is_used_stays(store: MemoryBackend) -> None:
    region = CacheRegion(store, max_share=0.25)
    fill(region, 50)
    for number in range(50, 2000):
        assert region.get(7) is not None
        region.set(number, "x" * 500)
    assert kept(region, 50) == [7]


def test_regions_of_one_name_share_one_share(store: MemoryBackend) -> None:
    one, other = (
        CacheRegion(store, name="r", namespace=namespace, max_share="25%")
        for namespace in ("one", "other")
    )
    fill(one, 2000)
    fill(other, 2000)
    assert store.usage().bytes <= 2**16
    assert not kept(one)


def test_what_leaves_makes_room(store: MemoryBackend) -> None:
    region = CacheRegion(store, max_share="25%")
    fill(region, 2000)
    store.clear()
    fill(region, 2000)
    assert 0.2 < store.usage().bytes / 2**18 <= 0.25
    for number in range(2000):
        region.invalidate(number)
    assert store.usage() == (0, 0)
    for _ in range(2000):
        region.set("k", "x" * 500)
    fill(region, 2000)
    assert 0.2 < store.usage().bytes / 2**18 <= 0.25


def test_a_share_of_the_entries() -> None:
    store = MemoryBackend(max_bytes=None, max_entries=100)
    calm = CacheRegion(store, name="calm")
    fill(calm, 50)
    fill(CacheRegion(store, name="flooded", max_share="10%"))
    assert store.usage().entries == 60


def test_tags_are_in_no_share(store: MemoryBackend) -> None:
    """Others' entries rest on them."""
    calm = CacheRegion(store, name="calm")
    flooded = CacheRegion(store, name="flooded", max_share="25%")
    flooded.get_or_create("first", lambda: "made the label", tags=["news"])
    calm.get_or_create("k", lambda: "first", tags=["news"])
    fill(flooded, 2000, tags=["flood"])
    assert calm.get_or_create("k", lambda: "again", tags=["news"]) == "first"


def test_a_hit_that_stands_is_a_use(store: MemoryBackend) -> None:
    region = CacheRegion(store, max_share="25%", clock=ManualClock())
    made: list[str] = []
    for number in range(2000):
        region.get_or_create("k", lambda: made.append("") or "x" * 500)
        region.get_or_create(number, lambda: "x" * 500)
    assert made == [""]


def test_a_value_over_the_share_is_an_event(store: MemoryBackend) -> None:
    region = CacheRegion(store, max_share="1%")
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    region.set("k", "x" * 2**13)
    assert [e.kind for e in events] == [EventKind.TOO_LARGE]
    assert region.get("k") is None


@pytest.mark.parametrize("kind", ["file", "memcached", "tiered", "null"])
def test_a_store_that_cannot_refuses(kind: str, tmp_path: Path) -> None:
    """Nothing is asked of it: that the server is not there is no matter."""
    far = "memcached://127.0.0.1:1"
    url = {
        "file": f"file://{tmp_path}",
        "memcached": far,
        "tiered": f"tiered://?near=memory://&far={far}",
        "null": "null://",
    }[kind]
    with pytest.raises(OptionError, match="give the region a store") as caught:
        CacheRegion(url, name="r", max_share="25%")
    assert caught.value.option == "max_share"
    assert caught.value.where == "region 'r'"


def test_there_is_no_share_of_a_store_without_bounds() -> None:
    with pytest.raises(OptionError, match="without bounds"):
        CacheRegion("memory://?max_bytes=none", max_share="25%")


@pytest.mark.parametrize(
    ("typed", "part"),
    [("25%", 0.25), (" 25 % ", 0.25), (0.25, 0.25), ("0.5", 0.5), (1, 1.0)],
)
def test_spellings(typed: object, part: float) -> None:
    assert options.share(typed, "max_share") == part


@pytest.mark.parametrize(
    "typed", ["", "%", "0%", 0, "101%", 2, "nan", True, None, "16m", [1]]
)
def test_what_is_no_share(typed: object) -> None:
    with pytest.raises(OptionError, match="write '25%'"):
        options.share(typed, "max_share")


def test_in_templates() -> None:
    lookup = TemplateLookup(
        cache_impl="cacheplug",
        cache_args={
            "url": "memory://?max_bytes=256k&max_entries=none",
            "regions": {"search": {"max_share": "25%"}},
        },
    )
    lookup.put_string(
        "search.mako",
        '<%def name="found()" cached="True" cache_region="search"'
        ' cache_key="${q}">${"x" * 500}</%def>${found()}',
    )
    lookup.put_string(
        "news.mako",
        '<%def name="news()" cached="True">${new()}</%def>${news()}',
    )
    news = lookup.get_template("news.mako")
    news.render(new=lambda: "first")
    for number in range(1000):
        lookup.get_template("search.mako").render(q=number)
    assert news.render(new=lambda: "again") == "first"
