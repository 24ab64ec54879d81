"""Entries to bytes and back.

Stored bytes are untrusted: reading them gives an entry or a
:exc:`CorruptEntryError`, in bounded time and memory, and nothing in them is
ever executed.  The layout, big-endian but for the checksum::

    magic       4   "mcp", and the version, 2
    flags       1   bits 0-1 the kind of value, 2-3 how it is compressed,
                    4 whether the entry is signed
    created_at  8   float, seconds since the epoch
    fresh_until 8   float, likewise; infinity is never
    cost        4   float, seconds
    labels      4   their length in bytes
    size        4   the value's length in bytes before compression
    labels          each name and each version, in turn: the length in bytes,
                    4, and the text
    value
    check       4   CRC-32, little-endian, or 16 bytes of keyed BLAKE2b with
                    a secret, over the logical key and all of the above

As the key is part of what is checked, an entry that a store or an attacker
hands out under another key is refused.  All text is UTF-8, in which lone
surrogates may stand.  Where entries are encrypted, all but the check is what
:mod:`~mako_cacheplug.encryption` seals, and its tag is the check.
"""

from __future__ import annotations

import functools
import json
import math
import struct
import zlib
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import Final
from typing import NamedTuple

from markupsafe import Markup

from mako_cacheplug import compression
from mako_cacheplug import encryption
from mako_cacheplug.digests import keyed
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import MOST_LABELS
from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import ValueTooLargeError

__all__ = ["EntryCodec", "JSONText", "dump_value", "load_value", "sign"]

_MAGIC: Final = b"mcp\x02"
_HEADER: Final = struct.Struct(">4sBddfII")
_LENGTH: Final = struct.Struct(">I")
_CRC: Final = struct.Struct("<I")
_SIGNATURE_BYTES: Final = 16
_SIGNING: Final = b"mako-cacheplug"

_MOST_LABEL_BYTES: Final = 512 * 2**10
"""Before they are parsed, and counted."""

_MOST_JSON: Final = 4 * 2**20
"""Characters of a JSON text.  What it stands for can take fifteen times as
much memory, and a tenth of a second (measured)."""

_MOST_BRACKETS: Final = 2**18
"""Opening ones, in it.  Lists and dicts take the longest: the collector of
garbage looks at each of them, again and again."""

_DEEPEST: Final = 100
"""How deep JSON may be nested.  It is read wherever the stack then is, and
Python's own limit counts from the stack's bottom."""

_CRC_RESIDUE: Final = 0x2144DF1C
"""The CRC-32 of anything followed by its own CRC-32 (ITU-T V.42).

So one look at the whole checks it, and no part has to be cut out.
"""

_STR, _MARKUP, _BYTES, _JSON = range(4)
_KIND: Final = 0b0000_0011
_METHOD_SHIFT: Final = 2
_SIGNED: Final = 0b0001_0000
_ABOVE_METHOD: Final = 0b1111_0000

_REMEMBERED_BYTES: Final = 1024
"""Labels of an entry that are longer are parsed each time."""

_REMEMBERED_KEYS: Final = 4096

_VIEWED_BYTES: Final = 16 * 1024
"""From here on a part costs less as a view than as a copy (measured)."""


class JSONText(str):
    """A JSON value as its text: what a store keeps of it.

    Kept as text even in memory, so that nobody changes a cached list.
    """

    __slots__ = ()


def dump_value(value: object) -> str | bytes:
    """Return *value* as a store keeps it: itself, or its JSON text.

    :param value: ``str``, ``Markup`` or ``bytes``, or plain JSON: ``None``,
        bool, int, finite float, and lists and dicts (with ``str`` keys) of
        these.
    :raises CodecError: for any other type, also a subclass of these: it
        would not come back as itself.
    """
    kind = type(value)
    if kind is str or kind is Markup or kind is bytes:
        return value  # type: ignore[return-value]  # just checked
    try:
        _check_json(value)
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        wrong = _is_too_much(text) or _is_too_deep(text, value)
    except RecursionError:
        wrong = "nested too deep"
    except ValueError as error:
        # An int with more digits than Python prints.
        raise CodecError(
            f"a value cannot be cached: {error}", value_type=kind
        ) from None
    if wrong:
        raise _no_json(value, wrong)
    return JSONText(text)


def _is_too_much(text: str) -> str:
    """Return what is wrong with *text*, if it is more than is parsed."""
    if len(text) > _MOST_JSON:
        return f"of more than {_MOST_JSON} characters"
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        return f"of more than {_MOST_BRACKETS} opening brackets"
    return ""


def _is_too_deep(text: str, value: object) -> str:
    """Return what is wrong with *value*, whose *text* is not too long."""
    # Few are nested at all.
    if text.count("[") + text.count("{") > _DEEPEST:
        level = [value]
        for _ in range(_DEEPEST):
            level = [inner for one in level for inner in _inside(one)]
        if any(type(one) in (list, dict) for one in level):
            return "nested too deep"
    return ""


