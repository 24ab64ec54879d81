"""A leased lock on a memcached: ``add``, and compare-and-delete by CAS."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from collections.abc import Callable
from collections.abc import Sequence
from typing import Final

from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug_memcached._server import Server
from mako_cacheplug_memcached._wire import EXPIRED
from mako_cacheplug_memcached._wire import expiry_time

__all__ = ["MemcachedMutex", "release_together"]

_LONGEST: Final = 64
"""Bytes of an item that are looked at: a token and a time."""

_MOST_LEASES: Final = 2.0
"""So much of ours another's lease may last, as clocks differ, and as ``lease``
is changed in one process after the other."""

_MOMENT: Final = 1.0
"""Seconds: a lease that lasts for longer does not end between two trips."""

_MOST_FORSAKEN: Final = 4096

_forsaken: Final[dict[bytes, None]] = {}
"""Items of this process that hold nothing, and may be on a server still: they
were given back, and it may not have heard it, or its answer was lost."""


def _forsake(item: bytes) -> None:
    """Note that this process's *item* holds nothing any more."""
    if len(_forsaken) >= _MOST_FORSAKEN:
        # Others may be at it as well.
        with contextlib.suppress(KeyError, RuntimeError, StopIteration):
            del _forsaken[next(iter(_forsaken))]
    _forsaken[item] = None


def _owe(server: Server, key: bytes, item: bytes) -> None:
    """Remove *item* when *server* answers again.

    Other processes cannot tell that it holds nothing.
    """
    server.when_back(functools.partial(_remove, server, key, item))


def _remove(server: Server, key: bytes, item: bytes) -> bool:
    """Remove *item* from under *key*; tell whether it was there."""
    found = server.call(lambda c: c.gets(key))
    if found is None or found[0] != item:
        return False
    unique = found[1]
    return server.call(lambda c: c.cas(key, b"", unique, EXPIRED))


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
        self.server = server
        self.key = key
        self._lease = lease
        self._clock = clock
        self._ours = b""
        self._process = 0

    def acquire(self) -> bool:
        """Try to become the holder, without waiting; tell whether it worked.

        :raises BackendError: if the server could not be asked.
        """
        self._process = os.getpid()
        # Kept also when an error follows: the server may have stored it.
        self._ours = b"%s %.3f" % (
            secrets.token_hex(16).encode("ascii"),
            self._clock() + self._lease,
        )
        try:
            if self._add() or self._take_over():
                return True
        except NotAskedError:
            # What was asked before that has been answered with no.
            self._ours = b""
            raise
        except BaseException:  # A greenlet's time limit is one.
            # Not let go of: it can be released.
            _owe(self.server, self.key, self._ours)
            _forsake(self._ours)
            raise
        self._ours = b""
        return False

    def release(self) -> bool:
        """Give it back; tell whether it was still ours.

        It is not in a child forked by the holder: the parent holds it.

        :raises BackendError: if the server could not be asked.
        """
        try:
            if self._holds() and _remove(self.server, self.key, self._ours):
                self._ours = b""
                return True
        except BaseException:
            self.forsake()
            raise
        # Not before: another thread would take it over meanwhile.
        self.let_go()
        return False

    def holder(self) -> str | None:
        """Return the token of who holds it now, or ``None``.

        :raises BackendError: if the server could not be asked.
        """
        found = self.server.call(lambda c: c.gets(self.key))
        if found is None or self._is_over(found[0]):
            return None
        return found[0].decode("latin-1")

    def _add(self) -> bool:
        exptime = expiry_time(self._lease, self._clock)
        return self.server.call(lambda c: c.add(self.key, self._ours, exptime))

    def _take_over(self) -> bool:
        found = self.server.call(lambda c: c.gets(self.key))
        if found is None:
            return self._add()  # It was released a moment ago.
        value, unique = found
        if value == self._ours:
            return True  # It was added, whatever the answer was.
        if not self._is_over(value):
            return False
        exptime = expiry_time(self._lease, self._clock)
        return self.server.call(
            lambda c: c.cas(self.key, self._ours, unique, exptime)
        )

    def _is_over(self, value: bytes) -> bool:
        """Tell whether a lease has ended; one that cannot be read has.

        Nor is one believed that ends so late that nobody can have taken it:
        whoever can write to the server could keep all others waiting.  What
        this process has given back holds nothing.
        """
        if value in _forsaken:
            return True
        _, _, until = value[:_LONGEST].partition(b" ")
        try:
            remaining = float(until) - self._clock()
        except ValueError:
            return True
        return not 0.0 < remaining <= _MOST_LEASES * self._lease

    def lasts(self) -> bool:
        """Tell whether nobody takes it over within the next moment."""
        _, _, until = self._ours.partition(b" ")
        return bool(until) and self._clock() + _MOMENT < float(until)

    def let_go(self) -> None:
        """Hold nothing any more, whatever is on the server."""
        if self._holds():
            _forsake(self._ours)
        self._ours = b""

    def forsake(self) -> None:
        """Let go of what the server could not be asked to remove."""
        if self._holds() and self._ours not in _forsaken:
            _owe(self.server, self.key, self._ours)
        self.let_go()

    def is_ours(self, value: bytes | None) -> bool:
        """Tell whether the item's *value* says that we hold it."""
        return self._holds() and value == self._ours

    def _holds(self) -> bool:
        # In a child that was forked since, the parent does.
        return bool(self._ours) and self._process == os.getpid()


def release_together(
    server: Server, mutexes: Sequence[MemcachedMutex]
) -> None:
    """Give back *mutexes*, all on *server*, in two trips.

    An item that is ours and lasts stays ours between the two, so it can be
    deleted by its key.  One whose lease is about to end is released by
    itself, on condition of its CAS number.

    :raises BackendError: if the server could not be asked.
    """
    lasting = [mutex for mutex in mutexes if mutex.lasts()]
    keys = [mutex.key for mutex in lasting]
    try:
        found = server.call(lambda c: c.get_many(keys)) if keys else {}
        ours = [
            mutex.key
            for mutex in lasting
            if mutex.is_ours(found.get(mutex.key)) and mutex.lasts()
        ]
        if ours:
            server.call(lambda c: c.delete_many(ours))
    except BaseException:
        for mutex in mutexes:
            mutex.forsake()
        raise
    for mutex in mutexes:
        if mutex in lasting:
            mutex.let_go()
        else:
            mutex.release()
