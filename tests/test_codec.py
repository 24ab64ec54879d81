"""Stored bytes give the entry that was stored under this key, or nothing."""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from markupsafe import Markup

from mako_cacheplug import codec as codecs
from mako_cacheplug import compression
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.testing.payloads import forged
from mako_cacheplug.testing.payloads import header

PLAIN = EntryCodec()
SIGNED = EntryCodec((b"secret",))
ENCRYPTED = EntryCodec((b"secret",), encrypts=True)
CODECS = pytest.mark.parametrize(
    "codec",
    [PLAIN, SIGNED, ENCRYPTED],
    ids=["plain", "signed", "encrypted"],
)
LARGE = 16 * 1024
"""Values of that many bytes are for zstd."""

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
    st.text(min_size=1, max_size=3).map(lambda text: text * LARGE),
    st.binary(max_size=3).map(lambda raw: raw + bytes(2 * LARGE)),
    _json,
)
_entries = st.builds(
    CacheEntry,
    _values.map(codecs.dump_value),
    st.floats(0, 1e10),
    st.floats(0, 1e10) | st.just(math.inf),
    st.floats(0, 1e6, width=32),
    st.lists(st.tuples(_any_text, _any_text), max_size=3).map(tuple),
)
_codecs = st.sampled_from([PLAIN, SIGNED, ENCRYPTED])
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
    assert len(PLAIN.encode("k", entry, 5000)) < 200
    assert len(PLAIN.encode("k", entry, 5001)) > 5000
    assert len(PLAIN.encode("k", entry, None)) > 5000
    assert PLAIN.encode("k", noise, 0) == PLAIN.encode("k", noise, None)


def test_the_layout_is_what_the_documentation_says() -> None:
    labels = (("n\xe9", "1"), ("", "\ud800"))
    packed = b"\0\0\0\x03n\xc3\xa9\0\0\0\x011\0\0\0\x00\0\0\0\x03\xed\xa0\x80"
    body = header(1, 8.0, math.inf, 0.5, len(packed), 4) + packed + b"<b/>"
    entry = CacheEntry(Markup("<b/>"), 8.0, math.inf, 0.5, labels)
    assert PLAIN.encode("k", entry) == forged("k", body)
    assert PLAIN.decode("k", forged("k", body)) == entry


def test_an_entry_of_the_older_version_is_refused() -> None:
    body = struct.pack(">BddfII", 0, 1.0, 2.0, 0.0, 0, 5) + b"value"
    check = zlib.crc32(body, zlib.crc32(b"k"))
    with pytest.raises(CorruptEntryError, match="of this version"):
        PLAIN.decode("k", b"mcp\x01" + struct.pack(">I", check) + body)


# -- hostile bytes -----------------------------------------------------------


@CODECS
@pytest.mark.parametrize(
    "value", ["text", Markup("<b>"), b"\0\xff", codecs.dump_value([1, "a"])]
)
@pytest.mark.parametrize("compress", [None, 0])
@pytest.mark.parametrize("zstd_bytes", [0, LARGE])
def test_no_bit_can_flip_unseen(
    monkeypatch: pytest.MonkeyPatch,
    codec: EntryCodec,
    value: str | bytes,
    compress: int | None,
    zstd_bytes: int,
) -> None:
    monkeypatch.setattr(compression, "_ZSTD_BYTES", zstd_bytes)
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


_edits = st.lists(
    st.tuples(st.integers(0, 10**4), st.binary(max_size=4), st.integers(0, 4)),
    min_size=1,
    max_size=4,
)


def edited(payload: bytes, edits: list[tuple[int, bytes, int]]) -> bytes:
    """Return *payload* with texts put in and bytes taken out."""
    for where, text, gone in edits:
        at = where % (len(payload) + 1)
        payload = payload[:at] + text + payload[at + gone :]
    return payload


@settings(max_examples=150)
@given(_codecs, _entries, _edits)
def test_a_mutated_payload_is_the_entry_or_refused(
    codec: EntryCodec, entry: CacheEntry, edits: list[tuple[int, bytes, int]]
) -> None:
    payload = codec.encode("k", entry, 100)
    broken = edited(payload, edits)
    if broken != payload:
        with pytest.raises(CorruptEntryError):
            codec.decode("k", broken)


@settings(max_examples=300)
@given(_entries, _edits, st.none() | st.just(0))
def test_a_mutated_payload_with_a_right_checksum_is_an_entry_or_refused(
    entry: CacheEntry,
    edits: list[tuple[int, bytes, int]],
    compress: int | None,
) -> None:
    body = PLAIN.encode("k", entry, compress)[:-4]
    is_an_entry_or_refused(forged("k", edited(body, edits)))


