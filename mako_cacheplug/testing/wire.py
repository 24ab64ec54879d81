"""What a store's client says to its server, trip by trip.

::

    with MemcachedServer() as server, Wire(server) as wire:
        region = CacheRegion(wire.url)
        region.get("k")
        assert wire.trips() == [b"get ...\\r\\n"]

A trip begins with what a client sends after it was answered, or at first:
however many requests it sends before the next answer, it waits once.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Final
from typing import TYPE_CHECKING

from mako_cacheplug.testing.servers import Server

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Wire"]

_CHUNK: Final = 1 << 16


class _Side:
    """One end of a client's connection through the wire."""

    def __init__(self, end: socket.socket, other: _Side | None) -> None:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.end = end
        self.is_client = other is not None
        self.trip: bytearray | None = None
        """What a client has sent since it was answered."""
        if other is not None:
            self.other = other
            other.other = self


class Wire:
    """A TCP proxy before *server* that writes down what passes.

    Its methods may be called from any thread, and from this process alone:
    clients may be in others.

    :param server: runs already; it may be restarted.
    """

    host = "127.0.0.1"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        # Written to when it is to end.
        self._bell, bell = socket.socketpair()
        self._selector.register(bell, selectors.EVENT_READ, bell)
        self._guard = threading.Lock()
        self._trips: list[bytearray] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The store's URL, by way of the wire."""
        return f"{self._server.scheme}://{self.host}:{self.port}"

    def trips(self) -> list[bytes]:
        """Return what was sent in each trip since the last question."""
        with self._guard:
            trips, self._trips = self._trips, []
            return [bytes(trip) for trip in trips]

    def close(self) -> None:
        """End every connection through it."""
        self._bell.close()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._selector)
            stack.enter_context(self._listener)
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is self._listener:
                        self._connect()
                    elif isinstance(key.data, _Side):
                        self._carry(key.data)
                    else:
                        key.data.close()
                        self._end_all()
                        return

    def _connect(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(
                (self._server.host, self._server.port)
            )
        except OSError:
            client.close()
            return
        far = _Side(server, None)
        for side in (far, _Side(client, far)):
            self._selector.register(side.end, selectors.EVENT_READ, side)

    def _carry(self, side: _Side) -> None:
        """Hand on what *side* has sent, or that it has hung up."""
        try:
            sent = side.end.recv(_CHUNK)
            if sent:
                self._note(side, sent)
                side.other.end.sendall(sent)
                return
        except OSError:
            pass
        for each in (side, side.other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(each.end)
            each.end.close()

    def _note(self, side: _Side, sent: bytes) -> None:
        if not side.is_client:
            side.other.trip = None
            return
        with self._guard:
            if side.trip is None:
                side.trip = bytearray()
                self._trips.append(side.trip)
            side.trip += sent

    def _end_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Side):
                key.data.end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
