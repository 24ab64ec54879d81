"""What the tests of the core share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from mako_cacheplug import regions
from mako_cacheplug import registry
from mako_cacheplug.testing import ManualClock

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
