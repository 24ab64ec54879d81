"""Stores that get values, keys or lifetimes wrong."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
import time
from collections.abc import Callable
from collections.abc import Iterable

from broken_backends.healthy import blob
from broken_backends.healthy import Healthy
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import ValueTooLargeError


class MissIsNone(Healthy):
    """A miss is None."""

    caught_by = ("test_missing_is_no_value",)

    def get(self, key: str) -> bytes | NoValue:
        return self.get_many([key]).get(key)  # type: ignore[return-value]


class EmptyIsMissing(Healthy):
    """An empty payload counts as missing."""

    caught_by = ("test_payload_comes_back[empty]",)

    def get(self, key: str) -> bytes | NoValue:
        return self.get_many([key]).get(key) or NO_VALUE


class TextPayload(Healthy):
    """A payload passes through text."""

    caught_by = (
        "test_payload_comes_back[every-byte]",
        "test_payload_comes_back[not-utf8]",
    )

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set(key, payload.decode("utf-8", "replace").encode(), ttl)


class StrippedPayload(Healthy):
    """White space around a payload is lost."""

    caught_by = ("test_payload_comes_back[white-space]",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set(key, payload.strip(), ttl)


class MutablePayload(Healthy):
    """A payload comes back as a bytearray."""

    caught_by = ("test_payload_comes_back[text]",)

    def get(self, key: str) -> bytes | NoValue:
        found = super().get(key)
        return found if found is NO_VALUE else bytearray(found)  # type: ignore[return-value]


class Unpickling(Healthy):
    """A payload that is a pickle is loaded."""

    caught_by = (
        "test_hostile_bytes_are_a_miss_and_are_repaired",
        "test_hostile_bytes_do_not_break_a_page",
    )

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        found = super().get_many(keys)
        for payload in found.values():
            if payload.startswith(b"\x80"):
                with contextlib.suppress(OSError):
                    pickle.loads(payload)
        return found


class Choosy(Healthy):
    """A payload that is no entry is an error of the store."""

    caught_by = (
        "test_hostile_bytes_are_a_miss_and_are_repaired",
        "test_hostile_bytes_do_not_break_a_page",
    )

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        found = super().get_many(keys)
        if not all(payload.startswith(b"mcp") for payload in found.values()):
            raise BackendError("not of ours")
        return found


class SetOnce(Healthy):
    """A set does not replace what is there."""

    caught_by = ("test_set_replaces",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        if self.get(key) is NO_VALUE:
            super().set(key, payload, ttl)


class DeleteRaises(Healthy):
    """To delete a missing key is an error."""

    caught_by = ("test_delete_of_nothing_is_no_error",)

    def delete(self, key: str) -> None:
        if self.get(key) is NO_VALUE:
            raise BackendError(f"no {key}")
        super().delete(key)


class DeleteByPrefix(Healthy):
    """A delete takes along longer keys."""

    caught_by = ("test_similar_keys_are_told_apart",)

    def delete(self, key: str) -> None:
        with self.run() as connection:
            connection.execute(
                "delete from entry where substr(key, 1, ?) = ?",
                (len(blob(key)), blob(key)),
            )


class OwnCopies(Healthy):
    """What was read once is served from the process for ever."""

    caught_by = (
        "test_what_others_wrote_is_read",
        "test_other_process_reads_and_deletes",
    )

    def __init__(
        self, path: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, clock)
        self.copies: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | NoValue:
        found = self.copies.get(key, NO_VALUE)
        if found is NO_VALUE:
            found = super().get(key)
            if found is not NO_VALUE:
                self.copies[key] = found
        return found

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.copies.pop(key, None)
        super().set(key, payload, ttl)

    def delete(self, key: str) -> None:
        self.copies.pop(key, None)
        super().delete(key)


class Renaming(Healthy):
    def name(self, key: str) -> str:
        return key

    def get(self, key: str) -> bytes | NoValue:
        return super().get_many([self.name(key)]).get(self.name(key), NO_VALUE)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set_many({self.name(key): payload}, ttl)

    def delete(self, key: str) -> None:
        super().delete_many([self.name(key)])


class ShortKeys(Renaming):
    """Keys are cut off."""

    caught_by = ("test_longest_keys_are_told_apart",)

    def name(self, key: str) -> str:
        return key[:60]


class FoldedKeys(Renaming):
    """Keys are folded to lower case."""

    caught_by = ("test_case_is_told_apart",)

    def name(self, key: str) -> str:
        return key.lower()


class StrippedKeys(Renaming):
    """White space around a key is lost."""

    caught_by = ("test_hostile_keys_are_told_apart",)

    def name(self, key: str) -> str:
        return key.strip()


class FileKeys(Healthy):
    """A key with a slash is the name of a file."""

    caught_by = ("test_key_is_no_path",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        if "/" not in key:
            return super().set(key, payload, ttl)
        try:
            with open(key, "wb") as file:
                file.write(payload)
        except (OSError, ValueError) as error:
            raise BackendError(str(error)) from error


class CommandKeys(Healthy):
    """What follows a line end in a key is a command."""

    caught_by = (
        "test_hostile_key_is_harmless[noreply]",
        "test_hostile_key_is_harmless[command]",
    )

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        first, *commands = key.split("\r\n")
        super().set(first, payload, ttl)
        if "flush_all" in commands:
            self.clear()


class NoTTL(Healthy):
    """A ttl is ignored."""

    caught_by = (
        "test_ttl_ends_a_payload",
        "test_prune_drops_only_what_expired",
    )

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set(key, payload, None)


class MilliTTL(Healthy):
    """A ttl is taken for milliseconds."""

    caught_by = ("test_ttl_ends_a_payload",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set(key, payload, None if ttl is None else ttl / 1000)


class WholeTTL(Healthy):
    """A ttl below a second is rounded to 0, and 0 is never."""

    caught_by = ("test_ttl_ends_a_payload",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set(key, payload, int(ttl or 0) or None)


class DateTTL(Healthy):
    """A ttl above 30 days is taken for a date."""

    caught_by = ("test_ttl_of_many_days_lasts[30.1]",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        if ttl is not None and ttl > 30 * 86400:
            ttl -= self.clock()
        super().set(key, payload, ttl)


class TooLargeLeavesOld(Healthy):
    """A payload over the limit leaves the old one."""

    caught_by = ("test_too_large_leaves_no_old_payload",)

    def refuse(
        self, connection: sqlite3.Connection, key: str, payload: bytes
    ) -> None:
        raise ValueTooLargeError("too large", size=len(payload), limit=None)


class TooLargeIsCut(Healthy):
    """A payload over the limit is cut off."""

    caught_by = ("test_too_large_leaves_no_old_payload",)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        super().set(key, payload[: self.max_value_bytes], ttl)
