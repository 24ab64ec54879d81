"""A region whose store is away, wrong or full: the page renders."""

from __future__ import annotations

import copy
import functools
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mako_cacheplug import BackendError
from mako_cacheplug import breaker
from mako_cacheplug import CacheBackend
from mako_cacheplug import CacheEvent
from mako_cacheplug import CacheRegion
from mako_cacheplug import CodecError
from mako_cacheplug import EventKind
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.region import Fragment
from mako_cacheplug.testing import ManualClock


class Faulty(CacheBackend):
    """A store of bytes that fails where and how it is told."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.memory = MemoryBackend(clock=clock or (lambda: 0.0))
        self.errors: dict[str, Exception] = {}
        self.asked: list[str] = []

    @classmethod
    def from_url(cls, url: StoreURL) -> Faulty:
        return cls()

    def ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.errors:
            raise self.errors[what]

    def get(self, key: str) -> bytes | NoValue:
        self.ask("get")
        return self.memory.get(key)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.ask("set")
        self.memory.set(key, payload, ttl)

    def delete(self, key: str) -> None:
        self.ask("delete")
        self.memory.delete(key)

    def close(self) -> None:
        self.memory.close()

    def mutex(self, key: str, lease: float) -> FaultyMutex:
        self.ask("mutex")
        return FaultyMutex(self)

    def clear(self) -> None:
        self.ask("clear")
        self.memory.clear()


class FaultyMutex:
    """Free, unless its store fails."""

    def __init__(self, backend: Faulty) -> None:
        self.backend = backend

    def acquire(self) -> bool:
        self.backend.ask("acquire")
        return True

    def release(self) -> bool:
        self.backend.ask("release")
        return True

    def holder(self) -> str | None:
        self.backend.ask("holder")
        return None


class FaultyTable(Faulty):
    """The same for a store that keeps entries as they are."""

    def get_entry(self, key: str) -> CacheEntry | NoValue:
        self.ask("get")
        return self.memory.get_entry(key)

    def set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None
    ) -> None:
        self.ask("set")
        self.memory.set_entry(key, entry, ttl)


class Claiming(Faulty):
    """The same for a store that knows what was overtaken."""

    def claim(self, key: str) -> object:
        self.ask("claim")
        return self.memory.claim(key)

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        self.ask("set")
        return self.memory.check_and_set(key, payload, ttl, claim)


class ClaimingTable(FaultyTable):
    """The same for entries as they are."""

    def claim(self, key: str) -> object:
        self.ask("claim")
        return self.memory.claim(key)

    def check_and_set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None, claim: object
    ) -> bool:
        self.ask("set")
        return self.memory.check_and_set_entry(key, entry, ttl, claim)


OPERATIONS = [
    "claim",
    "get",
    "set",
    "delete",
    "mutex",
    "acquire",
    "release",
    "clear",
]


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call ask the store; its rest has tests of its own."""
    monkeypatch.setattr(breaker, "LONGEST_REST_SECONDS", 0.0)


@pytest.fixture(params=[Faulty, FaultyTable, Claiming, ClaimingTable])
def backend(request: pytest.FixtureRequest, clock: ManualClock) -> Faulty:
    made: Faulty = request.param(clock)
    return made


def counter(prefix: str = "value") -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"{prefix} {next(numbers)}"


def kinds(events: list[CacheEvent]) -> set[EventKind]:
    return {event.kind for event in events}


@pytest.mark.parametrize(
    "error", [BackendError("away"), OSError("x"), KeyError("x")], ids=repr
)
@pytest.mark.parametrize("tags", ["", "news"])
@pytest.mark.parametrize(
    "broken", [*([one] for one in OPERATIONS), OPERATIONS], ids="+".join
)
def test_whatever_fails_the_value_is_there(
    backend: Faulty,
    clock: ManualClock,
    broken: list[str],
    tags: str,
    error: Exception,
) -> None:
    region = CacheRegion(backend, clock=clock, ttl=10, grace=5, tags=tags)
    make = counter()
    region.get_or_create("before", make)
    backend.errors = dict.fromkeys(broken, error)
    for _ in range(2):
        assert str(region.get_or_create("k", make)).startswith("value")
    clock.advance(12)
    assert str(region.get_or_create("before", make)).startswith("value")
    region.set("set", "v")
    assert region.get("set", "v") == "v"
    stats = region.stats()
    assert stats.hits + stats.misses + stats.stale == 5
    assert region._lock._flights == {}
    backend.errors = {}
    region.set("k", "back")
    assert region.get("k") == "back"


