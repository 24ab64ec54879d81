"""Stores whose further powers are wrong."""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Mapping

from broken_backends.healthy import Healthy
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import Usage


class AddReplaces(Healthy):
    """add is set."""

    caught_by = ("test_add_replaces_nothing", "test_one_of_many_threads_adds")

    def add(self, key: str, payload: bytes, ttl: float | None) -> bool:
        self.set(key, payload, ttl)
        return True


class AddNoTTL(Healthy):
    """add ignores the ttl."""

    caught_by = ("test_added_ttl",)

    def add(self, key: str, payload: bytes, ttl: float | None) -> bool:
        return super().add(key, payload, None)


class AddInTwoSteps(Healthy):
    """add looks, and then sets."""

    caught_by = ("test_one_of_many_threads_adds",)

    def add(self, key: str, payload: bytes, ttl: float | None) -> bool:
        if self.get(key) is not NO_VALUE:
            return False
        time.sleep(0.001)  # Others look, too.
        self.set(key, payload, ttl)
        return True


class BulkDrops(Healthy):
    """get_many loses what comes after the hundredth key."""

    caught_by = ("test_bulk_get_of_hundreds",)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        return super().get_many(list(keys)[:100])


class BulkMixes(Healthy):
    """get_many pairs keys and answers by their order."""

    caught_by = ("test_bulk_get_returns_what_is_there",)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        keys = list(keys)
        found = super().get_many(keys)
        return dict(zip(keys, found.values(), strict=False))


class BulkNone(Healthy):
    """get_many returns None for what is missing."""

    caught_by = (
        "test_bulk_get_returns_what_is_there",
        "test_bulk_of_nothing",
    )

    def get(self, key: str) -> bytes | NoValue:
        return super().get_many([key]).get(key, NO_VALUE)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        keys = list(keys)
        return {**dict.fromkeys(keys), **super().get_many(keys)}  # type: ignore[dict-item]


class BulkNoTTL(Healthy):
    """set_many ignores the ttl."""

    caught_by = ("test_bulk_ttl",)

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        super().set_many(payloads, None)


class ClearLeaves(Healthy):
    """clear leaves what never expires."""

    caught_by = ("test_clear_leaves_nothing",)

    def clear(self) -> None:
        with self.run() as connection:
            connection.execute("delete from entry where ends is not null")


class PruneAll(Healthy):
    """prune removes everything."""

    caught_by = ("test_prune_drops_only_what_expired",)

    def prune(self) -> int:
        with self.run() as connection:
            return connection.execute("delete from entry").rowcount


class UsageGrows(Healthy):
    """usage counts what was ever stored."""

    caught_by = ("test_usage_after_replacing", "test_usage_after_delete")
    stored = 0

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set(key, payload, ttl)
        self.stored += 1

    def usage(self) -> Usage:
        return super().usage()._replace(entries=self.stored)


class LostPower(Healthy):
    """It says that it has prune and has not."""

    caught_by = ("test_supports[SupportsPrune]",)
    prune = None  # type: ignore[assignment]
