"""Entries that others may hold but not read.

AES-256-GCM (NIST SP 800-38D) by pyca/cryptography: it is in every build of
OpenSSL and in the processor, so a page costs a microsecond or two.  GCM must
never use a nonce twice with one key, and random nonces of 96 bits are good
for 2**32 messages.  So every logical key has a key of its own, and it is the
writes of *one* entry under one secret that must stay below 2**32: at a
thousand a second, 50 days of nothing else.  The layout::

    magic       4   "mcp", and the version, 0x82
    nonce       12  random
    text            the entry without its check, encrypted
    tag         16

The entry's key is made of the secret and the logical key by keyed BLAKE2b
with a label for this purpose, as libsodium's ``crypto_kdf`` does it.  The
logical key is the associated data as well: under another one an entry is
refused.
"""

from __future__ import annotations

import functools
import os
from typing import Final
from typing import TYPE_CHECKING

from mako_cacheplug.digests import keyed
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import OptionError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["require", "seal", "unseal"]

_MAGIC: Final = b"mcp\x82"
_NONCE_BYTES: Final = 12
_TEXT: Final = len(_MAGIC) + _NONCE_BYTES
_KEY_BYTES: Final = 32
_PURPOSE: Final = b"mcp encryption"


@functools.cache
def _aesgcm() -> type[AESGCM]:
    """Return the cipher, imported when it is first of use."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM


def require() -> None:
    """Make sure that this process can encrypt.

    :raises OptionError: if the library is not installed.
    """
    try:
        _aesgcm()
    except ImportError:
        raise OptionError(
            "option 'encrypt' needs a library: pip install"
            ' "mako-cacheplug[encryption]"',
            option="encrypt",
        ) from None


def seal(secret: bytes, key: str, body: bytes) -> bytes:
    """Return *body* encrypted for the logical *key*."""
    name = key.encode("utf-8", "surrogatepass")
    nonce = os.urandom(_NONCE_BYTES)
    text = _cipher(secret, name).encrypt(nonce, body, name)
    return b"".join((_MAGIC, nonce, text))


def unseal(secrets: tuple[bytes, ...], key: str, payload: bytes) -> bytes:
    """Return what :func:`seal` was given, by the first secret that fits.

    :raises CorruptEntryError: if none does, or it was for another key.
    """
    from cryptography.exceptions import InvalidTag

    if payload[: len(_MAGIC)] != _MAGIC:
        raise CorruptEntryError("not an encrypted entry of this version")
    name = key.encode("utf-8", "surrogatepass")
    nonce = payload[len(_MAGIC) : _TEXT]
    text = payload[_TEXT:]
    for secret in secrets:
        try:
            return _cipher(secret, name).decrypt(nonce, text, name)
        except (InvalidTag, OverflowError, ValueError):
            continue  # By another secret, or no ciphertext at all.
    raise CorruptEntryError("it is not encrypted by any of the secrets")


def _cipher(secret: bytes, name: bytes) -> AESGCM:
    key = keyed(secret, _PURPOSE, _KEY_BYTES)
    key.update(name)
    return _aesgcm()(key.digest())
