"""A store of bytes without any further power, in memory."""

from __future__ import annotations

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.options import StoreURL

__all__ = ["PlainMemory"]


class PlainMemory(CacheBackend):
    """Memory by way of the codec, each key a trip."""

    def __init__(self) -> None:
        self.memory = MemoryBackend()

    @classmethod
    def from_url(cls, url: StoreURL) -> PlainMemory:
        return cls()

    def get(self, key: str) -> bytes | NoValue:
        return self.memory.get(key)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.memory.set(key, payload, ttl)

    def delete(self, key: str) -> None:
        self.memory.delete(key)

    def close(self) -> None:
        self.memory.close()
