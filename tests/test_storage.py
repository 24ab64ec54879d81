"""A backend seen through keys and codec, and whatever it does wrong."""

from __future__ import annotations

import functools
import logging
import math
import re
import sys
import tracemalloc
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import pytest

from mako_cacheplug import breaker
from mako_cacheplug import keys
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import CacheEvent
from mako_cacheplug.events import EventKind
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.storage import EntryStorage
from mako_cacheplug.storage import EntryTable
from mako_cacheplug.storage import UNCLAIMED
from mako_cacheplug.storages import open_storage
from mako_cacheplug.testing.running import in_threads

ENTRY = CacheEntry("välue", 1.0, 2.0, 0.5, (("label", "version"),))


class Shelf(CacheBackend):
    """A store of bytes that does what it is told, also wrong things."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        self.ttls: dict[str, float | None] = {}
        self.asked: list[str] = []
        self.error: Exception | None = None

    @classmethod
    def from_url(cls, url: StoreURL) -> Shelf:
        return cls()

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def get(self, key: str) -> bytes | NoValue:
        self._ask("get")
        found: bytes | NoValue = self.held.get(key, NO_VALUE)
        return found

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self._ask("set")
        self.held[key] = payload
        self.ttls[key] = ttl

    def delete(self, key: str) -> None:
        self._ask("delete")
        self.held.pop(key, None)

    def close(self) -> None:
        pass


class BulkShelf(Shelf):
    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        self._ask("get_many")
        return {k: self.held[k] for k in keys if k in self.held}

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        self._ask("set_many")
        self.held.update(payloads)

    def delete_many(self, keys: Iterable[str]) -> None:
        self._ask("delete_many")


class MutexShelf(Shelf):
    made: Any = None

    def mutex(self, key: str, lease: float) -> Any:
        self._ask("mutex")
        return self.made


class Seen:
    """A storage over a backend, its counters and its events."""

    def __init__(
        self, backend: CacheBackend, codec: EntryCodec | None = None
    ) -> None:
        self.counters = RegionCounters("r")
        self.events: list[CacheEvent] = []
        self.counters.add_hook(self.events.append)
        self.storage: EntryStorage = open_storage(
            backend, codec or EntryCodec(), self.counters
        )

    def write(
        self,
        key: str,
        entry: CacheEntry = ENTRY,
        *,
        keep: float = 60.0,
        compress: int | None = None,
        limit: int | None = None,
    ) -> None:
        self.storage.write(key, entry, keep, compress, limit)


@pytest.mark.parametrize("make", [Shelf, BulkShelf, MemoryBackend])
def test_entries_by_logical_key(make: Callable[[], CacheBackend]) -> None:
    seen = Seen(make())
    storage = seen.storage
    odd = "any \ud800 key\r\n" + "x" * 1000
    for key in ("k", odd):
        assert storage.read(key) is NO_VALUE
        seen.write(key)
        assert storage.read(key) == ENTRY
    assert storage.read_many(["k", "missing", odd]) == {"k": ENTRY, odd: ENTRY}
    assert storage.read_many([]) == {}
    storage.delete("k")
    storage.delete("k")
    assert storage.read_many(["k", odd]) == {odd: ENTRY}
    assert seen.events == []
    assert seen.counters.snapshot().errors == 0


def test_a_store_of_bytes_gets_plain_keys_and_lifetimes() -> None:
    shelf = Shelf()
    seen = Seen(shelf)
    seen.write("a b", keep=60.0)
    seen.write("c", keep=math.inf)
    assert shelf.ttls == {
        keys.storage_key("a b"): 60.0,
        keys.storage_key("c"): None,
    }


def test_bytes_are_counted() -> None:
    shelf = Shelf()
    seen = Seen(shelf)
    seen.write("k")
    seen.storage.read("k")
    seen.storage.read("missing")
    (payload,) = shelf.held.values()
    stats = seen.counters.snapshot()
    assert stats.bytes_written == stats.bytes_read == len(payload)


def test_more_keys_than_are_remembered() -> None:
    seen = Seen(Shelf())
    for i in range(5000):
        seen.storage.read(f"k{i}")
    seen.write("k0")
    assert seen.storage.read("k0") == ENTRY


def test_many_keys_are_one_trip_where_that_can_be() -> None:
    single, bulk = Shelf(), BulkShelf()
    for shelf in (single, bulk):
        Seen(shelf).storage.read_many(["a", "b"])
    assert single.asked == ["get", "get"]
    assert bulk.asked == ["get_many"]


@pytest.mark.parametrize(
    "thing", [b"", b"rubbish", b"mcp\x01", None, "text", 5, [], object()]
)
@pytest.mark.parametrize("make", [Shelf, BulkShelf])
def test_what_is_no_entry_is_a_miss_and_an_event(
    make: type[Shelf], thing: object, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = make()
    seen = Seen(shelf)
    shelf.held[keys.storage_key("k")] = thing
    with caplog.at_level(logging.WARNING, "mako_cacheplug"):
        assert seen.storage.read("k") is NO_VALUE
        assert seen.storage.read_many(["k"]) == {}
    assert [e.kind for e in seen.events] == [EventKind.UNREADABLE] * 2
    assert seen.events[0].key == "k"
    assert seen.counters.snapshot().errors == 2
    assert "unreadable entry ignored" in caplog.text


def test_an_entry_moved_to_another_key_is_a_miss() -> None:
    shelf = Shelf()
    seen = Seen(shelf)
    seen.write("mine")
    shelf.held[keys.storage_key("yours")] = shelf.held[
        keys.storage_key("mine")
    ]
    assert seen.storage.read("yours") is NO_VALUE


@pytest.mark.parametrize(
    "answer", [{b"other": b"x"}, {"other": b"x"}, None, [1], {}]
)
def test_a_bulk_answer_of_another_kind(answer: object) -> None:
    shelf = BulkShelf()
    shelf.get_many = lambda keys: answer  # type: ignore[method-assign,assignment,return-value]  # a broken store
    storage = Seen(shelf).storage
    try:
        assert storage.read_many(["k"]) == {}
    except BackendError:
        assert not isinstance(answer, dict)


# -- failures ----------------------------------------------------------------

ERRORS = [
    BackendError("away"),
    OSError("client's own"),
    ValueError("x"),
    TypeError("x"),
]


class EntryShelf(Shelf):
    def get_entry(self, key: str) -> CacheEntry | NoValue:
        self._ask("get_entry")
        found: CacheEntry | NoValue = self.held.get(key, NO_VALUE)
        return found

    def set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None
    ) -> None:
        self._ask("set_entry")
        self.held[key] = entry


class ClaimShelf(Shelf):
    """Knows one claim, and whether it holds."""

    holds = True

    def claim(self, key: str) -> object:
        self._ask("claim")
        return f"claim on {key}"

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        self._ask("check_and_set")
        if self.holds and claim == f"claim on {key}":
            self.held[key] = payload
            self.ttls[key] = ttl
            return True
        return False


class ClaimEntryShelf(EntryShelf):
    """The same for entries, by their logical keys."""

    claim = ClaimShelf.claim
    holds = True

    def check_and_set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None, claim: object
    ) -> bool:
        self._ask("check_and_set_entry")
        if self.holds and claim == f"claim on {key}":
            self.held[key] = entry
            self.ttls[key] = ttl
            return True
        return False


@pytest.mark.parametrize("make", [ClaimShelf, ClaimEntryShelf])
def test_an_entry_is_stored_while_its_claim_holds(
    make: type[ClaimShelf],
) -> None:
    shelf = make()
    seen = Seen(shelf)
    storage = seen.storage
    assert storage.can_claim
    claim = storage.claim("a b")
    assert storage.write("a b", ENTRY, 60.0, None, None, claim) is True
    assert storage.read("a b") == ENTRY
    assert list(shelf.ttls.values()) == [60.0]
    written = seen.counters.snapshot().bytes_written
    shelf.holds = False
    other = CacheEntry("other", 1.0)
    assert storage.write("a b", other, math.inf, None, None, claim) is False
    assert storage.read("a b") == ENTRY
    assert seen.counters.snapshot().bytes_written == written
    # Without a claim, whatever happened.
    assert storage.write("a b", other, math.inf, None, None) is True
    assert storage.read("a b") == other


@pytest.mark.parametrize("make", [Shelf, EntryShelf])
def test_a_store_without_claims_stores_whatever_happened(
    make: type[Shelf],
) -> None:
    storage = Seen(make()).storage
    assert not storage.can_claim
    assert storage.claim("k") is UNCLAIMED
    storage.delete("k")
    assert storage.write("k", ENTRY, 60.0, None, None, UNCLAIMED) is True
    assert storage.read("k") == ENTRY


def test_a_size_that_the_store_refuses_under_a_claim() -> None:
    shelf = ClaimShelf()
    storage = Seen(shelf).storage
    storage.write("k", ENTRY, 60.0, None, None)

    def refuse(*given: Any) -> bool:
        raise ValueTooLargeError("too large", size=1, limit=None)

    shelf.check_and_set = refuse  # type: ignore[method-assign]  # a server's -I
    storage = Seen(shelf).storage
    with pytest.raises(ValueTooLargeError):
        storage.write("k", ENTRY, 60.0, None, None, storage.claim("k"))
    assert shelf.held == {}


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("make", [ClaimShelf, ClaimEntryShelf])
def test_every_error_of_a_claim_is_a_backend_error(
    make: type[ClaimShelf], error: Exception
) -> None:
    shelf = make()
    seen = Seen(shelf)
    claim = seen.storage.claim("k")
    shelf.error = error
    for action in (
        lambda: seen.storage.claim("k"),
        lambda: seen.storage.write("k", ENTRY, 60.0, None, None, claim),
    ):
        with pytest.raises(BackendError, match=re.escape(str(error))):
            action()
    assert seen.counters.snapshot().errors == 2


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("make", [Shelf, BulkShelf, EntryShelf])
def test_every_error_of_a_backend_is_a_backend_error(
    make: type[Shelf], error: Exception
) -> None:
    shelf = make()
    seen = Seen(shelf)
    shelf.error = error
    actions: list[Callable[[], object]] = [
        lambda: seen.storage.read("k"),
        lambda: seen.storage.read_many(["k"]),
        lambda: seen.write("k"),
        lambda: seen.storage.delete("k"),
    ]
    for action in actions:
        with pytest.raises(BackendError) as caught:
            action()
        assert error in (caught.value, caught.value.__cause__)
        assert str(error) in str(caught.value)
    assert seen.counters.snapshot().errors == len(actions)


@pytest.mark.parametrize("make", [Shelf, EntryShelf])
def test_a_failing_store_is_said_once_until_it_answers(
    make: type[Shelf],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "LONGEST_REST_SECONDS", 0.0)
    shelf = make()
    seen = Seen(shelf)

    def said(level: int) -> int:
        return sum(record.levelno == level for record in caplog.records)

    with caplog.at_level(logging.INFO, "mako_cacheplug"):
        for outage in (1, 2):
            shelf.error = BackendError("away")
            for _ in range(3):
                with pytest.raises(BackendError):
                    seen.storage.read("k")
            assert said(logging.WARNING) == outage
            shelf.error = None
            if outage == 1:
                seen.write("k")
            assert seen.storage.read("k") == ENTRY
            assert said(logging.INFO) == outage


def test_keyboard_interrupts_pass() -> None:
    shelf = Shelf()
    shelf.error = KeyboardInterrupt()  # type: ignore[assignment]  # on purpose
    with pytest.raises(KeyboardInterrupt):
        Seen(shelf).storage.read("k")


# -- limits ------------------------------------------------------------------


@pytest.mark.parametrize("make", [Shelf, MemoryBackend])
def test_over_the_limit_is_refused_and_the_old_value_gone(
    make: Callable[[], CacheBackend],
) -> None:
    seen = Seen(make())
    seen.write("k", limit=1000)
    with pytest.raises(ValueTooLargeError) as caught:
        seen.write("k", CacheEntry("x" * 2000, 1.0), limit=1000)
    assert caught.value.limit == 1000
    assert caught.value.size >= 2000
    assert seen.storage.read("k") is NO_VALUE


def test_the_smaller_limit_counts() -> None:
    shelf = Shelf()
    seen = Seen(shelf)
    big = CacheEntry("x" * 2000, 1.0)
    shelf.max_value_bytes = 500
    for limit in (None, 10_000):
        with pytest.raises(ValueTooLargeError) as caught:
            seen.write("k", big, limit=limit)
        assert caught.value.limit == 500
    seen.write("k", big, compress=100)  # small enough when compressed
    shelf.max_value_bytes = 10_000
    with pytest.raises(ValueTooLargeError):
        seen.write("k", big, limit=1000)


def test_a_size_that_the_store_itself_refuses() -> None:
    shelf = Shelf()
    seen = Seen(shelf)
    seen.write("k")

    def refuse(key: str, payload: bytes, ttl: float | None) -> None:
        raise ValueTooLargeError("too large", size=len(payload), limit=None)

    shelf.set = refuse  # type: ignore[method-assign]  # a server's -I
    with pytest.raises(ValueTooLargeError):
        seen.write("k")
    assert shelf.held == {}
    assert seen.counters.snapshot().errors == 0


# -- the mutex ---------------------------------------------------------------


class _Mutex:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[str] = []

    def _do(self, name: str) -> Any:
        self.calls.append(name)
        if self.error is not None:
            raise self.error
        return "token" if name == "holder" else False

    def acquire(self) -> bool:
        return bool(self._do("acquire"))

    def release(self) -> bool:
        return bool(self._do("release"))

    def holder(self) -> str | None:
        token: str | None = self._do("holder")
        return token


def test_a_store_without_a_mutex_has_none() -> None:
    assert Seen(Shelf()).storage.mutex("k", 30.0) is None
    assert Seen(MemoryBackend()).storage.mutex("k", 30.0) is None


def test_a_mutex_is_passed_on() -> None:
    shelf = MutexShelf()
    shelf.made = _Mutex()
    mutex = Seen(shelf).storage.mutex("k", 30.0)
    assert mutex is not None
    assert mutex.acquire() is False
    assert mutex.release() is False
    assert mutex.holder() == "token"
    assert shelf.made.calls == ["acquire", "release", "holder"]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_mutex_that_cannot_be_asked_gives_way(error: Exception) -> None:
    shelf = MutexShelf()
    shelf.made = _Mutex(error)
    seen = Seen(shelf)
    mutex = seen.storage.mutex("k", 30.0)
    assert mutex is not None
    assert mutex.acquire() is True
    assert mutex.release() is False
    assert mutex.holder() is None
    assert seen.counters.snapshot().errors == 3


def test_something_else_than_a_mutex_gives_way() -> None:
    mutex = Seen(MutexShelf()).storage.mutex("k", 30.0)
    assert mutex is not None
    assert mutex.acquire() is True
    assert mutex.release() is False
    assert mutex.holder() is None


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_mutex_that_cannot_be_made_is_none(error: Exception) -> None:
    shelf = MutexShelf()
    shelf.error = error
    assert Seen(shelf).storage.mutex("k", 30.0) is None


@pytest.mark.parametrize("answer", [None, "text", ("text", 1.0), CacheEntry])
def test_a_table_that_has_no_entry_for_one_fails(answer: object) -> None:
    """As with a dict's ``get()``, and is left alone after a few times."""

    class Rubbish(MemoryBackend):
        def get_entry(self, key: str) -> Any:
            return answer

    storage = EntryTable(Rubbish(), RegionCounters("r"))
    for _ in range(2):
        with pytest.raises(BackendError, match="no entry, but"):
            storage.read("k")
    while not storage.is_away:
        with pytest.raises(BackendError):
            storage.read_many(["k"])


