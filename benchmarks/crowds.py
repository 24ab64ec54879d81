"""Caches without templates, for processes and threads that all ask at once.

Each is opened in the process that uses it, by something picklable.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any
from typing import Final
from typing import Protocol

from benchmarks.contenders import BEAKER_PYLIBMC
from benchmarks.contenders import BEAKER_PYLIBMC_FOLDER
from benchmarks.contenders import dogpile_region
from mako_cacheplug import CacheRegion

__all__ = ["Cache", "Opener", "open_beaker", "open_dogpile", "open_ours"]

TIMEOUT_SECONDS: Final = 100.0

Create = Callable[[], str]


class Cache(Protocol):
    """What all of them do."""

    def get_or_create(self, key: str, create: Create) -> object:
        """Return the value."""

    def expire(self) -> None:
        """Let all that is in it be stale in this process."""


Opener = Callable[[], Cache]


class _Ours:
    def __init__(self, url: str) -> None:
        self._later = 0.0
        self._region = CacheRegion(
            url,
            clock=lambda: time.time() + self._later,
            timeout=TIMEOUT_SECONDS,
            grace=10 * TIMEOUT_SECONDS,
        )

    def get_or_create(self, key: str, create: Create) -> object:
        return self._region.get_or_create(key, create)

    def expire(self) -> None:
        self._later += 1.5 * TIMEOUT_SECONDS


class _Dogpile:
    def __init__(self, port: int) -> None:
        self._region = dogpile_region(
            "pylibmc",
            TIMEOUT_SECONDS,
            url=[f"127.0.0.1:{port}"],
            distributed_lock=True,
        )

    def get_or_create(self, key: str, create: Create) -> object:
        return self._region.get_or_create(key, create)

    def expire(self) -> None:
        self._region.invalidate(hard=False)


class _Beaker:
    def __init__(self, arguments: dict[str, Any]) -> None:
        from beaker.cache import CacheManager

        self._cache = CacheManager().get_cache("crowd", **arguments)

    def get_or_create(self, key: str, create: Create) -> object:
        return self._cache.get(key, createfunc=create)

    def expire(self) -> None:
        raise NotImplementedError("its entries expire by the system's clock")


def open_ours(url: str) -> Opener:
    """Return what opens a region of this project's over *url*."""
    return functools.partial(_Ours, url)


def open_dogpile(port: int) -> Opener:
    """Return what opens dogpile.cache on memcached, with its lock there."""
    return functools.partial(_Dogpile, port)


def open_beaker(port: int, folder: str) -> dict[str, Opener]:
    """Return what opens Beaker 1.13 on memcached, by name, if it is here.

    :param folder: for its locks.
    """
    if not BEAKER_PYLIBMC_FOLDER.is_dir():
        return {}
    arguments = {
        "type": "ext:memcached",
        "url": f"127.0.0.1:{port}",
        "memcache_module": "pylibmc",
        "lock_dir": folder,
    }
    return {BEAKER_PYLIBMC: functools.partial(_Beaker, arguments)}
