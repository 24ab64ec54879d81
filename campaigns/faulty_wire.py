"""A TCP proxy before a server that does to the bytes what networks do.

By chance, but from a seed: what has gone wrong once goes wrong again.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from mako_cacheplug.testing.servers import Server

__all__ = ["FaultyWire"]

_CHUNK: Final = 1 << 16

_DELAYS: Final = (0.001, 0.01, 0.02, 0.1)
"""Seconds; the last one is longer than the clients wait."""

_VALUE: Final = re.compile(rb"VALUE (\S+) (\d+) (\d+)")

Damage = Callable[[random.Random, bytes], bytes]


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.randint(1, 40)) + data[at:]


def _replace(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    size = chance.randint(1, 40)
    return data[:at] + chance.randbytes(size) + data[at + size :]


def _flip(chance: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _leave_out(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randint(1, 40) :]


def _swap_keys(chance: random.Random, data: bytes) -> bytes:
    """Let each value be another key's."""
    found = [match[1] for match in _VALUE.finditer(data)]
    if not found:
        return _flip(chance, data)
    other = iter([*found[1:], found[0][:-1] + b"x"])
    return _VALUE.sub(
        lambda m: b"VALUE %s %s %s" % (next(other), m[2], m[3]), data
    )


def _wrong_length(chance: random.Random, data: bytes) -> bytes:
    size = chance.choice((0, 1, 2**31 - 1, 2**64, chance.randrange(10_000)))
    return _VALUE.sub(lambda m: b"VALUE %s %s %d" % (m[1], m[2], size), data)


_DAMAGES: Final[tuple[Damage, ...]] = (
    _insert,
    _replace,
    _flip,
    _leave_out,
    _swap_keys,
    _wrong_length,
)


class FaultyWire:
    """A proxy before *server*.  Requests are cut off or late; answers, all.

    A request that arrives is the one that was sent: what a checksum of the
    network would have to miss is left out there, as a server that is told to
    remove another key answers that it did.

    :param server: runs already.
    :param seed: of the faults.
    :param rate: how many of a hundred messages have one.
    :param garbles: whether answers are damaged, too, and not only late, cut
        off or in part.
    """

    host = "127.0.0.1"

    def __init__(
        self, server: Server, seed: int, rate: float, *, garbles: bool = True
    ) -> None:
        self._server = server
        self._seed = seed
        self._rate = rate
        self._garbles = garbles
        self.faults = 0
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(
                        (self._server.host, self._server.port)
                    )
                except OSError:
                    client.close()
                    continue
                with self._guard:
                    self._count += 1
                    number = self._count
                    self._open |= {client, server}
                for carry, one, other in (
                    (self._requests, client, server),
                    (self._answers, server, client),
                ):
                    chance = random.Random(
                        f"{self._seed} {number} {carry.__name__}"
                    )
                    threading.Thread(
                        target=self._carry,
                        args=(carry, chance, one, other),
                        daemon=True,
                    ).start()

    def _carry(
        self,
        carry: Callable[[random.Random, bytes], tuple[bytes, bool]],
        chance: random.Random,
        source: socket.socket,
        target: socket.socket,
    ) -> None:
        with contextlib.suppress(OSError):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := source.recv(_CHUNK):
                ends = False
                if chance.random() * 100.0 < self._rate:
                    self.faults += 1
                    data, ends = carry(chance, data)
                target.sendall(data)
                if ends:
                    break
        for side in (source, target):
            with self._guard:
                self._open.discard(side)
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _requests(
        self, chance: random.Random, data: bytes
    ) -> tuple[bytes, bool]:
        """Return what arrives of a request, and whether the line is dead."""
        if chance.random() < 0.5:
            time.sleep(chance.choice(_DELAYS))
            return data, False
        return data[: chance.randrange(len(data))], True

    def _answers(
        self, chance: random.Random, data: bytes
    ) -> tuple[bytes, bool]:
        """Return what arrives of an answer, and whether the line is dead."""
        kind = chance.random() * (1.0 if self._garbles else 0.5)
        if kind < 0.2:
            time.sleep(chance.choice(_DELAYS))
            return data, False
        if kind < 0.4:
            return data[: chance.randrange(len(data))], True
        if kind < 0.5:
            # The rest of it comes, but late.
            return data[: chance.randrange(len(data))], False
        return chance.choice(_DAMAGES)(chance, data), False

    def close(self) -> None:
        """End every connection through it."""
        self._listener.close()
        with self._guard:
            still_open = list(self._open)
        for side in still_open:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
