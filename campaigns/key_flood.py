"""A flood of distinct keys through a memory store of 64 MiB.

As a crawler makes it that asks for a site's search with ever new words.
Counted is what the process grows by, as the system sees it, and, where one
region of two is flooded, what the other one loses.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from typing import Final
from typing import TypeVar

from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.testing.running import Child

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")

BOUND: Final = 64 * 2**20
SHARE: Final = "25%"

_KEYS: Final = {Scale.SHORT: 200_000, Scale.LONG: 10_000_000}

_MOST_FOR_PEERS: Final = 1_000_000
"""They keep all of it: about 1 GB by then."""

_NEIGHBOURS: Final = 1000
_LIMIT: Final = 3600.0

_T = TypeVar("_T")

Put = Callable[[str, str], object]


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return how far a flood of keys gets."""
    count = _KEYS[scale]
    if contender != "cacheplug":
        opener = {"dogpile.cache": _open_dogpile, "beaker": _open_beaker}
        count = min(count, _MOST_FOR_PEERS)
        flood = functools.partial(_flood, opener[contender], count)
        return [_growth(contender, _in_child(flood), count, None)]
    grown = _in_child(functools.partial(_flood, _open_ours, count))
    share, lost = _in_child(functools.partial(_flood_a_share, count // 2))
    note = f"{count // 2} keys through a region with max_share={SHARE!r}"
    return [
        _growth(contender, grown, count, 105.0),
        Finding(
            contender,
            "the flooded region's part of the store",
            share / BOUND * 100,
            "%",
            most=25.0,
            note=note,
        ),
        Finding(
            contender,
            f"another region's {_NEIGHBOURS} entries that are lost",
            lost,
            most=0,
            note=note,
        ),
    ]


def _growth(
    contender: str, grown: int, count: int, most: float | None
) -> Finding:
    return Finding(
        contender,
        "growth of the process",
        grown / BOUND * 100,
        "%",
        most=most,
        note=f"of 64 MiB, by {count} distinct keys with 100 bytes each",
    )


def _in_child(work: Callable[[], _T]) -> _T:
    child = Child(work)
    try:
        found: _T = child.result(_LIMIT)
        return found
    finally:
        child.close()


def _flood(open_store: Callable[[], Put], count: int) -> int:
    """Return the bytes by which this process has grown at the most."""
    put = open_store()
    gc.collect()
    before = most = _resident()
    for number in range(count):
        put(_key(number), _value(number))
        if number % 4096 == 0:
            most = max(most, _resident())
    return max(most, _resident()) - before


def _flood_a_share(count: int) -> tuple[int, int]:
    """Return what a region takes, and how many entries another one lost."""
    store = MemoryBackend(BOUND)
    calm = CacheRegion(store, name="calm")
    flooded = CacheRegion(store, name="flooded", max_share=SHARE)
    for number in range(_NEIGHBOURS):
        calm.set(_key(number), _value(number))
    before = most = store.usage().bytes
    for number in range(count):
        flooded.get_or_create(_key(number), functools.partial(_value, number))
        if number % 4096 == 0:
            most = max(most, store.usage().bytes)
    found = [calm.get(_key(number)) for number in range(_NEIGHBOURS)]
    most = max(most, store.usage().bytes)
    return most - before, found.count(None)


def _key(number: int) -> str:
    return f"/search?q=word-{number}"


def _value(number: int) -> str:
    return f"{number:100}"


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_ours() -> Put:
    region = CacheRegion(f"memory://?max_bytes={BOUND}")
    return lambda key, value: region.get_or_create(key, lambda: value)


def _open_dogpile() -> Put:
    from dogpile.cache import make_region

    region = make_region().configure("dogpile.cache.memory")
    return lambda key, value: region.get_or_create(key, lambda: value)


def _open_beaker() -> Put:
    from beaker.cache import CacheManager

    cache = CacheManager(type="memory").get_cache("flood")
    return lambda key, value: cache.get(key, createfunc=lambda: value)
