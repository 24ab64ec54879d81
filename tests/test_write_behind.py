"""Write-behind: a cold page stores together what it makes; nobody is misled.

Real pages on a real memcached.  *Elsewhere* is the same site as another
process sees it: over another backend, with a dogpile lock of its own.
"""

from __future__ import annotations

import gc
import io
import logging
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from mako.lookup import TemplateLookup
from mako.runtime import Context
from mako.template import Template
from mako.util import FastEncodingBuffer
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug import breaker
from mako_cacheplug import coded
from mako_cacheplug import write_behind
from mako_cacheplug.ahead import RenderReads
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.backends.null import NullBackend
from mako_cacheplug.events import CacheEvent
from mako_cacheplug.events import EventKind
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.region import Fragment
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire
from mako_cacheplug.write_behind import WriteBehind

NAMES = [f"f{number}" for number in range(20)]
LIMIT = 20.0
"""Seconds after which somebody hangs; what a caller waits is longer."""


class Site:
    """Pages on one store, as one process sees them."""

    def __init__(
        self,
        url: str | CacheBackend,
        clock: Callable[[], float],
        **given: Any,
    ) -> None:
        self.region = CacheRegion(url, clock=clock, wait="60s", **given)
        self.events: list[CacheEvent] = []
        self.region.add_hook(self.events.append)
        self.lookup = TemplateLookup(
            cache_impl="cacheplug",
            cache_args={"regions": {"r": self.region}, "region": "r"},
        )

    def put(self, source: str) -> Template:
        self.lookup.put_string("/p.html", source)
        template: Template = self.lookup.get_template("/p.html")
        return template

    @property
    def creations(self) -> int:
        return self.region.stats().creations

    @property
    def behind(self) -> WriteBehind:
        assert self.region.bulk_storage is not None
        assert self.region.bulk_storage.behind is not None
        return self.region.bulk_storage.behind


@pytest.fixture
def wire(server: MemcachedServer) -> Iterator[Wire]:
    with Wire(server) as running:
        yield running


@pytest.fixture
def site(wire: Wire, clock: ManualClock) -> Site:
    CacheRegion(wire.url).clear()
    return Site(wire.url, clock)


@pytest.fixture
def elsewhere(server: MemcachedServer, clock: ManualClock) -> Site:
    return Site(server.url, clock)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing but the page store what is held back."""

    class Never:
        def remind(self) -> bool:
            return True

    monkeypatch.setattr(write_behind, "_reminder", Never())


def define(names: list[str], options: str = "") -> str:
    return "".join(
        f'<%def name="{name}()" cached="True" {options}>{name} </%def>'
        for name in names
    )


def call(names: list[str]) -> str:
    return "".join(f"${{{name}()}}" for name in names)


def shown(names: list[str]) -> str:
    return "".join(f"{name} " for name in names)


def requests(wire: Wire) -> list[bytes]:
    """Return the first word of each trip that changes or reads."""
    return [trip.split()[0] for trip in wire.trips()]


def in_a_thread(action: Callable[[], object]) -> object:
    """Return what *action* does in another thread; wait for it."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(action()))
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "it waits for what is held back"
    return found[0]


# -- together --------------------------------------------------------------


@pytest.mark.usefixtures("unhurried")
def test_a_cold_page_stores_all_of_it_in_one_trip(
    site: Site, wire: Wire
) -> None:
    template = site.put(define(NAMES) + call(NAMES))
    wire.trips()
    assert template.render() == shown(NAMES)
    said = requests(wire)
    # Each is read, elected, looked for once more, and given a label; then
    # all are stored, and their locks are looked at and given back.
    assert said.count(b"add") == 2 * len(NAMES)
    assert len(said) == 4 * len(NAMES) + 3
    assert said[-3:] == [b"set", b"gets", b"delete"]
    assert template.render() == shown(NAMES)
    assert len(wire.trips()) == 1
    assert site.creations == len(NAMES)


