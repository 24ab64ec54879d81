"""The file store, by the conformance kit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from mako_cacheplug_file import FileBackend
from mako_cacheplug_file import record
from mako_cacheplug_file.backend import _name

from mako_cacheplug import api
from mako_cacheplug.testing import ConformanceSuite
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing import StoreHarness


class FileHarness(StoreHarness):
    def __init__(self, folder: Path) -> None:
        self.root = folder / "store"
        self.clock: ManualClock = ManualClock()

    def url(self) -> str:
        return f"file://{self.root}"

    def make_backend(self) -> FileBackend:
        return FileBackend(self.root, max_value_bytes=2**23, clock=self.clock)

    def _file(self, key: str) -> Path:
        name = _name(key)
        return self.root / name[:2] / name

    def raw_get(self, key: str) -> bytes | None:
        try:
            data = self._file(key).read_bytes()
        except FileNotFoundError:
            return None
        found = record.unpack(data, key.encode())
        return None if found is None else found[0]

    def raw_set(self, key: str, payload: bytes) -> None:
        data = record.pack(key.encode(), payload, math.inf)
        self._file(key).write_bytes(data)

    @contextlib.contextmanager
    def unavailable(self) -> Iterator[None]:
        """Put a file where the folder is."""
        away = self.root.with_name("away")
        if self.root.exists():
            self.root.rename(away)
        self.root.touch()
        yield
        self.root.unlink()
        if away.exists():
            away.rename(self.root)


class TestFile(ConformanceSuite):
    supports = (
        api.SupportsCheckAndSet,
        api.SupportsClear,
        api.SupportsMutex,
        api.SupportsPrune,
        api.SupportsRevalidation,
        api.SupportsUsage,
    )

    @pytest.fixture
    def harness(self, tmp_path: Path) -> FileHarness:
        return FileHarness(tmp_path)
