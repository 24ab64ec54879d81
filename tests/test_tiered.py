"""Near copies of a far store: how old, whose, and what races with them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mako_cacheplug_file import FileBackend

from mako_cacheplug import keys
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.backends.tiered import TieredBackend
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.region import Fragment
from mako_cacheplug.registry import open_backend
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import LIMIT
from mako_cacheplug.testing.running import within
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.tiers import TieredStorage

THREADS = 32
CLAIMS = ("claim", "check_and_set")
BULK = ("get_many", "set_many", "delete_many")


class Far(CacheBackend):
    """A real store of bytes whose reads are noted, and can be held up.

    :param powers: what it can do of what *store* can.
    """

    def __init__(self, store: Any, *powers: str) -> None:
        self.store = store
        self.trips: list[list[str]] = []
        self.after_read: Callable[[], object] = lambda: None
        self.before_delete: Callable[[], object] = lambda: None
        for name in powers:
            power = getattr(self, f"_{name}", None) or getattr(store, name)
            setattr(self, name, power)

    @classmethod
    def from_url(cls, url: StoreURL) -> Far:
        raise NotImplementedError

    def get(self, key: str) -> bytes | NoValue:
        return self._get_many([key]).get(key, NO_VALUE)

    def _get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        self.trips.append(list(keys))
        found = {key: self.store.get(key) for key in self.trips[-1]}
        self.after_read()
        return {k: p for k, p in found.items() if p is not NO_VALUE}

    def _set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        for key, payload in payloads.items():
            self.set(key, payload, ttl)

    def _delete_many(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.delete(key)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.store.set(key, payload, ttl)

    def delete(self, key: str) -> None:
        self.before_delete()
        self.store.delete(key)

    def close(self) -> None:
        self.store.close()


class Site:
    """Two processes with one far store: here, with a tier, and elsewhere."""

    def __init__(
        self,
        clock: ManualClock,
        *powers: str,
        staleness: float = 1.0,
        store: CacheBackend | None = None,
        **given: Any,
    ) -> None:
        self.clock = clock
        self.far = Far(store or MemoryBackend(clock=clock), *powers)
        self.backend = TieredBackend(
            self.far, staleness=staleness, clock=clock
        )
        self._given = given
        self.here = self.region(self.backend)
        self.elsewhere = self.region(self.far)

    def region(self, backend: CacheBackend, **given: Any) -> CacheRegion:
        return CacheRegion(
            backend, clock=self.clock, **{**self._given, **given}
        )


@pytest.fixture(
    params=[CLAIMS, (*CLAIMS, *BULK), (), BULK],
    ids=["claims", "claims and bulk", "plain", "bulk"],
)
def site(request: pytest.FixtureRequest, clock: ManualClock) -> Site:
    return Site(clock, *request.param)


def fetch(region: CacheRegion, value: object, **given: Any) -> object:
    return region.get_or_create("k", lambda: value, **given)


def change(region: CacheRegion, by: str) -> None:
    """Make what is under "k", with the tag "t", old."""
    if by == "key":
        region.invalidate("k")
    elif by == "tag":
        region.invalidate_tags("t")
    elif by == "set":
        region.set("k", "new", tags="t")
    else:
        region.clear()


# -- the bound -------------------------------------------------------------


def test_a_key_is_read_far_once_per_bound(site: Site) -> None:
    for _ in range(3):
        fetch(site.here, "made", tags="a b")
    for _ in range(3):
        site.clock.advance(1.0)
        site.far.trips.clear()
        for _ in range(5):
            assert fetch(site.here, "again", tags="a b") == "made"
            site.clock.advance(0.1)
        asked = [key for trip in site.far.trips for key in trip]
        assert len(asked) == len(set(asked)) > 0


@pytest.mark.parametrize("by", ["key", "tag", "set", "clear"])
def test_what_another_process_does_is_seen_after_the_bound(
    clock: ManualClock, by: str
) -> None:
    site = Site(clock, *CLAIMS, *BULK, "clear")
    assert fetch(site.here, "old", tags="t") == "old"
    assert fetch(site.here, "no", tags="t") == "old"
    change(site.elsewhere, by)
    clock.advance(0.99)
    assert fetch(site.here, "no", tags="t") == "old"
    clock.advance(0.01)
    assert fetch(site.here, "new", tags="t") == "new"


def test_a_copy_is_dated_from_before_it_was_asked_for(
    clock: ManualClock,
) -> None:
    """A slow answer is old when it comes."""
    site = Site(clock, *CLAIMS)
    fetch(site.elsewhere, "old")
    site.far.after_read = lambda: clock.advance(0.75)
    assert fetch(site.here, "no") == "old"
    site.elsewhere.set("k", "new")
    clock.advance(0.25)
    assert fetch(site.here, "no") == "new"


def test_a_clock_that_is_set_back_keeps_no_copy(clock: ManualClock) -> None:
    site = Site(clock, *CLAIMS)
    fetch(site.here, "old")
    assert fetch(site.here, "no") == "old"
    site.elsewhere.set("k", "new")
    clock.advance(-3600.0)
    assert fetch(site.here, "no") == "new"


def test_a_label_is_not_trusted_beyond_the_bound(clock: ManualClock) -> None:
    """Not even that of which whoever invalidates it removes the entry."""
    site = Site(clock, *CLAIMS, staleness=0.5)
    fragment = Fragment(lambda creation, creator: creator(), is_removed=True)

    def fragment_of(region: CacheRegion, value: str) -> object:
        return region.fetch(
            "k", lambda: value, region.options, ("template",), fragment
        )

    fragment_of(site.here, "old")
    assert fragment_of(site.here, "no") == "old"
    site.elsewhere.discard_label("template")
    clock.advance(0.5)
    assert fragment_of(site.here, "new") == "new"


@pytest.mark.parametrize("seed", range(60))
def test_the_bound_holds_in_any_order(site: Site, seed: int) -> None:
    """Of reads and creations, and what is around them, here and there."""
    choose = random.Random(seed).choice
    clock = site.clock
    # What is true, since when; what must be seen here.
    truth = {"a": [(0.0, 0)], "b": [(0.0, 0)]}
    seen = {"a": 0, "b": 0}

    def read(region: CacheRegion, name: str) -> Any:
        return region.get_or_create(
            name, lambda: truth[name][-1][1], tags=name
        )

    def read_both(region: CacheRegion) -> Any:
        return region.get_or_create(
            "both", lambda: [read(region, name) for name in "ab"]
        )

    def check(name: str, value: int) -> None:
        bound = clock.now - 1.0
        due = max(n for since, n in truth[name] if since <= bound or n == 0)
        assert value >= max(due, seen[name])

    for _ in range(120):
        name = choose("ab")
        region = choose([site.here, site.here, site.elsewhere])
        act = choose(["read", "read", "both", "wait", "invalidate"])
        if act == "read":
            value = read(region, name)
            if region is site.here:
                check(name, value)
        elif act == "both":
            values = read_both(region)
            if region is site.here:
                check("a", values[0])
                check("b", values[1])
        elif act == "wait":
            clock.advance(choose([0.0625, 0.25, 0.5, 1.0]))
        else:
            number = truth[name][-1][1] + 1
            truth[name].append((clock.now, number))
            region.invalidate_tags(name)
            if region is site.here:
                seen[name] = number


def test_own_expiry_comes_before_the_bound(clock: ManualClock) -> None:
    site = Site(clock, *CLAIMS, staleness=60.0, timeout=5)
    fetch(site.here, "old")
    assert fetch(site.here, "no") == "old"
    clock.advance(5.0)
    site.elsewhere.set("k", "new")
    assert fetch(site.here, "no") == "new"
    assert site.here.stats().misses == 1  # nobody had to be elected


def test_a_stale_entry_is_asked_for_each_time(clock: ManualClock) -> None:
    """It is served while another process makes its successor."""
    site = Site(clock, *CLAIMS, timeout=5, grace=60)
    fetch(site.here, "old")
    clock.advance(6.0)
    begun, over = threading.Event(), threading.Event()

    def create() -> str:
        begun.set()
        assert over.wait(LIMIT / 2)
        return "new"

    def others() -> None:
        assert begun.wait(LIMIT / 2)
        for _ in range(3):
            site.far.trips.clear()
            assert fetch(site.here, "no") == "old"
            assert len(site.far.trips) == 1
        over.set()

    in_threads([lambda: site.here.get_or_create("k", create), others])
    assert fetch(site.here, "no") == "new"


def test_a_stale_entry_stands_in_for_a_failed_creator(site: Site) -> None:
    fetch(site.here, "old", timeout=5)
    site.clock.advance(6.0)

    def fail() -> object:
        raise ZeroDivisionError

    for _ in range(2):
        given = {"timeout": 5, "stale_if_error": 60}
        assert site.here.get_or_create("k", fail, **given) == "old"


def test_a_miss_is_not_kept(site: Site) -> None:
    assert site.here.get("k") is None
    site.elsewhere.set("k", "made")
    assert site.here.get("k") == "made"


def test_what_is_known_to_be_gone_is_gone(site: Site) -> None:
    """A creation has found it missing; no older copy comes after that."""
    here = site.here
    fetch(here, "old")
    assert here.get("k") == "old"
    site.elsewhere.invalidate("k")
    assert here.get_or_create("outer", lambda: here.get("k", "gone")) == "gone"
    assert here.get("k") is None


# -- this process ----------------------------------------------------------


@pytest.mark.parametrize("by", ["key", "tag", "set", "clear"])
def test_what_this_process_does_is_seen_at_once(
    clock: ManualClock, by: str
) -> None:
    """Also by another region, and by one with another secret."""
    site = Site(clock, *CLAIMS, "clear")
    regions = {
        secret: site.region(site.backend, secret=secret)
        for secret in ("one", "other")
    }
    regions["none"] = site.here
    for region in regions.values():
        for actor in (site.region(site.backend), *regions.values()):
            fetch(region, "old", tags="t")
            assert fetch(region, "no", tags="t") == "old"
            change(actor, by)
            assert fetch(region, "new", tags="t") != "old"
            region.invalidate("k")


@pytest.mark.parametrize("by", ["key", "tag", "set", "clear"])
@pytest.mark.parametrize("powers", [CLAIMS, (*CLAIMS, *BULK)])
def test_a_read_from_before_is_neither_kept_nor_joined(
    clock: ManualClock, by: str, powers: tuple[str, ...]
) -> None:
    site = Site(clock, *powers, "clear", staleness=LIMIT)
    fetch(site.here, "old", tags="t")
    site.backend.close()  # nothing is near
    read, removed = threading.Event(), threading.Event()

    def hold() -> None:
        if not read.is_set():
            read.set()
            assert removed.wait(LIMIT / 2)

    site.far.after_read = hold

    def early() -> object:
        return fetch(site.here, "no", tags="t")

    def late() -> object:
        assert read.wait(LIMIT / 2)
        change(site.here, by)
        if by == "tag" or "get_many" in powers:
            # The rest of what is being read is as good as before.
            removed.set()
        try:
            return fetch(site.here, "new", tags="t")
        finally:
            removed.set()

    # Whose read it was may have been told before the removal ended.
    early_found, late_found = in_threads([early, late])
    assert early_found in ("old", "new", "no")
    # The early one may have been the first to create after a tag's.
    assert late_found in ("new", "no")
    assert by == "tag" or late_found == "new"
    assert fetch(site.here, "newer", tags="t") == late_found
    assert site.here.get("k") == site.elsewhere.get("k")


def test_a_copy_made_while_it_is_removed_far_is_removed_too(
    site: Site,
) -> None:
    fetch(site.here, "old")
    site.far.before_delete = lambda: fetch(site.here, "no")
    site.here.invalidate("k")
    assert site.here.get("k") is None


def test_a_version_is_made_by_who_has_looked_far(clock: ManualClock) -> None:
    """A trip from before may bring that there is none, though there is."""
    site = Site(clock, *CLAIMS, staleness=2 * LIMIT)
    storage = site.here._storage
    assert isinstance(storage, TieredStorage)
    storage._near.board([site.here.tag_label("t")])  # and never to land
    within(LIMIT / 2, lambda: site.here.set("k", "made", tags="t"))
    assert site.elsewhere.get("k") == "made"


def test_what_is_created_is_made_of_what_is_far(site: Site) -> None:
    """It lasts longer than any copy that it would be made of."""
    here = site.here

    def outer() -> object:
        made = here.get_or_create("k", lambda: "new")
        return [made, here.get("k")]

    fetch(here, "old")
    assert fetch(here, "no") == "old"
    site.elsewhere.invalidate("k")
    assert here.get("k") == "old"
    assert here.get_or_create("outer", outer) == ["new", "new"]


@pytest.mark.parametrize("anew", ["entry", "label"])
def test_what_another_process_made_is_not_made_again(
    site: Site, anew: str
) -> None:
    """Though here is one copy from before, and one from after it."""
    fetch(site.here, "old", tags="t")
    assert fetch(site.here, "no", tags="t") == "old"
    site.elsewhere.invalidate_tags("t")
    assert fetch(site.elsewhere, "new", tags="t") == "new"
    names = {
        "entry": site.here._plain + keys.token("k"),
        "label": site.here.tag_label("t"),
    }
    assert site.here._storage.source.read(names[anew]) is not NO_VALUE
    for _ in range(2):
        assert fetch(site.here, "no", tags="t") == "new"


# -- herds -----------------------------------------------------------------


def test_a_herd_reads_far_once(site: Site) -> None:
    fetch(site.here, "made", tags="t")
    site.clock.advance(1.0)
    fetch(site.here, "no", tags="t")
    site.clock.advance(1.0)
    site.far.trips.clear()
    come = threading.Semaphore(0)

    def wait_for_all() -> None:
        for _ in range(THREADS):
            assert come.acquire(timeout=LIMIT / 2)
        site.far.after_read = lambda: None

    site.far.after_read = wait_for_all

    def call() -> object:
        come.release()
        return fetch(site.here, "no", tags="t")

    assert in_threads([call] * THREADS) == ["made"] * THREADS
    asked = [key for trip in site.far.trips for key in trip]
    assert len(asked) == len(set(asked)) > 0


def test_a_copy_that_came_since_it_was_missed_is_taken(site: Site) -> None:
    site.here.set("k", "made")
    assert site.here.get("k") == "made"
    site.far.trips.clear()
    storage = site.here._storage
    assert isinstance(storage, TieredStorage)
    key = site.here._plain + keys.token("k")
    assert storage._fetch([key])[key].value == "made"
    assert site.far.trips == []


def test_keys_that_others_fetch_are_waited_for(clock: ManualClock) -> None:
    """The rest is one trip of one's own."""
    site = Site(clock, *CLAIMS, *BULK)
    storage = site.here._storage
    for key in "abcd":
        entry = CacheEntry(key, clock.now)
        site.elsewhere._storage.write(key, entry, 60.0, None, None)
    assert storage.read("d") is not NO_VALUE
    site.far.trips.clear()
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        if begun.is_set():
            over.set()
        else:
            begun.set()
            assert over.wait(LIMIT / 2)

    site.far.after_read = hold

    def late() -> dict[str, Any]:
        assert begun.wait(LIMIT / 2)
        return storage.read_many("abcde")

    _, found = in_threads([lambda: storage.read_many("ab"), late])
    assert {k: e.value for k, e in found.items()} == {k: k for k in "abcd"}
    assert [len(trip) for trip in site.far.trips] == [2, 2]


