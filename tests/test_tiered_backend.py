"""The tiered store as users name it: by URL, in templates, in regions."""

from __future__ import annotations

import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from cached_sites import page
from cached_sites import site
from cached_sites import Ticks
from mako_cacheplug_file import FileBackend
from mako_cacheplug_memcached.backend import MemcachedBackend

from mako_cacheplug import api
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.backends.memory import DEFAULT_MAX_BYTES
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.backends.null import NullBackend
from mako_cacheplug.backends.tiered import TieredBackend
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.regions import configure_regions
from mako_cacheplug.regions import get_region
from mako_cacheplug.registry import open_backend
from mako_cacheplug.testing import ManualClock

FAR = "memcached://10.0.0.1:11211,10.0.0.2"
PAGE = (
    '<%def name="box(n)" cached="True" cache_tags="t">${tick()}</%def>'
    "${box(1)} ${box(2)} ${box(1)}"
)


def opened(url: str) -> TieredBackend:
    backend = open_backend(StoreURL.parse(url))
    assert isinstance(backend, TieredBackend)
    return backend


def test_tiers_by_name_and_by_url() -> None:
    backend = opened(f"tiered://?near=memory&far={FAR}&staleness=250ms")
    assert backend.staleness == 0.25
    assert backend.max_bytes == DEFAULT_MAX_BYTES
    assert backend.max_entries is None
    assert isinstance(backend.far, MemcachedBackend)
    assert opened("tiered://?far=memcached").staleness == 1.0
    bounds = "memory://?max_bytes=64m%26max_entries=7"
    backend = opened(f"tiered://?near={bounds}&far=null://")
    assert (backend.max_bytes, backend.max_entries) == (64 * 2**20, 7)
    assert isinstance(backend.far, NullBackend)


def test_a_tiers_own_options_are_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "a b%c&d"
    own = f"file://{urllib.parse.quote(str(folder))}?max_bytes=1m"
    own += "&max_value_bytes=1k"
    backend = opened(f"tiered://?far={urllib.parse.quote(own)}")
    backend.set("k", b"x", None)
    assert folder.is_dir()
    assert backend.max_value_bytes == 1024


def test_the_far_store_is_shared_with_whoever_names_it() -> None:
    backend = opened(f"tiered://?far={FAR}")
    assert backend.far is open_backend(StoreURL.parse(FAR))
    assert opened(f"tiered://?far={FAR}&staleness=2").far is backend.far
    assert opened(f"tiered://?far={FAR}") is backend


@pytest.mark.parametrize(
    ("query", "option", "told"),
    [
        ("", "far", "has no far store: write 'tiered:...far=memcached://"),
        ("near=memory", "far", "has no far store"),
        ("far=memry", "far", "'memry' is neither.*did you mean 'memory'"),
        ("far=10.0.0.1:11211", "far", "'10.0.0.1:11211' is neither.*a URL"),
        ("far=memcachd://h", "far", "'far'.*did you mean 'memcached'"),
        ("far=memcached://a:b", "far", "'far'.*port"),
        ("far=memcached://h?timeot=1", "far", "'far'.*mean 'timeout'"),
        ("far=file", "far", "'far'.*names no folder"),
        ("far=redis", "far", "'far'.*pip install mako-cacheplug-redis"),
        ("far=memory", "far", "'memory' keeps entries in this process"),
        ("far=tiered", "far", "'tiered' is a tiered store itself"),
        ("far=tiered://?far=file", "far", "is a tiered store itself"),
        ("far=null&near=tiered", "near", "does not keep entries in this pro"),
        ("far=null&near=file:///d", "near", "'file:///d' does not.*near=mem"),
        ("far=null&near=null", "near", "'null' does not keep"),
        ("far=null&near=memroy", "near", "did you mean 'memory'"),
        ("far=null&near=memory://?max_byte=1", "near", "mean 'max_bytes'"),
        ("far=null&staleness=0", "staleness", "'0' is no bound.*'1s'"),
        ("far=null&staleness=none", "staleness", "'none' is no bound"),
        ("far=null&staleness=soon", "staleness", "not a duration"),
        ("far=null&stalenes=1", "stalenes", "mean 'staleness'"),
        ("far=null&near=memory&max_bytes=1m", "max_bytes", "'%26max_bytes='"),
    ],
)
def test_what_is_wrong_is_said(query: str, option: str, told: str) -> None:
    with pytest.raises(OptionError, match=told) as caught:
        CacheRegion(f"tiered://?{query}")
    assert caught.value.option == option
    assert caught.value.where == "region 'default'"


def test_a_place_of_its_own_is_refused() -> None:
    for place in ("host/", "/dir", "user:word@"):
        with pytest.raises(OptionError, match="its far one's") as caught:
            CacheRegion(f"tiered://{place}?far=null")
        assert "word" not in str(caught.value)


