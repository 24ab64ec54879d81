"""What an attacker puts into a store: bytes that are no entry, or a trap.

Whoever can write to a store can compute a checksum.  So some of these have a
right one, and reach the parser behind it.
"""

from __future__ import annotations

import functools
import math
import os
import random
import struct
import zlib
from pathlib import Path

__all__ = ["forged", "header", "pickled", "spoiled", "trapped"]

_MIB = 2**20


def pickled(folder: Path) -> bytes:
    """Return a pickle that makes *folder*, when somebody loads it.

    Written out, in protocol 2: nothing of this package imports pickle.
    """
    name = str(folder).encode("utf-8", "surrogatepass")
    return b"\x80\x02cos\nmkdir\n(X%s%stR." % (
        struct.pack("<I", len(name)),
        name,
    )


def header(
    flags: int = 0,
    created_at: float = 1.0,
    fresh_until: float = math.inf,
    cost: float = 0.0,
    label_bytes: int = 0,
    size: int = 0,
) -> bytes:
    """Return an entry's first bytes; see the module ``codec``."""
    return struct.pack(
        ">4sBddfII",
        *(b"mcp\x02", flags, created_at, fresh_until),
        *(cost, label_bytes, size),
    )


def forged(key: str, body: bytes) -> bytes:
    """Return *body*, all but the check, with a right checksum for *key*.

    :param key: the logical one.
    """
    check = zlib.crc32(key.encode("utf-8", "surrogatepass") + body)
    return body + struct.pack("<I", check)


def spoiled(good: bytes, other: bytes, folder: Path) -> dict[str, bytes]:
    """Return payloads that are none, by what is wrong with them.

    :param good: the entry in whose place they are put.
    :param other: the entry of another key.
    :param folder: is there afterwards if one of them was unpickled.
    """
    middle = len(good) // 2
    flipped = {
        f"bit {place}": good[:place]
        + bytes([good[place] ^ 0x10])
        + good[place + 1 :]
        for place in (0, 3, 4, 8, 9, 20, 29, 33, middle, len(good) - 1)
    }
    return {
        "empty": b"",
        "one byte": good[:1],
        "magic only": good[:4],
        "cut in the header": good[:20],
        "cut in the value": good[:-1],
        "too long": good + b"x",
        "twice": good * 2,
        "other entry": other,
        "text": b"<b>foreign</b>",
        "zeros": bytes(100_000),
        "large": os.urandom(_MIB // 2),
        "huge lengths": good[:4] + b"\xff" * 60,
        "huge but plausible": good[:29] + b"\xff" * 8 + good[37:],
        "pickle": pickled(folder),
        "old version": good[:3] + b"\0" + good[4:],
        "encrypted": b"mcp\x82" + os.urandom(100),
        **flipped,
    }


def trapped(key: str) -> dict[str, bytes]:
    """Return payloads with a right checksum that are traps, likewise.

    :param key: the logical one that they are put under.
    """
    bomb, wide = _bomb(), _wide()
    deep = b"[" * 50_000
    bodies = {
        "bomb": header(4, size=16 * _MIB) + bomb,
        "bomb that lies": header(4, size=100) + bomb,
        "largest": header(4, size=2**32 - 1) + bomb,
        "zstd": header(8, size=2**32 - 1) + b"\x28\xb5\x2f\xfd" + bomb,
        "no method": header(12, size=5) + b"value",
        "json, deep": header(3, size=len(deep)) + deep,
        "json, deep but right": header(3, size=1000)
        + (b"[" * 500 + b"]" * 500),
        "json, wide": header(7, size=4 * _MIB) + wide,
        "json, digits": header(3, size=10**5) + b"9" * 10**5,
        "json, no number": header(3, size=3) + b"NaN",
        "not UTF-8": header(size=2) + b"\xff\xfe",
        "labels": header(label_bytes=600_000, size=1) + bytes(600_000) + b"v",
        "labels cut off": header(label_bytes=5, size=1) + b"\0\0\0\xffav",
        "labels beyond": header(label_bytes=2**32 - 1, size=1) + b"v",
        "made at no time": header(created_at=math.nan, size=1) + b"v",
        "made at the end": header(created_at=math.inf, size=1) + b"v",
        "made before": header(created_at=-1e308, size=1) + b"v",
        "fresh at no time": header(fresh_until=math.nan, size=1) + b"v",
        "dear": header(cost=math.inf, size=1) + b"v",
        "cheap": header(cost=-1.0, size=1) + b"v",
        "unknown flag": header(0x80, size=1) + b"v",
    }
    return {what: forged(key, body) for what, body in bodies.items()}


@functools.cache
def _bomb() -> bytes:
    return _deflated(bytes(16 * _MIB))


@functools.cache
def _wide() -> bytes:
    """Return many objects in few bytes, with noise that hides how many."""
    raw = b"[" + b"[]," * (4 * _MIB // 3 - 50_000)
    noise = random.Random(1).randbytes(40_000).hex().encode()  # noqa: S311  # no secret
    raw += b'"' + noise + b'"'
    return _deflated(raw.ljust(4 * _MIB))  # The last bracket is missing.


def _deflated(raw: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()
