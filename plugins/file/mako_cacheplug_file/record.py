"""The bytes of one entry's file: what it holds, and whether it is whole.

A file is read by whoever finds it under the right name, so it proves itself:
a magic number with the format's version, the full key, the lengths, and a
checksum over all of it.  Anything else is foreign, misplaced, torn or cut,
and is a miss.  The checksum finds accidents; it does not stop an attacker,
who cannot write here unless the process itself is lost.

======  =======================================================
bytes   meaning (little endian)
======  =======================================================
4       magic; the last of them is the version
4       length of the key
8       length of the payload
8       expiry, seconds since 1970 as a double, infinite for never
…       key
…       payload
4       CRC-32 of everything before
======  =======================================================
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from typing import Final

__all__ = ["expiry", "pack", "read", "size", "unpack"]

_HEADER: Final = struct.Struct("<4sIQd")
_CHECK: Final = struct.Struct("<I")
_MAGIC: Final = b"MCF\x01"
_OVERHEAD: Final = _HEADER.size + _CHECK.size

_RESIDUE: Final = 0x2144DF1C
"""The CRC-32 of any bytes followed by their own CRC-32 (ITU-T V.42)."""

_FIRST_READ: Final = 16 * 1024
"""Bytes asked for at first: most entries come whole in this one read."""


def pack(key: bytes, payload: bytes, expires: float) -> bytes:
    """Return the file's bytes.

    :param expires: seconds since 1970, ``math.inf`` for never.
    """
    header = _HEADER.pack(_MAGIC, len(key), len(payload), expires)
    body = b"".join((header, key, payload))
    return body + _CHECK.pack(zlib.crc32(body))


def size(key: bytes, payload: int) -> int:
    """Return how large a file is with a payload of that many bytes."""
    return _OVERHEAD + len(key) + payload


def unpack(data: bytes, key: bytes) -> tuple[bytes, float] | None:
    """Return payload and expiry, or ``None`` if *data* is not *key*'s."""
    if len(data) < _OVERHEAD or zlib.crc32(data) != _RESIDUE:
        return None
    magic, key_length, length, expires = _HEADER.unpack_from(data)
    start = _HEADER.size + key_length
    if (
        magic != _MAGIC
        or start + length + _CHECK.size != len(data)
        or data[_HEADER.size : start] != key
        or expires != expires
    ):
        return None
    return data[start : start + length], expires


def read(fd: int, limit: float) -> bytes:
    """Return the bytes of an open entry; cut off if they cannot be right.

    :param limit: no more bytes than these are read into memory.
    :raises OSError: if reading fails.
    """
    data = os.read(fd, _FIRST_READ)
    if len(data) < _FIRST_READ:
        return data
    magic, key_length, length, _ = _HEADER.unpack_from(data)
    whole = _OVERHEAD + key_length + length
    # A header is only believed where the file agrees: its length decides
    # how much memory is taken.
    if magic != _MAGIC or whole > limit or whole != os.fstat(fd).st_size:
        return data
    parts = [data]
    missing = whole - len(data)
    while missing > 0 and (data := os.read(fd, missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def expiry(fd: int) -> float:
    """Return when the open entry expires; what is no entry has expired.

    :raises OSError: if reading fails.
    """
    data = os.read(fd, _HEADER.size)
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        return -math.inf
    expires: float = _HEADER.unpack(data)[3]
    return -math.inf if expires != expires else expires
