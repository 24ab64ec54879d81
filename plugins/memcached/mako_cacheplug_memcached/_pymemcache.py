"""Connections by pymemcache, which is pure Python and installs anywhere."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pymemcache
from pymemcache.exceptions import MemcacheServerError
from pymemcache.exceptions import MemcacheUnknownError

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug_memcached._connection import MARK_FLAGS
from mako_cacheplug_memcached._connection import TooLarge

if TYPE_CHECKING:
    from mako_cacheplug_memcached._connection import Address

__all__ = ["connect"]


class _PlainBytes:
    """Values as they are; another program's, with its flags, are none."""

    flags = 0
    """The flags, beside 0, of what is read now."""

    def serialize(self, key: bytes, value: bytes) -> tuple[bytes, int]:
        return value, 0

    def deserialize(
        self, key: bytes, value: bytes, flags: int
    ) -> bytes | None:
        if flags and flags != self.flags:
            return b"" if self.flags else None
        return value


class _Client(pymemcache.Client):  # type: ignore[misc]  # has no types
    is_abandoned = False
    """Whether its connection, or the next one, is the parent process's."""

    def _connect(self) -> None:
        """Connect to the first address of the host that answers.

        The library's own way tries one address only, and ``localhost`` is
        often ``::1`` first while memcached listens on ``127.0.0.1``.
        """
        self.close()
        sock = self._new_socket()
        if self.is_abandoned:  # while it was being connected
            sock.close()
            raise ConnectionAbortedError("this process was forked")
        sock.settimeout(self.timeout)
        self.sock = sock

    def _new_socket(self) -> socket.socket:
        if isinstance(self.server, tuple):
            sock = socket.create_connection(self.server, self.connect_timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(self.connect_timeout)
                sock.connect(self.server)
            except BaseException:
                sock.close()
                raise
        return sock


def connect(
    address: Address, connect_timeout: float, timeout: float
) -> PymemcacheConnection:
    """Return a connection that is not connected yet."""
    serde = _PlainBytes()
    return PymemcacheConnection(
        _Client(
            address,
            serde=serde,
            connect_timeout=connect_timeout,
            timeout=timeout,
            default_noreply=False,
        ),
        serde,
    )


@contextlib.contextmanager
def _too_large_told() -> Iterator[None]:
    try:
        yield
    except MemcacheServerError as error:
        if error.args and b"too large" in error.args[0]:
            raise TooLarge from None
        raise


class PymemcacheConnection:
    """A ``Connection``."""

    __slots__ = ("__weakref__", "_client", "_serde")

    def __init__(self, client: pymemcache.Client, serde: _PlainBytes) -> None:
        self._client = client
        self._serde = serde

    def get(self, key: bytes) -> bytes | NoValue:
        """Return the value under *key*."""
        found: bytes | None = self._client.get(key)
        return NO_VALUE if found is None else found

    def get_many(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """Return the values that are there."""
        found = self._client.get_many(keys)
        return {k: v for k, v in found.items() if v is not None}

    def set(self, key: bytes, value: bytes, exptime: int) -> None:
        """Store *value*."""
        self.set_many({key: value}, exptime)

    def set_many(self, values: dict[bytes, bytes], exptime: int) -> None:
        """Store all *values*."""
        with _too_large_told():
            failed = self._client.set_many(values, exptime)
        if failed:
            raise MemcacheUnknownError("not stored")

    def add(self, key: bytes, value: bytes, exptime: int) -> bool:
        """Store *value* if nothing is there; tell whether it did."""
        try:
            return bool(self._client.add(key, value, exptime))
        except MemcacheServerError as error:
            if b"too large" in error.args[0]:
                raise TooLarge from None
            raise

    def mark(self, key: bytes, token: bytes, exptime: int) -> bool:
        """Store a mark if nothing is there; tell whether it did."""
        return bool(self._client.add(key, token, exptime, flags=MARK_FLAGS))

    def delete(self, key: bytes) -> None:
        """Remove *key*, if it is there."""
        self._client.delete(key)

    def delete_many(self, keys: list[bytes]) -> None:
        """Remove all *keys* that are there."""
        self._client.delete_many(keys)

    def gets(self, key: bytes) -> tuple[bytes, object] | None:
        """Return the value, or a mark's token, and its CAS number."""
        self._serde.flags = MARK_FLAGS
        try:
            value, unique = self._client.gets(key)
        finally:
            self._serde.flags = 0
        return None if value is None else (value, unique)

    def cas(
        self, key: bytes, value: bytes, unique: object, exptime: int
    ) -> bool:
        """Store *value* if nobody wrote since; tell whether it did."""
        with _too_large_told():
            return bool(self._client.cas(key, value, unique, exptime))

    def flush(self) -> None:
        """Remove everything from the server."""
        if not self._client.flush_all():
            raise MemcacheUnknownError("not flushed")

    def usage(self) -> tuple[int, int]:
        """Return the number of items and of bytes."""
        stats = self._client.stats()
        return int(stats[b"curr_items"]), int(stats[b"bytes"])

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def abandon(self) -> None:
        """Put a pipe without a writer in the socket's place.

        It is closed in the ordinary way once nobody uses it.
        """
        self._client.is_abandoned = True
        sock = self._client.sock
        if sock is not None and sock.fileno() >= 0:
            dead, writer = os.pipe()
            os.close(writer)
            os.dup2(dead, sock.fileno(), inheritable=False)
            os.close(dead)
