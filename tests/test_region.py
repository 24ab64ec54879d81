"""A region where all goes well: options, counters, events, the herd."""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from mako_cacheplug import CacheBackend
from mako_cacheplug import cached
from mako_cacheplug import CacheEvent
from mako_cacheplug import CacheRegion
from mako_cacheplug import EventKind
from mako_cacheplug import KeyTypeError
from mako_cacheplug import OptionError
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.options import StoreURL
from mako_cacheplug.testing import ManualClock

LONG = 30.0
"""Seconds that nobody waits for in a test that passes."""


class Plain(CacheBackend):
    """Memory as a store of bytes that can do nothing else."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.memory = MemoryBackend(clock=clock)

    @classmethod
    def from_url(cls, url: StoreURL) -> Plain:
        raise NotImplementedError

    def get(self, key: str) -> bytes | NoValue:
        return self.memory.get(key)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.memory.set(key, payload, ttl)

    def delete(self, key: str) -> None:
        self.memory.delete(key)

    def clear(self) -> None:
        self.memory.clear()

    def close(self) -> None:
        self.memory.close()


class Coded(Plain):
    """Memory as a store of bytes: a region codes its entries."""

    def claim(self, key: str) -> object:
        return self.memory.claim(key)

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        return self.memory.check_and_set(key, payload, ttl, claim)


def memory(clock: ManualClock) -> CacheBackend:
    return MemoryBackend(clock=clock)


@pytest.fixture(
    params=[memory, Coded, Plain], ids=["entries", "bytes", "plain bytes"]
)
def backend(
    request: pytest.FixtureRequest, clock: ManualClock
) -> CacheBackend:
    """Return each kind of store that a region knows."""
    made: CacheBackend = request.param(clock)
    return made


class Numbers:
    """A creator that tells how often it ran, and may take time or fail."""

    def __init__(self, clock: ManualClock, takes: float = 0.0) -> None:
        self.clock = clock
        self.takes = takes
        self.count = 0
        self.error: Exception | None = None

    def __call__(self) -> str:
        self.count += 1
        self.clock.advance(self.takes)
        if self.error is not None:
            raise self.error
        return f"value {self.count}"


@pytest.fixture
def make(clock: ManualClock) -> Numbers:
    return Numbers(clock)


def counts(region: CacheRegion) -> tuple[int, int, int, int]:
    """Return hits, misses, stale and creations."""
    return region.stats()[:4]


# -- get, set, values --------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text \ud800",
        Markup("<b>"),
        b"",
        b"\0",
        None,
        False,
        0,
        1.5,
        10**40,
        [],
        {},
        {"a": [1, None, {"b": "c"}]},
    ],
)
def test_values_come_back_as_themselves(
    backend: CacheBackend, value: object
) -> None:
    region = CacheRegion(backend)
    region.set("set", value)
    made = region.get_or_create("made", lambda: value)
    for found in (
        made,
        region.get("set", "missing"),
        region.get("made", "missing"),
        region.get_or_create("made", lambda: "another"),
    ):
        assert found == value
        assert type(found) is type(value)


def test_what_is_returned_is_the_callers_own(backend: CacheBackend) -> None:
    region = CacheRegion(backend)
    mine: list[Any] = [[1]]
    region.set("k", mine)
    mine.append("after")
    found: Any = region.get("k")
    found[0].append("after")
    made: Any = region.get_or_create("k2", lambda: mine)
    made.append("later")
    mine.append("later")
    assert region.get("k") == [[1]]
    assert region.get("k2") == [[1], "after"]


def test_a_missing_key(backend: CacheBackend) -> None:
    region = CacheRegion(backend)
    assert region.get("k") is None
    assert region.get("k", "default") == "default"
    region.invalidate("k")
    assert counts(region) == (0, 2, 0, 0)


def test_keys_of_many_types(backend: CacheBackend) -> None:
    region = CacheRegion(backend)
    keys: list[object] = [1, "1", True, 1.0, None, (1,), "k" * 1000, "\r\n"]
    for i, key in enumerate(keys):
        region.set(key, i)
    assert [region.get(key) for key in keys] == list(range(len(keys)))
    for act in (region.get, region.invalidate, lambda k: region.set(k, "v")):
        with pytest.raises(KeyTypeError):
            act(object())


def test_invalidate_and_clear(backend: CacheBackend, make: Numbers) -> None:
    region = CacheRegion(backend)
    region.get_or_create("a", make)
    region.get_or_create("b", make)
    region.invalidate("a")
    assert (region.get("a"), region.get("b")) == (None, "value 2")
    region.clear()
    assert region.get("b") is None


def test_a_namespace_keeps_applications_apart(backend: CacheBackend) -> None:
    shop = CacheRegion(backend, namespace="shop", tags="t")
    blog = CacheRegion(backend, namespace="blog", tags="t")
    bare = CacheRegion(backend, tags="t")
    for region in (shop, blog, bare):
        region.set("k", region.namespace)
    shop.invalidate_tags("t")
    assert shop.get("k") is None
    assert (blog.get("k"), bare.get("k")) == ("blog", "")
    blog.invalidate("k")
    assert bare.get("k") == ""


def test_a_name_keeps_regions_apart(backend: CacheBackend) -> None:
    short = CacheRegion(backend, name="short")
    long = CacheRegion(backend, name="long")
    short.set("k", "short")
    assert long.get("k") is None
    long.set("k", "long")
    long.invalidate("k")
    assert short.get("k") == "short"
    assert CacheRegion(backend, name="short").get("k") == "short"


# -- time --------------------------------------------------------------------


def test_fresh_stale_dead(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(backend, clock=clock, timeout=10, grace=5)
    assert region.get_or_create("k", make) == "value 1"
    clock.advance(9.9)
    assert region.get("k") == "value 1"
    assert region.get_or_create("k", make) == "value 1"
    clock.advance(0.1)
    assert region.get("k") is None
    assert region.get_or_create("k", make) == "value 2"


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"timeout": 10}, {}),
        ({"ttl": "10s"}, {}),
        ({"timeout": "1h"}, {"timeout": 10}),
        ({"timeout": "1h"}, {"ttl": "10"}),
        ({}, {"ttl": 10}),
    ],
)
def test_a_calls_options_are_over_the_regions(
    backend: CacheBackend,
    clock: ManualClock,
    make: Numbers,
    options: Any,
    given: Any,
) -> None:
    region = CacheRegion(backend, clock=clock, **options)
    region.get_or_create("made", make, **given)
    region.set("set", "v", **given)
    clock.advance(9.9)
    assert region.get("made") == "value 1"
    assert region.get("set") == "v"
    clock.advance(0.2)
    assert region.get("made") is None
    assert region.get("set") is None


def test_without_a_timeout_for_ever(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(backend, clock=clock)
    region.get_or_create("k", make)
    clock.advance(1e9)
    assert region.get_or_create("k", make) == "value 1"


def test_a_creation_longer_than_the_timeout_is_a_hit(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(backend, clock=clock, timeout=10)
    make.takes = 25.0
    region.get_or_create("k", make)
    assert region.get_or_create("k", make) == "value 1"
    clock.advance(10)
    assert region.get("k") is None


@pytest.mark.parametrize(
    ("chance", "seconds"), [(0.0, 10.0), (0.5, 8.0), (0.999999, 6.0)]
)
def test_jitter_spreads_the_expiries(
    backend: CacheBackend, clock: ManualClock, chance: float, seconds: float
) -> None:
    region = CacheRegion(
        backend, clock=clock, timeout=10, jitter=0.4, chance=lambda: chance
    )
    region.set("k", "v")
    clock.advance(seconds - 0.01)
    assert region.get("k") == "v"
    clock.advance(0.02)
    assert region.get("k") is None


def test_early_regeneration_by_xfetch(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    chance = [0.0]
    region = CacheRegion(
        backend, clock=clock, timeout=100, early=1, chance=lambda: chance[0]
    )
    make.takes = 5.0
    region.get_or_create("k", make)  # 5 s to make
    clock.advance(90)
    chance[0] = 1 - math.exp(-1.9)  # due 9.5 s before the end
    assert region.get_or_create("k", make) == "value 1"
    clock.advance(1)
    assert region.get_or_create("k", make) == "value 2"
    assert counts(region) == (1, 2, 0, 2)
    assert region.get_or_create("k", make) == "value 2"


def test_an_early_regeneration_that_fails_serves_what_is_fresh(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(
        backend, clock=clock, timeout=100, early=1, chance=lambda: 0.999
    )
    make.takes = 50.0
    region.get_or_create("k", make)
    make.takes, make.error = 1.0, ZeroDivisionError()
    clock.advance(90)
    assert region.get_or_create("k", make) == "value 1"
    assert make.count == 2
    assert counts(region) == (1, 1, 0, 1)


def test_stale_if_error(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(
        backend, clock=clock, timeout=10, grace=0, stale_if_error=100
    )
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    region.get_or_create("k", make)
    make.error = ZeroDivisionError()
    clock.advance(109.9)
    assert region.get_or_create("k", make) == "value 1"
    assert [e.kind for e in events if e.error is make.error] == [
        EventKind.CREATOR_ERROR,
        EventKind.STALE_IF_ERROR,
    ]
    assert counts(region) == (0, 1, 1, 1)
    clock.advance(0.1)
    with pytest.raises(ZeroDivisionError):
        region.get_or_create("k", make)
    make.error = None
    assert region.get_or_create("k", make) == "value 4"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_stale_if_error_is_not_for_an_interrupt(
    backend: CacheBackend, clock: ManualClock, make: Numbers, error: type
) -> None:
    region = CacheRegion(backend, clock=clock, ttl=1, stale_if_error=100)
    region.get_or_create("k", make)
    clock.advance(2)
    make.error = error()
    with pytest.raises(error):
        region.get_or_create("k", make)
    assert region._lock._flights == {}


# -- tags --------------------------------------------------------------------


def test_tags(backend: CacheBackend, make: Numbers) -> None:
    region = CacheRegion(backend)
    region.get_or_create("a", make, tags="news user:42")
    region.get_or_create("b", make, tags=["news"])
    region.get_or_create("c", make)
    region.set("d", "set", tags="user:42")
    region.invalidate_tags("user:42")
    assert [region.get(key) for key in "abcd"] == [
        None,
        "value 2",
        "value 3",
        None,
    ]
    region.get_or_create("a", make, tags="news user:42")
    region.invalidate_tags("news", "unknown")
    assert [region.get(key) for key in "abc"] == [None, None, "value 3"]
    with pytest.raises(OptionError, match="tags"):
        region.invalidate_tags("")


def test_an_invalidation_during_the_creation_counts(
    backend: CacheBackend, make: Numbers
) -> None:
    region = CacheRegion(backend, tags="news")

    def meanwhile() -> str:
        region.invalidate_tags("news")
        return "old"

    assert region.get_or_create("k", meanwhile) == "old"
    assert region.get_or_create("k", make) == "value 1"
    assert region.get_or_create("k", make) == "value 1"


def test_an_early_regeneration_is_overtaken(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(
        backend, clock=clock, chance=lambda: 0.999, ttl=100, early=1
    )
    make.takes = 50.0
    region.get_or_create("k", make)

    def meanwhile() -> str:
        region.invalidate("k")
        return "old"

    assert region.get_or_create("k", meanwhile) == "old"
    assert region.get("k") is None


def test_a_refresh_that_an_older_creation_overtook_leaves_nothing(
    backend: CacheBackend,
) -> None:
    """What that stored may be from before the change that asked for it."""
    region = CacheRegion(backend)
    made: list[Callable[[], str]] = []
    value = cached(region, namespace="n")(lambda: made.pop()())

    def refreshing() -> str:
        made.extend([lambda: "newest", lambda: "older"])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert pool.submit(value).result(LONG) == "older"
        return "newer"

    made.append(refreshing)
    assert value.refresh() == "newer"
    # A store without claims has kept the one that came last.
    assert value() == ("newer" if type(backend) is Plain else "newest")


@pytest.mark.parametrize("clear", [False, True])
def test_who_comes_after_an_invalidation_does_not_wait_for_what_it_overtook(
    backend: CacheBackend, clear: bool
) -> None:
    region = CacheRegion(backend, wait=2 * LONG)
    begun, end = threading.Event(), threading.Event()

    def make() -> str:
        begun.set()
        assert end.wait(LONG)
        return "old"

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(region.get_or_create, "k", make)
        assert begun.wait(LONG)
        if clear:
            region.clear()
        else:
            region.invalidate("k")
        later = pool.submit(region.get_or_create, "k", lambda: "new")
        assert later.result(LONG) == "new"
        end.set()
        assert first.result(LONG) == "old"
    assert region.get_or_create("k", lambda: "newer") in ("new", "newer")


@pytest.mark.parametrize("by_tag", [False, True])
def test_who_comes_after_an_invalidation_is_not_handed_what_is_not_stored(
    backend: CacheBackend, by_tag: bool
) -> None:
    """A value over a limit is handed on, but only to who came before."""
    region = CacheRegion(backend, max_value_bytes=10, tags="t", wait=LONG)
    begun, end = threading.Event(), threading.Event()

    def make() -> str:
        begun.set()
        assert end.wait(LONG)
        return "much too old to be stored"

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(region.get_or_create, "k", make)
        assert begun.wait(LONG)
        (flight,) = region._lock._flights.values()
        if by_tag:
            region.invalidate_tags("t")
        else:
            region.invalidate("k")
        later = pool.submit(
            region.get_or_create, "k", lambda: "new, and too long as well"
        )
        while by_tag and not flight.over._cond._waiters:  # type: ignore[attr-defined]  # CPython's
            assert not later.done()
        end.set()
        assert later.result(LONG) == "new, and too long as well"
        assert first.result(LONG) == "much too old to be stored"


def test_who_joined_an_overtaken_creation_gets_one_new_one(
    backend: CacheBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one for each of them, and not the one that was overtaken."""
    region = CacheRegion(backend)
    begun, end = threading.Event(), threading.Event()
    made = itertools.count(1)

    def make() -> str:
        number = next(made)
        if number == 1:
            begun.set()
            assert end.wait(LONG)
        return f"value {number}"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(region.get_or_create, "k", make)
        assert begun.wait(LONG)
        (flight,) = region._lock._flights.values()
        others = [
            pool.submit(region.get_or_create, "k", make) for _ in range(7)
        ]
        while len(flight.over._cond._waiters) < 7:  # type: ignore[attr-defined]  # CPython's
            assert not any(other.done() for other in others)
        # As another process would, which knows no flights here.
        with monkeypatch.context() as patch:
            patch.setattr(region, "_lock", DogpileLock())
            region.invalidate("k")
        end.set()
        assert first.result(LONG) == "value 1"
        assert {other.result(LONG) for other in others} == {"value 2"}
    assert region.get("k") == "value 2"
    assert region.stats().creations == 2


