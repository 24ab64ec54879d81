"""Fewer bytes where that pays, and no more than was said coming back."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from mako_cacheplug import CacheRegion
from mako_cacheplug import compression
from mako_cacheplug.compression import DEFLATE
from mako_cacheplug.compression import STORED
from mako_cacheplug.compression import ZSTD
from mako_cacheplug.events import CacheEvent
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import UnknownCompressionError
from mako_cacheplug.registry import close_backends

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGE = 16 * 1024
"""Values of that many bytes are for zstd."""


def deflated(raw: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()


PACKED = {DEFLATE: deflated, ZSTD: zstd.compress}
METHODS = pytest.mark.parametrize("method", PACKED, ids=["deflate", "zstd"])


@pytest.mark.parametrize("size", [1000, LARGE - 1, LARGE, 100_000])
def test_large_values_are_for_zstd_and_small_ones_for_deflate(
    size: int,
) -> None:
    raw = b"<li>item</li>\n" * size
    raw = raw[:size]
    method, packed = compression.pack(raw)
    assert method == (ZSTD if size >= LARGE else DEFLATE)
    assert len(packed) < size / 10
    assert compression.unpack(method, packed, size) == raw
    assert compression.unpack(method, memoryview(packed), size) == raw


def test_without_zstd_all_are_for_deflate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = b"x" * LARGE
    method, packed = compression.pack(raw)
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    assert compression.pack(raw)[0] == DEFLATE
    with pytest.raises(
        UnknownCompressionError, match=r'install "mako-cacheplug\[zstd\]"$'
    ):
        compression.unpack(method, packed, LARGE)


@pytest.mark.parametrize("size", [100, 10_000, 100_000])
def test_what_saves_less_than_a_tenth_is_stored_as_it_is(size: int) -> None:
    def raw(random: float) -> bytes:
        return os.urandom(int(size * random)).ljust(size, b"x")

    for random in (1.0, 0.95):
        noise = raw(random)
        assert compression.pack(noise) == (STORED, noise)
    assert compression.pack(raw(0.7))[0] != STORED
    assert compression.pack(b"") == (STORED, b"")


# -- hostile bytes -----------------------------------------------------------


@METHODS
def test_one_value_and_nothing_beside_it(method: int) -> None:
    packed = PACKED[method](b"value")
    assert compression.unpack(method, packed, 5) == b"value"
    for wrong in (
        packed[:-1],
        packed + b"\0",
        packed + packed,
        PACKED[method](b"") + packed,
        b"",
    ):
        with pytest.raises(CorruptEntryError):
            compression.unpack(method, wrong, 5)
    for size in (4, 6):
        with pytest.raises(CorruptEntryError):
            compression.unpack(method, packed, size)


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(PACKED)),
    st.binary(min_size=1, max_size=80),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3))),
    st.integers(0, 100),
)
def test_any_bytes_are_unpacked_to_that_size_or_refused(
    method: int, raw: bytes, edits: list[tuple[int, bytes]], size: int
) -> None:
    packed = PACKED[method](raw)
    for where, text in edits:
        at = where % len(packed)
        packed = packed[:at] + text + packed[at + 1 :] or b"x"
    try:
        assert len(compression.unpack(method, packed, size)) == size
    except CorruptEntryError:
        assert edits or len(raw) != size


@pytest.mark.parametrize("method", [STORED, 3])
def test_an_unknown_method_is_refused(method: int) -> None:
    with pytest.raises(CorruptEntryError, match="no known way"):
        compression.unpack(method, b"value", 5)


@functools.cache
def many_zeros(method: int, size: int) -> bytes:
    return PACKED[method](bytes(size))


@METHODS
@pytest.mark.parametrize("claimed", [0, 1, 2**20, 2**32 - 1])
def test_a_decompression_bomb_stays_small(method: int, claimed: int) -> None:
    packed = many_zeros(method, 128 * 2**20)
    assert peak_of_refusing(method, packed, claimed) < 8 * 2**20


@METHODS
def test_what_claims_much_and_has_little_stays_small(method: int) -> None:
    packed = many_zeros(method, 2**20)
    claimed = compression.MAX_RAW_BYTES
    assert peak_of_refusing(method, packed, claimed) < 8 * 2**20


def peak_of_refusing(method: int, packed: bytes, claimed: int) -> int:
    """Return the most bytes that Python held while it was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntryError):
            compression.unpack(method, packed, claimed)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@METHODS
