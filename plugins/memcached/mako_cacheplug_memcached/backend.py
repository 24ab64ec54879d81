"""Entries in one or several memcached servers, shared by all processes."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final
from typing import TYPE_CHECKING
from typing import TypeVar

from mako_cacheplug import options
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import Usage
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug_memcached._connection import Address
from mako_cacheplug_memcached._connection import CLIENTS
from mako_cacheplug_memcached._connection import Connection
from mako_cacheplug_memcached._connection import find_connect
from mako_cacheplug_memcached._connection import TooLarge
from mako_cacheplug_memcached._mutex import MemcachedMutex
from mako_cacheplug_memcached._mutex import release_together
from mako_cacheplug_memcached._ring import Ring
from mako_cacheplug_memcached._server import Server
from mako_cacheplug_memcached._wire import EXPIRED
from mako_cacheplug_memcached._wire import expiry_time
from mako_cacheplug_memcached._wire import lock_key
from mako_cacheplug_memcached._wire import MAX_KEY_BYTES
from mako_cacheplug_memcached._wire import value_key

if TYPE_CHECKING:
    from typing_extensions import Self

    from mako_cacheplug.options import StoreURL

__all__ = ["MemcachedBackend"]

_T = TypeVar("_T")

DEFAULT_PORT: Final = 11211

_LONGEST_LIMIT: Final = 3600.0

ITEM_LIMIT: Final = 2**20 - 512
"""memcached's own limit of 1 MiB, less room for the key and its header."""


_TOKEN_BYTES: Final = 16
_MARK_SECONDS: Final = 3600
_NO_CLAIM: Final = object()


