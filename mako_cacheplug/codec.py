"""Entries to bytes and back.

Stored bytes are untrusted: reading them gives an entry or a
:exc:`CorruptEntryError`, in bounded time and memory, and nothing in them is
ever executed.  The layout, big-endian::

    magic       3   "mcp"
    version     1
    check       4   CRC-32, or 16 bytes of keyed BLAKE2b with a secret,
                    over the logical key and everything that follows
    flags       1   kind of value, compressed, signed
    created_at  8   float, seconds since the epoch
    fresh_until 8   float, likewise; infinity is never
    cost        4   float, seconds
    labels      4   their length in bytes; they are a JSON list of pairs
    size        4   the value's length in bytes before compression
    labels, value

As the key is part of what is checked, an entry that a store or an attacker
hands out under another key is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import json
import math
import struct
import zlib
from typing import Final

from markupsafe import Markup

from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.exceptions import CorruptEntryError

__all__ = ["EntryCodec", "JSONText", "dump_value", "load_value"]

_MAGIC: Final = b"mcp\x01"
_HEADER: Final = struct.Struct(">BddfII")
_CRC: Final = struct.Struct(">I")
_SIGNATURE_BYTES: Final = 16

_KIND: Final = 0b0000_0011
_STR, _MARKUP, _BYTES, _JSON = range(4)
_COMPRESSED: Final = 0b0000_0100
_SIGNED: Final = 0b0000_1000

_REMEMBERED_BYTES: Final = 4096
"""Labels of an entry that are longer are parsed each time."""

MAX_RAW_BYTES: Final = 256 * 2**20
"""No entry is unpacked beyond this, whatever its header says."""


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
        return JSONText(
            json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        )
    except RecursionError:
        raise CodecError(
            "a JSON value nested too deep cannot be cached",
            value_type=kind,
        ) from None
    except ValueError as error:
        # An int with more digits than Python prints.
        raise CodecError(
            f"a value cannot be cached: {error}", value_type=kind
        ) from None


def load_value(stored: object) -> object:
    """Return the value that :func:`dump_value` was given."""
    return json.loads(stored) if type(stored) is JSONText else stored


def _check_json(value: object) -> None:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return
    if kind is float and math.isfinite(value):  # type: ignore[arg-type]  # just checked
        return
    if kind is list:
        for one in value:  # type: ignore[attr-defined]  # just checked
            _check_json(one)
        return
    if kind is dict:
        for key, one in value.items():  # type: ignore[attr-defined]  # just checked
            if type(key) is not str:
                kind = type(key)
                break
            _check_json(one)
        else:
            return
    shown = repr(value) if kind is float else f"of type {kind.__qualname__}"
    raise CodecError(
        f"a value {shown} cannot be cached: return str, Markup, bytes or"
        " plain JSON (None, bool, int, finite float, list, dict with str"
        " keys)",
        value_type=kind,
    )


@dataclasses.dataclass(frozen=True)
class EntryCodec:
    """Turns entries into payloads and back.  Immutable, safe in threads.

    :param secrets: keys that sign entries: the first signs, all of them
        verify.  Without one, entries carry a checksum against accidents,
        and signed entries are refused.
    """

    secrets: tuple[bytes, ...] = ()

    def encode(
        self, key: str, entry: CacheEntry, compress: int | None = None
    ) -> bytes:
        """Return the payload of *entry* for the logical key *key*.

        :param compress: values of that many bytes or more are compressed,
            if that makes them smaller; ``None`` for never.
        """
        value = entry.value
        flags = _kind(value)
        raw = (
            value
            if isinstance(value, bytes)
            else str(value).encode("utf-8", "surrogatepass")
        )
        size = len(raw)
        if compress is not None and size >= compress:
            packed = zlib.compress(raw, 1)
            if len(packed) < size:
                raw = packed
                flags |= _COMPRESSED
        if self.secrets:
            flags |= _SIGNED
        labels = json.dumps(entry.labels).encode() if entry.labels else b""
        body = b"".join(
            (
                _HEADER.pack(
                    flags,
                    entry.created_at,
                    entry.fresh_until,
                    entry.cost,
                    len(labels),
                    size,
                ),
                labels,
                raw,
            )
        )
        return b"".join((_MAGIC, self._check(key, body), body))

    def decode(self, key: str, payload: bytes) -> CacheEntry:
        """Return the entry in *payload*.

        :raises CorruptEntryError: if it is not one of *key*'s.
        """
        if not isinstance(payload, bytes):
            raise CorruptEntryError(f"not bytes: {type(payload).__name__}")
        try:
            return self._decode(key, payload)
        except CorruptEntryError:
            raise
        except (ValueError, struct.error, zlib.error, RecursionError) as error:
            raise CorruptEntryError(f"not an entry: {error}") from error

    def _decode(self, key: str, payload: bytes) -> CacheEntry:
        check_bytes = _SIGNATURE_BYTES if self.secrets else _CRC.size
        start = len(_MAGIC) + check_bytes
        if payload[: len(_MAGIC)] != _MAGIC:
            raise CorruptEntryError("not an entry of this version")
        body = payload[start:]
        self._verify(key, payload[len(_MAGIC) : start], body)
        flags, created_at, fresh_until, cost, label_bytes, size = (
            _HEADER.unpack_from(body)
        )
        if bool(flags & _SIGNED) is not bool(self.secrets):
            raise CorruptEntryError("signed otherwise than this region signs")
        if created_at != created_at or fresh_until != fresh_until:
            raise CorruptEntryError("its times are not numbers")
        label_end = _HEADER.size + label_bytes
        raw = body[label_end:]
        if flags & _COMPRESSED:
            raw = _decompress(raw, size)
        if len(raw) != size:
            raise CorruptEntryError("its value has another length")
        labels: tuple[tuple[str, str], ...] = ()
        if label_bytes:
            text = body[_HEADER.size : label_end]
            # The same entry is read many times.
            known = label_bytes <= _REMEMBERED_BYTES
            labels = _known_labels(text) if known else _labels(text)
        return CacheEntry(
            _value(flags & _KIND, raw), created_at, fresh_until, cost, labels
        )

    def _check(self, key: str, body: bytes) -> bytes:
        name = key.encode("utf-8", "surrogatepass")
        if self.secrets:
            return _signature(self.secrets[0], name, body)
        return _CRC.pack(zlib.crc32(body, zlib.crc32(name)))

    def _verify(self, key: str, check: bytes, body: bytes) -> None:
        if not self.secrets:
            if check != self._check(key, body):
                raise CorruptEntryError("its checksum is wrong")
            return
        name = key.encode("utf-8", "surrogatepass")
        for secret in self.secrets:
            if hmac.compare_digest(check, _signature(secret, name, body)):
                return
        raise CorruptEntryError("its signature is wrong")


def _signature(secret: bytes, name: bytes, body: bytes) -> bytes:
    # BLAKE2b takes keys of up to 64 bytes: longer ones are digested first.
    if len(secret) > 64:
        secret = hashlib.blake2b(secret).digest()
    mac = hashlib.blake2b(
        struct.pack(">Q", len(name)),
        digest_size=_SIGNATURE_BYTES,
        key=secret,
        person=b"mako-cacheplug",
    )
    mac.update(name)
    mac.update(body)
    return mac.digest()


def _kind(value: object) -> int:
    if isinstance(value, JSONText):
        return _JSON
    if isinstance(value, Markup):
        return _MARKUP
    return _BYTES if isinstance(value, bytes) else _STR


def _value(kind: int, raw: bytes) -> object:
    if kind == _BYTES:
        return raw
    text = raw.decode("utf-8", "surrogatepass")
    if kind == _STR:
        return text
    if kind == _MARKUP:
        return Markup(text)  # noqa: S704  # it was one when it was stored
    # Parsed once here, so that a broken text is a miss and not an error
    # in the caller.
    json.loads(text)
    return JSONText(text)


def _decompress(packed: bytes, size: int) -> bytes:
    if size > MAX_RAW_BYTES:
        raise CorruptEntryError("it is larger than any entry")
    inflate = zlib.decompressobj()
    raw = inflate.decompress(packed, size or 1)
    if not inflate.eof:
        # The size may have been met before the checksum at the end was read.
        if inflate.decompress(inflate.unconsumed_tail, 1):
            raise CorruptEntryError("it is larger than its header says")
        if not inflate.eof:
            raise CorruptEntryError("its compressed value is cut off")
    return raw


def _labels(text: bytes) -> tuple[tuple[str, str], ...]:
    labels = json.loads(text)
    if not isinstance(labels, list):
        raise CorruptEntryError("its labels are not a list")
    for pair in labels:
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(part, str) for part in pair)
        ):
            raise CorruptEntryError("its labels are not pairs of text")
    return tuple((name, version) for name, version in labels)


_known_labels = functools.lru_cache(maxsize=1024)(_labels)
