"""What goes over the wire: keys that are safe, and expiry times.

memcached's keys are 1 to 250 bytes without spaces and control characters.
A key that is not, or that would look like one of ours, is hashed.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

__all__ = ["EXPIRED", "MAX_KEY_BYTES", "expiry_time", "lock_key", "value_key"]

# Plain keys that begin with _OURS are hashed too, so no key can name them.
_OURS: Final = "mcp~"
_HASHED: Final = b"mcp~k:"
_LOCK: Final = b"mcp~l:"

MAX_KEY_BYTES: Final = 250 - len(_LOCK)
"""The longest key that is passed through as it is."""

_plain = re.compile(rf"(?!{_OURS})[!-\x7e]{{1,{MAX_KEY_BYTES}}}").fullmatch

_MONTH: Final = 30 * 86400
_LATEST: Final = 2**31 - 1

EXPIRED: Final = _MONTH + 1
"""An expiry time in January 1970."""


@functools.lru_cache(4096)
def value_key(key: str) -> bytes:
    """Return what *key*, any string at all, is called on the server."""
    if _plain(key):
        return key.encode("ascii")
    raw = key.encode("utf-8", "surrogatepass")
    return _HASHED + blake2b(raw, digest_size=20).hexdigest().encode("ascii")


def lock_key(key: str) -> bytes:
    """Return what the lock for *key* is called on the server."""
    return _LOCK + value_key(key)


def expiry_time(seconds: float | None, clock: Callable[[], float]) -> int:
    """Return memcached's ``exptime``; it never ends before *seconds*.

    Up to 30 days it counts from now; a larger one is a Unix time; 0 is
    never.  The server's clock ticks once a second and the next tick may
    come at once, so one second is added.

    :param seconds: above 0; ``None`` for never.
    :param clock: seconds since 1970.
    """
    if seconds is None or seconds > _LATEST:
        return 0
    whole = math.ceil(seconds) + 1
    if whole <= _MONTH:
        return whole
    whole = math.ceil(clock() + seconds) + 1
    return whole if whole <= _LATEST else 0
