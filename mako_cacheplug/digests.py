"""BLAKE2b, by itself.

It is CPython's own.  ``hashlib`` only hands it on, but loads OpenSSL with
the others, which takes as long as a tenth of this package.
"""

from __future__ import annotations

import functools

try:
    from _blake2 import blake2b
except ImportError:  # no CPython
    from hashlib import blake2b

__all__ = ["blake2b", "keyed"]


def keyed(secret: bytes, purpose: bytes, size: int) -> blake2b:
    """Return a new BLAKE2b, keyed with *secret* (RFC 7693).

    :param secret: of any length.
    :param purpose: at most 16 bytes, which the key is for: what is made for
        one of them says nothing of what is made for another.
    :param size: bytes of the digest, at most 64.
    """
    return _keyed(secret, purpose, size).copy()


@functools.lru_cache(maxsize=64)
def _keyed(secret: bytes, purpose: bytes, size: int) -> blake2b:
    # It takes keys of up to 64 bytes: longer ones are digested first.
    if len(secret) > 64:
        secret = blake2b(secret).digest()
    return blake2b(digest_size=size, key=secret, person=purpose)
