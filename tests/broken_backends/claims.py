"""Stores whose claims are wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

from broken_backends.healthy import blob
from broken_backends.healthy import Healthy
from mako_cacheplug.api import NO_VALUE


class SurvivesDelete(Healthy):
    """A claim on nothing survives a delete."""

    caught_by = (
        "test_removal_voids_a_claim",
        "test_other_process_voids_a_claim",
        "test_no_thread_stores_what_was_overtaken",
        "test_no_process_stores_what_was_overtaken",
        "test_invalidation_overtakes_a_creation",
        "test_other_process_overtakes_a_creation",
    )

    def delete_many(self, keys: Iterable[str]) -> None:
        with self.run() as connection:
            connection.executemany(
                "delete from entry where key = ?", [(blob(k),) for k in keys]
            )


class SurvivesClear(Healthy):
    """A claim survives a clear."""

    caught_by = (
        "test_removal_voids_a_claim",
        "test_clear_overtakes_a_creation",
        "test_other_process_overtakes_a_creation",
    )

    def clear(self) -> None:
        with self.run() as connection:
            connection.execute("delete from entry")


class SurvivesSet(Healthy):
    """A claim survives a set."""

    caught_by = ("test_set_voids_a_claim",)

    def void(self, by_set: bool) -> str:
        return "select ?" if by_set else super().void(by_set)


class SurvivesBulk(Healthy):
    """A claim survives what is done to many keys."""

    caught_by = ("test_removal_voids_a_claim",)

    def delete(self, key: str) -> None:
        super().delete_many([key])

    def delete_many(self, keys: Iterable[str]) -> None:
        with self.run() as connection:
            connection.executemany(
                "delete from entry where key = ?", [(blob(k),) for k in keys]
            )


class AnyClaim(Healthy):
    """Every claim holds."""

    caught_by = (
        "test_removal_voids_a_claim",
        "test_set_voids_a_claim",
        "test_first_that_stores_voids_the_others",
        "test_one_of_many_threads_stores",
        "test_claim_is_on_its_key",
    )

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        self.set(key, payload, ttl)
        return True


class NoClaim(Healthy):
    """No claim holds."""

    caught_by = (
        "test_claimed_payload_comes_back[text]",
        "test_invalidation_overtakes_a_creation",
    )

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        return False


class Boast(Healthy):
    """What was refused is said to be stored."""

    caught_by = ("test_removal_voids_a_claim",)

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        super().check_and_set(key, payload, ttl, claim)
        return True


class ByContent(Healthy):
    """A claim is what the payload looks like."""

    caught_by = ("test_same_payload_again_voids_a_claim",)

    def claim(self, key: str) -> object:
        found = self.get(key)
        return super().claim(key) if found is NO_VALUE else found

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        if self.get(key) == claim:
            claim = super().claim(key)
        return super().check_and_set(key, payload, ttl, claim)


class OneMark(Healthy):
    """All claims on nothing are alike."""

    caught_by = ("test_removal_voids_a_claim", "test_claim_is_on_its_key")

    def token(self) -> str:
        return "creating"


class LastClaim(Healthy):
    """A claim voids those before it."""

    caught_by = ("test_first_that_stores_voids_the_others",)

    def claim(self, key: str) -> object:
        with self.run() as connection:
            connection.execute("delete from mark where key = ?", (blob(key),))
        return super().claim(key)


class MarkIsPayload(Healthy):
    """A mark is kept where payloads are."""

    caught_by = ("test_mark_is_no_payload", "test_claim_leaves_the_payload")

    def claim(self, key: str) -> object:
        claim = super().claim(key)
        with self.run() as connection:
            connection.execute(
                "insert or replace into entry values (?, ?, null)",
                (blob(key), b"creating"),
            )
        return claim


class ClaimRemoves(Healthy):
    """To claim a key removes what is there."""

    caught_by = ("test_claim_leaves_the_payload",)

    def claim(self, key: str) -> object:
        self.delete(key)
        return super().claim(key)


class CheckThenSet(Healthy):
    """Between the check and the set there is time."""

    caught_by = (
        "test_one_of_many_threads_stores",
        "test_no_thread_stores_what_was_overtaken",
        "test_no_process_stores_what_was_overtaken",
    )

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        if self.claim(key) != claim:
            return False
        time.sleep(0.002)
        self.set(key, payload, ttl)
        return True


class OwnClaims(Healthy):
    """Each process knows its own claims only."""

    caught_by = (
        "test_other_process_voids_a_claim",
        "test_other_process_overtakes_a_creation",
    )

    def __init__(
        self, path: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, clock)
        self.claims: dict[str, str] = {}

    def claim(self, key: str) -> object:
        return self.claims.setdefault(key, os.urandom(8).hex())

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        if self.claims.get(key) != claim:
            return False
        self.set(key, payload, ttl)
        return True

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        super().set_many(payloads, ttl)
        for key in payloads:
            self.claims.pop(key, None)

    def delete_many(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        for key in keys:
            self.claims.pop(key, None)
        super().delete_many(keys)

    def clear(self) -> None:
        self.claims.clear()
        super().clear()


class ClaimedForEver(Healthy):
    """What is stored under a claim has no ttl."""

    caught_by = ("test_claimed_ttl",)

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        return super().check_and_set(key, payload, None, claim)


class BriefClaim(Healthy):
    """A claim ends after a second."""

    caught_by = ("test_claim_is_kept_for_a_while",)

    def claim(self, key: str) -> object:
        return super().claim(key), self.clock()

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        assert isinstance(claim, tuple)
        if self.clock() > claim[1] + 1.0:
            return False
        return super().check_and_set(key, payload, ttl, claim[0])


class ClaimedLeavesOld(Healthy):
    """A payload over the limit, under a claim, leaves the old one."""

    caught_by = ("test_claimed_too_large_leaves_no_old_payload",)

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        if len(payload) > self.max_value_bytes:
            return False
        return super().check_and_set(key, payload, ttl, claim)
