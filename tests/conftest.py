"""What the tests of the core share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cached_sites import STORES
from cached_sites import url_of
from hypothesis import settings

from mako_cacheplug import regions
from mako_cacheplug import registry
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.servers import MemcachedServer

# A busy machine is no defect; examples that failed are in the report.
settings.register_profile("mako_cacheplug", deadline=None, database=None)
settings.load_profile("mako_cacheplug")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still until it is advanced."""
    return ManualClock(1_000_000.0)


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Close the backends and forget the regions that a test opened."""
    named = dict(regions._regions)
    yield
    regions._regions.clear()
    regions._regions.update(named)
    registry.close_backends()


@pytest.fixture(scope="session")
def server() -> Iterator[MemcachedServer]:
    with MemcachedServer() as running:
        yield running


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty store: each one in turn."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=["file", "memcached"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty store that processes share."""
    return url_of(request.param, request, tmp_path)
