"""Where Beaker and dogpile.cache go wrong: each case, on every store.

One test for each thing that has been seen to go wrong with one of them,
called after it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mako.lookup import TemplateLookup
from mako.template import Template
from mako_cacheplug_memcached import _server

from mako_cacheplug import CacheRegion
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import open_backend
from mako_cacheplug.template.impl import CachePlugImpl
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import within
from mako_cacheplug.testing.servers import MemcachedServer

STORES = ("memory", "file", "memcached")


@pytest.fixture(scope="module")
def server() -> Iterator[MemcachedServer]:
    with MemcachedServer() as running:
        yield running


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=["file", "memcached"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a store that processes share."""
    return url_of(request.param, request, tmp_path)


def url_of(store: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if store == "memory":
        return "memory://"
    if store == "file":
        return f"file://{folder}/store"
    server: MemcachedServer = request.getfixturevalue("server")
    server.restart()
    return server.url


class Ticks:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def __call__(self) -> int:
        with self._lock:
            self.count += 1
            return self.count


def page(source: str, url: str, uri: str = "/p.html", **own: Any) -> Template:
    return Template(
        source,
        uri=uri,
        cache_impl="cacheplug",
        cache_args={"url": url, **own},
    )


def site(pages: dict[str, str], url: str, **own: Any) -> TemplateLookup:
    lookup = TemplateLookup(
        cache_impl="cacheplug", cache_args={"url": url, **own}
    )
    for uri, source in pages.items():
        lookup.put_string(uri, source)
    return lookup


def def_f(body: str, options: str = "") -> str:
    return f'<%def name="f()" cached="True" {options}>{body}</%def>${{f()}}'


CACHED = '<%page cached="True"/>'


# -- wrong content -----------------------------------------------------------


@pytest.mark.parametrize("source", [def_f("{0}"), CACHED + "{0}"])
def test_wrong_content_one_name_in_two_templates(
    source: str, url: str
) -> None:
    pages = {u: source.replace("{0}", u) for u in ("/one", "/two")}
    lookup = site(pages, url, regions={"r": {}}, region="r")
    for uri in ("/one", "/two", "/one", "/two"):
        assert lookup.get_template(uri).render() == uri


def test_wrong_content_two_uris_with_one_id(url: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/b.html", "a_b.html"):
        (tmp_path / name).write_text(CACHED + name)
    lookup = TemplateLookup(
        [str(tmp_path)],
        cache_impl="cacheplug",
        cache_args={"url": url},
        module_directory=str(tmp_path / "modules"),
    )
    for name in ("a/b.html", "a_b.html") * 2:
        assert lookup.get_template(f"/{name}").render() == name


def test_wrong_content_one_uri_in_two_themes(url: str) -> None:
    themes = [site({"/p": CACHED + name}, url) for name in ("red", "blue")]
    for _ in range(2):
        shown = [theme.get_template("/p").render() for theme in themes]
        assert shown == ["red", "blue"]


def test_wrong_content_uri_and_key_run_into_each_other(url: str) -> None:
    keyed = '<%page cached="True" cache_key="{0}"/>'
    one = page(keyed.format("html_x") + "${who}", url, "/p")
    other = page(keyed.format("x") + "${who}", url, "/p.html")
    for _ in range(2):
        assert one.render(who="one") == "one"
        assert other.render(who="other") == "other"


def test_wrong_content_arguments_are_ignored(url: str) -> None:
    source = '<%def name="foo(x)" cached="True">for ${x}</%def>${foo(who)}'
    template = page(source, url)
    for who in ("alice", "bob", "alice"):
        assert template.render(who=who) == f"for {who}"


def test_wrong_content_two_nested_defs_of_one_name(url: str) -> None:
    outer = '<%def name="{0}()"><%def name="i()" cached="True">{0}</%def>'
    outer += "${{i()}}</%def>${{{0}()}}"
    template = page(outer.format("a") + outer.format("b"), url)
    assert [template.render() for _ in range(2)] == ["ab", "ab"]


def test_wrong_content_a_region_per_tenant_freezes(url: str) -> None:
    regions = {name: {"namespace": name} for name in "ab"}
    template = page(def_f("${r}", 'cache_region="${r}"'), url, regions=regions)
    for name in "abab":
        assert template.render(r=name) == name


def test_wrong_content_a_directory_per_tenant_freezes(tmp_path: Path) -> None:
    template = Template(
        def_f("${d}", 'cache_type="file" cache_dir="${d}"'),
        cache_impl="cacheplug",
    )
    folders = [str(tmp_path / name) for name in "ab"]
    for folder in folders * 2:
        assert template.render(d=folder) == folder
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_wrong_content_an_edited_template_shows_the_old(
    url: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.html"
    lookup = TemplateLookup(
        [str(tmp_path)],
        cache_impl="cacheplug",
        cache_args={"url": url},
        filesystem_checks=True,
    )
    for number, text in enumerate(("old", "new")):
        path.write_text(CACHED + text)
        edited = time.time() + 10 * number
        os.utime(path, (edited, edited))
        # Mako compares whole seconds with when it compiled the template.
        assert [lookup.get_template("/p.html").render() for _ in range(2)] == [
            text
        ] * 2


LINES = [
    "a\r\nset b 0 0 5\r\nwrong\r\n",
    "a\r\nget b\r\n",
    "a\nflush_all\n",
    "b noreply",
    "../../b",
    "\x00",
]


def test_wrong_content_a_key_with_line_ends_becomes_a_command(
    url: str,
) -> None:
    template = page(def_f("${key}", 'cache_key="${key}"'), url)
    keys = ["b", *LINES]
    for key in keys * 2:
        assert template.render(key=key) == key


def test_wrong_content_stored_bytes_are_executed(
    shared_url: str, tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    pickled = b"cos\nsystem\n(S'touch " + os.fsencode(mark) + b"'\ntR."
    tick = Ticks()
    template = page(def_f("${tick()}"), shared_url)
    overwrite(template, tick, pickled)
    assert template.render(tick=tick)
    assert not mark.exists()


# -- the page breaks ---------------------------------------------------------


@pytest.mark.parametrize("way", ["kill", "pause"])
def test_the_page_breaks_memcached_is_away(
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # How long a server that hung is left alone is the store's own test.
    monkeypatch.setattr(_server, "REST_SECONDS", 0.0)
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


def test_the_page_breaks_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tick = Ticks()
    template = page(def_f("${tick()}"), f"file://{tmp_path}/file/store")
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "2"]


def overwrite(template: Template, tick: Ticks, payload: bytes | None) -> None:
    """Replace what a store holds of *template*; None cuts it in half."""
    template.render(tick=tick)
    impl = template.cache.impl
    assert isinstance(impl, CachePlugImpl)
    (region,) = impl._places.used_regions()
    names = region._storage._names  # type: ignore[attr-defined]  # a store of bytes
    (known,) = (n for key, n in names.items() if key.startswith("8:fragment"))
    stored = region.backend.get(known)
    assert isinstance(stored, bytes)
    half = stored[: len(stored) // 2]
    region.backend.set(known, half if payload is None else payload, None)


@pytest.mark.parametrize(
    "payload", [None, b"", b"\x80\x04N.", b"mcp\x01" + b"\xff" * 60, b"x" * 99]
)
def test_the_page_breaks_a_corrupt_entry(
    payload: bytes | None, shared_url: str
) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}"), shared_url)
    overwrite(template, tick, payload)
    assert [template.render(tick=tick) for _ in range(2)] == ["2", "2"]


def test_the_page_breaks_a_file_cut_off_or_scribbled_on(
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
def test_the_page_breaks_keys(key: object, url: str) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}", 'cache_key="${key}"'), url)
    shown = [template.render(tick=tick, key=k) for k in (key, "k", key)]
    assert shown == ["1", "2", "1"]


def test_the_page_breaks_set_put_and_get(url: str) -> None:
    cache = page("", url).cache
    assert cache.get("missing") is None
    cache.set("a", "1")
    cache.put("b", "2", timeout="5m")
    assert (cache.get("a"), cache.get("b")) == ("1", "2")


def test_the_page_breaks_a_timeout_from_an_ini_file(url: str) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}"), url, timeout="300")
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


def test_the_page_breaks_regions_beside_a_folder(
    url: str, tmp_path: Path
) -> None:
    tick = Ticks()
    template = Template(
        def_f("${tick()}", 'cache_region="short"'),
        cache_impl="cacheplug",
        cache_dir=str(tmp_path / "cache"),
        module_directory=str(tmp_path / "modules"),
        cache_args={"regions": {"short": {"url": url, "timeout": "5m"}}},
    )
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


def test_the_page_breaks_a_second_lookups_regions_are_ignored() -> None:
    ticks = Ticks(), Ticks()
    for number, tick in enumerate(ticks, start=61):
        region = {"url": f"memory://?max_entries={number}"}
        template = page(
            def_f("${tick()}"), "memory://", regions={"r": region}, region="r"
        )
        assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


@pytest.mark.parametrize("store", STORES)
def test_the_page_breaks_a_value_over_the_limit(
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


# -- hangs -------------------------------------------------------------------


DIES = """
import os, signal, sys
from mako.template import Template
def die():
    print("creating", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
Template(
    sys.argv[1],
    uri="/p.html",
    cache_impl="cacheplug",
    cache_args={"url": sys.argv[2], "lease": "1s"},
).render(tick=die)
"""


def test_hangs_the_holder_of_the_lock_was_killed(shared_url: str) -> None:
    source = def_f("${tick()}")
    done = subprocess.run(
        [sys.executable, "-c", DIES, source, shared_url],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9
    assert done.stdout == b"creating\n"
    template = page(source, shared_url, lease="1s")
    began = time.monotonic()
    assert within(8, lambda: template.render(tick=Ticks())) == "1"
    assert time.monotonic() - began < 4


def test_hangs_a_def_that_calls_itself(url: str) -> None:
    template = page(
        '<%def name="f(n)" cached="True" cache_key="k">'
        "${n}${f(n - 1) if n else ''}</%def>${f(3)}",
        url,
    )
    assert within(8, template.render) == "3210"


def test_hangs_a_cached_page_includes_a_cached_page(url: str) -> None:
    pages = {
        "/outer": CACHED + 'outer <%include file="/inner"/>',
        "/inner": CACHED + "inner",
    }
    lookup = site(pages, url, regions={"r": {}}, region="r")
    for _ in range(2):
        shown = within(8, lookup.get_template("/outer").render)
        assert shown == "outer inner"


def test_hangs_two_fragments_that_include_each_other(url: str) -> None:
    both = threading.Barrier(2)

    def arrive(template: str, top: str) -> str:
        if template == top:
            both.wait(8)
        return template

    part = CACHED + '${arrive("{0}", top)}\\\n% if top == "{0}":\n'
    part += '<%include file="/{1}"/>\\\n% endif\n'
    lookup = site(
        {
            f"/{a}": part.replace("{0}", a).replace("{1}", b)
            for a, b in ("xy", "yx")
        },
        url,
    )
    shown = in_threads(
        [
            lambda: lookup.get_template("/x").render(arrive=arrive, top="x"),
            lambda: lookup.get_template("/y").render(arrive=arrive, top="y"),
        ],
        8,
    )
    assert [text[:2] for text in shown] == ["xy", "yx"]


def test_hangs_a_key_that_is_another_keys_lock(url: str) -> None:
    template = page(
        '<%def name="f(k)" cached="True" cache_key="${k}">${k}'
        "${'' if k == inner else f(inner)}</%def>${f('k')}",
        url,
        wait="8s",
    )
    for inner in ("k_lock", "_lockk", "k:lock", "lock:k", "k.lock"):
        template.cache.invalidate("k")
        shown = within(6, partial(template.render, inner=inner))
        assert shown == "k" + inner


# -- stale for ever ----------------------------------------------------------


def test_stale_for_ever_a_cached_page_in_a_base(url: str) -> None:
    lookup = site(
        {
            "/base": CACHED + "[${next.body()}]",
            "/a": '<%inherit file="/base"/>a',
            "/b": '<%inherit file="/base"/>b',
        },
        url,
    )
    for name in "abab":
        assert lookup.get_template(f"/{name}").render() == f"[{name}]"


# -- waste -------------------------------------------------------------------


def test_waste_failing_creations_one_after_the_other(url: str) -> None:
    tick = Ticks()

    def fail() -> None:
        tick()
        time.sleep(0.1)
        raise LookupError

    template = page(def_f("${fail()}"), url)

    def call() -> float:
        began = time.monotonic()
        with pytest.raises(LookupError):
            template.render(fail=fail)
        return time.monotonic() - began

    # One failure, then all others at once: 0.2 s; in turn it is 0.8 s.
    assert max(in_threads([call] * 8)) < 0.5
    assert tick.count <= 8


def test_waste_a_timeout_shorter_than_the_creation(url: str) -> None:
    tick = Ticks()

    def make() -> int:
        time.sleep(0.3)
        return tick()

    template = page(def_f("${make()}", 'cache_ttl="0.2s"'), url, grace=0)
    shown = in_threads([lambda: template.render(make=make)] * 8)
    assert shown == ["1"] * 8


def test_waste_waiters_find_a_value_soon_after_it_is_made(
    shared_url: str,
) -> None:
    source = def_f("${make()}")

    def render() -> tuple[float, float]:
        made = [0.0]

        def make() -> str:
            time.sleep(0.4)
            made[0] = time.monotonic()
            return "made"

        template = page(source, shared_url)
        assert template.render(make=make) == "made"
        return made[0], time.monotonic()

    with children(*[render] * 3) as running:
        results = [child.result() for child in running]
    creations = [made for made, _ in results if made]
    assert len(creations) == 1
    assert max(end for _, end in results) - creations[0] < 0.3


def test_waste_a_lock_file_for_each_key(tmp_path: Path) -> None:
    source = '<%def name="f(x)" cached="True">${x}</%def>'

    def files(keys: int) -> int:
        folder = tmp_path / str(keys)
        template = page(
            source
            + f"% for x in range({keys}):\n${{f(x)}}\n% endfor\n".join(
                ("\n", "")
            ),
            f"file://{folder}",
        )
        template.render()
        found = sum(one.is_file() for one in folder.rglob("*"))
        return found - keys

    assert files(200) == files(10)


AGAIN = """
import sys
from mako.template import Template
print(Template(
    sys.argv[1],
    cache_impl="cacheplug",
    cache_args={"url": sys.argv[2]},
    **({"uri": sys.argv[3]} if sys.argv[3] else {}),
).render(tick=lambda: "made anew"), end="")
"""


@pytest.mark.parametrize("uri", ["/p.html", ""], ids=["uri", "string"])
def test_waste_a_restart_empties_the_store(uri: str, shared_url: str) -> None:
    names = "${a}${b}${c}${d}"
    source = def_f("${tick()}" + names) + names + "<% e = 1; g = 2 %>"
    given = {"a": 1, "b": 2, "c": 3, "d": 4}
    template = Template(
        source,
        cache_impl="cacheplug",
        cache_args={"url": shared_url},
        **({"uri": uri} if uri else {}),
    )
    template.render(tick=Ticks(), **given)
    program = AGAIN.replace(
        "render(tick", "render(**dict(a=1, b=2, c=3, d=4), tick"
    )
    for seed in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", program, source, shared_url, uri],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        )
        assert done.stdout == "112341234"


def test_waste_memory_without_bound() -> None:
    url = "memory://?max_bytes=200k&max_entries=50"
    source = '<%def name="f(x)" cached="True">${"y" * 5000}</%def>${f(x)}'
    template = page(source, url)
    for x in range(200):
        template.render(x=x)
    usage = open_backend(StoreURL.parse(url)).usage()  # type: ignore[attr-defined]  # memory has it
    assert 10 < usage.entries <= 50
    assert usage.bytes <= 200 * 1024


def test_waste_invalidate_def_with_a_key_removes_nothing(url: str) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}", 'cache_key="k-${n}"'), url)
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["1", "2"]
    template.cache.invalidate_def("f")
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["3", "4"]


def test_waste_an_early_invalidate_def_damages_later_renders(
    clock: ManualClock,
) -> None:
    tick = Ticks()
    regions = {
        "r": CacheRegion("memory://?max_entries=81", clock=clock, grace=0)
    }
    source = def_f("${tick()}", 'cache_region="r" cache_timeout="5"')
    template = page(source, "memory://", regions=regions)
    template.cache.invalidate_def("f")
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]
    clock.advance(6)
    assert template.render(tick=tick) == "2"
    assert regions["r"].stats().creations == 2


def test_waste_no_invalidation_by_label_across_processes(
    shared_url: str,
) -> None:
    tick = Ticks()
    source = '<%def name="f(n)" cached="True" cache_tags="${[n, \'all\']}">'
    source += "${tick()}</%def>${f(n)}"
    template = page(source, shared_url)
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["1", "2"]

    def invalidate() -> None:
        cache = page("", shared_url, "/cron").cache
        cache.impl.invalidate_tags("a")

    with children(invalidate) as (child,):
        child.result()
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["3", "2"]
