"""Copies: which stay, how many, and from how many threads."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from plain_memory import PlainMemory

from mako_cacheplug import CacheRegion
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.copies import Copies
from mako_cacheplug.copies import Copy
from mako_cacheplug.copies import Recent
from mako_cacheplug.entry import CacheEntry


class Store:
    """Says what it is told to."""

    max_copied_bytes = None
    answer: Any = UNCHANGED

    def get_if_changed(self, key: str, stamp: object) -> Any:
        assert (key, stamp) == ("name", "stamp")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def copy_of(text: str, name: str = "name", store: Store | None = None) -> Copy:
    return Copy(store or Store(), name, "stamp", CacheEntry(text, 1.0))


def held(copies: Copies) -> dict[str, Copy]:
    return {**copies._old, **copies._young}


def test_a_copy_comes_back() -> None:
    copies = Copies(2**20)
    copy = copy_of("x")
    assert copies.get("k") is None
    copies.put("k", copy)
    assert copies.get("k") is copy
    other = copy_of("y")
    copies.put("k", other)
    assert copies.get("k") is other


@pytest.mark.parametrize("text", ["x" * 3000, "\N{GRINNING FACE}" * 750])
def test_the_bound_is_kept(text: str) -> None:
    copies = Copies(100_000)
    for number in range(500):
        copies.put(str(number), copy_of(text + str(number)))
        copies.put(str(number), copy_of(text + str(number)))
        copies.get(str(number - 10))
    kept = [c.entry for c in held(copies).values()]
    sizes = [sys.getsizeof(entry and entry.value) for entry in kept]
    # An overhead of 1 KiB for each is counted as well.
    assert 40_000 < sum(sizes) <= 100_000 - 1024 * len(sizes)


def test_what_is_used_stays() -> None:
    copies = Copies(100_000)
    copies.put("used", copy_of("x"))
    for number in range(500):
        copies.put(str(number), copy_of("x" * 3000))
        assert copies.get("used") is not None
    assert copies.get("0") is None
    assert copies.get("499") is not None


def test_what_is_replaced_is_not_counted_twice() -> None:
    copies = Copies(100_000)
    copies.put("other", copy_of("x"))
    copies.put("k", first := copy_of("x"))
    for _ in range(500):
        copies.put("k", copy_of("x" * 3000))
    assert set(copies._young) == {"k", "other"}
    assert first.held is None


def test_what_is_too_large_is_not_kept() -> None:
    copies = Copies(100_000)
    copies.put("k", copy_of("x"))
    copies.put("large", copy_of("x" * 60_000))
    assert copies.get("large") is None
    assert copies.get("k") is not None


def test_without_a_bound_everything_stays() -> None:
    copies = Copies(None)
    for number in range(100):
        copies.put(str(number), copy_of("x" * 2**20))
    assert all(copies.get(str(number)) for number in range(100))


def test_threads_keep_the_bound_together() -> None:
    copies = Copies(2_000_000)
    start = threading.Barrier(4)

    def work(name: int) -> None:
        start.wait()
        for number in range(20_000):
            key = str((number * 7 + name) % 90)
            found = copies.get(key)
            assert found is None or found.name == key
            copies.put(key, copy_of("x" * (number % 2000), key))

    threads = [threading.Thread(target=work, args=[n]) for n in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    # What is counted is what is there: else the bound would drift.
    young = copies._young.items()
    assert copies._young_bytes == sum(
        sys.getsizeof(key) + copy.size for key, copy in young
    )


@pytest.mark.parametrize(
    "answer", [(b"x", "stamp"), None, OSError("away")], ids=repr
)
def test_a_copy_holds_its_entry_while_the_store_says_so(answer: Any) -> None:
    store = Store()
    copy = copy_of("x", store=store)
    assert copy.held == CacheEntry("x", 1.0)
    store.answer = answer
    assert copy.held is None
    store.answer = UNCHANGED
    assert copy.held == CacheEntry("x", 1.0)


def test_what_is_forgotten_holds_nothing() -> None:
    """Whoever still has the copy."""
    copies = Copies(100_000)
    mine = {str(number): copy_of("x" * 3000) for number in range(100)}
    for key, copy in mine.items():
        copies.put(key, copy)
    kept = {key for key, copy in mine.items() if copy.held is not None}
    assert kept == held(copies).keys()
    assert 10 < len(kept) < 30


def test_what_is_watched_and_used_stays() -> None:
    copies = Copies(100_000)
    watch = copy_of("x")
    copies.put("used", watch)
    for number in range(500):
        copies.put(str(number), copy_of("x" * 3000))
        if not watch.used:
            copies.touch("used", watch)
    assert watch.held is not None
    # What took its place is not driven out by it.
    other = copy_of("y")
    copies.put("used", other)
    copies.touch("used", watch)
    assert copies.get("used") is other


def test_what_was_found_out_is_bounded_and_in_order_of_use() -> None:
    recent: Recent[int] = Recent(200_000)
    recent.put("kept", -1, 0)
    for i in range(200):
        recent.put(f"k{i}", i, 8192)
        assert recent.get("kept") == -1
    held = [i for i in range(200) if recent.get(f"k{i}") == i]
    assert 5 < len(held) < 200_000 / 8192
    assert held[-1] == 199
    recent.put("large", 1, 150_000)
    assert recent.get("large") is None


def test_the_same_payload_is_decoded_once() -> None:
    backend = PlainMemory()
    region = CacheRegion(backend)
    region.set("k", "value")
    first, second = region.get("k"), region.get("k")
    assert first is second
    region.set("k", "another")
    assert region.get("k") == "another"


def test_what_one_secret_has_verified_another_reads_anew() -> None:
    """Two regions on one store: a memo is one region's own."""
    backend = PlainMemory()
    signed = CacheRegion(backend, name="r", secret="one")
    signed.set("k", "value")
    assert [signed.get("k") for _ in range(2)] == ["value"] * 2
    other = CacheRegion(backend, name="r", secret="two")
    assert other.get("k") is None
    name = next(reversed(backend.memory._table))  # beside its label
    payload = backend.get(name)
    assert isinstance(payload, bytes)
    backend.set(name, payload[:-1] + bytes([payload[-1] ^ 1]), None)
    assert signed.get("k") is None


def test_a_copy_is_counted_with_its_labels() -> None:
    """A planted entry can have thousands."""
    labels = tuple((str(number), "v") for number in range(1000))
    entry = CacheEntry("x", 1.0, labels=labels)
    assert Copy(Store(), "name", "stamp", entry).size > 100_000
