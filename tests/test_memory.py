"""Bounded by bytes and entries, oldest use first out, right in threads."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import tracemalloc

import pytest

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsCheckAndSet
from mako_cacheplug.api import SupportsCheckAndSetEntries
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsEntries
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.api import SupportsPrune
from mako_cacheplug.api import SupportsUsage
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import open_backend
from mako_cacheplug.testing import ManualClock


def counted(backend: MemoryBackend) -> tuple[int, int]:
    """Return the usage as its table tells it."""
    sizes = [backend._blocks_of(k, held) for k, held in backend._table.items()]
    assert backend._sizes.keys() <= backend._table.keys()
    return len(sizes), 64 * sum(sizes)


def test_what_it_can_do() -> None:
    backend = MemoryBackend()
    for protocol in (
        CacheBackend,
        SupportsCheckAndSet,
        SupportsCheckAndSetEntries,
        SupportsClear,
        SupportsEntries,
        SupportsPrune,
        SupportsUsage,
    ):
        assert isinstance(backend, protocol)
    assert not isinstance(backend, SupportsMutex)
    assert not isinstance(backend, SupportsBulk)


def test_payloads_and_entries() -> None:
    backend = MemoryBackend()
    entry = CacheEntry("text", 1.0)
    assert backend.get("k") is NO_VALUE
    assert backend.get_entry("k") is NO_VALUE
    backend.set("k", b"", None)
    backend.set_entry("e", entry, None)
    assert backend.get("k") == b""
    assert backend.get_entry("e") is entry
    # Neither is taken for the other.
    assert backend.get("e") is NO_VALUE
    assert backend.get_entry("k") is NO_VALUE
    backend.set_entry("k", entry, None)
    assert backend.get("k") is NO_VALUE
    assert backend.get_entry("k") is entry
    assert backend.usage() == counted(backend)
    for _ in range(2):
        backend.delete("k")
    assert backend.get_entry("k") is NO_VALUE
    assert backend.usage() == counted(backend)


def test_a_payload_ends_with_its_ttl(clock: ManualClock) -> None:
    backend = MemoryBackend(clock=clock)
    backend.set("a", b"a", 10.0)
    backend.set("b", b"b", None)
    clock.advance(9.9)
    assert backend.get("a") == b"a"
    clock.advance(0.1)
    assert backend.get("a") is NO_VALUE
    assert backend.usage().entries == 1
    clock.advance(1e9)
    assert backend.get("b") == b"b"


def test_prune_removes_what_has_ended(clock: ManualClock) -> None:
    backend = MemoryBackend(clock=clock)
    for i in range(10):
        backend.set(f"p{i}", b"x", float(i))
        backend.set_entry(f"e{i}", CacheEntry("x", 0.0), float(i))
    backend.set("never", b"x", None)
    clock.advance(4.5)
    assert backend.prune() == 10
    assert backend.prune() == 0
    assert backend.usage() == counted(backend)
    assert backend.usage().entries == 11


def test_the_least_recently_used_goes_first() -> None:
    backend = MemoryBackend(max_entries=3)
    for key in "abc":
        backend.set(key, key.encode(), None)
    assert backend.get("a") == b"a"
    backend.set("b", b"again", None)
    backend.set("d", b"d", None)
    assert list(backend._table) == ["a", "b", "d"]
    backend.set_entry("e", CacheEntry("e", 0.0), None)
    assert backend.get("a") is NO_VALUE
    backend.set_entry("f", CacheEntry("f", 0.0), None)
    backend.get_entry("e")
    backend.set("g", b"g", None)
    backend.set("h", b"h", None)
    assert list(backend._table) == ["e", "g", "h"]


def test_the_bytes_stay_under_their_bound() -> None:
    backend = MemoryBackend(max_bytes=100_000)
    dice = random.Random(2)
    for i in range(2000):
        key = f"key {dice.randrange(300)}"
        if dice.random() < 0.5:
            backend.set(key, bytes(dice.randrange(3000)), None)
        else:
            value = "é" * dice.randrange(3000)
            backend.set_entry(key, CacheEntry(value, 0.0), None)
        assert backend.usage().bytes <= 100_000
        if i % 100 == 0:
            assert backend.usage() == counted(backend)
    assert backend.usage().bytes > 90_000


def test_one_value_alone_keeps_the_bound() -> None:
    """Which is counted in whole blocks, too."""
    backend = MemoryBackend(max_bytes=1000)
    for size in range(1000):
        with contextlib.suppress(ValueTooLargeError):
            backend.set("k", bytes(size), None)
        assert backend.usage().bytes <= 1000


def test_a_value_over_the_bound_is_refused_and_the_old_one_gone() -> None:
    backend = MemoryBackend(max_bytes=10_000)
    backend.set("other", b"kept", None)
    backend.set("k", b"old", None)
    with pytest.raises(ValueTooLargeError) as caught:
        backend.set("k", bytes(10_000), None)
    assert caught.value.limit == 10_000
    assert caught.value.size > 10_000 - 1
    assert backend.get("k") is NO_VALUE
    assert backend.get("other") == b"kept"
    with pytest.raises(ValueTooLargeError):
        backend.set_entry("k", CacheEntry("x" * 10_000, 0.0), None)
    assert backend.usage() == counted(backend)


@pytest.mark.parametrize("length", [10, 1000])
@pytest.mark.parametrize("labels", [0, 6])
def test_the_bound_is_of_real_memory(length: int, labels: int) -> None:
    backend = MemoryBackend(max_bytes=None)
    count = 3000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for i in range(count):
            pairs = tuple(
                (f"3:tag4:shoplabel {j} {i}", f"{j:024}{i}"[-24:])
                for j in range(labels)
            )
            value = "v" * length + str(i)
            entry = CacheEntry(value, i + 0.5, i + 60.5, i / 7, pairs)
            backend.set_entry(f"the key of entry {i}", entry, i + 1.5)
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.85 < backend.usage().bytes / real < 1.2


def test_clear_and_close_forget_everything() -> None:
    backend = MemoryBackend()
    for end in (backend.clear, backend.close, backend.close):
        backend.set("k", b"x", None)
        end()
        assert backend.usage() == (0, 0)


def test_a_mark_is_no_entry_and_lasts_as_long_as_its_claim() -> None:
    backend = MemoryBackend(max_entries=1)
    backend.set("other", b"x", None)
    before = backend.usage()
    claim = backend.claim("k")
    assert backend.claim("k") is claim
    assert backend.usage() == before
    assert backend.get("other") == b"x"
    assert len(backend._marks) == 1
    del claim
    assert len(backend._marks) == 0


def test_an_eviction_voids_a_claim() -> None:
    backend = MemoryBackend(max_entries=1)
    backend.set("k", b"old", None)
    claim = backend.claim("k")
    backend.set("other", b"x", None)
    assert backend.check_and_set("k", b"new", None, claim) is False
    assert backend.check_and_set("k", b"new", None, None) is False
    # Also of what was stored since.
    claim = backend.claim("k")
    backend.set("k", b"set", None)
    backend.set("other", b"x", None)
    assert backend.check_and_set("k", b"new", None, claim) is False
    assert backend.get("k") is NO_VALUE


def test_threads_leave_the_accounts_right() -> None:
    backend = MemoryBackend(max_bytes=60_000, max_entries=80)
    errors: list[BaseException] = []
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        try:
            start.wait(30)
            for _ in range(3000):
                key = f"k{dice.randrange(150)}"
                what = dice.randrange(8)
                if what < 3:
                    backend.set(key, bytes(dice.randrange(2000)), 60.0)
                elif what == 3:
                    entry = CacheEntry("x" * dice.randrange(2000), 0.0)
                    backend.set_entry(key, entry, 0.0)
                elif what == 4:
                    backend.delete(key)
                elif what == 5:
                    backend.get_entry(key)
                elif dice.random() < 0.01:
                    backend.prune()
                else:
                    backend.get(key)
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [
            threading.Thread(target=work, args=(seed,)) for seed in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    assert backend.usage() == counted(backend)
    assert 0 < backend.usage().entries <= 80
    assert 0 < backend.usage().bytes <= 60_000


def test_a_child_has_a_whole_copy_that_goes_its_own_way() -> None:
    backend = MemoryBackend(max_entries=50)
    stop = threading.Event()

    def churn() -> None:
        i = 0
        while not stop.is_set():
            i += 1
            backend.set(f"k{i % 90}", bytes(i % 500), None)

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    backend.set("before", b"x", None)
    try:
        for _ in range(15):
            child = os.fork()
            if child == 0:
                whole = backend.usage() == counted(backend)
                backend.set("child", b"x", None)
                seen = backend.get("child") == b"x"
                os._exit(0 if whole and seen else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert backend.get("child") is NO_VALUE
    assert backend.usage() == counted(backend)


def test_its_url() -> None:
    backend = open_backend(
        StoreURL.parse("memory://?max_bytes=64m&max_entries=10")
    )
    assert isinstance(backend, MemoryBackend)
    assert (backend.max_bytes, backend.max_entries) == (2**26, 10)
    assert backend.max_value_bytes == 2**26
    unbounded = MemoryBackend.from_url(
        StoreURL.parse("memory://?max_bytes=none&max_entries=none")
    )
    assert (unbounded.max_bytes, unbounded.max_entries) == (None, None)
    assert MemoryBackend.from_url(StoreURL.parse("memory:///")).max_bytes


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("memory://host", "names a place"),
        ("memory:///folder", "names a place"),
        ("memory://?max_byte=1", "did you mean 'max_bytes'"),
        ("memory://?max_bytes=much", "'max_bytes'"),
        ("memory://?max_entries=0", "'max_entries'"),
        ("memory://?max_entries=1.5", "'max_entries'"),
    ],
)
def test_wrong_urls(url: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        open_backend(StoreURL.parse(url))