@pytest.mark.usefixtures("unhurried")
def test_it_is_there_when_the_page_is(site: Site, elsewhere: Site) -> None:
    """For everybody, with no lock left behind."""
    source = define(NAMES) + call(NAMES)
    site.put(source).render()
    assert site.behind.held == {}
    again = elsewhere.put(source)
    assert again.render() == shown(NAMES)
    again.cache.impl.invalidate_template()
    assert in_a_thread(again.render) == shown(NAMES)
    assert (site.creations, elsewhere.creations) == (20, 20)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("around", ["", '<%page cached="True"/>'])
def test_so_are_fragments_of_a_cached_page(
    site: Site, wire: Wire, around: str
) -> None:
    template = site.put(around + define(NAMES) + call(NAMES))
    wire.trips()
    template.render()
    assert requests(wire)[-3:] == [b"set", b"gets", b"delete"]
    assert site.creations == len(NAMES) + bool(around)


@pytest.mark.usefixtures("unhurried")
def test_lifetimes_that_differ_by_little_are_stored_together(
    site: Site, wire: Wire
) -> None:
    names = NAMES[:4]
    source = "".join(
        define([name], f'cache_timeout="{seconds}"')
        for name, seconds in zip(names, (300, 301, 3000, 3), strict=True)
    )
    template = site.put(source + call(names))
    wire.trips()
    template.render()
    assert [word for word in requests(wire) if word == b"set"] == [b"set"] * 3


@pytest.mark.parametrize(
    "ttl", [0.01, 0.5, 1.0, 1.01, 7.9, 8.0, 8.1, 63.0, 359.3, 86400.0, 1e9]
)
def test_no_lifetime_is_cut_short_nor_lengthened_by_much(ttl: float) -> None:
    rounded = write_behind._rounded(ttl)
    assert rounded is not None
    assert ttl <= rounded <= max(ttl * 1.125, ttl + 1.0)
    assert write_behind._rounded(None) is None


@pytest.mark.usefixtures("unhurried")
def test_what_is_held_back_is_bounded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = []
    source = define(NAMES) + "".join(f"${{{n}()}}${{seen()}}" for n in NAMES)
    monkeypatch.setattr(write_behind, "MOST_HELD", 5)

    def seen() -> str:
        most.append(len(site.behind.held))
        return ""

    assert site.put(source).render(seen=seen) == shown(NAMES)
    assert most == [1, 2, 3, 4, 0] * 4
    monkeypatch.setattr(write_behind, "MOST_HELD", 256)
    monkeypatch.setattr(write_behind, "MOST_BYTES", 3000)
    most.clear()
    large = define(NAMES, "").replace("</%def>", "x" * 1000 + "</%def>")
    calls = "".join(f"${{{n}()}}${{seen()}}" for n in NAMES)
    site.put(large + calls).render(seen=seen)
    assert max(most) == 2


# -- at once where others need it ------------------------------------------


def test_a_page_that_goes_on_keeps_nobody_waiting(
    site: Site, elsewhere: Site
) -> None:
    """The page is not done before the other has been served."""
    source = define(["f0"]) + "${f0()}${meanwhile()}"
    template, other = site.put(source), elsewhere.put(source)

    def meanwhile() -> object:
        return in_a_thread(lambda: other.render(meanwhile=str))

    assert template.render(meanwhile=meanwhile) == "f0 f0 "
    assert (site.creations, elsewhere.creations) == (1, 0)


def test_a_page_that_fails_keeps_nobody_waiting(
    site: Site, elsewhere: Site
) -> None:
    source = define(["f0"]) + "${f0()}${1 / number}"
    template, other = site.put(source), elsewhere.put(source)
    with pytest.raises(ZeroDivisionError):
        template.render(number=0)
    assert in_a_thread(lambda: other.render(number=1)) == "f0 1.0"
    assert (site.creations, elsewhere.creations) == (1, 0)


