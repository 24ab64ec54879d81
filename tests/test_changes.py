"""The log of what this process changed in a store."""

from __future__ import annotations

import pytest

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.backends.null import NullBackend
from mako_cacheplug.changes import Changes
from mako_cacheplug.changes import changes_of
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.coded import CodedStorage
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError


def test_names_since_a_place() -> None:
    changes = Changes()
    changes.add("a")
    place = changes.count
    assert changes.since(place) == (place, [])
    changes.add("b")
    changes.add("c")
    assert changes.since(place) == (place + 2, ["b", "c"])
    changes.add(None)
    assert changes.since(place) == (place + 3, None)


def test_what_is_too_long_ago_can_be_anything() -> None:
    changes = Changes()
    for _ in range(256):
        changes.add("a")
    assert changes.since(0) == (256, ["a"] * 256)
    changes.add("a")
    assert changes.since(0) == (257, None)


def test_each_store_has_one() -> None:
    one, other = NullBackend(), NullBackend()
    assert changes_of(one) is changes_of(one)
    assert changes_of(one) is not changes_of(other)


class _Refusing(NullBackend):
    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        raise BackendError("no")

    def delete(self, key: str) -> None:
        raise BackendError("no")

    def clear(self) -> None:
        raise BackendError("no")


@pytest.mark.parametrize("backend", [NullBackend(), _Refusing()])
def test_whatever_a_storage_changes_is_noted(backend: NullBackend) -> None:
    """Also what may not have worked, or may have."""
    storage = CodedStorage(backend, EntryCodec(), RegionCounters("r"))
    name = storage.name("k")
    assert storage.read("k") is NO_VALUE
    actions = {
        "write": lambda: storage.write(
            "k", CacheEntry("", 0.0), 1.0, None, None
        ),
        "delete": lambda: storage.delete("k"),
        "clear": storage.clear,
    }
    for what, action in actions.items():
        place = changes_of(backend).count
        try:
            action()
        except BackendError:
            assert isinstance(backend, _Refusing)
        _, names = changes_of(backend).since(place)
        assert names == (None if what == "clear" else [name]), what
