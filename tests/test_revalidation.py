"""Copies of what a store of bytes holds, and when they are served."""

from __future__ import annotations

from typing import Any

import pytest

from mako_cacheplug import keys
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import SupportsRevalidation
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.region import Fragment
from mako_cacheplug.storage import EntryStorage
from mako_cacheplug.storages import open_storage
from mako_cacheplug.testing import ManualClock

ENTRY = CacheEntry("välue", 1.0, 2.0, 0.5, (("label", "version"),))
OTHER = CacheEntry("other", 1.0)


class Shelf(CacheBackend):
    """A store of bytes that vouches for them, or answers as it is told."""

    def __init__(self, max_copied_bytes: int | None = 2**20) -> None:
        self.max_copied_bytes = max_copied_bytes
        self.held: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.vouches = True
        self.error: BaseException | None = None
        self.answer: Any = None

    @classmethod
    def from_url(cls, url: StoreURL) -> Shelf:
        return cls()

    def get(self, key: str) -> bytes | NoValue:
        self.asked.append("get")
        return self.held.get(key, NO_VALUE)

    def get_if_changed(self, key: str, stamp: object) -> Any:
        self.asked.append("get_if_changed")
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer
        payload = self.held.get(key, NO_VALUE)
        if payload is NO_VALUE:
            return NO_VALUE
        if payload is stamp:
            return UNCHANGED
        return payload, payload if self.vouches else None

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.held[key] = payload

    def delete(self, key: str) -> None:
        self.held.pop(key, None)

    def close(self) -> None:
        pass


class ClaimingShelf(Shelf):
    """The same, and every claim holds."""

    def claim(self, key: str) -> object:
        return "claim"

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        self.set(key, payload, ttl)
        return True


def storage_of(
    shelf: Shelf, counters: RegionCounters | None = None, *secrets: bytes
) -> EntryStorage:
    return open_storage(
        shelf, EntryCodec(secrets), counters or RegionCounters("r")
    )


def write(storage: EntryStorage, entry: CacheEntry, key: str = "k") -> None:
    storage.write(key, entry, 60.0, None, None)


def test_what_is_unchanged_is_not_decoded_again() -> None:
    shelf, counters = Shelf(), RegionCounters("r")
    assert isinstance(shelf, SupportsRevalidation)
    storage = storage_of(shelf, counters)
    assert storage.read("k") is NO_VALUE
    write(storage, ENTRY)
    first = storage.read("k")
    assert first == ENTRY
    read = counters.snapshot().bytes_read
    assert storage.read("k") is first
    assert counters.snapshot().bytes_read == read > 0


def test_a_change_is_read() -> None:
    shelf = Shelf()
    storage, elsewhere = storage_of(shelf), storage_of(shelf)
    write(storage, ENTRY)
    assert storage.read("k") == ENTRY
    write(elsewhere, OTHER)
    assert storage.read("k") == OTHER
    elsewhere.delete("k")
    assert storage.read("k") is NO_VALUE
    write(elsewhere, ENTRY)
    assert storage.read("k") == ENTRY


def test_what_the_store_does_not_vouch_for_is_read_again() -> None:
    shelf = Shelf()
    shelf.vouches = False
    storage = storage_of(shelf)
    write(storage, ENTRY)
    first = storage.read("k")
    assert storage.read("k") == ENTRY
    assert storage.read("k") is not first
    shelf.answer = UNCHANGED
    with pytest.raises(BackendError):
        storage.read("k")


def test_no_copies_where_the_bound_is_nothing() -> None:
    shelf = Shelf(max_copied_bytes=0)
    storage = storage_of(shelf)
    write(storage, ENTRY)
    assert storage.read("k") == storage.read("k") == ENTRY
    assert shelf.asked == ["get", "get"]


def test_the_bound_is_the_stores() -> None:
    """Of 100 entries a tenth finds room: those that were read last."""
    storage = storage_of(Shelf(max_copied_bytes=30_000))
    names = [str(number) for number in range(100)]
    for name in names:
        write(storage, CacheEntry("x" * 2000, 1.0), name)
    first = {name: storage.read(name) for name in names}
    kept = [n for n in reversed(names) if storage.read(n) is first[n]]
    assert 4 <= len(kept) <= 10


def test_an_unreadable_entry_is_no_copy() -> None:
    shelf, counters = Shelf(), RegionCounters("r")
    storage = storage_of(shelf, counters)
    write(storage, ENTRY)
    assert storage.read("k") == ENTRY
    shelf.held[keys.storage_key("k")] = b"rubbish"
    assert storage.read("k") is NO_VALUE
    assert storage.read("k") is NO_VALUE
    assert counters.snapshot().errors == 2


