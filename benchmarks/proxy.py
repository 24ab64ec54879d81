"""A TCP proxy that counts round trips, and can make them longer.

A round trip begins with what a client sends after it was answered, or at
first; however many requests it sends before the next answer, it is one.

:class:`mako_cacheplug.testing.wire.Wire` writes down what is sent; this one
runs beside the clients, in a process of its own, and takes no time of theirs.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from benchmarks.workers import Workers

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Proxy"]

_CHUNK = 2**16


class Proxy:
    """A proxy in a process of its own, on a free port of the loopback.

    :param port: of the server behind it, on the loopback.
    :param delay: seconds added to each round trip.
    """

    host = "127.0.0.1"

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._process = Workers(functools.partial(_Relay, port, delay))
        (self.port,) = self._process.ask("port")

    def trips(self) -> int:
        """Return how many round trips were begun so far."""
        (count,) = self._process.ask("trips")
        return int(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.close()


class _Relay:
    """What runs in that process; called with the name of what is asked."""

    def __init__(self, port: int, delay: float) -> None:
        self._target = (Proxy.host, port)
        self._delay = delay
        self._listener = socket.create_server((Proxy.host, 0))
        self._guard = threading.Lock()
        self.port = self._listener.getsockname()[1]
        self.trips = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __call__(self, asked: str) -> int:
        answer = getattr(self, asked)
        assert isinstance(answer, int)
        return answer

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answered = threading.Event()
            answered.set()
            for carry in (self._requests, self._answers):
                threading.Thread(
                    target=carry, args=(client, server, answered), daemon=True
                ).start()

    def _requests(
        self,
        client: socket.socket,
        server: socket.socket,
        answered: threading.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK):
                if answered.is_set():
                    answered.clear()
                    with self._guard:
                        self.trips += 1
                    if self._delay:
                        time.sleep(self._delay)
                server.sendall(data)
        _end(server)

    def _answers(
        self,
        client: socket.socket,
        server: socket.socket,
        answered: threading.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                # First: the client may send again as soon as it has this.
                answered.set()
                client.sendall(data)
        _end(client)


def _end(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_WR)