def test_of_many_threads_one_adds() -> None:
    """In this process, where no store elects."""
    storage = EntryTable(MemoryBackend(), RegionCounters("r"))

    def add_all(name: str) -> list[bool]:
        entry = CacheEntry(name, 0.0)
        return [storage.add(str(key), entry) for key in range(2000)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        added = in_threads([functools.partial(add_all, n) for n in "abcd"])
    finally:
        sys.setswitchinterval(interval)
    assert {sum(one) for one in zip(*added, strict=True)} == {1}
    for key, one in enumerate(zip(*added, strict=True)):
        found = storage.read(str(key))
        assert found is not NO_VALUE
        assert found.value == "abcd"[one.index(True)]


def test_a_flood_of_unreadable_entries_is_no_flood_of_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf()
    seen = Seen(shelf)
    for number in range(200):
        shelf.held[keys.storage_key(f"k{number}")] = b"junk"
        assert seen.storage.read(f"k{number}") is NO_VALUE
    assert len(seen.events) == 200
    assert len(caplog.records) == 1


def test_what_is_kept_as_it_was_decoded_is_counted_with_its_labels() -> None:
    """A planted entry's labels take far more than its payload."""
    shelf = Shelf()
    seen = Seen(shelf)
    labels = tuple((f"{number}", "v") for number in range(4096))
    tracemalloc.start()
    try:
        for number in range(50):
            entry = CacheEntry("v", 1.0, labels=labels)
            assert seen.storage.write(f"k{number}", entry, 9.0, None, None)
            assert seen.storage.read(f"k{number}") == entry
            shelf.held.clear()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 20 * 2**20
