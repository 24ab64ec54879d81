"""Fewer bytes for a value, where that pays.

``benchmarks/compression.py`` measures what the choices here rest on, and
``docs/codec.rst`` has the figures.  In short: zstd unpacks large values three
times as fast as DEFLATE and packs them better, but to make a decompressor
costs it more than DEFLATE needs for all of a small one.  So small values are
always DEFLATE, which every process can read, and large ones are where zstd
is installed.
"""

from __future__ import annotations

import functools
import sys
import zlib
from types import ModuleType
from typing import Any
from typing import Final

from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import UnknownCompressionError

__all__ = ["DEFLATE", "MAX_RAW_BYTES", "STORED", "ZSTD", "pack", "unpack"]

STORED: Final = 0
DEFLATE: Final = 1
ZSTD: Final = 2
"""How a value is packed, as the codec's header says it."""

MAX_RAW_BYTES: Final = 64 * 2**20
"""Nothing is unpacked beyond this, whatever its header says."""

_MOST_RATIO: Final = 100
_ANY_RATIO_BYTES: Final = 2**20
"""From here on nothing is unpacked to more than so many times its size:
pages are packed to a fifth, and what is packed to a thousandth was made to
burst."""

_DEFLATE_LEVEL: Final = 3
_ZSTD_LEVEL: Final = 1
_ZSTD_BYTES: Final = 16 * 1024
"""Values of that many bytes or more are for zstd."""

_WORTH: Final = 0.9
"""What is packed to more of its size than this is stored as it is."""

_RAW_DEFLATE: Final = -zlib.MAX_WBITS
"""DEFLATE without zlib's header and Adler-32: the codec has its own check."""

_WINDOW_LOG: Final = 23
"""8 MiB, what RFC 8878 asks of every decoder, is all that a frame gets."""


@functools.cache
def _zstd() -> ModuleType | None:
    """Return the zstd of Python 3.14, or its backport, if it is there.

    Imported when it is first of use: a cache in memory never needs it.
    """
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        return None
    return zstd


def pack(raw: bytes) -> tuple[int, bytes]:
    """Return the method and *raw* packed with it.

    :return: ``STORED`` and *raw* itself, if packing saves less than a tenth,
        or so much that :func:`unpack` would not believe it.
    """
    zstd = _zstd() if len(raw) >= _ZSTD_BYTES else None
    if zstd is not None:
        method = ZSTD
        packed: bytes = zstd.compress(raw, _ZSTD_LEVEL)
    else:
        method = DEFLATE
        packer = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
        packed = packer.compress(raw) + packer.flush()
    if len(packed) > len(raw) * _WORTH or _bursts(len(packed), len(raw)):
        return STORED, raw
    return method, packed


def _bursts(packed: int, size: int) -> bool:
    """Tell whether what is packed so small is not unpacked."""
    return size > MAX_RAW_BYTES or (
        size > _ANY_RATIO_BYTES and size > packed * _MOST_RATIO
    )


def unpack(method: int, packed: bytes | memoryview, size: int) -> bytes:
    """Return the *size* bytes that :func:`pack` was given.

    *packed* is not trusted: neither the result nor what is needed to make it
    grows beyond *size* and some fixed megabytes.

    :raises UnknownCompressionError: if this process lacks the library.
    :raises CorruptEntryError: if it is not exactly *size* bytes, packed.
    """
    if _bursts(len(packed), size):
        raise CorruptEntryError("it says that it grows larger than any entry")
    unpacker, failure = _unpacker(method)
    try:
        # One byte more, so that what is too long is seen to be.
        raw: bytes = unpacker.decompress(packed, size + 1)
    except failure as error:
        raise CorruptEntryError(f"its value is broken: {error}") from error
    if len(raw) > size:
        raise CorruptEntryError("it is larger than its header says")
    if len(raw) < size or not unpacker.eof or unpacker.unused_data:
        raise CorruptEntryError("its value is cut off, or more than a value")
    return raw


def _unpacker(method: int) -> tuple[Any, type[Exception]]:
    """Return what unpacks one value, and what it raises."""
    if method == DEFLATE:
        return zlib.decompressobj(_RAW_DEFLATE), zlib.error
    if method != ZSTD:
        raise CorruptEntryError("it is packed in no known way")
    zstd = _zstd()
    if zstd is None:
        raise UnknownCompressionError(
            "it is compressed with zstd, which this process lacks: pip"
            ' install "mako-cacheplug[zstd]"'
        )
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options), zstd.ZstdError
