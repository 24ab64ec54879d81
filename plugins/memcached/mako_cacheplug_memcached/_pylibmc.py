"""Connections by pylibmc, which is libmemcached: the fastest client.

The text protocol is used: memcached has deprecated the binary one, which is
no faster here.  Four of the library's ways need care:

* A read that breaks is reported as a *miss*.  libmemcached then marks the
  server as failed and does not touch it for ``retry_timeout``, so that after
  a real miss it has a connection and after a failure it has none.  Which of
  them it is, the buffer size of its socket tells, without a trip.
* Storing or deleting many waits for each answer.  ``noreply`` asks for none;
  a question that follows on the same connection is answered when all of them
  have been carried out.
* Freeing a client sends ``quit``.  In a forked child that would end the
  parent's connection.
* A foreign item's flags choose how it is unpacked, unpickling included.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Iterator
from typing import Any
from typing import Final
from typing import TYPE_CHECKING

import pylibmc

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug_memcached._connection import MARK_FLAGS
from mako_cacheplug_memcached._connection import TooLarge

if TYPE_CHECKING:
    from mako_cacheplug_memcached._connection import Address

__all__ = ["connect"]

_RETRY_SECONDS: Final = 2
"""How long a failed client refuses; it is thrown away at once anyway."""

_NO_KEY: Final = b"mcp~"
"""A key that nothing is stored under."""


class _Client(pylibmc.Client):  # type: ignore[misc]  # has no types
    flags = 0
    """The flags, beside 0, of what is written or read now."""

    def serialize(self, value: bytes) -> tuple[bytes, int]:
        return value, self.flags

    def deserialize(self, value: bytes | None, flags: int) -> bytes:
        if flags and flags != self.flags:
            if self.flags:
                return b""  # To be replaced by its number.
            raise pylibmc.CacheMiss
        return value or b""  # An empty value is handed over as None.

    def require_answer(self) -> None:
        """Raise unless the miss that was just reported was an answer."""
        # Without the names that the wrapper's own method looks up.
        known = super(pylibmc.Client, self).get_behaviors()
        if not known["_socket_recv_size"]:
            raise pylibmc.Failure("broken off")


def connect(
    address: Address, connect_timeout: float, timeout: float
) -> PylibmcConnection:
    """Return a connection that is not connected yet."""
    if isinstance(address, tuple):
        # The brackets keep a host from being read as another transport.
        address = "[{}]:{}".format(*address)
    return PylibmcConnection(
        _Client(
            [address],
            behaviors={
                "cas": True,
                "tcp_nodelay": True,
                "connect_timeout": math.ceil(connect_timeout * 1e3),
                "_poll_timeout": math.ceil(timeout * 1e3),
                "send_timeout": math.ceil(timeout * 1e6),
                "receive_timeout": math.ceil(timeout * 1e6),
                "retry_timeout": _RETRY_SECONDS,
            },
        )
    )


def _is_unreadable(error: pylibmc.Error) -> bool:
    """Tell whether a foreign item could not even be decompressed.

    The library does that before it asks :meth:`_Client.deserialize`.
    """
    return str(error).startswith("Failed to decompress")


class PylibmcConnection:
    """A ``Connection``; keys are passed as bytes, as ``gets`` lets go of a
    converted ``str`` before it has been sent."""

    __slots__ = ("__weakref__", "_client")

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, key: bytes) -> bytes | NoValue:
        """Return the value under *key*."""
        try:
            found: bytes | NoValue = self._client.get(key, NO_VALUE)
        except pylibmc.Error as error:
            if not _is_unreadable(error):
                raise
            return NO_VALUE
        if found is NO_VALUE:
            self._client.require_answer()
        return found

    def get_many(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """Return the values that are there."""
        try:
            found: dict[bytes, bytes] = self._client.get_multi(keys)
        except pylibmc.Error as error:
            if not _is_unreadable(error):
                raise
            each = {key: self.get(key) for key in keys}
            return {k: v for k, v in each.items() if v is not NO_VALUE}
        if len(found) < len(keys):
            self._client.require_answer()
        return found

    def set(self, key: bytes, value: bytes, exptime: int) -> None:
        """Store *value*."""
        try:
            stored = self._client.set(key, value, exptime)
        except pylibmc.TooBig:
            raise TooLarge from None
        if not stored:
            raise pylibmc.Failure("not stored")

    def set_many(self, values: dict[bytes, bytes], exptime: int) -> None:
        """Store all *values*."""
        with self._unanswered():
            failed = self._client.set_multi(values, exptime)
        if failed:
            raise pylibmc.Failure("not stored")

    def add(self, key: bytes, value: bytes, exptime: int) -> bool:
        """Store *value* if nothing is there; tell whether it did."""
        try:
            return bool(self._client.add(key, value, exptime))
        except pylibmc.TooBig:
            raise TooLarge from None

    def mark(self, key: bytes, token: bytes, exptime: int) -> bool:
        """Store a mark if nothing is there; tell whether it did."""
        self._client.flags = MARK_FLAGS
        try:
            return self.add(key, token, exptime)
        finally:
            self._client.flags = 0

    def delete(self, key: bytes) -> None:
        """Remove *key*, if it is there."""
        self._client.delete(key)

    def delete_many(self, keys: list[bytes]) -> None:
        """Remove all *keys* that are there."""
        with self._unanswered():
            self._client.delete_multi(keys)

    @contextlib.contextmanager
    def _unanswered(self) -> Iterator[None]:
        """Send what is sent in this block in one trip."""
        self._client.set_behaviors({"_noreply": True})
        yield
        self._client.set_behaviors({"_noreply": False})
        if self._client.get(_NO_KEY) is None:
            self._client.require_answer()

    def gets(self, key: bytes) -> tuple[bytes, object] | None:
        """Return the value, or a mark's token, and its CAS number."""
        self._client.flags = MARK_FLAGS
        try:
            value, unique = self._client.gets(key)
        except pylibmc.Error as error:
            if not _is_unreadable(error):
                raise
            # Its number is not told, so nobody could ever replace it.  Under
            # a name of ours nobody else has anything to keep.
            self.delete(key)
            return None
        finally:
            self._client.flags = 0
        if value is None:
            self._client.require_answer()
            return None
        return value, unique

    def cas(
        self, key: bytes, value: bytes, unique: object, exptime: int
    ) -> bool:
        """Store *value* if nobody wrote since; tell whether it did."""
        try:
            return bool(self._client.cas(key, value, unique, exptime))
        except pylibmc.NotFound:
            return False
        except pylibmc.TooBig:
            raise TooLarge from None

    def flush(self) -> None:
        """Remove everything from the server."""
        if not self._client.flush_all():
            raise pylibmc.Failure("not flushed")

    def usage(self) -> tuple[int, int]:
        """Return the number of items and of bytes."""
        ((_, stats),) = self._client.get_stats()
        return int(stats["curr_items"]), int(stats["bytes"])

    def close(self) -> None:
        """Give the connection back."""
        self._client = None

    def abandon(self) -> None:
        """Leave the client to the parent: never free it in this process."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._client))