def test_what_is_no_shared_store_is_refused_in_code_too() -> None:
    with pytest.raises(OptionError, match="'MemoryBackend' keeps entries"):
        TieredBackend(MemoryBackend())
    with pytest.raises(OptionError, match="is a tiered store itself"):
        TieredBackend(TieredBackend(NullBackend()))
    with pytest.raises(OptionError, match="is no bound"):
        TieredBackend(NullBackend(), staleness=0.0)


def test_passwords_are_not_shown() -> None:
    far = "redis://user:pass%2540word@h/"
    url = StoreURL.parse(f"tiered://?far={far}&near=memory")
    assert dict(url.query)["far"] == "redis://user:pass%40word@h/"
    with pytest.raises(OptionError) as caught:
        TieredBackend.from_url(url)
    broken = StoreURL.parse("tiered://?far=redis://user:password@h:h:h")
    assert "far=redis://user%40h/" in str(url)
    shown = (str(url), repr(url), str(broken), caught.value.value)
    for text in (*shown, str(caught.value)):
        assert "word" not in str(text)


def test_it_can_do_what_its_far_store_can(tmp_path: Path) -> None:
    """But tell what has changed: its regions have copies already.

    The breakers are minded by the far store.
    """
    files = FileBackend(tmp_path)
    for far in (files, NullBackend(), MemcachedBackend([("127.0.0.1", 1)])):
        tiered = TieredBackend(far)
        for name in api.__all__:
            if name.startswith("Supports") and name not in (
                "SupportsBreakers",
                "SupportsRevalidation",
            ):
                power = getattr(api, name)
                assert isinstance(tiered, power) is isinstance(far, power)
        assert tiered.max_key_bytes == far.max_key_bytes
        assert tiered.max_value_bytes == far.max_value_bytes


def test_closing_it_leaves_the_far_store_open(tmp_path: Path) -> None:
    far = FileBackend(tmp_path)
    tiered = TieredBackend(far)
    region = CacheRegion(tiered)
    region.set("k", "kept")
    tiered.close()
    tiered.close()
    assert region.get("k") == "kept"
    assert far.get("missing") is NO_VALUE


def test_pages_look_the_same(shared_url: str) -> None:
    """And are the same entries, in a region of the same name."""
    url = f"tiered://?far={shared_url}"
    tick = Ticks()
    for store in (url, shared_url, url):
        regions = {"r": {"url": store}}
        template = page(PAGE, "null://", regions=regions, region="r")
        assert template.render(tick=tick) == "1 2 1"
    lookup = site({"/p.html": PAGE}, url)
    assert lookup.get_template("/p.html").render(tick=tick) == "3 4 3"


def test_it_is_a_store_for_a_tag_and_for_named_regions(
    shared_url: str,
) -> None:
    url = f"tiered://?far={shared_url}"
    configure_regions({"tiered": {"url": url, "timeout": "5m"}})
    assert isinstance(get_region("tiered").backend, TieredBackend)
    body = '<%def name="f()" cached="True" {}>${{tick()}}</%def>${{f()}}'
    tick = Ticks()
    for options, given in (
        ('cache_impl="tiered"', {"url": url}),
        (f'cache_url="{url}"', {"url": "null://"}),
        (
            'cache_region="r"',
            {"url": "null://", "regions": {"r": {"url": url}}},
        ),
        ('cache_region="tiered"', {"url": "null://"}),
    ):
        template = page(body.format(options), **given)
        assert template.render(tick=tick) == template.render(tick=tick)
        (region,) = template.cache.impl._places.used_regions()
        assert isinstance(region.backend, TieredBackend)


def test_another_program_invalidates_within_the_bound(
    shared_url: str, clock: ManualClock
) -> None:
    """By def, by tag and by key; it has rendered nothing."""
    far = open_backend(StoreURL.parse(shared_url))
    backend = TieredBackend(far, clock=clock)
    region = CacheRegion(backend, name="r", namespace="n")
    template = page(PAGE, "null://", regions={"r": region}, region="r")
    program = f"""
from mako.template import Template
from mako_cacheplug import CacheRegion
region = CacheRegion("tiered://?far={shared_url}", name="r", namespace="n")
template = Template({PAGE!r}, uri="/p.html", cache_impl="cacheplug",
    cache_args={{"regions": {{"r": region}}, "region": "r"}})
"""
    tick = Ticks()
    for action in (
        "template.cache.invalidate_def('box')",
        "template.cache.impl.invalidate_tags('t')",
        "template.cache.impl.invalidate_template()",
    ):
        shown = template.render(tick=tick)
        assert template.render(tick=tick) == shown
        subprocess.run([sys.executable, "-c", program + action], check=True)
        clock.advance(0.9)
        assert template.render(tick=tick) == shown
        clock.advance(0.1)
        assert template.render(tick=tick) != shown