def _inside(value: object) -> Iterable[object]:
    if type(value) is list:
        return value
    return value.values() if type(value) is dict else ()


def load_value(stored: object) -> object:
    """Return the value that :func:`dump_value` was given."""
    return json.loads(stored) if type(stored) is JSONText else stored


def _check_json(value: object) -> None:
    """Make sure that *value* is plain JSON, and no more than is kept.

    Level by level, and not beyond: a list that holds one list twice soon
    stands for more values than anybody can count.
    """
    level = [value]
    for _ in range(_DEEPEST + 1):
        inner: list[object] = []
        for one in level:
            inner += _checked_inside(one)
            # Each takes a character, and one more beside it.
            if len(inner) > _MOST_JSON // 2:
                raise _no_json(value, f"of more than {_MOST_JSON} characters")
        if not inner:
            return
        level = inner
    raise _no_json(value, "nested too deep")


def _checked_inside(value: Any) -> Iterable[object]:
    """Return what is in *value*; raise if it is not plain JSON itself."""
    kind = type(value)
    if kind is list:
        return value  # type: ignore[no-any-return]  # just checked
    if kind is dict:
        for key in value:
            if type(key) is not str:
                kind = type(key)
                break
        else:
            return value.values()  # type: ignore[no-any-return]  # just checked
    elif (
        value is None
        or kind in (bool, int, str)
        or (kind is float and math.isfinite(value))
    ):
        return ()
    shown = repr(value) if kind is float else f"of type {kind.__qualname__}"
    raise CodecError(
        f"a value {shown} cannot be cached: return str, Markup, bytes or"
        " plain JSON (None, bool, int, finite float, list, dict with str"
        " keys)",
        value_type=kind,
    )


def _no_json(value: object, wrong: str) -> CodecError:
    return CodecError(
        f"a JSON value {wrong} cannot be cached", value_type=type(value)
    )


class EntryCodec(NamedTuple):
    """Turns entries into payloads and back.  Immutable, safe in threads.

    :param secrets: keys that sign entries: the first signs, all of them
        verify.  Without one, entries carry a checksum against accidents,
        and signed entries are refused.
    :param encrypts: whether they are encrypted instead, with keys made of
        the secrets, of which there has to be one.  Signed ones are refused.
    """

    secrets: tuple[bytes, ...] = ()
    encrypts: bool = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def encode(
        self, key: str, entry: CacheEntry, compress: int | None = None
    ) -> bytes:
        """Return the payload of *entry* for the logical key *key*.

        :param entry: its value is one that :func:`dump_value` returned.
        :param compress: values of that many bytes or more are compressed,
            if that saves a tenth; ``None`` for never.
        :raises ValueTooLargeError: if it has more labels than are read.
        """
        value, created_at, fresh_until, cost, pairs = entry
        raw = (
            value
            if isinstance(value, bytes)
            else str.encode(value, "utf-8", "surrogatepass")  # type: ignore[arg-type]  # text: made by dump_value
        )
        size = len(raw)
        flags = _KINDS[type(value)]
        if compress is not None and size >= compress:
            method, raw = compression.pack(raw)
            flags |= method << _METHOD_SHIFT
        if self.secrets and not self.encrypts:
            flags |= _SIGNED
        labels = _pack_labels(pairs) if pairs else b""
        head = (
            _HEADER.pack(
                _MAGIC,
                flags,
                created_at,
                fresh_until,
                cost,
                len(labels),
                size,
            )
            + labels
        )
        if self.encrypts:
            return encryption.seal(self.secrets[0], key, head + raw)
        if self.secrets:
            check = sign(self.secrets[0], key, head, raw)
        else:
            crc = zlib.crc32(raw, zlib.crc32(head, _key_crc(key)))
            check = _CRC.pack(crc)
        return b"".join((head, raw, check))

    def decode(self, key: str, payload: bytes) -> CacheEntry:
        """Return the entry in *payload*.

        :raises UnknownCompressionError: if it is one, compressed with what
            this process lacks.
        :raises CorruptEntryError: if it is not one of *key*'s.
        """
        if not isinstance(payload, bytes):
            raise CorruptEntryError(f"not bytes: {type(payload).__name__}")
        try:
            return self._decode(key, payload)
        except CorruptEntryError:
            raise
        except (ValueError, struct.error, RecursionError) as error:
            raise CorruptEntryError(f"not an entry: {error}") from error

    def _decode(self, key: str, payload: bytes) -> CacheEntry:
        if self.encrypts:
            payload = encryption.unseal(self.secrets, key, payload)
        magic, flags, created_at, fresh_until, cost, label_bytes, size = (
            _HEADER.unpack_from(payload)
        )
        if magic != _MAGIC:
            raise CorruptEntryError("not an entry of this version")
        whole: bytes | memoryview = payload
        if len(payload) >= _VIEWED_BYTES:
            whole = memoryview(payload)
        expected = 0
        if self.encrypts:
            end = len(payload)
        elif self.secrets:
            end = len(payload) - _SIGNATURE_BYTES
            self._verify(key, whole[:end], payload[end:])
            expected = _SIGNED
        else:
            end = len(payload) - _CRC.size
            if zlib.crc32(payload, _key_crc(key)) != _CRC_RESIDUE:
                raise CorruptEntryError("its checksum is wrong")
        if flags & _ABOVE_METHOD != expected:
            raise CorruptEntryError("signed otherwise than this region signs")
        if not (
            0.0 <= created_at < math.inf
            and 0.0 <= cost < math.inf
            and fresh_until == fresh_until
        ):
            raise CorruptEntryError("its times are none")
        if label_bytes > _MOST_LABEL_BYTES:
            raise CorruptEntryError("it has more labels than any")
        start = _HEADER.size + label_bytes
        raw = whole[start:end]
        if method := flags >> _METHOD_SHIFT & 0b11:
            raw = compression.unpack(method, raw, size)
        if start > end or len(raw) != size:
            raise CorruptEntryError("its value has another length")
        labels: tuple[tuple[str, str], ...] = ()
        if label_bytes:
            packed = payload[_HEADER.size : start]
            # The same entry is read many times.
            known = label_bytes <= _REMEMBERED_BYTES
            labels = _known_labels(packed) if known else _labels(packed)
        value = _value(flags & _KIND, raw)
        # What CacheEntry(...) does, at half its cost: every hit comes here.
        return tuple.__new__(
            CacheEntry, (value, created_at, fresh_until, cost, labels)
        )

    def _verify(
        self, key: str, body: bytes | memoryview, check: bytes
    ) -> None:
        import hmac  # it loads OpenSSL, and few sign

        for secret in self.secrets:
            if hmac.compare_digest(check, sign(secret, key, body)):
                return
        raise CorruptEntryError("its signature is wrong")


