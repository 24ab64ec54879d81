"""Stores that are wrong about what is unchanged."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

from broken_backends.healthy import blob
from broken_backends.healthy import Healthy
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.api import Unchanged

Answer = tuple[bytes, object] | NoValue | Unchanged


class NeverUnchanged(Healthy):
    """What is unchanged is read again."""

    caught_by = ("test_unchanged_is_told",)

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        return super().get_if_changed(key, None)


class NeverVouches(Healthy):
    """There is never a stamp."""

    caught_by = ("test_unchanged_is_told",)

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        found = super().get_if_changed(key, None)
        return (found[0], None) if isinstance(found, tuple) else found


class AlwaysUnchanged(Healthy):
    """What was read once is unchanged for ever."""

    caught_by = (
        "test_change_is_told",
        "test_change_at_once_is_told",
        "test_change_elsewhere_is_told",
        "test_expiry_is_told",
        "test_copy_is_not_served_without_the_store",
    )

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        if stamp is not None:
            return UNCHANGED
        return super().get_if_changed(key, stamp)


class UnchangedFromNothing(Healthy):
    """What is there is unchanged, whether it was read or not."""

    caught_by = (
        "test_payload_comes_with_a_stamp[text]",
        "test_unchanged_is_told",
    )

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        found = super().get_if_changed(key, stamp)
        return UNCHANGED if isinstance(found, tuple) else found


class NothingIsUnchanged(Healthy):
    """What is gone counts as unchanged."""

    caught_by = ("test_change_is_told", "test_expiry_is_told")

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        found = super().get_if_changed(key, stamp)
        if found is NO_VALUE and stamp is not None:
            return UNCHANGED
        return found


class StampIsSize(Healthy):
    """A stamp is how long a payload is."""

    caught_by = (
        "test_change_is_told",
        "test_change_elsewhere_is_told",
    )

    def stamp(self, key: str, payload: bytes) -> object:
        return len(payload)


class StampIsTick(Healthy):
    """A stamp is a time, and more can happen in it."""

    caught_by = (
        "test_change_at_once_is_told",
        "test_change_elsewhere_is_told",
    )

    def stamp(self, key: str, payload: bytes) -> object:
        return time.time() // 0.05


class Unexpired(Healthy):
    def row(self, key: str) -> tuple[bytes, float | None] | None:
        """Return what is in the file under *key*, expired or not."""
        with self.run() as connection:
            found: tuple[bytes, float | None] | None = connection.execute(
                "select payload, ends from entry where key = ?", (blob(key),)
            ).fetchone()
        return found


class UnchangedWhenExpired(Unexpired):
    """What nobody touched is unchanged, also when it has expired."""

    caught_by = ("test_expiry_is_told",)

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        if stamp is not None and self.row(key) == stamp:
            return UNCHANGED
        return super().get_if_changed(key, stamp)


class FirstLifetime(Unexpired):
    """The expiry that was read first is that of its successors."""

    caught_by = ("test_new_lifetime_is_told",)

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        row = self.row(key)
        if isinstance(stamp, tuple) and row and row[0] == stamp[0]:
            over = stamp[1] is not None and stamp[1] <= self.clock()
            return NO_VALUE if over else UNCHANGED
        return super().get_if_changed(key, stamp)


class OwnChanges(Healthy):
    """Each process knows its own changes only."""

    caught_by = (
        "test_change_is_told",
        "test_change_elsewhere_is_told",
    )

    def __init__(
        self, path: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, clock)
        self.changes = 0

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        if stamp == self.changes:
            return UNCHANGED
        found = super().get_if_changed(key, None)
        return (found[0], self.changes) if isinstance(found, tuple) else found

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        self.changes += 1
        super().set_many(payloads, ttl)

    def delete_many(self, keys: Iterable[str]) -> None:
        self.changes += 1
        super().delete_many(keys)

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        self.changes += 1
        return super().check_and_set(key, payload, ttl, claim)


class ServedWithoutStore(Healthy):
    """While the store is away, everything is unchanged."""

    caught_by = ("test_copy_is_not_served_without_the_store",)

    def get_if_changed(self, key: str, stamp: object) -> Answer:
        try:
            return super().get_if_changed(key, stamp)
        except Exception:
            if stamp is None:
                raise
            return UNCHANGED