class MemcachedBackend(CacheBackend):
    """A store in memcached.

    Safe in threads, and after fork: a child makes connections of its own
    and leaves the parent's alone.  Nothing is sent before the first use.

    A call that fails costs at most *connect_timeout* and *timeout* for each
    server that it concerns.  Each server has a circuit breaker: what one that
    fails holds is a miss, and what the others hold is served.  ``delete*``
    and ``clear`` try whatever the breakers say.

    :param servers: ``(host, port)`` pairs, or paths of Unix sockets.
    :param client: ``"pylibmc"``, ``"pymemcache"``, or ``"auto"`` for the
        first of them that is installed; where gevent has patched the
        sockets, the other way round.
    :param connect_timeout: seconds for connecting.
    :param timeout: seconds for sending, and for an answer.
    :param pool_size: idle connections kept for each server; more callers
        than that make connections that are closed after use.
    :param max_value_bytes: largest payload in bytes, below the server's
        ``-I``; ``None`` to leave that to the server.
    :param clock: seconds since 1970.
    :raises OptionError: for an option that cannot be used.
    """

    max_key_bytes = MAX_KEY_BYTES

    def __init__(
        self,
        servers: Sequence[Address],
        *,
        client: str = "auto",
        connect_timeout: float = 0.2,
        timeout: float = 0.2,
        pool_size: int = 16,
        max_value_bytes: int | None = ITEM_LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not servers:
            raise OptionError("no memcached server is given", option="url")
        connect_timeout = _time_limit(connect_timeout, "connect_timeout")
        timeout = _time_limit(timeout, "timeout")
        self.client, connect = find_connect(_client(client, "client"))
        self.max_value_bytes = max_value_bytes
        self._patience = min(connect_timeout, timeout)
        self._clock = clock
        self._servers = [
            Server(
                address,
                functools.partial(connect, address, connect_timeout, timeout),
                options.whole_number(pool_size, "pool_size"),
            )
            for address in dict.fromkeys(servers)
        ]
        self._only = self._servers[0] if len(self._servers) == 1 else None
        self.breakers = [server.breaker for server in self._servers]
        self._ring = Ring({server.name: server for server in self._servers})

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """Make the backend of ``memcached://host:port,host:port/?timeout=1``.

        ``memcached:///run/memcached.sock`` is a Unix socket.

        :raises OptionError: for an option or a value that is wrong.
        """
        given = str(url)
        if url.user or url.password:
            raise OptionError(
                f"option 'url': {given!r}: memcached is used without a user;"
                " let a firewall or a Unix socket keep others out",
                option="url",
                value=given,
            )
        servers: list[Address] = [
            (host, DEFAULT_PORT if port is None else port)
            for host, port in url.hosts
        ]
        if url.path.strip("/"):
            if servers:
                raise OptionError(
                    f"option 'url': {given!r} has hosts and a path: write"
                    " 'memcached://host:port/' or, for a Unix socket,"
                    " 'memcached:///run/memcached.sock'",
                    option="url",
                    value=given,
                )
            servers = [url.path]
        return cls(
            servers or [("127.0.0.1", DEFAULT_PORT)],
            **url.take(
                client=_client,
                connect_timeout=_time_limit,
                timeout=_time_limit,
                pool_size=options.whole_number,
                max_value_bytes=options.size,
            ),
        )

    def get(self, key: str) -> bytes | NoValue:
        """Return the payload under *key*, or :data:`NO_VALUE`.

        An item that another program stored with flags is a miss.

        :raises BackendError: if the server could not be asked.
        """
        wire = value_key(key)
        server = self._only or self._ring.find(wire)
        if not server.breaker.is_well:
            server = self._stand_in(server, wire)
        return server.get(wire)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        """Store *payload* under *key*.

        :param ttl: seconds; the server may keep it up to two seconds
            longer.  With 0 or less, what is there is removed.
        :raises ValueTooLargeError: if it is over a limit; what was there is
            removed.
        :raises BackendError: if it could not be stored.
        """
        if ttl is not None and ttl <= 0.0:
            self.delete(key)
            return
        wire = value_key(key)
        exptime = expiry_time(ttl, self._clock)
        self._store(key, payload, lambda c: c.set(wire, payload, exptime))

    def add(self, key: str, payload: bytes, ttl: float | None) -> bool:
        """Store *payload* if nothing is under *key*; tell whether it did.

        :param ttl: as for :meth:`set`.
        :raises ValueTooLargeError: if it is over a limit.
        :raises BackendError: if the server could not be asked.
        """
        if ttl is not None and ttl <= 0.0:
            return False
        wire = value_key(key)
        exptime = expiry_time(ttl, self._clock)
        server = self._stand_in(self._only or self._ring.find(wire), wire)
        return self._store(
            key, payload, lambda c: c.add(wire, payload, exptime), server
        )

    def claim(self, key: str) -> object:
        """Return the item under *key*, or the mark that is put there.

        :raises BackendError: if the server could not be asked.
        """
        wire = value_key(key)
        token = secrets.token_bytes(_TOKEN_BYTES)

        def take(connection: Connection) -> tuple[bytes, object] | None:
            # The number that its mark has needs no trip of its own: the
            # token tells it from any other.
            if connection.mark(wire, token, _MARK_SECONDS):
                return token, None
            return connection.gets(wire)

        server = self._only or self._ring.find(wire)
        # It can go between the two trips.
        return server.call(take) or server.call(take) or _NO_CLAIM

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        """Store *payload* if *claim* still holds; tell whether it did.

        :param ttl: as for :meth:`set`.
        :raises ValueTooLargeError: as from :meth:`set`.
        :raises BackendError: if the server could not be asked.
        """
        wire = value_key(key)
        exptime = EXPIRED
        if ttl is None or ttl > 0.0:
            exptime = expiry_time(ttl, self._clock)

        def put(connection: Connection) -> bool:
            # Compared by content too: a server that was restarted counts
            # from the beginning again.
            found = connection.gets(wire)
            if found is None or claim not in (found, (found[0], None)):
                return False
            return connection.cas(wire, payload, found[1], exptime)

        return self._store(key, payload, put)

    def _store(
        self,
        key: str,
        payload: bytes,
        action: Callable[[Connection], _T],
        server: Server | None = None,
    ) -> _T:
        """Return what *action* does, which stores *payload*.

        :param server: if not the one that *key* lives on.
        :raises ValueTooLargeError: if it is over a limit; what was there is
            removed.
        """
        limit = self.max_value_bytes
        if limit is not None and len(payload) > limit:
            self.delete(key)
            raise _too_large(len(payload), limit)
        if server is None:
            server = self._only or self._ring.find(value_key(key))
        try:
            return server.call(action)
        except TooLarge:
            self.delete(key)
            raise _too_large(len(payload), None, server.url) from None

    def delete(self, key: str) -> None:
        """Remove *key*; nothing happens if it is not there.

        :raises BackendError: if it is not certain that it is gone.
        """
        wire = value_key(key)
        _each(
            lambda server: server.insist(lambda c: c.delete(wire)),
            self._places(wire),
        )

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the payloads of those *keys* that are there.

        One trip to each server that they live on, one after the other.  What
        is left is missing once one of them has let the caller wait for all of
        its time: where all hang, as the network is gone, one costs that.

        :raises BackendError: if none of the servers could be asked.
        """
        began = time.monotonic()
        names = {value_key(key): key for key in keys}
        groups: dict[Server, list[bytes]] = {}
        for server, wires in self._by_server(names).items():
            for wire in wires:
                asked = self._stand_in(server, wire)
                groups.setdefault(asked, []).append(wire)
        found: dict[bytes, bytes] = {}
        answers = 0
        failure: BackendError | None = None
        # The one that may hang is asked last.
        for server in sorted(groups, key=lambda s: not s.breaker.is_well):
            try:
                found.update(_get_many(server, groups[server]))
                answers += 1
            except BackendError as error:
                failure = failure or error
                if time.monotonic() - began >= self._patience:
                    break
        if failure is not None and not answers:
            raise failure
        return {names[w]: found[w] for w in found if w in names}

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        """Store every payload; those that can be, if one cannot.

        One trip to each server that they live on, if none is over the limit.

        :raises BackendError: if any of them could not be stored.
        """
        names = {value_key(key): key for key in payloads}
        groups = self._by_server(names)

        def store(server: Server) -> None:
            group = {wire: payloads[names[wire]] for wire in groups[server]}
            if not self._store_together(server, group, ttl):
                self._store_each({names[w]: group[w] for w in group}, ttl)

        _each(store, groups)

    def _store_together(
        self, server: Server, values: dict[bytes, bytes], ttl: float | None
    ) -> bool:
        """Tell whether all *values* could be stored in one trip."""
        limit = self.max_value_bytes
        # Without a limit of ours only the server knows, and not every client
        # asks it in a bulk.
        if limit is None or max(map(len, values.values()), default=0) > limit:
            return False
        if ttl is not None and ttl <= 0.0:
            return False
        exptime = expiry_time(ttl, self._clock)
        try:
            server.call(lambda c: c.set_many(values, exptime))
        except TooLarge:
            return False
        return True

    def _store_each(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        too_large = None
        for key, payload in payloads.items():
            try:
                self.set(key, payload, ttl)
            except ValueTooLargeError as error:
                too_large = error
        if too_large is not None:
            raise too_large

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove every key; those that can be, if one cannot.

        One trip to each server that they live on.

        :raises BackendError: if it is not certain that all are gone.
        """
        groups: dict[Server, list[bytes]] = {}
        for wire in {value_key(key) for key in keys}:
            for server in self._places(wire):
                groups.setdefault(server, []).append(wire)
        _each(lambda server: _delete_many(server, groups[server]), groups)

    def close(self) -> None:
        """Close the idle connections; a later use makes new ones."""
        for server in self._servers:
            server.close()

    def mutex(self, key: str, lease: float) -> CacheMutex:
        """Return an unacquired mutex for *key*.

        :param lease: seconds it outlives a holder that died.
        """
        wire = lock_key(key)
        server = self._only or self._ring.find(wire)
        return MemcachedMutex(server, wire, lease, self._clock)

    def release_many(self, mutexes: Sequence[CacheMutex]) -> None:
        """Give back *mutexes*, in two trips to each server they live on.

        :raises BackendError: if a server could not be asked.
        """
        groups: dict[Server, list[MemcachedMutex]] = {}
        for mutex in mutexes:
            assert isinstance(mutex, MemcachedMutex)
            groups.setdefault(mutex.server, []).append(mutex)
        _each(lambda server: release_together(server, groups[server]), groups)

    def clear(self) -> None:
        """Empty the servers, of other programs' items and of locks too.

        :raises BackendError: if it is not certain that all are gone.
        """
        _each(lambda s: s.insist(lambda c: c.flush()), self._servers)

    def usage(self) -> Usage:
        """Return what the servers hold now, of other programs too.

        :raises BackendError: if one of them could not be asked.
        """
        each = [s.call(lambda c: c.usage()) for s in self._servers]
        return Usage(sum(n for n, _ in each), sum(size for _, size in each))

    def _stand_in(self, server: Server, wire: bytes) -> Server:
        """Return the one to ask for *wire* while *server* is left alone.

        What is added there is found there.  Nothing else is ever stored away
        from its own server: a value that was replaced on the one would come
        back with the other.  An added one is never replaced, and is removed
        from both.
        """
        if self._only is None and server.breaker.is_refusing():
            return self._ring.second(wire)
        return server

    def _places(self, wire: bytes) -> list[Server]:
        """Return the servers that can have *wire*."""
        if self._only is not None:
            return [self._only]
        # It would be seen there by whoever cannot reach the first of them.
        return [self._ring.find(wire), self._ring.second(wire)]

    def _by_server(self, wires: Iterable[bytes]) -> dict[Server, list[bytes]]:
        if self._only is not None:
            return {self._only: list(wires)}
        groups: dict[Server, list[bytes]] = {}
        for wire in wires:
            server = self._ring.find(wire)
            groups.setdefault(server, []).append(wire)
        return groups


def _get_many(server: Server, wires: list[bytes]) -> dict[bytes, bytes]:
    return server.call(lambda connection: connection.get_many(wires))


def _delete_many(server: Server, wires: list[bytes]) -> None:
    server.insist(lambda connection: connection.delete_many(wires))


def _each(action: Callable[[_T], None], things: Iterable[_T]) -> None:
    """Do *action* with every thing; then raise the first error."""
    first = None
    for thing in things:
        try:
            action(thing)
        except BackendError as error:
            first = first or error
    if first is not None:
        raise first


def _client(value: object, option: str) -> str:
    if value == "auto" or value in CLIENTS:
        return str(value)
    raise OptionError(
        f"unknown {option} {value!r}"
        f"{options.nearest(str(value), ['auto', *CLIENTS])}",
        option=option,
        value=value,
    )


def _time_limit(value: object, option: str) -> float:
    seconds = options.duration(value, option)
    if 0.0 < seconds <= _LONGEST_LIMIT:
        return seconds
    raise OptionError(
        f"option {option!r}: {value!r} is no time limit: write a time above 0"
        " and up to an hour, such as '200ms'",
        option=option,
        value=value,
    )


def _too_large(
    size: int, limit: int | None, url: str = ""
) -> ValueTooLargeError:
    return ValueTooLargeError(
        f"{size} bytes are over the"
        + (" server's limit" if limit is None else f" limit of {limit}"),
        size=size,
        limit=limit,
        url=url,
    )
