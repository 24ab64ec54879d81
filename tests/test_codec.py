"""Stored bytes give the entry that was stored under this key, or nothing."""

from __future__ import annotations

import math
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from markupsafe import Markup

from mako_cacheplug import codec as codecs
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.exceptions import CorruptEntryError

PLAIN = EntryCodec()
SIGNED = EntryCodec((b"secret",))
CODECS = pytest.mark.parametrize(
    "codec", [PLAIN, SIGNED], ids=["plain", "signed"]
)

_any_text = st.text(st.characters(), max_size=50)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _any_text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_any_text, inner, max_size=3)
    ),
    max_leaves=6,
)
_values = st.one_of(
    _any_text,
    _any_text.map(Markup),
    st.binary(max_size=50),
    st.text(min_size=1, max_size=3).map(lambda text: text * 500),
    _json,
)
_entries = st.builds(
    CacheEntry,
    _values.map(codecs.dump_value),
    st.floats(0, 1e10),
    st.floats(0, 1e10) | st.just(math.inf),
    st.floats(0, 1e6, width=32),
    st.lists(
        st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=3
    ).map(tuple),
)
_codecs = st.sampled_from([PLAIN, SIGNED])
_keys = _any_text


def same(one: object, other: object) -> bool:
    """Tell whether two values are alike in every type and bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(
            map(same, one.values(), other.values())
        )
    return one == other and repr(one) == repr(other)


@given(_values)
def test_a_value_comes_back_as_itself(value: object) -> None:
    assert same(codecs.load_value(codecs.dump_value(value)), value)


@settings(max_examples=150)
@given(_codecs, _keys, _entries, st.none() | st.integers(0, 600))
def test_an_entry_comes_back_as_itself(
    codec: EntryCodec, key: str, entry: CacheEntry, compress: int | None
) -> None:
    found = codec.decode(key, codec.encode(key, entry, compress))
    assert found == entry
    assert type(found.value) is type(entry.value)
    assert same(codecs.load_value(found.value), codecs.load_value(entry.value))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        ((1, 2), "tuple"),
        ([(1,)], "tuple"),
        ({1: 2}, "int"),
        ({"a": {None: 2}}, "NoneType"),
        (math.nan, "nan"),
        ([math.inf], "inf"),
        ([b"x"], "bytes"),
        ([Markup("x")], "Markup"),
        (bytearray(b"x"), "bytearray"),
        (type("Text", (str,), {})("x"), "Text"),
        (type("Number", (int,), {})(1), "Number"),
        ((_ for _ in "x"), "generator"),
    ],
)
def test_other_values_are_refused_by_their_type(
    value: object, shown: str
) -> None:
    with pytest.raises(CodecError, match=shown) as caught:
        codecs.dump_value(value)
    assert isinstance(caught.value.value_type, type)


@pytest.mark.parametrize("depth", [100_000, 985, 975, 965, 955])
def test_a_value_nested_too_deep_is_refused_or_stored(depth: int) -> None:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    try:
        codecs.dump_value(value)
    except CodecError as error:
        assert "nested too deep" in str(error)  # or stored


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(CodecError, match="nested too deep"):
        codecs.dump_value(loop)


def test_a_number_with_more_digits_than_python_prints_is_refused() -> None:
    with pytest.raises(CodecError, match="cannot be cached"):
        codecs.dump_value([10**5000])


def test_compression_is_used_where_it_helps() -> None:
    entry = CacheEntry("x" * 5000, 1.0)
    noise = CacheEntry(bytes(range(256)), 1.0)
    assert len(PLAIN.encode("k", entry, 4096)) < 200
    assert len(PLAIN.encode("k", entry, 5001)) > 5000
    assert len(PLAIN.encode("k", entry, None)) > 5000
    assert PLAIN.encode("k", noise, 0) == PLAIN.encode("k", noise, None)


# -- hostile bytes -----------------------------------------------------------


@CODECS
@pytest.mark.parametrize(
    "value", ["text", Markup("<b>"), b"\0\xff", codecs.dump_value([1, "a"])]
)
@pytest.mark.parametrize("compress", [None, 0])
def test_no_bit_can_flip_unseen(
    codec: EntryCodec, value: str | bytes, compress: int | None
) -> None:
    value = value * 20 if type(value) is str else value
    entry = CacheEntry(value, 1.0, 2.0, 3.0, (("l", "v"),))
    payload = codec.encode("k", entry, compress)
    for bit in range(len(payload) * 8):
        broken = bytearray(payload)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptEntryError):
            codec.decode("k", bytes(broken))


@CODECS
def test_no_truncation_or_extension_passes(codec: EntryCodec) -> None:
    payload = codec.encode("k", CacheEntry("value", 1.0), None)
    for length in range(len(payload)):
        with pytest.raises(CorruptEntryError):
            codec.decode("k", payload[:length])
    for more in (b"\0", b"x" * 20, payload):
        with pytest.raises(CorruptEntryError):
            codec.decode("k", payload + more)


@settings(max_examples=150)
@given(_codecs, _keys, _keys, _entries)
def test_an_entry_under_another_key_is_refused(
    codec: EntryCodec, key: str, other: str, entry: CacheEntry
) -> None:
    payload = codec.encode(key, entry, 100)
    if key != other:
        with pytest.raises(CorruptEntryError):
            codec.decode(other, payload)


@settings(max_examples=150)
@given(
    _codecs,
    _entries,
    st.lists(
        st.tuples(
            st.integers(0, 10**4), st.binary(max_size=4), st.integers(0, 4)
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_mutated_payload_is_the_entry_or_refused(
    codec: EntryCodec,
    entry: CacheEntry,
    edits: list[tuple[int, bytes, int]],
) -> None:
    payload = codec.encode("k", entry, 100)
    broken = payload
    for where, text, gone in edits:
        at = where % (len(broken) + 1)
        broken = broken[:at] + text + broken[at + gone :]
    if broken != payload:
        with pytest.raises(CorruptEntryError):
            codec.decode("k", broken)


@given(_codecs, st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused(
    codec: EntryCodec, noise: bytes, magic: bool
) -> None:
    with pytest.raises(CorruptEntryError):
        codec.decode("k", b"mcp\x01" * magic + noise)


@settings(max_examples=200)
@given(
    st.integers(0, 255),
    st.floats(),
    st.floats(),
    st.floats(width=32),
    st.integers(0, 100) | st.integers(0, 2**32 - 1),
    st.integers(0, 100) | st.integers(0, 2**32 - 1),
    st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=60).map(zlib.compress),
        st.sampled_from(
            [b"[" * 5000, b"[[1,2]]", b'[["a","b"]]null', b"9" * 5000]
        ),
    ),
)
def test_with_a_right_checksum_too_it_is_an_entry_or_refused(
    flags: int,
    created_at: float,
    until: float,
    cost: float,
    label_bytes: int,
    size: int,
    rest: bytes,
) -> None:
    # Whoever can write to the store can compute a checksum.
    body = (
        struct.pack(
            ">BddfII", flags, created_at, until, cost, label_bytes, size
        )
        + rest
    )
    try:
        entry = PLAIN.decode("k", forged("k", body))
    except CorruptEntryError:
        return
    assert isinstance(entry, CacheEntry)
    assert entry.is_usable(5.0, 1.0) in (True, False)
    codecs.load_value(entry.value)
    assert all(len(pair) == 2 for pair in entry.labels)


def forged(key: str, body: bytes) -> bytes:
    """Return *body* as a payload with a right checksum."""
    check = zlib.crc32(body, zlib.crc32(key.encode()))
    return b"mcp\x01" + struct.pack(">I", check) + body


def bomb(claimed: int, real: int) -> bytes:
    """Return an entry that unpacks to *real* bytes and says *claimed*."""
    body = struct.pack(">BddfII", 0b110, 1.0, 2.0, 0.0, 0, claimed)
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(2**20)) for _ in range(real // 2**20)]
    return forged("k", b"".join([body, *parts, packer.flush()]))


@pytest.mark.parametrize("claimed", [0, 1, 2**20, 2**32 - 1])
def test_a_decompression_bomb_stays_small(claimed: int) -> None:
    payload = bomb(claimed, real=128 * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntryError):
            PLAIN.decode("k", payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20


def test_the_bomb_of_the_test_is_no_bomb_when_it_says_its_size() -> None:
    assert PLAIN.decode("k", bomb(2**20, real=2**20)).value == bytes(2**20)


@pytest.mark.parametrize("thing", [None, 5, "mcp\x01", [], object()])
def test_what_is_no_bytes_is_refused(thing: object) -> None:
    with pytest.raises(CorruptEntryError, match="not bytes"):
        PLAIN.decode("k", thing)  # type: ignore[arg-type]  # a broken store's


# -- secrets -----------------------------------------------------------------


def test_a_secret_signs_and_the_older_ones_still_verify() -> None:
    entry = CacheEntry("v", 1.0)
    old, new = EntryCodec((b"old",)), EntryCodec((b"new",))
    rotating = EntryCodec((b"new", b"old"))
    assert rotating.decode("k", old.encode("k", entry)) == entry
    assert new.decode("k", rotating.encode("k", entry)) == entry
    for codec in (new, PLAIN, EntryCodec((b"new", b"other"))):
        with pytest.raises(CorruptEntryError):
            codec.decode("k", old.encode("k", entry))


def test_an_unsigned_entry_is_refused_where_entries_are_signed() -> None:
    with pytest.raises(CorruptEntryError):
        SIGNED.decode("k", PLAIN.encode("k", CacheEntry("v", 1.0)))
    # Nor one whose body begins so that the places of the checks coincide.
    with pytest.raises(CorruptEntryError):
        PLAIN.decode("k", SIGNED.encode("k", CacheEntry("v", 1.0)))


def test_secrets_of_any_length_differ_in_every_byte() -> None:
    entry = CacheEntry("v", 1.0)
    long = b"x" * 64
    for one, other in ((long + b"a", long + b"b"), (b"a", b"a\0")):
        payload = EntryCodec((one,)).encode("k", entry)
        assert EntryCodec((one,)).decode("k", payload) == entry
        with pytest.raises(CorruptEntryError):
            EntryCodec((other,)).decode("k", payload)
