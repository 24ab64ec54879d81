"""A store that keeps nothing, and a page that renders all the same."""

from __future__ import annotations

import concurrent.futures
import threading

import pytest

from mako_cacheplug import CacheRegion
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.backends.null import NullBackend
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.options import StoreURL


def test_it_keeps_nothing() -> None:
    backend = NullBackend.from_url(StoreURL.parse("null://"))
    backend.set("k", b"x", None)
    assert backend.get("k") is NO_VALUE
    backend.delete("k")
    backend.clear()
    assert backend.claim("k") is None
    assert backend.check_and_set("k", b"x", None, None) is False
    backend.close()


def test_it_takes_no_options() -> None:
    with pytest.raises(OptionError, match="'max_bytes' in a null:// url"):
        NullBackend.from_url(StoreURL.parse("null://?max_bytes=1"))


@pytest.mark.parametrize("tags", ["", "news user:42"])
def test_a_region_over_it_creates_at_every_call(tags: str) -> None:
    region = CacheRegion("null://", tags=tags)
    made = iter("abc")
    found = [region.get_or_create("k", lambda: next(made)) for _ in "abc"]
    assert found == ["a", "b", "c"]
    region.invalidate("k")
    region.invalidate_tags("news")
    region.clear()
    assert region.stats()[:4] == (0, 3, 0, 3)
    assert region.stats().errors == 0


def test_callers_during_a_creation_get_its_value() -> None:
    region = CacheRegion("null://")
    begun, end = threading.Event(), threading.Event()

    def make() -> str:
        begun.set()
        assert end.wait(30)
        return "v"

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        first = pool.submit(region.get_or_create, "k", make)
        assert begun.wait(30)
        flights = region._lock._flights
        flight = next(iter(flights.values()))
        others = [
            pool.submit(region.get_or_create, "k", lambda: "mine")
            for _ in range(3)
        ]
        while flight.over is None or len(flight.over._cond._waiters) < 3:  # type: ignore[attr-defined]  # CPython's
            assert not any(other.done() for other in others)
        end.set()
        assert {f.result(30) for f in (first, *others)} == {"v"}
    assert region.stats().creations == 1