def test_a_failed_read_fails_all_who_wait(clock: ManualClock) -> None:
    """They do not each wait for the store's time-out as well."""
    site = Site(clock, *CLAIMS, staleness=LIMIT)
    storage = site.here._storage
    assert isinstance(storage, TieredStorage)
    joined = threading.Semaphore(0)

    class Over(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            joined.release()
            return super().wait(timeout)

    trip, _ = storage._near.board(["k"])
    trip.over = Over()

    def lead() -> None:
        for _ in range(4):
            assert joined.acquire(timeout=LIMIT / 2)
        trip.error = BackendError("the far store is away")
        storage._near.land(trip)

    def join() -> None:
        with pytest.raises(BackendError, match="the far store is away"):
            storage.read("k")

    in_threads([lead, *[join] * 4])
    assert site.far.trips == []


def test_who_waits_too_long_reads_by_itself(clock: ManualClock) -> None:
    site = Site(clock, *CLAIMS, staleness=0.02)
    fetch(site.elsewhere, "made")
    begun, over = threading.Event(), threading.Event()

    def hang_once() -> None:
        if not begun.is_set():
            begun.set()
            assert over.wait(LIMIT / 2)

    site.far.after_read = hang_once

    def late() -> object:
        assert begun.wait(LIMIT / 2)
        try:
            return fetch(site.here, "no")
        finally:
            over.set()

    assert in_threads([lambda: fetch(site.here, "no"), late]) == ["made"] * 2


def test_a_trip_that_is_too_old_is_not_joined(clock: ManualClock) -> None:
    site = Site(clock, *CLAIMS, staleness=LIMIT)
    fetch(site.elsewhere, "old")
    begun, over = threading.Event(), threading.Event()

    def hang_once() -> None:
        if not begun.is_set():
            begun.set()
            assert over.wait(LIMIT / 2)

    site.far.after_read = hang_once

    def late() -> object:
        assert begun.wait(LIMIT / 2)
        site.elsewhere.set("k", "new")
        clock.advance(LIMIT)
        try:
            return fetch(site.here, "no")
        finally:
            over.set()

    early = lambda: fetch(site.here, "no")  # noqa: E731  # one of two
    assert in_threads([early, late]) == ["old", "new"]
    assert fetch(site.here, "no") == "new"


def test_a_hook_may_ask_for_what_is_being_read(clock: ManualClock) -> None:
    site = Site(clock, *CLAIMS, staleness=LIMIT)
    asked: list[object] = []

    def ask_again() -> None:
        site.far.after_read = lambda: None
        asked.append(fetch(site.here, "no"))

    fetch(site.elsewhere, "made")
    site.far.after_read = ask_again
    assert within(LIMIT / 2, lambda: fetch(site.here, "no")) == "made"
    assert asked == ["made"]


def test_a_child_does_not_wait_for_its_parents_trips(
    tmp_path: Path, clock: ManualClock
) -> None:
    site = Site(
        clock, *CLAIMS, staleness=2 * LIMIT, store=FileBackend(tmp_path)
    )
    fetch(site.elsewhere, "made")
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert over.wait(LIMIT)

    site.far.after_read = hold

    def fork() -> Any:
        assert begun.wait(LIMIT / 2)
        site.far.after_read = lambda: None
        try:
            with children(lambda: fetch(site.here, "no")) as (child,):
                return child.result(LIMIT / 2)
        finally:
            over.set()

    assert in_threads([lambda: fetch(site.here, "no"), fork]) == ["made"] * 2


# -- whose copies ----------------------------------------------------------


def test_no_region_reads_what_another_secret_verified(
    clock: ManualClock,
) -> None:
    site = Site(clock, *CLAIMS)
    secrets: list[Any] = ["one", "other", ["other", "one"], None]
    regions = [site.region(site.backend, secret=s) for s in secrets]
    fetch(regions[0], "by one")
    assert fetch(regions[0], "no") == "by one"
    assert [r.get("k") for r in regions] == ["by one", None, "by one", None]


def test_the_near_tier_is_bounded(clock: ManualClock) -> None:
    far = Far(MemoryBackend())
    backend = TieredBackend(far, max_entries=3, max_bytes=4000, clock=clock)
    region = CacheRegion(backend)
    for number in range(10):
        region.set(number, str(number))
        assert region.get(number) == str(number)
    copies = region._storage.watched
    assert isinstance(copies, MemoryBackend)
    assert copies.usage().entries == 3
    region.set("large", "x" * 10_000)
    for _ in range(2):
        far.trips.clear()
        assert region.get("large") == "x" * 10_000
        assert far.trips
    assert copies.usage().bytes <= 4000


# -- a far store that is away ----------------------------------------------


def test_copies_are_served_within_the_bound_while_far_is_away(
    server: MemcachedServer, clock: ManualClock
) -> None:
    server.restart()
    backend = TieredBackend(
        open_backend(StoreURL.parse(server.url)), clock=clock
    )
    region = CacheRegion(backend)
    for key in "ab":
        region.set(key, "kept")
        assert region.get(key) == "kept"
    server.kill()
    try:
        clock.advance(0.9)
        assert region.get("a") == "kept"
        with pytest.raises(BackendError):
            region.invalidate("a")
        assert region.get("a") is None
        assert region.get("b") == "kept"
        clock.advance(0.1)
        assert region.get_or_create("b", lambda: "made") == "made"
        assert region.stats().errors >= 1
    finally:
        server.start()
