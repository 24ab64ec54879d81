"""Stores that go wrong among threads and processes, and when away."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator

from broken_backends.healthy import Healthy
from broken_backends.healthy import opened
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.exceptions import BackendError


class TornSet(Healthy):
    """A set writes in two steps."""

    caught_by = ("test_readers_see_no_mixture",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set(key, payload[: len(payload) // 2], ttl)
        time.sleep(0.005)
        super().set(key, payload, ttl)


class GoneSet(Healthy):
    """A set deletes first."""

    caught_by = ("test_readers_see_no_mixture",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.delete(key)
        time.sleep(0.005)
        super().set(key, payload, ttl)


class SharedCursor(Healthy):
    """All threads share one place for the answer."""

    caught_by = ("test_threads_get_their_own_answers",)
    answer: bytes | NoValue

    def get(self, key: str) -> bytes | NoValue:
        self.answer = super().get(key)
        time.sleep(0.0005)
        return self.answer


class SharedSocket(Healthy):
    """Parent and children read answers from one socket."""

    caught_by = ("test_children_get_their_own_answers",)

    def __init__(
        self, path: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, clock)
        self.ends = socket.socketpair()
        self.guard = threading.Lock()
        for end in self.ends:
            end.settimeout(1.0)

    def get(self, key: str) -> bytes | NoValue:
        # It asks over one end and is answered over the other.
        found = super().get(key)
        answer = b"" if found is NO_VALUE else found
        with self.guard:
            self.ends[0].sendall(len(answer).to_bytes(4, "big") + answer)
            # Another length in each process: one overtakes the other.
            time.sleep(os.urandom(1)[0] % 4 / 2000)
            try:
                size = int.from_bytes(self.ends[1].recv(4), "big")
                answer = b""
                while len(answer) < size:
                    answer += self.ends[1].recv(size - len(answer))
            except OSError as error:
                raise BackendError(str(error)) from error
        return answer if found is not NO_VALUE else NO_VALUE

    def close(self) -> None:
        for end in self.ends:
            end.close()


class LockedFork(Healthy):
    """A lock that a thread holds stays locked in a child."""

    caught_by = ("test_fork_while_threads_use_the_backend",)

    def __init__(
        self, path: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, clock)
        self.guard = threading.Lock()

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        with self.guard:
            time.sleep(0.002)
            super().set(key, payload, ttl)


class LeakedErrors(Healthy):
    """The client's own errors come out."""

    caught_by = (
        "test_every_method_raises_backend_error",
        "test_connected_backend_raises_backend_error_only",
    )

    @contextlib.contextmanager
    def run(self) -> Iterator[sqlite3.Connection]:
        with opened(self.path) as connection:
            yield connection


class SilentFailure(Healthy):
    """A store that is away looks empty, and takes everything."""

    caught_by = (
        "test_every_method_raises_backend_error",
        "test_invalidation_while_away_is_loud",
    )

    def get(self, key: str) -> bytes | NoValue:
        try:
            return super().get(key)
        except BackendError:
            return NO_VALUE

    def delete(self, key: str) -> None:
        with contextlib.suppress(BackendError):
            super().delete(key)


class SlowFailure(Healthy):
    """It takes seconds to notice that the store is away."""

    caught_by = ("test_every_method_raises_backend_error",)

    def get(self, key: str) -> bytes | NoValue:
        try:
            return super().get(key)
        except BackendError:
            time.sleep(2.1)
            raise


class EagerConnection(Healthy):
    """It asks the store as soon as it is made."""

    caught_by = ("test_making_a_backend_asks_nothing",)

    def __init__(
        self, path: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, clock)
        self.usage()


class NeverBack(Healthy):
    """Once away, it is away for ever."""

    caught_by = ("test_store_is_used_again_after_its_return",)
    away = False

    @contextlib.contextmanager
    def run(self) -> Iterator[sqlite3.Connection]:
        if self.away:
            raise BackendError("given up")
        try:
            with super().run() as connection:
                yield connection
        except BackendError:
            self.away = True
            raise


class CheckedBytes(Healthy):
    """It takes payloads for its own and fails on foreign ones."""

    caught_by = ("test_hostile_bytes_are_a_miss_and_are_repaired",)

    def get(self, key: str) -> bytes | NoValue:
        found = super().get(key)
        if found is not NO_VALUE and not found.startswith(b"mcp"):
            # A miss of its own: the region never hears of it.
            return NO_VALUE
        return found