@pytest.mark.usefixtures("unhurried")
def test_what_took_long_to_create_is_stored_at_once(
    site: Site, elsewhere: Site, clock: ManualClock
) -> None:
    source = (
        '<%def name="slow()" cached="True">slow${work()}</%def>'
        "${slow()}${meanwhile()}"
    )
    template, other = site.put(source), elsewhere.put(source)

    def work() -> str:
        clock.advance(write_behind.HELD_BACK_SECONDS)
        return ""

    def meanwhile() -> object:
        return in_a_thread(lambda: other.render(work=str, meanwhile=str))

    assert template.render(work=work, meanwhile=meanwhile) == "slowslow"
    assert (site.creations, elsewhere.creations) == (1, 0)


@pytest.mark.usefixtures("unhurried")
def test_what_took_longer_than_its_lease_replaces_nothing_newer(
    server: MemcachedServer, clock: ManualClock
) -> None:
    site, elsewhere = (
        Site(
            MemcachedBackend([(server.host, server.port)], clock=clock), clock
        )
        for _ in "ab"
    )
    source = '<%def name="f()" cached="True">${work()}</%def>${f()}'
    template, other = site.put(source), elsewhere.put(source)

    def work() -> str:
        clock.advance(31.0)
        assert in_a_thread(lambda: other.render(work=lambda: "newer")) == (
            "newer"
        )
        return "older"

    site.region.clear()
    assert template.render(work=work) == "older"
    assert other.render(work=str) == template.render(work=str) == "newer"


@pytest.mark.usefixtures("unhurried")
def test_what_always_takes_longer_than_its_lease_is_stored(
    site: Site, clock: ManualClock
) -> None:
    source = '<%def name="f()" cached="True">${work()}</%def>${f()}'
    template = site.put(source)

    def work() -> str:
        clock.advance(31.0)
        return "late"

    for _ in range(2):
        assert template.render(work=work) == "late"
    assert site.creations == 1


@pytest.mark.usefixtures("unhurried")
def test_who_asks_again_in_the_page_is_served(site: Site) -> None:
    template = site.put(define(["f0"]) + "${f0()}${f0()}${f0()}")
    assert template.render() == "f0 f0 f0 "
    stats = site.region.stats()
    assert (stats.hits, stats.misses, stats.creations) == (2, 1, 1)


@pytest.mark.usefixtures("unhurried")
def test_other_threads_of_the_process_are_served(site: Site) -> None:
    template = site.put(define(["f0"]) + "${f0()}${meanwhile()}")

    def again() -> object:
        return in_a_thread(lambda: template.render(meanwhile=str))

    assert template.render(meanwhile=again) == "f0 f0 "
    assert site.creations == 1


@pytest.mark.usefixtures("unhurried")
def test_code_sees_what_the_page_has_made(site: Site) -> None:
    template = site.put(
        define(["f0"], 'cache_key="k"') + "${f0()}${local.cache.get('k')}"
    )
    assert template.render() == "f0 f0 "


@pytest.mark.usefixtures("unhurried")
def test_joiners_share_what_is_held_back(site: Site) -> None:
    """A thread that waited for the creation itself does not wait on."""
    source = '<%def name="f()" cached="True">f${work()}</%def>${f()}${end()}'
    template = site.put(source)
    joined, seen = threading.Event(), threading.Event()

    def work() -> str:
        thread.start()
        while not site.region._lock._flights[key()].over:
            pass
        joined.set()
        return ""

    def key() -> str:
        return next(iter(site.region._lock._flights))

    def other() -> None:
        assert template.render(work=str, end=str) == "f"
        seen.set()

    thread = threading.Thread(target=other)

    def end() -> str:
        assert seen.wait(LIMIT)
        return ""

    assert template.render(work=work, end=end) == "f"
    thread.join(LIMIT)
    assert joined.is_set()
    assert site.creations == 1