@functools.lru_cache(maxsize=_REMEMBERED_KEYS)
def _key_crc(key: str) -> int:
    return zlib.crc32(key.encode("utf-8", "surrogatepass"))


def sign(secret: bytes, key: str, *body: bytes | memoryview) -> bytes:
    name = key.encode("utf-8", "surrogatepass")
    mac = keyed(secret, _SIGNING, _SIGNATURE_BYTES)
    mac.update(_LENGTH.pack(len(name)) + name)
    for part in body:
        mac.update(part)
    return mac.digest()


_KINDS: Final[dict[type, int]] = {
    str: _STR,
    Markup: _MARKUP,
    bytes: _BYTES,
    JSONText: _JSON,
}


def _value(kind: int, raw: bytes | memoryview) -> str | bytes:
    if kind == _BYTES:
        return bytes(raw)
    text = str(raw, "utf-8", "surrogatepass")
    if kind == _STR:
        return text
    if kind == _MARKUP:
        # It was one when it was stored.  Markup's own __new__ looks for
        # __html__, at twice the cost.
        return str.__new__(Markup, text)
    # Parsed once here, so that a broken text is a miss and not an error
    # in the caller.
    wrong = _is_too_much(text) or _is_too_deep(text, _json.decode(text))
    if wrong:
        raise CorruptEntryError(f"it is a JSON value {wrong}")
    return JSONText(text)


def _refuse_constant(name: str) -> object:
    raise CorruptEntryError(f"{name} is no JSON")


_json: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _pack_labels(pairs: tuple[tuple[str, str], ...]) -> bytes:
    parts: list[bytes] = []
    for pair in pairs:
        for text in pair:
            raw = text.encode("utf-8", "surrogatepass")
            parts += (_LENGTH.pack(len(raw)), raw)
    packed = b"".join(parts)
    for what, size, limit in (
        ("labels", len(pairs), MOST_LABELS),
        ("bytes of labels", len(packed), _MOST_LABEL_BYTES),
    ):
        if size > limit:
            raise ValueTooLargeError(
                f"{size} {what} are over the limit of {limit}",
                size=size,
                limit=limit,
            )
    return packed


def _labels(packed: bytes) -> tuple[tuple[str, str], ...]:
    texts = _texts(packed)
    try:
        pairs = tuple([(name, next(texts)) for name in texts])
    except StopIteration:
        raise CorruptEntryError("a label has no version") from None
    if len(pairs) > MOST_LABELS:
        raise CorruptEntryError("it has more labels than any")
    return pairs


def _texts(packed: bytes) -> Iterator[str]:
    at, end = 0, len(packed)
    while at < end:
        (length,) = _LENGTH.unpack_from(packed, at)
        at += _LENGTH.size
        text = packed[at : at + length]
        at += length
        if at > end:
            raise CorruptEntryError("its labels are cut off")
        yield text.decode("utf-8", "surrogatepass")


_known_labels = functools.lru_cache(maxsize=1024)(_labels)
