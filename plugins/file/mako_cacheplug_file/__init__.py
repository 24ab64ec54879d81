"""The file store of mako_cacheplug: one file per entry."""

from __future__ import annotations

from mako_cacheplug_file.backend import FileBackend

__all__ = ["FileBackend"]