@pytest.mark.parametrize("power", [True, False])
def test_what_a_hit_asks_of_the_store(
    clock: ManualClock, make: Numbers, power: bool
) -> None:
    """One read; without claims, the version of its key as well."""
    backend = Coded(clock) if power else Plain(clock)
    region = CacheRegion(backend)
    region.get_or_create("k", make)
    asked: list[str] = []
    get = backend.memory.get
    backend.memory.get = lambda key: asked.append(key) or get(key)  # type: ignore[method-assign,func-returns-value]  # counted
    assert region.get_or_create("k", make) == "value 1"
    assert len(asked) == (1 if power else 2)


def test_an_entry_under_an_invalid_tag_is_not_served_stale(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(
        backend, clock=clock, ttl=1, grace=100, stale_if_error=100, tags="t"
    )
    region.get_or_create("k", make)
    clock.advance(2)
    region.invalidate_tags("t")
    make.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        region.get_or_create("k", make)


# -- sharing -----------------------------------------------------------------


def test_secrets_rotate(clock: ManualClock, make: Numbers) -> None:
    backend = Coded(clock)
    old = CacheRegion(backend, secret="old")
    both = CacheRegion(backend, secret=["new", "old"])
    new = CacheRegion(backend, secret="new")
    old.get_or_create("k", make)
    assert both.get_or_create("k", make) == "value 1"
    assert new.get_or_create("k", make) == "value 2"
    assert both.get_or_create("k", make) == "value 2"
    assert old.get("k") is None
    assert CacheRegion(backend).get("k") is None


def test_compression_of_what_is_stored(clock: ManualClock) -> None:
    backend = Coded(clock)
    text = "x" * 10_000

    def written(**given: Any) -> int:
        region = CacheRegion(backend, **given)
        region.set("k", text)
        assert region.get("k") == text
        stats = region.stats()
        assert stats.bytes_read == stats.bytes_written
        return stats.bytes_written

    assert written() < 1000
    assert written(compress="none") > 10_000
    assert written(compress=10_001) > 10_000
    assert written(compress="1k") < 1000


def test_regions_with_one_url_share_a_backend() -> None:
    one, other = CacheRegion("memory://"), CacheRegion("memory://")
    assert one.backend is other.backend
    assert one.backend is not CacheRegion("memory://?max_entries=3").backend
    one.set("k", "v")
    assert other.get("k") == "v"


@pytest.mark.parametrize(
    ("url", "given", "match"),
    [
        ("memory://", {"timout": 1}, "^region 'r': unknown option 'timout'"),
        ("memory://", {"url": "x"}, None),
        ("memory://", {"impl": "x"}, "^region 'r': unknown option 'impl'"),
        ("memory://", {"grace": "x"}, "^region 'r': option 'grace'"),
        ("memory://?x=1", {}, "^region 'r': unknown option 'x'"),
        ("memory", {}, "^region 'r': option 'url': 'memory' is not a URL"),
        ("memry://", {}, "^region 'r': unknown backend 'memry'"),
    ],
)
def test_wrong_options(url: str, given: Any, match: str | None) -> None:
    with pytest.raises(OptionError if match else TypeError, match=match):
        CacheRegion(url, name="r", **given)


def test_wrong_options_of_a_call(make: Numbers) -> None:
    region = CacheRegion("memory://", name="r")
    for given in ({"timout": 1}, {"timeout": "x"}, {"secret": "s"}):
        with pytest.raises(OptionError, match=r"^region 'r': "):
            region.get_or_create("k", make, **given)
        with pytest.raises(OptionError, match=r"^region 'r': "):
            region.set("k", "v", **given)
    assert make.count == 0


# -- the herd ----------------------------------------------------------------


def herd(
    calls: Sequence[Callable[[], object]], *, release: Callable[[], object]
) -> list[object]:
    """Make all *calls* at once; *release* lets the creator go on."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        start = threading.Barrier(len(calls) + 1)

        def run(call: Callable[[], object]) -> object:
            start.wait(LONG)
            return call()

        futures = [pool.submit(run, call) for call in calls]
        start.wait(LONG)
        release()
        return [future.result(LONG) for future in futures]


def test_of_32_threads_one_creates_and_each_is_counted_once(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(backend, clock=clock, timeout=10)
    begun = threading.Event()

    def create() -> str:
        begun.wait(LONG)
        return make()

    def call() -> object:
        return region.get_or_create("k", create)

    assert {*herd([call] * 32, release=begun.set)} == {"value 1"}
    hits, misses, stale, creations = counts(region)
    assert (hits + misses, stale, creations) == (32, 0, 1)

    clock.advance(10)
    begun.clear()
    found = herd([call] * 32, release=begun.set)
    assert {*found} <= {"value 1", "value 2"}
    assert "value 2" in found
    hits, misses, stale, creations = counts(region)
    assert (hits + misses + stale, creations) == (64, 2)
    assert stale == found.count("value 1")


def test_two_regions_over_one_backend_elect_together(
    backend: CacheBackend, make: Numbers
) -> None:
    regions = [CacheRegion(backend, name="r") for _ in range(2)]
    go = threading.Event()

    def create() -> str:
        go.wait(LONG)
        return make()

    calls = [
        lambda r=region: r.get_or_create("k", create) for region in regions * 8
    ]
    assert {*herd(calls, release=go.set)} == {"value 1"}


def test_a_stale_value_is_served_while_another_creates(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(backend, clock=clock, timeout=10, grace=5)
    region.get_or_create("k", make)
    clock.advance(14.9)
    nested: list[object] = []

    def other() -> None:
        nested.append(region.get_or_create("k", make, wait=0))

    def create() -> str:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(LONG)
        return make()

    assert region.get_or_create("k", create) == "value 2"
    assert nested == ["value 1"]
    assert counts(region) == (0, 2, 1, 2)
    # Dead: there is nothing to serve.
    clock.advance(15)
    assert region.get_or_create("k", create) == "value 4"
    assert nested == ["value 1", "value 3"]


def test_a_fresh_value_served_during_an_early_regeneration_is_a_hit(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(
        backend, clock=clock, timeout=100, early=1, chance=lambda: 0.999
    )
    make.takes = 50.0
    region.get_or_create("k", make)
    clock.advance(90)
    found: list[object] = []

    def create() -> str:
        thread = threading.Thread(
            target=lambda: found.append(region.get_or_create("k", make))
        )
        thread.start()
        thread.join(LONG)
        return "new"

    assert region.get_or_create("k", create) == "new"
    assert found == ["value 1"]
    assert counts(region) == (1, 2, 0, 2)


def test_a_creator_may_ask_for_its_own_key(
    backend: CacheBackend, make: Numbers
) -> None:
    region = CacheRegion(backend)

    def create() -> str:
        return f"<{region.get_or_create('k', make)}>"

    assert region.get_or_create("k", create) == "<value 1>"
    assert region.get("k") == "<value 1>"


def test_a_child_does_not_wait_for_its_parents_creation() -> None:
    region = CacheRegion("memory://")
    statuses: list[int] = []

    def create() -> str:
        def fork() -> None:
            child = os.fork()
            if child == 0:
                found = region.get_or_create("k", lambda: "child's")
                os._exit(0 if found == "child's" else 1)
            status = os.waitpid(child, 0)[1]
            statuses.append(os.waitstatus_to_exitcode(status))

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join(LONG)
        return "parent's"

    assert region.get_or_create("k", create, wait="none") == "parent's"
    assert statuses == [0]


def test_another_process_waits_for_this_ones_creation(
    tmp_path: Path, make: Numbers
) -> None:
    url = f"file://{tmp_path}/cache"
    code = (
        "import sys; from mako_cacheplug import CacheRegion\n"
        f"region = CacheRegion({url!r})\n"
        "print(region.get('before'), flush=True)\n"
        "print(region.get_or_create('k', lambda: 'mine', wait=30))"
    )
    region = CacheRegion(url)
    region.set("before", "shared")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None

        def create() -> str:
            assert other.stdout is not None
            assert other.stdout.readline() == "shared\n"
            # Time to find out that it is not the creator.
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(0.2)
            return make()

        assert region.get_or_create("k", create) == "value 1"
        assert other.stdout.read() == "value 1\n"
    assert other.returncode == 0


# -- events ------------------------------------------------------------------


def test_events_tell_what_happened(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(backend, name="r", clock=clock, ttl=10)
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    make.takes = 2.5
    region.get_or_create("k", make)
    region.get_or_create("k", make)
    region.get("k")
    region.get("missing")
    region.invalidate("k")
    region.invalidate_tags("t")
    kinds = [event.kind.value for event in events]
    assert kinds == [
        "create",
        "miss",
        "hit",
        "hit",
        "miss",
        "invalidate",
        "invalidate",
    ]
    assert events[0].seconds == 2.5
    assert {event.region for event in events} == {"r"}
    assert len({event.key for event in events[:4]}) == 1
    region.remove_hook(events.append)
    region.get("k")
    assert len(events) == 7


def test_a_raising_hook_breaks_nothing(
    backend: CacheBackend, clock: ManualClock, make: Numbers
) -> None:
    region = CacheRegion(backend, clock=clock, ttl=10, tags="t")
    calls = itertools.count()

    def broken(event: CacheEvent) -> None:
        next(calls)
        raise ZeroDivisionError

    region.add_hook(broken)
    assert region.get_or_create("k", make) == "value 1"
    assert region.get_or_create("k", make) == "value 1"
    clock.advance(10)
    assert region.get_or_create("k", make) == "value 2"
    region.set("k", "v")
    assert region.get("k") == "v"
    region.invalidate("k")
    region.invalidate_tags("t")
    assert next(calls) > 6


def test_a_region_shows_its_name_and_store() -> None:
    shown = repr(CacheRegion("memory://", name="short"))
    assert shown == "<CacheRegion 'short' on MemoryBackend>"


def test_a_tag_that_comes_later_counts(
    backend: CacheBackend, make: Numbers
) -> None:
    region = CacheRegion(backend)
    assert region.get_or_create("k", make) == "value 1"
    assert region.get_or_create("k", make, tags="news") == "value 2"
    assert region.get_or_create("k", make, tags="news") == "value 2"
    region.invalidate_tags("news")
    assert region.get_or_create("k", make, tags="news") == "value 3"


def test_creations_under_one_new_tag_do_not_undo_each_other(
    backend: CacheBackend,
) -> None:
    region = CacheRegion(backend, tags="news")

    def create_at_once(names: list[str]) -> None:
        start = threading.Barrier(len(names))

        def call(name: str) -> None:
            start.wait(LONG)
            region.get_or_create(name, lambda: "made")

        team = [threading.Thread(target=call, args=(n,)) for n in names]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join(LONG)

    for trial in range(20):
        region.invalidate_tags("news")
        names = [f"{trial} {number}" for number in range(8)]
        create_at_once(names)
        assert [region.get(name) for name in names] == ["made"] * 8


def test_what_is_never_of_use_is_not_stored(
    backend: CacheBackend, make: Numbers
) -> None:
    region = CacheRegion(backend, timeout=0, grace=0)
    assert region.get_or_create("k", make) == "value 1"
    assert region.get_or_create("k", make) == "value 2"
    assert region.stats().bytes_written == 0


def test_a_store_that_is_none_is_told() -> None:
    with pytest.raises(OptionError, match="neither a URL"):
        CacheRegion(None)  # type: ignore[arg-type]  # the mistake


def test_a_store_without_a_hash_is_told() -> None:
    class Equal(Plain):
        def __eq__(self, other: object) -> bool:
            return True

    with pytest.raises(OptionError, match=r"Equal has no hash.*eq=False"):
        CacheRegion(Equal(ManualClock()))
