"""The memcached store of mako_cacheplug."""

from __future__ import annotations

from mako_cacheplug_memcached.backend import MemcachedBackend

__all__ = ["MemcachedBackend"]
