"""The memory store, by the conformance kit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar

import pytest

from mako_cacheplug import api
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.testing import ConformanceSuite
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing import StoreHarness


class MemoryHarness(StoreHarness):
    def __init__(self) -> None:
        self.clock: ManualClock = ManualClock()

    def url(self) -> str:
        return "memory://?max_bytes=4m"

    def make_backend(self) -> MemoryBackend:
        self.backend = MemoryBackend(max_bytes=4 * 2**20, clock=self.clock)
        return self.backend

    def raw_get(self, key: str) -> bytes | None:
        return self.backend._table.get(key)  # type: ignore[return-value]  # the kit stores bytes

    def raw_set(self, key: str, payload: bytes) -> None:
        self.backend._table[key] = payload

    def unavailable(self) -> AbstractContextManager[None]:
        raise NotImplementedError


class TestMemory(ConformanceSuite):
    supports = (
        api.SupportsCheckAndSet,
        api.SupportsCheckAndSetEntries,
        api.SupportsClear,
        api.SupportsEntries,
        api.SupportsPrune,
        api.SupportsUsage,
        api.SupportsWatch,
    )
    deviations: ClassVar[dict[str, str]] = {
        "CheckAndSetProcessSuite": "each process has a store of its own",
        "FailureSuite": "this process's memory is never away",
        "HostileBytesSuite": "entries are kept as they are, not as bytes",
        "ProcessSuite": "each process has a store of its own",
    }

    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()
