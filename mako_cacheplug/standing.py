"""Hits that stand: what was found a moment ago and has not gone since.

Where a store keeps entries inside this process, it can say of one that it is
still there without being asked: by a *watch*, whose content goes when the
entry goes.  A hit that was found valid is then valid while its own watch and
those of its labels have their content, and costs no look-up, no lock and no
comparison of labels.  The copy of an entry whose store can vouch for it is
such a watch, too: to look at it is to ask the store.

Once a second it is looked up in the ordinary way all the same.  That keeps
the store's order of use true for the labels, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mako_cacheplug.api import EntryWatch
from mako_cacheplug.api import SupportsWatch
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import RegionCounters

__all__ = ["TRUST_SECONDS", "StandingHit"]

TRUST_SECONDS: Final = 1.0
"""How long a hit stands, and a label that something else sees to, too."""


class StandingHit:
    """A hit that a region served, for as long as it is one.

    Immutable, safe in threads.

    :param key: the entry's.
    :param expected: the labels that it had to have.
    :param watch: of the entry.
    :param labels: the watches of those of its labels that can go alone.
    :param store: what the watches are of.
    :param since: when it was found, in seconds since the epoch.
    :param until: when it has to be looked up again, at the latest when its
        entry is no longer fresh.
    :param clock: seconds since the epoch.
    :param counters: the region's.
    """

    __slots__ = ("expected", "take")

    def __init__(
        self,
        key: str,
        expected: tuple[str, ...],
        watch: EntryWatch,
        labels: tuple[EntryWatch, ...],
        store: SupportsWatch,
        since: float,
        until: float,
        clock: Callable[[], float],
        counters: RegionCounters,
    ):
        self.expected = expected
        count = counters.count_hit

        # The hottest lines of all.  A closure reaches its variables faster
        # than a method its attributes: it is a tenth of the whole hit.
        def take() -> CacheEntry | None:
            entry = watch.held
            if (
                entry is None
                # A clock that was put back is no reason to trust for longer.
                or not since <= clock() < until
                or counters.hooks
            ):
                return None
            if labels:
                for label in labels:
                    if label.held is None:
                        return None
            if not watch.used:
                store.touch(key, watch)
            count()
            return entry  # type: ignore[return-value]  # no payload: it was an entry

        self.take: Callable[[], CacheEntry | None] = take
        """Return the entry and count the hit, if it still is one."""
