"""Labels as versions: gone or changed is invalid, whatever the reason."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

import pytest
from mako_cacheplug_memcached.backend import MemcachedBackend
from markupsafe import Markup
from plain_memory import PlainMemory

from benchmarks.circles import Mutexes
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.backends.null import NullBackend
from mako_cacheplug.budget import Budget
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.codec import JSONText
from mako_cacheplug.coded import CodedStorage
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.labels import LabelVersions
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.options import StoreURL
from mako_cacheplug.storage import EntryStorage
from mako_cacheplug.storages import open_storage
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire


class BulkMemory(PlainMemory):
    """The same, many keys in one trip."""

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        found = {key: self.get(key) for key in keys}
        return {k: p for k, p in found.items() if p is not NO_VALUE}

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        raise NotImplementedError

    def delete_many(self, keys: Iterable[str]) -> None:
        raise NotImplementedError


class AddingMemory(BulkMemory):
    """The same, and it tells who was first."""

    def add(self, key: str, payload: bytes, ttl: float | None) -> bool:
        if self.get(key) is not NO_VALUE:
            return False
        self.set(key, payload, ttl)
        return True


class SharedMemory(PlainMemory):
    """The same with a mutex, which make-believe processes share."""

    def __init__(self) -> None:
        super().__init__()
        self.mutexes = Mutexes()

    def mutex(self, key: str, lease: float) -> CacheMutex:
        return self.mutexes(key)


@pytest.fixture(params=[MemoryBackend, PlainMemory, BulkMemory, AddingMemory])
def storage(request: pytest.FixtureRequest) -> EntryStorage:
    make: Callable[[], CacheBackend] = request.param
    return open_storage(make(), EntryCodec(), RegionCounters("r"))


@pytest.fixture
def labels(storage: EntryStorage, clock: ManualClock) -> LabelVersions:
    return LabelVersions(storage, DogpileLock(), clock)


def put(
    storage: EntryStorage, key: str, versions: tuple[tuple[str, str], ...]
) -> CacheEntry:
    entry = CacheEntry(f"value of {key}", 1.0, labels=versions)
    storage.write(key, entry, 60.0, None, None)
    return entry


def test_versions_are_made_once_and_differ(labels: LabelVersions) -> None:
    first = labels.current(["a", "b", "a"])
    assert [name for name, _ in first] == ["a", "b"]
    assert len({version for _, version in first}) == 2
    assert all(len(version) >= 16 for _, version in first)
    assert labels.current(["b", "a"]) == first[::-1]
    assert labels.current([]) == ()


def test_an_entry_is_valid_while_all_its_labels_are(
    storage: EntryStorage, labels: LabelVersions
) -> None:
    entry = put(storage, "k", labels.current(["a", "b"]))
    free = put(storage, "free", ())
    for expected in ((), ("a",), ("b", "a")):
        assert labels.read_valid("k", expected) == entry
    assert labels.read_valid("k", ("a", "unknown")) is NO_VALUE
    labels.invalidate("unknown")
    assert labels.read_valid("k", ()) == entry
    labels.invalidate("b")
    for expected in ((), ("a",), ("b",), ("a", "b")):
        assert labels.read_valid("k", expected) is NO_VALUE
    assert labels.read_valid("free", ()) == free
    assert labels.read_valid("missing", ("a",)) is NO_VALUE


def test_an_entry_made_under_the_old_version_stays_invalid(
    storage: EntryStorage, labels: LabelVersions
) -> None:
    versions = labels.current(["a"])
    labels.invalidate("a")  # while its creation is under way
    renewed = labels.current(["a"])
    assert renewed != versions
    put(storage, "k", versions)
    assert labels.read_valid("k", ("a",)) is NO_VALUE
    entry = put(storage, "k", renewed)
    assert labels.read_valid("k", ("a",)) == entry


@pytest.mark.parametrize(
    "planted", ["x" * 65, b"bytes", JSONText("[1]"), Markup("b")]
)
def test_what_is_no_version_is_none_and_is_replaced(
    storage: EntryStorage, labels: LabelVersions, planted: str | bytes
) -> None:
    """A long one would be part of all that is made under it."""

    def plant() -> None:
        storage.write("a", CacheEntry(planted, 1.0), math.inf, None, None)

    plant()
    versions = labels.current(["a"])
    assert [len(version) for _, version in versions] == [24]
    entry = put(storage, "k", versions)
    assert labels.read_valid("k", ("a",)) == entry
    plant()
    for version in (versions[0][1], str(planted)):
        put(storage, "k", (("a", version),))
        assert labels.read_valid("k", ("a",)) is NO_VALUE
        assert labels.read_valid("k", ()) is NO_VALUE


def test_invalidating_twice_or_the_unknown_is_nothing(
    labels: LabelVersions,
) -> None:
    labels.invalidate("a")
    labels.current(["a"])
    labels.invalidate("a")
    labels.invalidate("a")


def test_two_that_make_a_version_at_once_end_with_one(
    storage: EntryStorage, labels: LabelVersions
) -> None:
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(30)
        labels.current(["a"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = labels.current(["a"])
    assert labels.current(["a"]) == versions
    put(storage, "k", versions)
    assert labels.read_valid("k", ("a",)) is not NO_VALUE


def test_a_version_is_waited_for_in_any_order(clock: ManualClock) -> None:
    """Who makes one waits for nobody: it is never one of a circle."""
    backend = SharedMemory()
    storage = open_storage(backend, EntryCodec(), RegionCounters("r"))
    theirs, ours = storage.mutex("a", 2.0), storage.mutex("z", 2.0)
    assert theirs is not None
    assert theirs.acquire()

    def sleep(seconds: float) -> None:
        put(storage, "a", ())
        assert theirs.release()

    lock: DogpileLock[CacheEntry] = DogpileLock(sleep=sleep)
    labels = LabelVersions(storage, lock, clock)

    def create() -> CacheEntry:
        return CacheEntry("z", 1.0, labels=labels.current(["a"]))

    entry = lock.get_or_create(
        "z", lambda: NO_VALUE, create, wait=30.0, mutex=ours
    )
    assert entry.labels == (("a", "value of a"),)


def test_a_store_that_keeps_no_versions_makes_misses(
    clock: ManualClock,
) -> None:
    storage = open_storage(NullBackend(), EntryCodec(), RegionCounters("r"))
    labels = LabelVersions(storage, DogpileLock(), clock)
    assert labels.current(["a"]) != labels.current(["a"])
    assert labels.read_valid("k", ("a",)) is NO_VALUE


def test_a_version_that_never_was_matches_nothing(
    storage: EntryStorage, labels: LabelVersions
) -> None:
    put(storage, "k", (("a", ""),))
    assert labels.read_valid("k", ("a",)) is NO_VALUE
    assert labels.read_valid("k", ()) is NO_VALUE


# -- where the store tells who was first -----------------------------------


def on_memcached(
    url: str, clock: ManualClock
) -> tuple[CodedStorage, LabelVersions]:
    """Return labels as another process has them: with a backend of its own."""
    backend = MemcachedBackend.from_url(StoreURL.parse(url))
    storage = CodedStorage(backend, EntryCodec(), RegionCounters("r"))
    return storage, LabelVersions(storage, DogpileLock(), clock)


def test_to_make_a_version_is_one_trip(
    server: MemcachedServer, clock: ManualClock
) -> None:
    with Wire(server) as wire:
        storage, labels = on_memcached(wire.url, clock)
        names = [uuid.uuid4().hex for _ in range(3)]
        seen = dict.fromkeys(names)
        made = labels.current(names, seen)
        assert len(wire.trips()) == 3
        assert labels.current(names, dict(made)) == made
        assert wire.trips() == []
        assert labels.current(names) == made
        assert len(wire.trips()) == 1
        storage.backend.close()


def test_no_more_versions_are_made_than_there_is_time_for(
    labels: LabelVersions,
) -> None:
    names = [str(number) for number in range(9)]
    made = labels.current(names[:4])
    spent = Budget(0.0)
    assert labels.current(names[:4], budget=spent) == made
    with pytest.raises(NotAskedError):
        labels.current(names, budget=spent)
    assert labels.current(names, budget=Budget(1.0))[:4] == made


def test_what_was_seen_and_is_gone_is_never_valid(
    storage: EntryStorage, labels: LabelVersions
) -> None:
    seen = dict(labels.current(["a"]))
    labels.invalidate("a")
    put(storage, "k", labels.current(["a"], seen))
    assert labels.read_valid("k", ("a",)) is NO_VALUE
    labels.current(["a"])
    assert labels.read_valid("k", ("a",)) is NO_VALUE


def test_a_version_that_another_made_meanwhile_is_taken(
    server: MemcachedServer, clock: ManualClock
) -> None:
    with Wire(server) as wire:
        _, one = on_memcached(server.url, clock)
        _, other = on_memcached(wire.url, clock)
        name = uuid.uuid4().hex
        made = one.current([name])
        assert other.current([name], {name: None}) == made
        assert len(wire.trips()) == 2
        assert one.current([name]) == made


def test_processes_that_make_versions_at_once_end_with_one_of_each(
    server: MemcachedServer, clock: ManualClock
) -> None:
    names = [uuid.uuid4().hex for _ in range(30)]
    processes = [on_memcached(server.url, clock)[1] for _ in range(2)]
    start = threading.Barrier(8)
    made: list[tuple[tuple[str, str], ...]] = []

    def make(labels: LabelVersions) -> None:
        start.wait()
        made.append(labels.current(names, dict.fromkeys(names)))

    threads = [
        threading.Thread(target=make, args=(processes[number % 2],))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert {*made} == {processes[0].current(names)}


def test_a_version_that_cannot_be_read_is_made_anew(
    server: MemcachedServer, clock: ManualClock
) -> None:
    storage, labels = on_memcached(server.url, clock)
    name = uuid.uuid4().hex
    storage.backend.set(storage.name(name), b"rubbish", None)
    made = labels.current([name])
    assert labels.current([name]) == made
    entry = put(storage, "k", made)
    assert labels.read_valid("k", (name,)) == entry
