"""A store that does everything, and does it right: SQLite."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.api import Unchanged
from mako_cacheplug.api import Usage
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.options import StoreURL

TABLES = """
create table if not exists entry (key blob primary key, payload, ends real);
create table if not exists mark (key blob primary key, token text);
create table if not exists mutex (key blob primary key, token, ends real);
"""

# SQLite has locks of its own that a fork in another thread's call would
# leave locked in the child.
one_at_a_time = threading.RLock()


def _new_lock() -> None:
    global one_at_a_time
    one_at_a_time = threading.RLock()


os.register_at_fork(
    before=lambda: one_at_a_time.acquire(),
    after_in_parent=lambda: one_at_a_time.release(),
    after_in_child=_new_lock,
)


@contextlib.contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    with (
        one_at_a_time,
        contextlib.closing(
            sqlite3.connect(path, timeout=10.0, isolation_level=None)
        ) as connection,
    ):
        connection.execute("pragma journal_mode = memory")
        connection.execute("pragma synchronous = off")
        connection.executescript(TABLES)
        yield connection


def blob(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


class Healthy(CacheBackend):
    """No defect."""

    caught_by: tuple[str, ...] = ()
    max_value_bytes = 2**20
    max_copied_bytes = 2**20

    def __init__(
        self, path: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self.clock = clock

    @classmethod
    def from_url(cls, url: StoreURL) -> Healthy:
        url.take()
        return cls(url.path)

    @contextlib.contextmanager
    def run(self) -> Iterator[sqlite3.Connection]:
        try:
            with opened(self.path) as connection:
                yield connection
        except sqlite3.Error as error:
            raise BackendError(f"{self.path}: {error}") from error

    def get(self, key: str) -> bytes | NoValue:
        return self.get_many([key]).get(key, NO_VALUE)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.set_many({key: payload}, ttl)

    def delete(self, key: str) -> None:
        self.delete_many([key])

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        found = {}
        with self.run() as connection:
            for key in keys:
                row = connection.execute(
                    "select payload from entry"
                    " where key = ? and (ends is null or ends > ?)",
                    (blob(key), self.clock()),
                ).fetchone()
                if row is not None:
                    found[key] = row[0]
        return found

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        ends = None if ttl is None else self.clock() + ttl
        with self.run() as connection:
            for key, payload in payloads.items():
                if len(payload) > self.max_value_bytes:
                    self.refuse(connection, key, payload)
                connection.execute("begin immediate")
                connection.execute(self.void(by_set=True), (blob(key),))
                connection.execute(
                    "insert or replace into entry values (?, ?, ?)",
                    (blob(key), payload, ends),
                )
                connection.execute("commit")

    def refuse(
        self, connection: sqlite3.Connection, key: str, payload: bytes
    ) -> None:
        connection.execute("delete from entry where key = ?", (blob(key),))
        connection.execute(self.void(by_set=True), (blob(key),))
        raise ValueTooLargeError(
            "too large", size=len(payload), limit=self.max_value_bytes
        )

    def delete_many(self, keys: Iterable[str]) -> None:
        with self.run() as connection:
            for key in keys:
                # The mark first: nothing is stored after it.
                connection.execute(self.void(by_set=False), (blob(key),))
                connection.execute(
                    "delete from entry where key = ?", (blob(key),)
                )

    def void(self, by_set: bool) -> str:
        return "delete from mark where key = ?"

    def token(self) -> str:
        return os.urandom(8).hex()

    def add(self, key: str, payload: bytes, ttl: float | None) -> bool:
        now = self.clock()
        with self.run() as connection:
            if len(payload) > self.max_value_bytes:
                self.refuse(connection, key, payload)
            return bool(
                connection.execute(
                    "insert into entry values (?, ?, ?) on conflict (key)"
                    " do update set payload = excluded.payload,"
                    " ends = excluded.ends where ends <= ?",
                    (
                        blob(key),
                        payload,
                        None if ttl is None else now + ttl,
                        now,
                    ),
                ).rowcount
            )

    def claim(self, key: str) -> object:
        with self.run() as connection:
            connection.execute("begin immediate")
            connection.execute(
                "insert or ignore into mark values (?, ?)",
                (blob(key), self.token()),
            )
            row = connection.execute(
                "select token from mark where key = ?", (blob(key),)
            ).fetchone()
            connection.execute("commit")
        return row[0]

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        ends = None if ttl is None else self.clock() + ttl
        with self.run() as connection:
            if len(payload) > self.max_value_bytes:
                self.refuse(connection, key, payload)
            connection.execute("begin immediate")
            held = connection.execute(
                "delete from mark where key = ? and token = ?",
                (blob(key), claim),
            ).rowcount
            if held:
                connection.execute(
                    "insert or replace into entry values (?, ?, ?)",
                    (blob(key), payload, ends),
                )
            connection.execute("commit")
        return bool(held)

    def clear(self) -> None:
        with self.run() as connection:
            connection.execute("delete from mark")
            connection.execute("delete from entry")

    def prune(self) -> int:
        with self.run() as connection:
            return connection.execute(
                "delete from entry where ends <= ?", (self.clock(),)
            ).rowcount

    def get_if_changed(
        self, key: str, stamp: object
    ) -> tuple[bytes, object] | NoValue | Unchanged:
        payload = self.get(key)
        if payload is NO_VALUE:
            return NO_VALUE
        new = self.stamp(key, payload)
        return UNCHANGED if new == stamp else (payload, new)

    def stamp(self, key: str, payload: bytes) -> object:
        with self.run() as connection:
            row = connection.execute(
                "select ends from entry where key = ?", (blob(key),)
            ).fetchone()
        return payload, row and row[0]

    def usage(self) -> Usage:
        with self.run() as connection:
            row = connection.execute(
                "select count(*), total(length(key) + length(payload))"
                " from entry"
            ).fetchone()
        return Usage(row[0], int(row[1]))

    def mutex(self, key: str, lease: float) -> Mutex:
        return Mutex(self, key, lease)

    def release_many(self, mutexes: Sequence[Mutex]) -> None:
        for mutex in mutexes:
            mutex.release()

    def close(self) -> None:
        pass


class Mutex:
    def __init__(self, backend: Healthy, key: str, lease: float) -> None:
        self.backend = backend
        self.key = blob(key)
        self.lease = lease
        self.token = os.urandom(8).hex()

    def last(self) -> float:
        """Return when a lease ends that somebody can have taken."""
        return self.backend.clock() + 2 * self.lease

    def acquire(self) -> bool:
        now = self.backend.clock()
        with self.backend.run() as connection:
            return bool(
                connection.execute(
                    "insert into mutex values (?, ?, ?) on conflict (key)"
                    " do update set token = excluded.token, ends ="
                    " excluded.ends where ends not between ? and ?",
                    (self.key, self.token, now + self.lease, now, self.last()),
                ).rowcount
            )

    def release(self) -> bool:
        with self.backend.run() as connection:
            return bool(
                connection.execute(
                    "delete from mutex"
                    " where key = ? and token = ? and ends > ?",
                    (self.key, self.token, self.backend.clock()),
                ).rowcount
            )

    def holder(self) -> str | None:
        with self.backend.run() as connection:
            row = connection.execute(
                "select token from mutex"
                " where key = ? and ends between ? and ?",
                (self.key, self.backend.clock(), self.last()),
            ).fetchone()
        return row[0] if row else None
