"""One memcached server: its idle connections, and what its errors become."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from typing import Final
from typing import TypeVar

from mako_cacheplug.api import CircuitBreaker
from mako_cacheplug.api import NoValue
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug_memcached._connection import Address
from mako_cacheplug_memcached._connection import Connection
from mako_cacheplug_memcached._connection import TooLarge

__all__ = ["Server"]

_T = TypeVar("_T")

_MOST_DEBTS: Final = 64
_SETTLING_SECONDS: Final = 0.05
"""So long the call that finds the server back may be kept by them."""


class Server:
    """A pool of connections to one server, for threads and forks.

    Nobody waits for a connection: whoever finds none idle makes one, and
    those above *pool_size* are closed after use.  The queue needs no lock,
    with the GIL or without: taking and giving back are atomic.

    :param address: host and port, or a socket's path.
    :param connect: makes a connection, without touching the network.
    :param pool_size: how many idle connections are kept.
    """

    def __init__(
        self,
        address: Address,
        connect: Callable[[], Connection],
        pool_size: int,
    ) -> None:
        if isinstance(address, tuple):
            host, port = address
            self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        else:
            self.name = address
        self.url = f"memcached://{self.name}"
        self._new = connect
        self._pool_size = pool_size
        self._idle: deque[Connection] = deque()
        # In use as well.
        self._every: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._debts: deque[Callable[[], object]] = deque(maxlen=_MOST_DEBTS)
        self.breaker = CircuitBreaker(f"memcached {self.name}", self.url)
        _servers.add(self)

    def call(self, action: Callable[[Connection], _T]) -> _T:
        """Return what *action* does, unless the server is left alone.

        :raises TooLarge: if that is the server's answer.
        :raises BackendError: for any other error, and if it is left alone.
        """
        if not self.breaker.is_well:
            self.breaker.admit()
        return self.insist(action)

    def insist(self, action: Callable[[Connection], _T]) -> _T:
        """Return what *action* does with a connection of its own.

        Even if the server failed just now.  After an error the connection is
        closed, so that a late answer is never taken for another call's.  So
        are the idle ones: a server that restarted would otherwise cost one
        error for each of them.

        :raises TooLarge: if that is the server's answer.
        :raises BackendError: for any other error.
        """
        connection = None
        began = time.monotonic()
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            answer = action(connection)
        except TooLarge:
            if connection is not None:
                self._give_back(connection)
            self.breaker.succeeded()
            raise
        except BaseException as error:
            self._failed(connection, began, error)
            raise
        self._give_back(connection)
        if not self.breaker.is_well:
            self.breaker.succeeded()
            self._settle()
        return answer

    def when_back(self, action: Callable[[], object]) -> None:
        """Do *action* once the server, which failed, has answered a call.

        The last 64 are kept, for as long as this process lives.

        :param action: may raise :class:`.BackendError`; it is done another
            time then.
        """
        self._debts.append(action)

    def _settle(self) -> None:
        until = time.monotonic() + _SETTLING_SECONDS
        while self._debts and time.monotonic() < until:
            try:
                action = self._debts.popleft()
            except IndexError:
                return
            try:
                action()
            except BackendError:
                self._debts.append(action)
                return

    def get(self, key: bytes) -> bytes | NoValue:
        """Return what :meth:`call` does with a connection's ``get``.

        Every hit comes here.  Most find the server well and a connection
        idle, and are spared what the others need.
        """
        if self.breaker.is_well:
            began = time.monotonic()
            try:
                connection = self._idle.pop()
            except IndexError:
                pass
            else:
                try:
                    answer = connection.get(key)
                except BaseException as error:
                    self._failed(connection, began, error)
                    raise
                # As in _give_back, without a call.
                if len(self._idle) < self._pool_size:
                    self._idle.append(connection)
                else:
                    connection.close()
                return answer
        return self.call(lambda connection: connection.get(key))

    def _failed(
        self, connection: Connection | None, began: float, error: BaseException
    ) -> None:
        """Close what may answer late; raise what an error is to callers.

        :param began: when the call did, by ``time.monotonic()``.
        """
        if connection is not None:
            connection.close()
        if not isinstance(error, Exception):
            return
        # What is the parent's says nothing of the server.
        if connection is None or connection in self._every:
            self.close()
            self.breaker.failed(error, time.monotonic() - began)
        reason = str(error) or type(error).__name__
        raise BackendError(
            f"memcached {self.name}: {reason}", url=self.url
        ) from error

    def _connect(self) -> Connection:
        connection = self._new()
        self._every.add(connection)
        return connection

    def close(self) -> None:
        """Close the idle connections; a later call makes new ones."""
        for connection in self._take_all():
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        if len(self._idle) < self._pool_size:
            self._idle.append(connection)
        else:
            connection.close()

    def _take_all(self) -> Iterator[Connection]:
        with contextlib.suppress(IndexError):
            while True:
                yield self._idle.pop()

    def _after_fork(self) -> None:
        for connection in list(self._every):
            connection.abandon()
        self._every = weakref.WeakSet()
        self._debts.clear()  # The parent's, who is there to settle them.
        self.close()


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _after_fork() -> None:
    for server in list(_servers):
        server._after_fork()


os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _at_exit() -> None:
    # A socket that is left to the end of the interpreter is a warning.
    for server in list(_servers):
        server._pool_size = 0
        server.close()
