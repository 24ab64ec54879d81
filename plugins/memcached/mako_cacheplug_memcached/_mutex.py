"""A leased lock on a memcached: ``add``, and compare-and-delete by CAS."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from mako_cacheplug_memcached._server import Server
from mako_cacheplug_memcached._wire import EXPIRED
from mako_cacheplug_memcached._wire import expiry_time

__all__ = ["MemcachedMutex"]


class MemcachedMutex:
    """A ``CacheMutex``: whoever adds the item holds it.

    The item says who holds it and until when.  memcached's own expiry, in
    whole seconds, only cleans up: once the lease is over, to a fraction of
    a second, the next caller takes the item over.  Clocks of several hosts
    should agree to well within a lease.

    There is no "delete if it is still mine", so releasing replaces the item
    by one that is expired, on condition of its CAS number: what another
    holder has written since is left alone.

    :param server: where *key* lives.
    :param key: the item's key on the wire.
    :param lease: seconds.
    :param clock: seconds since 1970.
    """

    def __init__(
        self,
        server: Server,
        key: bytes,
        lease: float,
        clock: Callable[[], float],
    ) -> None:
        self._server = server
        self._key = key
        self._lease = lease
        self._clock = clock
        self._ours = b""

    def acquire(self) -> bool:
        """Try to become the holder, without waiting; tell whether it worked.

        :raises BackendError: if the server could not be asked.
        """
        # Kept also when an error follows: the server may have stored it.
        self._ours = b"%s %.3f" % (
            secrets.token_hex(16).encode("ascii"),
            self._clock() + self._lease,
        )
        if self._add() or self._take_over():
            return True
        self._ours = b""
        return False

    def release(self) -> bool:
        """Give it back; tell whether it was still ours.

        :raises BackendError: if the server could not be asked.
        """
        ours, self._ours = self._ours, b""
        if not ours:
            return False
        found = self._server.call(lambda c: c.gets(self._key))
        if found is None or found[0] != ours:
            return False
        unique = found[1]
        return self._server.call(
            lambda c: c.cas(self._key, b"", unique, EXPIRED)
        )

    def holder(self) -> str | None:
        """Return the token of who holds it now, or ``None``.

        :raises BackendError: if the server could not be asked.
        """
        found = self._server.call(lambda c: c.gets(self._key))
        if found is None or self._is_over(found[0]):
            return None
        return found[0].decode("latin-1")

    def _add(self) -> bool:
        exptime = expiry_time(self._lease, self._clock)
        return self._server.call(
            lambda c: c.add(self._key, self._ours, exptime)
        )

    def _take_over(self) -> bool:
        found = self._server.call(lambda c: c.gets(self._key))
        if found is None:
            return self._add()  # It was released a moment ago.
        value, unique = found
        if not self._is_over(value):
            return False
        exptime = expiry_time(self._lease, self._clock)
        return self._server.call(
            lambda c: c.cas(self._key, self._ours, unique, exptime)
        )

    def _is_over(self, value: bytes) -> bool:
        """Tell whether a lease has ended; one that cannot be read has."""
        _, _, until = value.partition(b" ")
        try:
            return not self._clock() < float(until)
        except ValueError:
            return True