@pytest.mark.parametrize("error", [BackendError("away"), OSError("x")])
def test_what_cannot_be_invalidated_raises(
    backend: Faulty, error: Exception
) -> None:
    region = CacheRegion(backend)
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    backend.errors = {"delete": error, "clear": error}
    actions: list[Callable[[], None]] = [
        lambda: region.invalidate("k"),
        lambda: region.invalidate_tags("t"),
        region.clear,
    ]
    for act in actions:
        with pytest.raises(BackendError) as caught:
            act()
        assert error in (caught.value, caught.value.__cause__)
    assert events == []
    assert region.stats().errors == 3


def test_a_store_that_cannot_be_emptied_says_so() -> None:
    class NoClear(Faulty):
        clear = None  # type: ignore[assignment]  # it has none

    with pytest.raises(BackendError, match="NoClear has no clear"):
        CacheRegion(NoClear()).clear()


def test_a_store_that_is_away_is_asked_once_in_a_call() -> None:
    backend = Faulty()
    region = CacheRegion(backend, tags="t")
    backend.errors = dict.fromkeys(OPERATIONS, BackendError("timed out"))
    region.get_or_create("k", lambda: "v")
    assert backend.asked == ["get"]


def test_a_failing_store_is_an_event(backend: Faulty) -> None:
    region = CacheRegion(backend, name="r")
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    error = BackendError("away")
    backend.errors = {"get": error}
    region.get_or_create("k", lambda: "v")
    assert [event.kind for event in events] == [
        EventKind.STORE_ERROR,
        EventKind.CREATE,
        EventKind.MISS,
    ]
    assert events[0].error is error
    backend.errors = {"set": error}
    region.set("k", "v")
    assert events[-1].kind is EventKind.STORE_ERROR


def test_the_creators_error_is_counted_and_nothing_is_stored(
    backend: Faulty, clock: ManualClock
) -> None:
    region = CacheRegion(backend, clock=clock)
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    for error in (ZeroDivisionError(), KeyboardInterrupt()):

        def fail(error: BaseException = error) -> object:
            raise error

        with pytest.raises(type(error)) as caught:
            region.get_or_create("k", fail)
        assert caught.value is error
    assert region.get("k") is None
    assert region.stats()[:4] == (0, 3, 0, 0)
    assert events[0].kind is EventKind.CREATOR_ERROR
    assert isinstance(events[0].error, ZeroDivisionError)


@pytest.mark.parametrize("thing", [b"", b"junk", b"mcp\x01junk" * 9])
def test_unreadable_bytes_are_a_miss_and_are_replaced(thing: bytes) -> None:
    backend = Claiming()
    region = CacheRegion(backend)
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    make = counter()
    region.get_or_create("k", make)
    (name,) = backend.memory._table
    backend.memory.set(name, thing, None)
    assert region.get("k") is None
    assert region.get_or_create("k", make) == "value 2"
    assert region.get_or_create("k", make) == "value 2"
    assert EventKind.UNREADABLE in kinds(events)
    assert region.stats().errors >= 2


def test_an_unreadable_label_is_an_invalid_one() -> None:
    backend = Faulty()
    region = CacheRegion(backend, tags="t")
    make = counter()
    region.get_or_create("k", make)
    for name in list(backend.memory._table):
        payload = backend.memory.get(name)
        assert payload is not NO_VALUE
        if b"value 1" not in payload:
            backend.memory.set(name, b"junk", None)
    assert region.get_or_create("k", make) == "value 2"
    assert region.get_or_create("k", make) == "value 2"


