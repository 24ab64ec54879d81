"""Mako's entry point ``cacheplug.memcached``: the same, another default."""

from __future__ import annotations

from mako_cacheplug.template.impl import CachePlugImpl

__all__ = ["MemcachedCacheImpl"]


class MemcachedCacheImpl(CachePlugImpl):
    """``CachePlugImpl`` with the memcached store where no other is named."""

    default_impl = "memcached"
