"""A store as somebody else would write it: one dict for each name.

``dict://name``
"""

from __future__ import annotations

import time

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.options import StoreURL

TABLES: dict[str, dict[str, tuple[bytes, float]]] = {}


class DictBackend(CacheBackend):
    """Payloads in this process, in a dict that all who name it share."""

    def __init__(self, name: str = "") -> None:
        self.table = TABLES.setdefault(name, {})

    @classmethod
    def from_url(cls, url: StoreURL) -> DictBackend:
        url.take()
        return cls(url.hosts[0][0] if url.hosts else "")

    def get(self, key: str) -> bytes | NoValue:
        payload, end = self.table.get(key, (NO_VALUE, 0.0))
        return payload if time.time() < end else NO_VALUE

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        end = float("inf") if ttl is None else time.time() + ttl
        self.table[key] = payload, end

    def delete(self, key: str) -> None:
        self.table.pop(key, None)

    def close(self) -> None:
        pass