# -- what is overtaken is not served ---------------------------------------


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    "invalidate",
    [
        lambda cache: cache.invalidate_def("f"),
        lambda cache: cache.invalidate("k"),
        lambda cache: cache.impl.invalidate_template(),
        lambda cache: cache.impl.invalidate_tags("t"),
    ],
)
@pytest.mark.parametrize("here", [True, False])
def test_an_invalidation_between_making_and_storing_holds(
    site: Site,
    elsewhere: Site,
    invalidate: Callable[[Any], None],
    here: bool,
) -> None:
    source = (
        '<%def name="f()" cached="True" cache_key="k" cache_tags="t">'
        "${value}</%def>${f()}${after()}"
    )
    template, other = site.put(source), elsewhere.put(source)

    def after() -> str:
        invalidate(template.cache if here else other.cache)
        return ""

    assert template.render(value="old", after=after) == "old"
    assert other.render(value="new", after=str) == "new"
    assert template.render(value="newer", after=str) == "new"


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("here", [True, False])
def test_a_cleared_store_stays_clear(
    site: Site, elsewhere: Site, here: bool
) -> None:
    source = define(["f0"]) + "${f0()}${value}${after()}"
    template = site.put(source)
    region = (site if here else elsewhere).region

    def after() -> str:
        region.clear()
        return ""

    template.render(value="", after=after)
    template.render(value="", after=str)
    assert site.creations == 2


# -- failure ---------------------------------------------------------------


@pytest.mark.usefixtures("unhurried")
def test_a_store_that_goes_meanwhile_costs_events(clock: ManualClock) -> None:
    with MemcachedServer() as server:
        site = Site(server.url, clock)
        template = site.put(define(NAMES) + call(NAMES) + "${after()}")

        def after() -> str:
            server.kill()
            return ""

        assert template.render(after=after) == shown(NAMES)
        failed = [e for e in site.events if e.kind is EventKind.STORE_ERROR]
        assert len({event.key for event in failed}) == len(NAMES)
        assert site.behind.held == {}
        server.restart()
        assert template.render(after=str) == shown(NAMES)
        assert template.render(after=str) == shown(NAMES)
        assert site.creations == 2 * len(NAMES)


@pytest.mark.usefixtures("unhurried")
def test_one_that_the_server_refuses_takes_no_other_with_it(
    clock: ManualClock,
) -> None:
    with MemcachedServer("-I", "512k") as server:
        site = Site(server.url, clock, compress="none")
        large = '<%def name="large()" cached="True">${"x" * size}</%def>'
        template = site.put(
            define(NAMES[:3]) + large + "${f0()}${large()}${f1()}${f2()}"
        )
        template.render(size=600_000)
        (event,) = (e for e in site.events if e.kind is EventKind.TOO_LARGE)
        assert event.size is not None
        assert event.size > 600_000
        assert template.render(size=1) == "f0 xf1 f2 "
        assert site.creations == 5


@pytest.mark.usefixtures("unhurried")
def test_one_that_is_refused_among_others_is_told(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coded, "_MOST_HELD_BACK", 2**20)
    with MemcachedServer("-I", "512k") as server:
        site = Site(f"{server.url}?client=pymemcache", clock, compress="none")
        large = '<%def name="large()" cached="True">${"x" * size}</%def>'
        template = site.put(
            define(NAMES[:3]) + large + "${f0()}${large()}${f1()}${f2()}"
        )
        template.render(size=600_000)
        assert [e.kind for e in site.events if e.error is not None] == [
            EventKind.TOO_LARGE
        ]
        assert template.render(size=1) == "f0 xf1 f2 "
        assert site.creations == 5


