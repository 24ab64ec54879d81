"""The page breaks: what has been seen of Beaker and dogpile.cache.

One test for each thing, on every store.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cached_sites import def_f
from cached_sites import overwrite
from cached_sites import page
from cached_sites import STORES
from cached_sites import Ticks
from cached_sites import url_of
from mako.template import Template

from mako_cacheplug import breaker
from mako_cacheplug.testing.servers import MemcachedServer


@pytest.mark.parametrize("way", ["kill", "pause"])
def test_memcached_is_away(
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # How long a server that fails is left alone has tests of its own.
    monkeypatch.setattr(breaker, "LONGEST_REST_SECONDS", 0.0)
    tick = Ticks()
    with MemcachedServer() as server:
        template = page(
            def_f("${tick()}"),
            server.url + "/?connect_timeout=0.2&timeout=0.2",
        )
        assert [template.render(tick=tick) for _ in range(2)] == ["1"] * 2
        getattr(server, way)()
        for _ in range(2):
            began = time.monotonic()
            assert template.render(tick=tick)
            assert time.monotonic() - began < 2.5
        assert tick.count == 3
        server.resume() if way == "pause" else server.restart()
        # The first call after it may still meet the broken connection.
        shown = [template.render(tick=tick) for _ in range(4)]
        assert shown[-1] == shown[-2]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tick = Ticks()
    template = page(def_f("${tick()}"), f"file://{tmp_path}/file/store")
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize(
    "payload", [None, b"", b"\x80\x04N.", b"mcp\x01" + b"\xff" * 60, b"x" * 99]
)
def test_a_corrupt_entry(payload: bytes | None, shared_url: str) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}"), shared_url)
    overwrite(template, tick, payload)
    assert [template.render(tick=tick) for _ in range(2)] == ["2", "2"]


def test_a_file_cut_off_or_scribbled_on(
    tmp_path: Path,
) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}"), f"file://{tmp_path}")
    for expected, change in enumerate((b"", b"junk", None), start=1):
        assert template.render(tick=tick) == str(expected)
        for path in tmp_path.rglob("*"):
            if path.is_file() and not path.name.startswith("mako_cacheplug"):
                whole = path.read_bytes()
                half = whole[: len(whole) // 2]
                path.write_bytes(half if change is None else change)
    assert template.render(tick=tick) == "4"


@pytest.mark.parametrize(
    "key",
    ["k" * 251, "k" * 100_000, "a b", "\x7f\x01", "é", None, 7, ("a", 1)],
    ids=range(8),
)
def test_keys(key: object, url: str) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}", 'cache_key="${key}"'), url)
    shown = [template.render(tick=tick, key=k) for k in (key, "k", key)]
    assert shown == ["1", "2", "1"]


def test_set_put_and_get(url: str) -> None:
    cache = page("", url).cache
    assert cache.get("missing") is None
    cache.set("a", "1")
    cache.put("b", "2", timeout="5m")
    assert (cache.get("a"), cache.get("b")) == ("1", "2")


def test_a_timeout_from_an_ini_file(url: str) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}"), url, timeout="300")
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


def test_regions_beside_a_folder(url: str, tmp_path: Path) -> None:
    tick = Ticks()
    template = Template(
        def_f("${tick()}", 'cache_region="short"'),
        cache_impl="cacheplug",
        cache_dir=str(tmp_path / "cache"),
        module_directory=str(tmp_path / "modules"),
        cache_args={"regions": {"short": {"url": url, "timeout": "5m"}}},
    )
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


def test_a_second_lookups_regions_are_ignored() -> None:
    ticks = Ticks(), Ticks()
    for number, tick in enumerate(ticks, start=61):
        region = {"url": f"memory://?max_entries={number}"}
        template = page(
            def_f("${tick()}"), "memory://", regions={"r": region}, region="r"
        )
        assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


@pytest.mark.parametrize("store", STORES)
def test_a_value_over_the_limit(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = url_of(store, request, tmp_path)
    given = {} if store == "memcached" else {"max_value_bytes": "1m"}
    template = page(
        def_f("${text}", 'cache_key="k"'), url, compress="none", **given
    )
    large = "x" * 3_000_000
    assert template.render(text=large) == large
    assert template.render(text="small") == "small"
    assert template.render(text="other") == "small"
