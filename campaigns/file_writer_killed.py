"""A writer of files is killed, again and again, while others read.

Four processes read all the time and check every value, which says of which
key it is and proves itself.  One writes values of all sizes, deletes and
creates; it is killed with SIGKILL at a random moment, and the next one goes
on at once.  At last what the dead have left is pruned.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import tempfile
import time
from collections.abc import Callable
from hashlib import blake2b
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import Protocol

from beaker.cache import CacheManager
from dogpile.cache import make_region
from mako_cacheplug_file import FileBackend

from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug import CacheRegion
from mako_cacheplug.testing.running import Child
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")

_READERS: Final = 4
_KEYS: Final = 20
_LIFE_SECONDS: Final = 0.02
_LATE_SECONDS: Final = 30.0
_KILLS: Final = {Scale.SHORT: 30, Scale.LONG: 1000}
_PEERS_KILLS: Final = 100

_LONGEST: Final = 100_000
_PRUNED_AFTER_SECONDS: Final = 3600.0
"""What has lost its writer goes after a quarter of one."""


class _Reads(NamedTuple):
    """What one reader has seen."""

    right: int = 0
    missed: int = 0
    wrong: int = 0
    errors: int = 0

    def __add__(self, other: object) -> _Reads:
        assert isinstance(other, _Reads)
        return _Reads(*map(sum, zip(self, other, strict=True)))


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what readers saw, and what was left over."""
    kills = _KILLS[scale]
    if contender != "cacheplug":
        kills = min(kills, _PEERS_KILLS)
    open_store = _STORES[contender]
    over = fork_context.Event()
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: those that follow open it anew.
        with children(functools.partial(_fill, open_store, folder)) as (one,):
            one.result()
        read = functools.partial(_read, open_store, folder, over)
        with children(*[read] * _READERS) as readers:
            try:
                for _ in range(kills):
                    _write_and_die(open_store, folder)
            finally:
                over.set()
            reads, hung = _Reads(), 0
            for reader in readers:
                try:
                    reads += reader.result(_LATE_SECONDS)
                except AssertionError:
                    hung += 1
        total = sum(reads)
        note = f"{kills} writers were killed, {total} reads checked"
        found = [
            Finding(contender, "torn or wrong reads", reads.wrong, most=0),
            Finding(contender, "reads that raised", reads.errors, most=0),
            Finding(contender, "readers that hang", hung, most=0),
            Finding(contender, "right values read", reads.right, least=1),
        ]
        if contender == "cacheplug":
            left, before = _left_over(folder)
            what = f"{before} before"
            found.append(
                Finding(
                    contender, "left over after prune", left, most=0, note=what
                )
            )
    return [found[0]._replace(note=note), *found[1:]]


def _fill(open_store: Callable[[str], _Store], folder: str) -> None:
    store = open_store(folder)
    for number in range(_KEYS):
        key = f"key-{number}"
        store.set(key, _value(key, _LONGEST))


def _write_and_die(open_store: Callable[[str], _Store], folder: str) -> None:
    begun = fork_context.Event()
    writer = Child(functools.partial(_write, open_store, folder, begun))
    begun.wait(_LATE_SECONDS)
    time.sleep(random.uniform(0.0, _LIFE_SECONDS))  # no secret
    writer.kill()
    writer.close()


def _write(
    open_store: Callable[[str], _Store], folder: str, begun: Event
) -> None:
    store = open_store(folder)
    begun.set()
    chance = random.Random(os.urandom(8))  # no secret
    while True:
        key = f"key-{chance.randrange(_KEYS)}"
        value = _value(key, chance.randrange(_LONGEST))
        # One that a killed one has spoilt does not keep the next from it.
        with contextlib.suppress(Exception):
            chance.choice((store.set, store.create))(key, value)


def _read(
    open_store: Callable[[str], _Store], folder: str, over: Event
) -> _Reads:
    store = open_store(folder)
    chance = random.Random(os.urandom(8))  # no secret
    right = missed = wrong = errors = 0
    while not over.is_set():
        key = f"key-{chance.randrange(_KEYS)}"
        try:
            found = store.get(key)
        except Exception:
            errors += 1
            time.sleep(0.001)
            continue
        if found is None:
            missed += 1
        elif _is_right(key, found):
            right += 1
        else:
            wrong += 1
    return _Reads(right, missed, wrong, errors)


def _value(key: str, length: int) -> str:
    body = f"{key} {os.urandom(8).hex()} ".ljust(length, ".")
    return body + blake2b(body.encode(), digest_size=8).hexdigest()


def _is_right(key: str, value: object) -> bool:
    if not isinstance(value, str) or not value.startswith(f"{key} "):
        return False
    body, check = value[:-16], value[-16:]
    return blake2b(body.encode(), digest_size=8).hexdigest() == check


def _left_over(folder: str) -> tuple[int, int]:
    """Return how many files that are no entries are left, and were there."""

    def count() -> int:
        return sum(
            len(path.name) != 32 for path in Path(folder).glob("store/??/*")
        )

    before = count()
    later = time.time() + _PRUNED_AFTER_SECONDS
    FileBackend(f"{folder}/store", clock=lambda: later).prune()
    return count(), before


class _Store(Protocol):
    """What all of them do."""

    def get(self, key: str) -> object:
        """Return the value, ``None`` if there is none."""

    def set(self, key: str, value: str) -> None:
        """Store a value."""

    def create(self, key: str, value: str) -> None:
        """Remove what is there, and have a value created."""


class _Cacheplug:
    def __init__(self, folder: str) -> None:
        self._region = CacheRegion(f"file://{folder}/store")
        self.get = self._region.get
        self.set = self._region.set

    def create(self, key: str, value: str) -> None:
        self._region.invalidate(key)
        self._region.get_or_create(key, lambda: value)


class _Dogpile:
    def __init__(self, folder: str) -> None:
        self._region = make_region().configure(
            "dogpile.cache.dbm", arguments={"filename": f"{folder}/store"}
        )

    def get(self, key: str) -> object:
        return self._region.get(key) or None

    def set(self, key: str, value: str) -> None:
        self._region.set(key, value)

    def create(self, key: str, value: str) -> None:
        self._region.delete(key)
        self._region.get_or_create(key, lambda: value)


class _Beaker:
    def __init__(self, folder: str) -> None:
        self._cache: Any = CacheManager(
            type="file", data_dir=folder, lock_dir=folder
        ).get_cache("page")

    def get(self, key: str) -> object:
        try:
            return self._cache.get(key)
        except KeyError:
            return None

    def set(self, key: str, value: str) -> None:
        self._cache.put(key, value)

    def create(self, key: str, value: str) -> None:
        self._cache.remove_value(key)
        self._cache.get(key, createfunc=lambda: value)


_STORES: Final[dict[str, Callable[[str], _Store]]] = {
    "cacheplug": _Cacheplug,
    "dogpile.cache": _Dogpile,
    "beaker": _Beaker,
}
