"""A store that others write to: an entry, or a miss; never the page."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from typing import ClassVar

import pytest
from mako.template import Template

from mako_cacheplug import keys
from mako_cacheplug.ahead import RenderReads
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import CacheEvent
from mako_cacheplug.events import EventKind
from mako_cacheplug.options import CallOptions
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.region import Fragment
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.base import Watched
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.payloads import spoiled
from mako_cacheplug.testing.payloads import trapped

__all__ = ["HostileBytesSuite", "HostileLockSuite"]

_PAGE = (
    '<%def name="box(n)" cached="True" cache_tags="t">box ${n}</%def>'
    "${box(1)}, ${box(2)}"
)
_SHOWN = "box 1, box 2"

_WAYS = [False, True] if find_spec("cryptography") else [False]
"""Signed and, where that can be, encrypted."""


class _Spying(CacheRegion):
    """Notes the logical keys of fragments and their labels."""

    def __init__(self, backend: CacheBackend, **given: Any) -> None:
        super().__init__(backend, **given)
        self.fragments: dict[str, None] = {}
        self.labels: dict[str, None] = {}
        self.events: list[CacheEvent] = []
        self.add_hook(self.events.append)

    def fetch(
        self,
        key: str,
        creator: Callable[[], object],
        call: CallOptions,
        labels: tuple[str, ...] = (),
        fragment: Fragment | None = None,
        origin: object = None,
        reads: Callable[[Any], RenderReads | None] | None = None,
    ) -> object:
        self.fragments[key] = None
        self.labels.update(dict.fromkeys(labels))
        return super().fetch(
            key, creator, call, labels, fragment, origin, reads
        )

    def kinds(self) -> list[EventKind]:
        """Return what has happened since this was asked."""
        kinds = [event.kind for event in self.events]
        self.events.clear()
        return kinds


class _Site:
    """One process that renders a page: copies and learned things its own."""

    def __init__(self, harness: StoreHarness, **given: Any) -> None:
        self.backend = harness.make_backend()
        self.region = _Spying(
            self.backend,
            name="kit",
            namespace=harness.mark,
            budget="none",  # A machine may be slow, and a store as well.
            **given,
        )
        self.template = Template(  # noqa: S702  # nothing here is a user's
            _PAGE,
            cache_impl="cacheplug",
            cache_args={"regions": {"kit": self.region}, "region": "kit"},
        )

    def check_recovery(self, what: str, unreadable: bool = True) -> None:
        """Check that the page is right now, and a hit the next time."""
        assert self.template.render() == _SHOWN, what
        kinds = self.region.kinds()
        assert not unreadable or EventKind.UNREADABLE in kinds, what
        for _ in "ab":
            assert self.template.render() == _SHOWN, what
        kinds = self.region.kinds()
        assert kinds[-2:] == [EventKind.HIT] * 2, f"{what}: not stored anew"


class HostileBytesSuite(Suite):
    """What is in the store is not trusted: an entry, or a miss."""

    def test_hostile_bytes_are_a_miss_and_are_repaired(
        self, harness: StoreHarness, backend: CacheBackend, tmp_path: Path
    ) -> None:
        folder = tmp_path / "unpickled"
        watched = Watched(harness, backend)
        region, events = watched.region, watched.events
        logical = keys.join("kit", harness.mark)
        name = keys.storage_key(logical)

        def fetch(value: str) -> object:
            return region.fetch(logical, lambda: value, region.options)

        region.fetch(logical + "2", lambda: "other", region.options)
        assert fetch("value") == "value"
        good = harness.raw_get(name)
        other = harness.raw_get(keys.storage_key(logical + "2"))
        assert good is not None, f"nothing is stored under {name}"
        assert other is not None
        hostile = {**spoiled(good, other, folder), **trapped(logical)}
        for what, payload in hostile.items():
            events.clear()
            harness.raw_set(name, payload)
            assert fetch(f"new: {what}") == f"new: {what}"
            kinds = [event.kind for event in events]
            assert EventKind.UNREADABLE in kinds, f"{what}: no event"
            events.clear()
            assert fetch("not needed") == f"new: {what}", "not repaired"
            assert [event.kind for event in events] == [EventKind.HIT]
        assert not folder.exists(), "a pickle was loaded"

    def test_hostile_bytes_do_not_break_a_page(
        self, harness: StoreHarness, tmp_path: Path
    ) -> None:
        """Planted under every key that the page reads: fragments, labels.

        For processes that start: one at work may have copies.
        """
        site = _Site(harness)
        assert site.template.render() == _SHOWN
        fragments, labels = site.region.fragments, site.region.labels
        site.backend.close()
        assert len(fragments) == 2
        assert len(labels) >= 2
        folder = tmp_path / "unpickled"
        good = _raw(harness, fragments)
        first, second = fragments
        hostile = {
            first: {**spoiled(good[first], good[second], folder)},
            second: {**spoiled(good[second], good[first], folder)},
        }
        for key, payloads in hostile.items():
            payloads.update(trapped(key))
        of_labels = {key: trapped(key) for key in labels}
        for what in hostile[first]:
            _plant(harness, {key: hostile[key][what] for key in fragments})
            site = _Site(harness)
            site.check_recovery(what)
            site.backend.close()
        for what in trapped(""):
            _plant(harness, {key: of_labels[key][what] for key in labels})
            site = _Site(harness)
            site.check_recovery(f"a label: {what}", unreadable=False)
            site.backend.close()
        assert not folder.exists(), "a pickle was loaded"

    @pytest.mark.parametrize("encrypt", _WAYS)
    def test_nothing_is_planted_without_the_secret(
        self, harness: StoreHarness, encrypt: bool
    ) -> None:
        """Neither what looks right, nor what is right elsewhere."""
        given = {"secret": "the secret", "encrypt": encrypt}
        site = _Site(harness, **given)
        assert site.template.render() == _SHOWN
        first, second = site.region.fragments
        site.backend.close()
        good = _raw(harness, site.region.fragments)
        foreign = CacheEntry("<script>", 1.0)
        for what, payloads in {
            "unsigned": {first: EntryCodec().encode(first, foreign)},
            "another secret": {
                first: EntryCodec((b"x",), encrypt).encode(first, foreign)
            },
            "the other one's": {first: good[second]},
            "exchanged": {first: good[second], second: good[first]},
        }.items():
            _plant(harness, payloads)
            site = _Site(harness, **given)
            site.check_recovery(what)
            site.backend.close()


class HostileLockSuite(Suite):
    """What elects the creator is not trusted either."""

    requires: ClassVar[type | None] = SupportsMutex

    def test_planted_lock_stops_nobody(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        key = harness.key()
        for what in harness.planted_locks(key):
            mutex = backend.mutex(key, 30.0)
            assert mutex.holder() is None, what
            assert mutex.acquire(), what
            assert mutex.release(), what


def _raw(harness: StoreHarness, logical: dict[str, None]) -> dict[str, bytes]:
    found = {key: harness.raw_get(keys.storage_key(key)) for key in logical}
    return {key: raw for key, raw in found.items() if raw is not None}


def _plant(harness: StoreHarness, payloads: dict[str, bytes]) -> None:
    for key, payload in payloads.items():
        harness.raw_set(keys.storage_key(key), payload)
