"""Mako's entry point ``cacheplug.file``: the same plugin, another default."""

from __future__ import annotations

from mako_cacheplug.template.impl import CachePlugImpl

__all__ = ["FileCacheImpl"]


class FileCacheImpl(CachePlugImpl):
    """``CachePlugImpl`` with the file store where no other is named."""

    default_impl = "file"