def test_a_copy_was_verified_by_the_same_secrets() -> None:
    shelf = Shelf()
    plain, signing = storage_of(shelf), storage_of(shelf, None, b"secret")
    write(plain, ENTRY)
    assert plain.read("k") == ENTRY
    assert signing.read("k") is NO_VALUE
    write(signing, OTHER)
    assert signing.read("k") == OTHER
    assert plain.read("k") is NO_VALUE


@pytest.mark.parametrize(
    "error", [BackendError("away"), OSError("the client's own")], ids=repr
)
def test_a_copy_is_not_served_while_the_store_fails(error: Exception) -> None:
    shelf, counters = Shelf(), RegionCounters("r")
    storage = storage_of(shelf, counters)
    write(storage, ENTRY)
    first = storage.read("k")
    shelf.error = error
    for _ in range(2):
        with pytest.raises(BackendError, match=str(error)):
            storage.read("k")
    assert counters.snapshot().errors == 2
    shelf.error = None
    assert storage.read("k") is first


@pytest.mark.parametrize(
    "answer", [5, b"payload", (), (b"x", None, None), [], "text"]
)
def test_an_answer_of_another_kind_is_a_failure(answer: object) -> None:
    shelf, counters = Shelf(), RegionCounters("r")
    storage = storage_of(shelf, counters)
    shelf.answer = answer
    with pytest.raises(BackendError):
        storage.read("k")
    assert counters.snapshot().errors == 1


@pytest.mark.parametrize("answer", [(5, 5), (None, "stamp"), "ab"])
def test_a_payload_of_another_kind_is_a_miss(answer: object) -> None:
    shelf = Shelf()
    storage = storage_of(shelf)
    shelf.answer = answer
    assert storage.read("k") is NO_VALUE


def test_unchanged_since_nothing_was_read_is_a_failure() -> None:
    shelf = Shelf()
    shelf.answer = UNCHANGED
    with pytest.raises(BackendError):
        storage_of(shelf).read("k")


# -- hits that stand ---------------------------------------------------------


def test_a_hit_stands_while_the_store_says_so(clock: ManualClock) -> None:
    """It is asked at each hit; and served is what it says."""
    shelf = Shelf()
    region = CacheRegion(shelf, clock=clock)
    elsewhere = CacheRegion(shelf, clock=clock)
    made = iter("abcdef")

    def get() -> object:
        return region.get_or_create("k", lambda: next(made))

    # Made, read and found again: it stands.
    assert [get(), get(), get()] == ["a", "a", "a"]
    del shelf.asked[:]
    assert get() == "a"
    # The entry and its label.
    assert shelf.asked == ["get_if_changed"] * 2
    elsewhere.set("k", "set")
    assert get() == "set"
    elsewhere.invalidate("k")
    assert get() == "b"
    assert region.stats().hits == 4


def test_a_hit_does_not_stand_without_its_store(clock: ManualClock) -> None:
    shelf = Shelf()
    region = CacheRegion(shelf, clock=clock)
    made = iter("abcdef")

    def get() -> object:
        return region.get_or_create("k", lambda: next(made))

    assert [get(), get(), get()] == ["a", "a", "a"]
    shelf.error = BackendError("away")
    assert get() == "b"
    assert region.stats().errors > 0
    shelf.error = None


def test_a_label_is_trusted_no_longer_because_a_hit_stands(
    clock: ManualClock,
) -> None:
    """A second from when it was found current, not from the last hit."""
    shelf = ClaimingShelf()
    region = CacheRegion(shelf, clock=clock)
    made = iter("abcdef")
    fragment = Fragment(lambda creation, creator: creator(), is_removed=True)

    def get() -> object:
        return region.fetch(
            "k",
            lambda: next(made),
            region.options,
            labels=("label",),
            fragment=fragment,
        )

    assert [get(), get()] == ["a", "a"]
    assert region.standing("k") is not None
    shelf.held.pop(keys.storage_key("label"))
    clock.advance(0.9)
    # What happens in a creation does not stand: it is looked up.
    region.get_or_create("around", get)
    assert get() == "a"
    clock.advance(0.2)
    assert get() == "b"


def test_keyboard_interrupts_pass() -> None:
    shelf = Shelf()
    shelf.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        storage_of(shelf).read("k")