def test_one_that_a_store_refuses_leaves_no_older_one(
    site: Site, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the store keeps that, which it must not."""
    template = site.put(
        '<%def name="f()" cached="True" cache_timeout="5">${value}</%def>'
        "${f()}"
    )
    assert template.render(value="old") == "old"
    clock.advance(6.0)
    refused: list[str] = []

    def refuse(key: str, payload: bytes, ttl: float | None) -> None:
        refused.append(key)
        raise ValueTooLargeError("too large", size=len(payload), limit=None)

    backend = site.region.backend
    monkeypatch.setattr(backend, "set", refuse)
    assert template.render(value="new") == "new"
    (name,) = refused
    assert backend.get(name) is NO_VALUE


def test_a_process_without_room_for_a_thread_stores_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(write_behind, "_reminder", write_behind._Reminder())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    held = []

    def seen() -> str:
        held.append(len(site.behind.held))
        return ""

    site.put(define(["f0"]) + "${f0()}${seen()}").render(seen=seen)
    assert held == [0]


@pytest.mark.usefixtures("unhurried")
def test_a_child_leaves_it_to_its_parent(site: Site, elsewhere: Site) -> None:
    template = site.put(define(["f0"]) + "${f0()}${fork()}")

    def render_in_child() -> tuple[int, object]:
        left = len(site.behind.held)
        return left, elsewhere.lookup is not None

    def fork() -> str:
        assert len(site.behind.held) == 1
        with children(render_in_child) as (child,):
            assert child.result() == (0, True)
        return ""

    assert template.render(fork=fork) == "f0 "
    assert template.render(fork=str) == "f0 "
    assert site.creations == 1


def test_a_child_holds_back_for_no_longer_than_its_parent(
    site: Site, elsewhere: Site
) -> None:
    """It has a thread of its own for that."""
    site.put(define(["f0"]) + "${f0()}").render()
    source = define(["f1"]) + "${f1()}${meanwhile()}"
    template, other = site.put(source), elsewhere.put(source)

    def meanwhile() -> object:
        return in_a_thread(lambda: other.render(meanwhile=str))

    def render() -> object:
        shown = template.render(meanwhile=meanwhile)
        return shown, site.creations, elsewhere.creations

    with children(render) as (child,):
        assert child.result() == ("f1 f1 ", 2, 0)


# -- what is not held back -------------------------------------------------


@pytest.mark.usefixtures("unhurried")
def test_plain_code_stores_at_once(site: Site) -> None:
    held = []

    def plain() -> str:
        site.region.get_or_create("k", lambda: "v")
        held.append(len(site.behind.held))
        return ""

    site.put("${plain()}").render(plain=plain)
    assert held == [0]


@pytest.mark.usefixtures("unhurried")
def test_what_has_no_label_is_stored_at_once(site: Site) -> None:
    """Nothing would tell that it was overtaken."""
    region = site.region
    reads = RenderReads("/p.html", lambda: None, ends=True)
    for labels, held in ((), 0), (("label",), 1):
        region.fetch(
            f"key{held}",
            lambda: "value",
            region.options,
            labels,
            Fragment(lambda _, creator: creator()),
            reads=lambda _: reads,
        )
        assert len(site.behind.held) == held


@pytest.mark.usefixtures("unhurried")
def test_a_render_into_a_buffer_of_ones_own_stores_at_once(
    site: Site, elsewhere: Site
) -> None:
    """Nobody knows when it ends."""
    template = site.put(define(["f0"]) + "${f0()}")
    output = io.StringIO()
    template.render_context(Context(output))
    assert site.behind.held == {}
    assert output.getvalue() == "f0 "


@pytest.mark.usefixtures("unhurried")
def test_with_read_ahead_off_each_is_stored_at_once(
    wire: Wire, clock: ManualClock
) -> None:
    site = Site(wire.url, clock, read_ahead=False)
    held = []

    def seen() -> str:
        held.append(len(site.behind.held))
        return ""

    template = site.put(define(["f0"]) + "${f0()}${seen()}")
    template.render(seen=seen)
    assert held == [0]


def test_the_output_is_freed_with_the_page(site: Site) -> None:
    outputs: list[weakref.ref[object]] = []

    def note(context: Any) -> str:
        outputs.append(weakref.ref(context._buffer_stack[0]))
        return ""

    template = site.put(define(["f0"]) + "${f0()}${note(context)}")
    gc.disable()
    try:
        template.render(note=note)
        assert outputs[0]() is None
    finally:
        gc.enable()


# -- the end of a process, of a thread, and of an output -------------------


def test_what_a_failed_page_made_is_stored_when_the_process_ends(
    server: MemcachedServer,
) -> None:
    """Others would wait for its lock until the lease ends."""
    source = define(["f0"]) + "${f0()}${1 / number}"
    script = f"""
from mako.lookup import TemplateLookup
from mako_cacheplug import CacheRegion
from mako_cacheplug import write_behind

write_behind.HELD_BACK_SECONDS = 60.0
region = CacheRegion({server.url!r})
region.clear()
lookup = TemplateLookup(
    cache_impl="cacheplug",
    cache_args={{"regions": {{"r": region}}, "region": "r"}},
)
lookup.put_string("/p.html", {source!r})
lookup.get_template("/p.html").render(number=0)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")
    site = Site(server.url, time.time)
    assert site.put(source).render(number=1) == "f0 1.0"
    assert site.creations == 0


def test_the_thread_is_started_again_if_a_hook_ends_it(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    ended = threading.Event()

    def leave(event: CacheEvent) -> None:
        if threading.current_thread().name == "mako_cacheplug write-behind":
            ended.set()
            raise SystemExit

    with MemcachedServer() as server:
        site = Site(server.url, clock)
        site.region.add_hook(leave)
        template = site.put(define(NAMES[:2]) + "${f0()}${f()}")

        def fail() -> str:
            server.kill()
            assert ended.wait(LIMIT)
            return ""

        template.render(f=fail)
        server.restart()
        other = Site(server.url + "?timeout=1s", clock)
        source = define(["f1"]) + "${f1()}${meanwhile()}"
        template, again = site.put(source), other.put(source)

        def meanwhile() -> object:
            return in_a_thread(lambda: again.render(meanwhile=str))

        assert template.render(meanwhile=meanwhile) == "f1 f1 "
        assert other.creations == 0


def test_a_store_that_is_opened_meanwhile_ends_no_flush() -> None:
    """Whoever goes through all of them has another thread add one."""

    def open_stores() -> None:
        for _ in range(200):
            backends = [NullBackend() for _ in range(100)]
            for backend in backends:
                write_behind.write_behind_of(backend)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=open_stores)
    thread.start()
    try:
        while thread.is_alive():
            write_behind._flush_all()
    finally:
        thread.join(LIMIT)
        sys.setswitchinterval(interval)


@pytest.mark.usefixtures("unhurried")
def test_a_log_handler_may_render_what_is_being_stored(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that sends a page by mail."""
    monkeypatch.setattr(breaker, "FAILURES", 1)
    with MemcachedServer() as server:
        site = Site(server.url, clock)
        template = site.put(define(["f0"]) + "${f0()}${after()}")
        mails: list[object] = []

        class Mailing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                mails.append(template.render(after=str))

        def after() -> str:
            server.kill()
            return ""

        logger = logging.getLogger("mako_cacheplug")
        handler = Mailing(logging.WARNING)
        logger.addHandler(handler)
        try:
            in_a_thread(lambda: template.render(after=after))
        finally:
            logger.removeHandler(handler)
        assert mails == ["f0 "]


@pytest.mark.usefixtures("unhurried")
def test_a_page_does_not_wait_for_what_only_others_hold(site: Site) -> None:
    """Its own has been stored by then."""
    template = site.put(define(["f0"]) + "${f0()}${after()}")
    site.lookup.put_string("/other.html", define(["f1"]) + "${f1()}")
    other = site.lookup.get_template("/other.html")
    output = FastEncodingBuffer()

    def after() -> str:
        site.behind.flush()
        other.render_context(Context(output))
        return ""

    template.render(after=after)
    assert len(site.behind.held) == 1
    output.getvalue()
    assert site.behind.held == {}


@pytest.mark.usefixtures("unhurried")
def test_the_page_can_be_taken_from_an_output_that_nothing_holds(
    site: Site,
) -> None:
    context = Context(FastEncodingBuffer())
    site.put(define(["f0"]) + "${f0()}").render_context(context)
    assert list(site.behind.held) != []
    page = context._buffer_stack.pop().getvalue()
    assert page == "f0 "
    assert site.behind.held == {}


@pytest.mark.usefixtures("unhurried")
def test_an_output_with_something_held_back_can_be_copied(site: Site) -> None:
    output = FastEncodingBuffer()
    template = site.put(define(["f0"]) + "${f0()}")
    template.render_context(Context(output))
    copied = pickle.loads(pickle.dumps(output))
    copied.write("more")
    assert copied.getvalue() == "f0 more"
    assert len(site.behind.held) == 1
    assert output.getvalue() == "f0 "
    assert site.behind.held == {}
