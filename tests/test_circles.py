"""Cached fragments that need each other, in real templates.

In threads and in processes, on every store.  The longest that any of them
may take is ``wait``; here that is a minute, and nobody comes near it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier as ProcessBarrier
from pathlib import Path
from typing import Any

import pytest
from mako.lookup import TemplateLookup

from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import LIMIT
from mako_cacheplug.testing.servers import MemcachedServer

WAIT = 60.0

AT_ONCE = 5.0
"""Seconds, on a busy machine."""

CACHED = '<%page cached="True"/>'

Barrier = threading.Barrier | ProcessBarrier


@pytest.fixture(scope="module")
def server() -> Iterator[MemcachedServer]:
    with MemcachedServer() as running:
        yield running


@pytest.fixture(params=["memory", "file", "memcached"])
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
    # Waiting on a busy machine is not what is tested here.
    return f"{server.url}?connect_timeout=5s&timeout=5s"


def site(pages: dict[str, str], url: str) -> TemplateLookup:
    lookup = TemplateLookup(
        cache_impl="cacheplug", cache_args={"url": url, "wait": WAIT}
    )
    for uri, source in pages.items():
        lookup.put_string(uri, source)
    return lookup


def timed(show: Callable[[], str]) -> str:
    """Return what *show* returns, at once."""
    began = time.monotonic()
    shown = show()
    assert time.monotonic() - began < AT_ONCE
    return shown


def ring_of(names: str, url: str, barrier: Barrier) -> list[Callable[[], str]]:
    """Return who renders each page; a page includes the next, in a ring.

    All of them create their page before one of them asks for the next.
    """

    def arrive(name: str, top: str) -> str:
        if name == top:
            barrier.wait(LIMIT)
        return name

    part = CACHED + '${arrive("{0}", top)}\\\n% if "{1}" != top:\n'
    part += '<%include file="/{1}"/>\\\n% endif\n'
    pages = {
        f"/{name}": part.replace("{0}", name).replace("{1}", following)
        for name, following in zip(names, names[1:] + names[0], strict=True)
    }

    def show(name: str) -> str:
        # A lookup of its own, as in each process.
        template = site(pages, url).get_template(f"/{name}")
        shown: str = template.render(arrive=arrive, top=name)
        return shown

    return [lambda name=name: timed(lambda: show(name)) for name in names]


def assert_round(names: str, shown: list[str]) -> None:
    """Each page begins with its own name and goes on round the ring.

    How far it got depends on who created what it includes: each stops
    before the page that its own creator began with.
    """
    for place, text in enumerate(shown):
        whole = names[place:] + names[:place]
        assert len(text) > 1
        assert (whole * 2).startswith(text)


@pytest.mark.parametrize("names", ["xy", "yx", "xyz", "zyx"])
def test_pages_that_include_each_other_in_threads(
    url: str, names: str
) -> None:
    callers = ring_of(names, url, threading.Barrier(len(names)))
    assert_round(names, in_threads(callers))


@pytest.mark.parametrize("names", ["xy", "yx", "xyz", "zyx"])
def test_pages_that_include_each_other_in_processes(
    shared_url: str, names: str
) -> None:
    barrier = fork_context.Barrier(len(names))
    with children(*ring_of(names, shared_url, barrier)) as started:
        assert_round(names, [child.result() for child in started])


def test_pages_that_include_each_other_in_threads_of_processes(
    shared_url: str,
) -> None:
    names = "uvwxyz"
    barrier = fork_context.Barrier(len(names))
    callers = ring_of(names, shared_url, barrier)
    with children(
        lambda: in_threads(callers[::2]), lambda: in_threads(callers[1::2])
    ) as (even, odd):
        # Later than they would tell themselves which of them hang, and where.
        limit = LIMIT + 15.0
        shown = zip(even.result(limit), odd.result(limit), strict=True)
        assert_round(names, [text for pair in shown for text in pair])


class Needy:
    """Cached pages that all include one fragment, whose creation is slow."""

    NAMES = "abcdwxyz"

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._log = folder / "created"
        pages = {
            f"/{name}/page": CACHED + name + '<%include file="/m/part"/>'
            for name in self.NAMES
        }
        self._pages = {**pages, "/m/part": CACHED + "${create()}"}

    def create(self) -> str:
        with self._log.open("a") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return "m"

    def show(self, start: Barrier) -> list[str]:
        """Return all pages, each asked for by a thread."""
        lookup = site(self._pages, self._url)

        def caller(name: str) -> Callable[[], str]:
            template = lookup.get_template(f"/{name}/page")

            def call() -> str:
                shown: str = template.render(create=self.create)
                return shown

            return lambda: timed(call)

        callers = [caller(name) for name in self.NAMES]
        start.wait(LIMIT)
        return in_threads(callers)

    def creators(self) -> list[str]:
        """Return the process of each creation."""
        return self._log.read_text().split()


def test_what_many_pages_need_is_created_once(
    url: str, tmp_path: Path
) -> None:
    needy = Needy(url, tmp_path)
    shown = needy.show(threading.Barrier(1))
    assert shown == [name + "m" for name in needy.NAMES]
    assert needy.creators() == [str(os.getpid())]


def test_what_many_pages_need_is_created_once_in_each_process(
    shared_url: str, tmp_path: Path
) -> None:
    needy = Needy(shared_url, tmp_path)
    start = fork_context.Barrier(2)
    with children(*[lambda: needy.show(start)] * 2) as started:
        for child in started:
            assert child.result() == [name + "m" for name in needy.NAMES]
    creators = needy.creators()
    assert 1 <= len(creators) <= 2
    assert len(creators) == len(set(creators))


def test_a_def_that_calls_itself(url: str) -> None:
    lookup = site(
        {
            "/p": '<%def name="f(n)" cached="True" cache_key="k">'
            "${n}${f(n - 1) if n else ''}</%def>${f(3)}"
        },
        url,
    )

    def show() -> str:
        shown: str = lookup.get_template("/p").render()
        return shown

    assert timed(show) == "3210"


def inheriting(url: str) -> Callable[[str], str]:
    lookup = site(
        {
            "/base": CACHED + "[${next.body()}]",
            "/a": f'{CACHED}<%inherit file="/base"/>a',
            "/b": f'{CACHED}<%inherit file="/base"/>b',
        },
        url,
    )

    def show(name: str) -> str:
        shown: str = lookup.get_template(f"/{name}").render()
        return shown

    return lambda name: timed(lambda: show(name))


def test_inheriting_and_inherited_page_both_cached(url: str) -> None:
    show = inheriting(url)
    for _ in range(2):
        shown = in_threads([lambda n=n: show(n) for n in "ab" * 4])
        assert shown == ["[a]", "[b]"] * 4


def test_inheriting_and_inherited_page_both_cached_in_processes(
    shared_url: str,
) -> None:
    def work() -> Any:
        show = inheriting(shared_url)
        return in_threads([lambda n=n: show(n) for n in "ab" * 4])

    with children(work, work, work) as started:
        for child in started:
            assert child.result() == ["[a]", "[b]"] * 4
