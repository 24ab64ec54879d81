"""Stores whose mutex is wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import ClassVar

from broken_backends.healthy import Healthy
from broken_backends.healthy import Mutex


class WithMutex(Healthy):
    kind = Mutex

    def mutex(self, key: str, lease: float) -> Mutex:
        return self.kind(self, key, lease)


class AnyoneReleases(WithMutex):
    """Anybody can release the mutex."""

    caught_by = (
        "test_mutex_is_released_by_its_owner_only",
        "test_mutex_is_released_once",
    )

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        def release(self) -> bool:
            with self.backend.run() as connection:
                return bool(
                    connection.execute(
                        "delete from mutex where key = ?", (self.key,)
                    ).rowcount
                )


class OneToken(WithMutex):
    """All holders in a process have one token."""

    caught_by = ("test_holder_token_changes", "test_mutex_is_released_once")

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        def __init__(self, backend: Healthy, key: str, lease: float) -> None:
            super().__init__(backend, key, lease)
            self.token = str(os.getpid())


class NoLease(WithMutex):
    """The mutex of a dead holder is never freed."""

    caught_by = ("test_mutex_of_a_killed_process_is_freed",)

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        def __init__(self, backend: Healthy, key: str, lease: float) -> None:
            super().__init__(backend, key, 1e9)


class AnyLease(WithMutex):
    """A lease is believed, however long."""

    caught_by = ("test_planted_lock_stops_nobody",)

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        def last(self) -> float:
            return math.inf


class ShortLease(WithMutex):
    """A lease in seconds is taken for milliseconds."""

    caught_by = ("test_lease_is_not_cut_short",)

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        def __init__(self, backend: Healthy, key: str, lease: float) -> None:
            super().__init__(backend, key, lease / 1000)


class ReleasesFirst(WithMutex):
    """Of many mutexes one is given back."""

    caught_by = ("test_all_are_released",)

    def release_many(self, mutexes: Sequence[Mutex]) -> None:
        super().release_many(mutexes[:1])


class ReleasesByKey(WithMutex):
    """Many mutexes are given back whoever holds them by now."""

    caught_by = ("test_anothers_is_not_released_with_them",)

    def release_many(self, mutexes: Sequence[Mutex]) -> None:
        with self.run() as connection:
            for mutex in mutexes:
                connection.execute(
                    "delete from mutex where key = ?", (mutex.key,)
                )


class Reentrant(WithMutex):
    """A process that holds the mutex acquires it again."""

    caught_by = ("test_mutex_is_exclusive", "test_mutex_among_threads")

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        held: ClassVar[dict[bytes, int]] = {}

        def acquire(self) -> bool:
            if self.held.get(self.key) == os.getpid():
                return True
            taken = super().acquire()
            if taken:
                self.held[self.key] = os.getpid()
            return taken

        def release(self) -> bool:
            released = super().release()
            if released:
                self.held.pop(self.key, None)
            return released


class LateToken(WithMutex):
    """A holder whose lease ran out releases who came after it."""

    caught_by = ("test_mutex_whose_lease_ran_out",)

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        acquired = False

        def acquire(self) -> bool:
            self.acquired = super().acquire()
            return self.acquired

        def release(self) -> bool:
            if not self.acquired:
                return False
            self.acquired = False
            with self.backend.run() as connection:
                return bool(
                    connection.execute(
                        "delete from mutex where key = ?", (self.key,)
                    ).rowcount
                )


class ThreadsOnly(WithMutex):
    """The mutex holds in one process only."""

    caught_by = (
        "test_mutex_among_processes",
        "test_cold_herd_of_processes",
    )

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        def __init__(self, backend: Healthy, key: str, lease: float) -> None:
            super().__init__(backend, f"{os.getpid()} {key}", lease)


class MutexIsValue(WithMutex):
    """The mutex is kept where values are."""

    caught_by = ("test_mutex_is_no_value",)

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        def acquire(self) -> bool:
            taken = super().acquire()
            if taken:
                self.backend.set(self.key.decode(), b"locked", self.lease)
            return taken


class OneForAll(WithMutex):
    """There is one mutex for all keys."""

    caught_by = ("test_mutexes_of_other_keys_are_free",)

    class kind(Mutex):  # noqa: N801  # an attribute of the backend
        def __init__(self, backend: Healthy, key: str, lease: float) -> None:
            super().__init__(backend, "", lease)
