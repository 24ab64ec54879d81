"""The conformance kit over each store of ``broken_backends``.

Run by ``test_kit.py``, which expects most of it to fail; not collected by
its name.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from broken_backends import Healthy
from broken_backends import opened
from broken_backends import variants

from mako_cacheplug import api
from mako_cacheplug.testing import ConformanceSuite
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing import StoreHarness


class SqliteHarness(StoreHarness):
    recovery_seconds = 1.0

    def __init__(self, kind: type[Healthy], folder: Path) -> None:
        self.kind = kind
        self.path = folder / "store"
        self.clock = ManualClock()

    def url(self) -> str:
        return f"kit-{self.kind.__name__.lower()}://{self.path}"

    def make_backend(self) -> Healthy:
        return self.kind(str(self.path), self.clock)

    def raw_get(self, key: str) -> bytes | None:
        with opened(str(self.path)) as connection:
            row = connection.execute(
                "select payload from entry where key = ?", (key.encode(),)
            ).fetchone()
        return row[0] if row else None

    def raw_set(self, key: str, payload: bytes) -> None:
        with opened(str(self.path)) as connection:
            connection.execute(
                "insert or replace into entry values (?, ?, null)",
                (key.encode(), sqlite3.Binary(payload)),
            )

    def planted_locks(self, key: str) -> Iterator[str]:
        for ends in (1e300, 4102444800.0, "junk"):
            with opened(str(self.path)) as connection:
                connection.execute(
                    "insert or replace into mutex values (?, 'token', ?)",
                    (key.encode(), ends),
                )
            yield f"until {ends}"

    @contextlib.contextmanager
    def unavailable(self) -> Iterator[None]:
        """Put a folder where the file is."""
        away = self.path.with_name("away")
        if self.path.exists():
            self.path.rename(away)
        self.path.mkdir()
        yield
        self.path.rmdir()
        if away.exists():
            away.rename(self.path)


class SqliteSuite(ConformanceSuite):
    kind: ClassVar[type[Healthy]] = Healthy
    supports = (
        api.SupportsAdd,
        api.SupportsBulk,
        api.SupportsCheckAndSet,
        api.SupportsClear,
        api.SupportsMutex,
        api.SupportsPrune,
        api.SupportsReleaseMany,
        api.SupportsRevalidation,
        api.SupportsUsage,
    )

    @pytest.fixture
    def harness(self, tmp_path: Path) -> SqliteHarness:
        return SqliteHarness(self.kind, tmp_path)


class TestHealthy(SqliteSuite):
    pass


for _kind in variants():
    _name = f"Test{_kind.__name__}"
    globals()[_name] = type(SqliteSuite)(
        _name, (SqliteSuite,), {"kind": _kind, "__module__": __name__}
    )
