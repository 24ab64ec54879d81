"""The tiered store, by the conformance kit, before each store to be shared."""

from __future__ import annotations

import abc
import contextlib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from mako_cacheplug_file import FileBackend

from mako_cacheplug import api
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.backends.tiered import TieredBackend
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import backend_class
from mako_cacheplug.testing import ConformanceSuite
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing import StoreHarness
from mako_cacheplug.testing.servers import MemcachedServer


class TieredHarness(StoreHarness):
    """Raw access is by a far store of its own."""

    far_url: str
    staleness: str

    def url(self) -> str:
        far = urllib.parse.quote(self.far_url)
        return f"tiered://?far={far}&staleness={self.staleness}"

    def make_far(self) -> CacheBackend:
        url = StoreURL.parse(self.far_url)
        return backend_class(url.scheme).from_url(url)

    def raw_get(self, key: str) -> bytes | None:
        far = self.make_far()
        found = far.get(key)
        far.close()
        return found if isinstance(found, bytes) else None

    def raw_set(self, key: str, payload: bytes) -> None:
        far = self.make_far()
        far.set(key, payload, None)
        far.close()

    @abc.abstractmethod
    def unavailable(self) -> contextlib.AbstractContextManager[None]: ...


class OverMemcached(TieredHarness):
    staleness = "0.001ms"

    def __init__(self, server: MemcachedServer) -> None:
        self.server = server
        # Patient, as the machine may be busy: a killed server refuses.
        self.far_url = f"{server.url}?timeout=5s&connect_timeout=5s"

    @contextlib.contextmanager
    def unavailable(self) -> Iterator[None]:
        """Kill the server; the port refuses."""
        self.server.kill()
        yield
        self.server.start()


class OverFiles(TieredHarness):
    staleness = "60s"

    def __init__(self, folder: Path) -> None:
        self.root = folder / "store"
        self.far_url = f"file://{self.root}"
        self.clock: ManualClock = ManualClock()

    def make_far(self) -> FileBackend:
        return FileBackend(self.root, max_value_bytes=2**23, clock=self.clock)

    def make_backend(self) -> TieredBackend:
        return TieredBackend(self.make_far(), staleness=60.0)

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


class TestOverMemcached(ConformanceSuite):
    """With so short a bound that other processes' changes are seen at once."""

    supports = (
        api.SupportsAdd,
        api.SupportsBulk,
        api.SupportsCheckAndSet,
        api.SupportsClear,
        api.SupportsMutex,
        api.SupportsReleaseMany,
        api.SupportsUsage,
    )

    @pytest.fixture
    def harness(self, server: MemcachedServer) -> OverMemcached:
        return OverMemcached(server)


class TestOverFiles(ConformanceSuite):
    """With a bound that is longer than any of the tests."""

    supports = (
        api.SupportsCheckAndSet,
        api.SupportsClear,
        api.SupportsMutex,
        api.SupportsPrune,
        api.SupportsUsage,
    )
    deviations: ClassVar[dict[str, str]] = {
        "test_hostile_bytes_are_a_miss_and_are_repaired": (
            "what was good a moment ago is served within the bound"
        ),
        "test_invalidation_by_another_program": (
            "it is seen here within the bound"
        ),
    }

    @pytest.fixture
    def harness(self, tmp_path: Path) -> OverFiles:
        return OverFiles(tmp_path)
