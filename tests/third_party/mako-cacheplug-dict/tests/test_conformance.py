"""The dict store, by mako_cacheplug's conformance kit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar

import pytest
from mako_cacheplug_dict import TABLES

from mako_cacheplug.testing import ConformanceSuite
from mako_cacheplug.testing import StoreHarness


class DictHarness(StoreHarness):
    def url(self) -> str:
        return "dict://conformance"

    def raw_get(self, key: str) -> bytes | None:
        return TABLES["conformance"].get(key, (None, 0.0))[0]

    def raw_set(self, key: str, payload: bytes) -> None:
        TABLES["conformance"][key] = payload, float("inf")

    def unavailable(self) -> AbstractContextManager[None]:
        raise NotImplementedError


class TestDict(ConformanceSuite):
    supports = ()
    deviations: ClassVar[dict[str, str]] = {
        "FailureSuite": "this process's memory is never away",
        "ProcessSuite": "each process has a dict of its own",
    }

    @pytest.fixture
    def harness(self) -> DictHarness:
        return DictHarness()