@pytest.mark.parametrize(
    ("size", "is_believed"), [(2**20, True), (2**20 + 1, False)]
)
def test_nothing_is_unpacked_to_a_thousand_times_its_size(
    method: int, size: int, is_believed: bool
) -> None:
    """Not even where its header says so; small values are."""
    packed = many_zeros(method, size)
    if is_believed:
        assert compression.unpack(method, packed, size) == bytes(size)
    else:
        assert peak_of_refusing(method, packed, size) < 2**16


@pytest.mark.parametrize("size", [2**20, 2**20 + 1, 4 * 2**20])
def test_what_would_not_be_believed_is_not_packed(size: int) -> None:
    method, packed = compression.pack(bytes(size))
    if method == STORED:
        assert packed == bytes(size)
    else:
        assert compression.unpack(method, packed, size) == bytes(size)


@METHODS
def test_a_bomb_is_none_when_it_says_its_size(method: int) -> None:
    packed = many_zeros(method, 2**20)
    assert compression.unpack(method, packed, 2**20) == bytes(2**20)


def test_a_window_larger_than_any_of_ours_is_refused() -> None:
    # zstd would take as much memory as the frame says, before one byte.
    options = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(b"x" * 100) + packer.flush()
    assert zstd.decompress(packed) == b"x" * 100
    with pytest.raises(CorruptEntryError, match="memory"):
        compression.unpack(ZSTD, packed, 100)


def test_the_largest_values_keep_within_the_window() -> None:
    parts = [os.urandom(2**12) + bytes(2**18 - 2**12) for _ in range(160)]
    raw = b"".join(parts)
    method, packed = compression.pack(raw)
    assert method == ZSTD
    assert compression.unpack(method, packed, len(raw)) == raw


# -- a fleet of which only some have zstd ------------------------------------

WITHOUT_ZSTD = """
import logging
import sys

sys.modules["backports.zstd"] = sys.modules["compression.zstd"] = None
from mako_cacheplug import CacheRegion

logging.basicConfig(format="%(message)s")
region = CacheRegion(sys.argv[1], name="pages")
created = []


def create():
    created.append(key)
    return "other" * 9999


for key in "ab":
    for _ in range(2):
        region.get_or_create(key, create)
assert created == ["a", "b"], created
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    yield f"file://{tmp_path}/store"
    close_backends()


def test_a_process_without_zstd_creates_once_for_all(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    region = CacheRegion(url, name="pages")
    for key in "ab":
        region.set(key, "mine" * 9999)
        assert region.get(key) == "mine" * 9999
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_ZSTD, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Said once, though both keys were like this.
    assert done.stderr == (
        "region 'pages': unreadable entry ignored: it is compressed with"
        ' zstd, which this process lacks: pip install "mako-cacheplug[zstd]"\n'
    )
    for key in "ab":
        assert region.get(key) == "other" * 9999
    assert not caplog.records


def test_what_is_lacking_is_an_event_each_time(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    region = CacheRegion(url, name="pages")
    region.set("k", "text" * 9999)
    events: list[CacheEvent] = []
    region.add_hook(events.append)
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    for _ in range(2):
        assert region.get("k") is None
    unreadable = [e for e in events if e.kind.value == "unreadable"]
    assert len(unreadable) == 2
    for event in unreadable:
        assert isinstance(event.error, UnknownCompressionError)
    assert len(caplog.records) == 1
    # What is broken is not silenced by it.
    other = CacheRegion(url, name="pages", secret="another")
    other.set("k", "text")
    for _ in range(2):
        assert region.get("k") is None
    assert len(caplog.records) == 2  # once a minute