@given(_codecs, st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused(
    codec: EntryCodec, noise: bytes, magic: bool
) -> None:
    with pytest.raises(CorruptEntryError):
        codec.decode("k", b"mcp\x02" * magic + noise)


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
        st.binary(max_size=60).map(lambda raw: compression.pack(raw)[1]),
        st.sampled_from(
            [b"[" * 5000, b"\0\0\0\1a\0\0\0\1b", b"[1]null", b"9" * 5000]
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
    head = header(flags, created_at, until, cost, label_bytes, size)
    is_an_entry_or_refused(forged("k", head + rest))


def is_an_entry_or_refused(payload: bytes) -> None:
    try:
        entry = PLAIN.decode("k", payload)
    except CorruptEntryError:
        return
    assert isinstance(entry, CacheEntry)
    for moment in entry[1:4]:
        assert isinstance(moment, float) and not math.isnan(moment)
    codecs.load_value(entry.value)
    for pair in entry.labels:
        assert [type(text) for text in pair] == [str, str]


@pytest.mark.parametrize(
    "labels",
    [
        b"\0\0\0",  # a length that is cut off
        b"\0\0\0\1n\0\0\0\2v",  # a text that is
        b"\0\0\0\1n",  # no version
        b"\0\0\0\1n\xff\xff\xff\xffv",
        b"\0\0\0\1\xff\0\0\0\1v",  # no UTF-8
        b'[["n", "v"]]',  # as it was once
    ],
)
@pytest.mark.parametrize("more", [0, 600])
def test_labels_that_are_none_are_refused(labels: bytes, more: int) -> None:
    # Long ones take another way.
    labels = b"\0\0\0\1a\0\0\0\1b" * more + labels
    head = header(label_bytes=len(labels), size=5)
    with pytest.raises(CorruptEntryError):
        PLAIN.decode("k", forged("k", head + labels + b"value"))


@pytest.mark.parametrize("more", [-1, 1, 4, 2**31])
def test_labels_do_not_reach_beyond_their_place(more: int) -> None:
    labels = b"\0\0\0\1n\0\0\0\1v"
    for value in (b"", b"value"):
        head = header(label_bytes=len(labels) + more, size=len(value))
        with pytest.raises(CorruptEntryError):
            PLAIN.decode("k", forged("k", head + labels + value))


def test_a_checksum_is_no_label() -> None:
    labels = b"\0\0\0\1n\0\0\0\4"
    payloads = (
        forged("k", header(0, at, label_bytes=len(labels) + 4) + labels)
        for at in range(10_000)
    )
    # One whose checksum would pass as text.
    payload = next(p for p in payloads if p[-4:].isascii())
    with pytest.raises(CorruptEntryError, match="another length"):
        PLAIN.decode("k", payload)


@pytest.mark.parametrize("field", ["created_at", "fresh_until", "cost"])
@pytest.mark.parametrize("wrong", [math.nan, -math.inf, math.inf, -1.0])
def test_a_time_that_is_none_is_refused(field: str, wrong: float) -> None:
    PLAIN.decode("k", forged("k", header()))
    payload = forged("k", header(**{field: wrong}))
    if field == "fresh_until" and wrong == wrong:
        # Never, or over.
        assert PLAIN.decode("k", payload).fresh_until == wrong
        return
    with pytest.raises(CorruptEntryError, match="its times"):
        PLAIN.decode("k", payload)


@CODECS
def test_as_many_labels_are_read_as_are_written(codec: EntryCodec) -> None:
    many = [(f"{number:056}", "v" * 8) for number in range(4097)]
    large = [(f"{number:0156}", "v" * 8) for number in range(4000)]
    with pytest.raises(ValueTooLargeError, match="bytes of labels"):
        codec.encode("k", CacheEntry("v", 1.0, labels=tuple(large)))
    for count, fits in ((4096, True), (4097, False)):
        entry = CacheEntry("v", 1.0, labels=tuple(many[:count]))
        if fits:
            assert codec.decode("k", codec.encode("k", entry)) == entry
        else:
            with pytest.raises(ValueTooLargeError, match="4097 labels"):
                codec.encode("k", entry)


def test_more_planted_labels_than_are_written_are_not_looked_up() -> None:
    for count in (4096, 4097):
        labels = bytes(8 * count)
        payload = forged(
            "k", header(label_bytes=len(labels), size=1) + labels + b"v"
        )
        if count == 4096:
            assert len(PLAIN.decode("k", payload).labels) == count
        else:
            with pytest.raises(CorruptEntryError, match="more labels"):
                PLAIN.decode("k", payload)


def test_planted_labels_are_not_even_parsed() -> None:
    labels = bytes(2**20)
    head = header(label_bytes=len(labels), size=1)
    with pytest.raises(CorruptEntryError, match="more labels"):
        PLAIN.decode("k", forged("k", head + labels + b"v"))


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_json_is_read_wherever_the_stack_is() -> None:
    """What is read at its bottom has to be read further up as well."""
    deepest = codecs.dump_value(nested(100))
    with pytest.raises(CodecError, match="nested too deep"):
        codecs.dump_value(nested(101))
    payload = PLAIN.encode("k", CacheEntry(deepest, 1.0))
    entry = PLAIN.decode("k", payload)
    text = b"[" * 101 + b"]" * 101
    with pytest.raises(CorruptEntryError, match="nested too deep"):
        PLAIN.decode("k", forged("k", header(3, size=len(text)) + text))

    def climb(steps: int) -> object:
        return climb(steps - 1) if steps else codecs.load_value(entry.value)

    assert climb(sys.getrecursionlimit() // 2) == nested(100)


def test_brackets_in_a_text_are_no_depth() -> None:
    text = "function () { return [[" * 500
    assert codecs.load_value(codecs.dump_value([text])) == [text]


def test_json_has_a_length_from_where_it_is_neither_kept_nor_read() -> None:
    """Few bytes can stand for many objects."""
    with pytest.raises(CodecError, match="4194304 characters"):
        codecs.dump_value(["x" * 2**22])
    text = b"[" + b"[]," * 2**21 + b"[]]"
    with pytest.raises(CorruptEntryError, match="characters"):
        PLAIN.decode("k", forged("k", header(3, size=len(text)) + text))


def test_json_that_is_too_long_is_not_even_parsed() -> None:
    """Before that is told it would have taken ten times as long."""
    text = b"[" * (2**22 + 1)
    with pytest.raises(CorruptEntryError, match="4194304 characters"):
        PLAIN.decode("k", forged("k", header(3, size=len(text)) + text))


@pytest.mark.parametrize("one", ["[]", "{}", '{"k":1}'])
def test_json_of_too_many_lists_is_neither_kept_nor_parsed(one: str) -> None:
    most = 2**18 - 1
    fits = codecs.dump_value([json.loads(one)] * most)
    assert codecs.load_value(fits) == [json.loads(one)] * most
    with pytest.raises(CodecError, match="262144 opening brackets"):
        codecs.dump_value([json.loads(one)] * (most + 1))
    text = b"[" + b"[]," * (most + 1)  # And no end.
    with pytest.raises(CorruptEntryError, match="opening brackets"):
        PLAIN.decode("k", forged("k", header(3, size=len(text)) + text))


@pytest.mark.parametrize("in_dicts", [False, True])
def test_few_lists_do_not_stand_for_more_than_is_kept(in_dicts: bool) -> None:
    value: object = [1]
    for _ in range(60):
        value = {"a": value, "b": value} if in_dicts else [value, value]
    with pytest.raises(CodecError, match="of more than 4194304 characters"):
        codecs.dump_value(value)
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(CodecError, match="nested too deep"):
        codecs.dump_value(circle)


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b'{"a":-Infinity}'])
def test_what_dump_value_never_writes_is_refused(text: bytes) -> None:
    with pytest.raises(CorruptEntryError, match="no JSON"):
        PLAIN.decode("k", forged("k", header(3, size=len(text)) + text))


@pytest.mark.parametrize("bit", [5, 6, 7])
def test_a_flag_that_means_nothing_is_refused(bit: int) -> None:
    with pytest.raises(CorruptEntryError):
        PLAIN.decode("k", forged("k", header(1 << bit)))


@pytest.mark.parametrize("compress", [None, 0])
@pytest.mark.parametrize("size", [99, 101])
def test_a_value_has_the_size_that_the_header_says(
    compress: int | None, size: int
) -> None:
    payload = PLAIN.encode("k", CacheEntry("x" * 100, 1.0), compress)
    assert PLAIN.decode("k", payload).value == "x" * 100
    head = bytearray(payload[:33])
    head[-4:] = struct.pack(">I", size)
    with pytest.raises(CorruptEntryError):
        PLAIN.decode("k", forged("k", bytes(head) + payload[33:-4]))


@pytest.mark.parametrize(
    "text", [b"", b"[1", b"[1]null", b"nul", b"[" * 10**5, b"9" * 5000]
)
def test_broken_json_is_refused_before_anybody_gets_it(text: bytes) -> None:
    right = forged("k", header(3, size=4) + b"null")
    assert codecs.load_value(PLAIN.decode("k", right).value) is None
    with pytest.raises(CorruptEntryError):
        PLAIN.decode("k", forged("k", header(3, size=len(text)) + text))


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


def test_secrets_are_not_shown() -> None:
    assert "b'secret'" not in repr(SIGNED)


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
