"""Names to backends, and one open backend per URL."""

from __future__ import annotations

import concurrent.futures
import importlib.metadata
import threading
from typing import Any

import pytest

from mako_cacheplug import registry
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.backends.null import NullBackend
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import chosen_impl
from mako_cacheplug.registry import open_backend
from mako_cacheplug.registry import store_url


def test_backends_by_name() -> None:
    assert registry.backend_class("memory") is MemoryBackend
    assert registry.backend_class("null") is NullBackend
    assert registry.is_backend("memory")
    assert registry.is_backend("redis")
    assert not registry.is_backend("beaker")


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"unknown.*'memry'.*'memory'"):
        registry.backend_class("memry")


def entry_points(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """Make *points* what is installed."""
    found = {
        name: importlib.metadata.EntryPoint(name, value, registry.GROUP)
        for name, value in points.items()
    }
    monkeypatch.setattr(registry, "_entry_points", lambda: found)
    registry.backend_class.cache_clear()


@pytest.fixture(autouse=True)
def _classes_anew() -> Any:
    yield
    registry.backend_class.cache_clear()


def test_what_is_installed_is_looked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes as long as a tenth of a second where much is installed."""
    asked: list[dict[str, str]] = []
    find = importlib.metadata.entry_points

    def noted(**kw: str) -> object:
        asked.append(kw)
        return find(**kw)

    monkeypatch.setattr(importlib.metadata, "entry_points", noted)
    registry._entry_points.cache_clear()
    for number in range(9):
        url = f"memory://?max_entries={1000 + number}"
        registry.open_backend(StoreURL.parse(url))
        assert not registry.is_backend("beaker")
    assert asked == [{"group": registry.GROUP}]


def test_an_uninstalled_plugin_names_its_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry_points(monkeypatch)
    for name in ("file", "memcached", "redis"):
        with pytest.raises(
            OptionError, match=f"pip install mako-cacheplug-{name}$"
        ):
            registry.backend_class(name)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("no_such_module:Backend", "cannot be imported.*no_such_module"),
        ("json:loads", "is not a CacheBackend"),
        ("json:JSONDecoder", "is not a CacheBackend"),
    ],
)
def test_a_broken_plugin_is_an_option_error(
    monkeypatch: pytest.MonkeyPatch, value: str, match: str
) -> None:
    entry_points(monkeypatch, shelf=value)
    with pytest.raises(
        OptionError, match=f"'shelf' .{value}.*{match}|{match}"
    ):
        registry.backend_class("shelf")


@pytest.mark.parametrize(
    ("level", "impl"),
    [
        ({}, None),
        ({"url": "memory://"}, None),
        ({"impl": "beaker"}, "beaker"),
        ({"impl": "file", "type": "memory"}, "file"),
        ({"type": "memory"}, "memory"),
        ({"type": "dbm"}, "file"),
        ({"type": "ext:memcached"}, "memcached"),
    ],
)
def test_who_names_the_backend(
    level: dict[str, str], impl: str | None
) -> None:
    assert chosen_impl(level) == impl


def test_an_unknown_type_names_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"unknown type 'fil'.*'file'"):
        chosen_impl({"type": "fil"})


@pytest.mark.parametrize(
    ("levels", "url"),
    [
        ([], "memory://"),
        ([{}, {}], "memory://"),
        ([{"url": "null://"}], "null://"),
        ([{}, {"url": "null://"}], "null://"),
        ([{"url": "null://"}, {"url": "memory://"}], "null://"),
        # An impl replaces a weaker level's url of another backend,
        ([{"impl": "memory"}, {"url": "null://"}], "memory://"),
        # and finds a weaker url of its own.
        (
            [
                {"impl": "file"},
                {"url": "null://"},
                {"url": "file:///a"},
                {"url": "file:///b"},
            ],
            "file:///a",
        ),
        ([{"url": "null://"}, {"impl": "memory"}], "null://"),
        ([{"type": "file", "dir": "/a"}], "file:///a"),
        ([{"dir": "/a"}, {"type": "dbm", "dir": "/b"}], "file:///a"),
        ([{"impl": "file"}, {"dir": "/b"}], "file:///b"),
        ([{"impl": "file", "url": "file:///a", "dir": "/b"}], "file:///a"),
        (
            [{"url": "file://?max_bytes=1m", "dir": "/a"}],
            "file:///a?max_bytes=1m",
        ),
        ([{"type": "memory", "dir": "/a"}], "memory://"),
        (
            [{"type": "ext:memcached", "url": "h1:11211;h2"}],
            "memcached://h1:11211,h2",
        ),
        ([{"impl": "memcached"}, {"url": "h1:1,h2"}], "memcached://h1:1,h2"),
        ([{"impl": "memcached", "url": "memcached://h"}], "memcached://h"),
    ],
)
def test_the_store_that_levels_choose(
    levels: list[dict[str, str]], url: str
) -> None:
    assert str(store_url(levels)) == url


def test_the_defaults_of_the_store() -> None:
    assert str(store_url([], "null")) == "null://"
    assert str(store_url([], "file", "/d")) == "file:///d"
    assert str(store_url([{"dir": "/e"}], "file", "/d")) == "file:///e"


@pytest.mark.parametrize(
    ("level", "match"),
    [
        ({"impl": "file"}, "needs a folder"),
        ({"url": "127.0.0.1:11211"}, "is not a URL"),
        ({"impl": "memory", "url": "127.0.0.1:11211"}, "is not a URL"),
        ({"impl": "memcached", "url": "h:0"}, "port 0"),
    ],
)
def test_what_is_no_store(level: dict[str, str], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        store_url([level])


def test_one_url_is_one_backend() -> None:
    url = StoreURL.parse("memory://?max_entries=5")
    backend = open_backend(url)
    assert open_backend(StoreURL.parse("memory://?max_entries=5")) is backend
    assert open_backend(StoreURL.parse("memory://?max_entries=6")) is not (
        backend
    )


def test_threads_that_open_at_once_share_one_and_close_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Barrier(8)
    made: list[MemoryBackend] = []
    closed: list[MemoryBackend] = []

    class Slow(MemoryBackend):
        @classmethod
        def from_url(cls, url: StoreURL) -> Slow:
            start.wait(30)
            backend = cls()
            made.append(backend)
            return backend

        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr(registry, "backend_class", lambda name: Slow)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(open_backend, StoreURL("slow")) for _ in range(8)]
        (backend,) = {call.result(30) for call in calls}
    assert len(made) == 8
    assert {*made} - {*closed} == {backend}
    monkeypatch.undo()
    registry.close_backends()
    assert backend in closed


def test_closed_backends_are_opened_anew() -> None:
    url = StoreURL.parse("memory://")
    backend = open_backend(url)
    backend.set("k", b"x", None)
    registry.close_backends()
    registry.close_backends()
    assert open_backend(url) is not backend