def test_a_value_over_the_limit_is_not_stored_and_said_once(
    backend: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    region = CacheRegion(backend, name="r", max_value_bytes="1k")
    events: list[CacheEvent] = []
    region.set("k", "small")
    region.add_hook(events.append)
    big = bytes(range(256)) * 8
    with caplog.at_level(logging.WARNING, "mako_cacheplug"):
        region.set("k", big)
        assert region.get("k") is None
        for _ in range(2):
            assert region.get_or_create("k", lambda: big) == big
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("region 'r': not stored:")
    large = [e for e in events if e.kind is EventKind.TOO_LARGE]
    assert len(large) == 3
    assert all(e.size is not None and e.size >= 2048 for e in large)
    assert isinstance(large[0].error, ValueTooLargeError)
    assert region.stats().errors == 0


def test_the_limit_of_a_call(backend: Faulty) -> None:
    region = CacheRegion(backend)
    region.get_or_create("k", lambda: "x" * 100, max_value_bytes=50)
    assert region.get("k") is None
    region.get_or_create("k", lambda: "x" * 100, max_value_bytes="none")
    assert region.get("k") == "x" * 100


def test_the_limit_of_memory_itself(clock: ManualClock) -> None:
    region = CacheRegion("memory://?max_bytes=10k")
    region.set("k", "small")
    assert region.get_or_create("k", lambda: "x") == "small"
    region.set("k", "x" * 20_000)
    assert region.get("k") is None


def test_what_cannot_be_stored_is_an_error_by_its_type(
    backend: Faulty,
) -> None:
    region = CacheRegion(backend)
    things: list[Any] = [object(), {1: 2}, (1,), {1}]
    for thing in things:
        with pytest.raises(CodecError) as caught:
            region.set("k", thing)
        with pytest.raises(CodecError):
            region.get_or_create("k", functools.partial(copy.copy, thing))
        assert caught.value.value_type.__name__ in str(caught.value)
    assert region.get("k") is None
    assert region._lock._flights == {}


def test_or_it_is_returned_and_an_event(
    backend: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    region = CacheRegion(backend)
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    thing = object()
    fragment = Fragment(lambda creation, creator: creator())
    with caplog.at_level(logging.WARNING, "mako_cacheplug"):
        for _ in range(2):
            assert (
                region.fetch(
                    "k", lambda: thing, region.options, fragment=fragment
                )
                is thing
            )
    assert EventKind.NOT_STORABLE in kinds(events)
    assert [r.getMessage().count("object") for r in caplog.records] == [1]


def test_a_follower_in_another_process_is_served_when_the_mutex_is_held(
    clock: ManualClock,
) -> None:
    """Two backends over one memory are two processes over one store."""
    store = MemoryBackend(clock=clock)
    held = threading.Lock()

    class Mutex(FaultyMutex):
        mine = False

        def acquire(self) -> bool:
            self.mine = held.acquire(blocking=False)
            return self.mine

        def release(self) -> bool:
            held.release()
            return True

        def holder(self) -> str | None:
            return "somebody" if held.locked() else None

    class Process(Faulty):
        def mutex(self, key: str, lease: float) -> FaultyMutex:
            return Mutex(self)

    processes = Process(clock), Process(clock)
    for process in processes:
        process.memory = store
    first, second = (CacheRegion(p, clock=clock) for p in processes)
    assert first._lock is not second._lock
    make = counter()
    begun, end = threading.Event(), threading.Event()

    def create() -> str:
        begun.set()
        assert end.wait(30)
        return make()

    found: list[object] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(first.get_or_create("k", create))
        ),
        threading.Thread(
            target=lambda: found.append(second.get_or_create("k", make))
        ),
    ]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    while "get" not in processes[1].asked:
        assert threads[1].is_alive()
    end.set()
    for thread in threads:
        thread.join(30)
    assert found == ["value 1", "value 1"]
    assert second.stats()[:4] == (0, 1, 0, 0)
