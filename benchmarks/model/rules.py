"""What a site costs, by arithmetic: a few measured figures and some rules.

The figures are :class:`Costs` and :class:`Election`; the scenario ``model``
measures them and compares what follows from them with what it measures.
Nothing is measured here, and no store is known.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from mako_cacheplug.learning import MOST_NAMES
from mako_cacheplug.lock import FIRST_PAUSE
from mako_cacheplug.lock import LAST_PAUSE

__all__ = [
    "AHEAD",
    "ALONE",
    "FILE",
    "MEMORY",
    "STORES",
    "TIERED",
    "Costs",
    "Election",
    "Site",
    "cold_trips",
    "far_reads",
    "page_trips",
    "questions",
    "servers_touched",
]

MEMORY: Final = "memory"
TIERED: Final = "tiered, near"
FILE: Final = "file"
AHEAD: Final = "memcached"
ALONE: Final = "memcached, read-ahead off"
STORES: Final = (MEMORY, TIERED, FILE, AHEAD, ALONE)

_IN_A_TRIP: Final = 1 + MOST_NAMES
"""Who leads it, and his followers."""


def servers_touched(servers: int, names: float) -> float:
    """Return how many of *servers* hold one or more of *names* names.

    The expectation where each name is as likely on each of them: one server
    is missed by all names with the probability ``(1 - 1/servers) ** names``.
    """
    missed: float = (1.0 - 1.0 / servers) ** names
    return servers * (1.0 - missed)


def page_trips(
    store: str, fragments: int, servers: int = 1, labels: int = 0
) -> float:
    """Return the trips that a page of hits makes, one after the other.

    :param store: one of :data:`STORES`.
    :param servers: on the ring.
    :param labels: whose versions come along: in the first trip, or without
        read-ahead in each.
    """
    if store == ALONE:
        return fragments * servers_touched(servers, 1 + labels)
    if store != AHEAD or not fragments:
        return 0.0
    full, rest = divmod(fragments + labels, _IN_A_TRIP)
    return full * servers_touched(servers, _IN_A_TRIP) + (
        servers_touched(servers, rest)
    )


def cold_trips(fragments: int, labels: int, parts: int = 1) -> int:
    """Return the trips of a page that is known and of which all is gone.

    The first tells what is missing.  Each creation is elected (1) and looks
    once more (1).  The version of a label that is gone is made by its first
    fragment (1); the next one reads it again, as it is not what was read
    ahead (1).  At the end all is stored (1), and the locks are given back
    (2).

    :param parts: in which it is stored: what takes longer than 5 ms is not
        held back until the end.
    """
    again = min(labels, fragments - labels)
    return 1 + 2 * fragments + labels + again + 3 * parts


def questions(seconds: float) -> int:
    """Return how often one process asks after another's creation.

    The trips themselves are left out: each of them lengthens a pause.

    :param seconds: that the creation takes.
    """
    asked = 0
    passed = 0.0
    pause = 1.5 * FIRST_PAUSE
    while passed < seconds:
        asked += 1
        passed += pause
        pause = min(4.0 * pause, LAST_PAUSE)
    return asked


def far_reads(keys: float, seconds: float, staleness: float) -> float:
    """Return what one process at most reads of *keys* keys far.

    However often it is asked for them.

    :param staleness: seconds that a copy lasts.
    """
    return keys * seconds / staleness


@dataclasses.dataclass(frozen=True)
class Costs:
    """What was measured of pages, in µs.

    :param render: a page without fragments.
    :param once: by store, what a page's first fragment adds besides.
    :param each: by store, what a fragment adds besides trips: Mako's part,
        and where it came along in a trip, its bytes and decoding.
    :param trip: a question for one name, whose answer is small.
    :param placing: to find a name's server, where there are several.
    :param another: to ask one server more for some of the names.
    """

    render: float
    once: dict[str, float]
    each: dict[str, float]
    trip: float
    placing: float = 0.0
    another: float = 0.0

    @classmethod
    def calibrated(
        cls,
        render: float,
        trip: float,
        placing: float,
        another: float,
        few: tuple[int, dict[str, float]],
        many: tuple[int, dict[str, float]],
    ) -> Costs:
        """Return costs such that pages of two sizes cost what they do.

        :param few: how many fragments, and a page's µs by store.
        :param many: likewise.
        """
        found = cls(render, {}, {}, trip, placing, another)
        for store in few[1]:
            (least, small), (most, large) = [
                (size, pages[store] - found.trips_cost(store, size))
                for size, pages in (few, many)
            ]
            each = found.each[store] = (large - small) / (most - least)
            found.once[store] = small - render - least * each
        return found

    def trips_cost(
        self,
        store: str,
        fragments: int,
        *,
        trip: float | None = None,
        servers: int = 1,
        labels: int = 0,
    ) -> float:
        """Return what a page's trips cost, in µs.

        :param trip: a round trip's µs; by default as it was measured.
        """
        trips = page_trips(store, fragments, 1, labels)
        if not trips:
            return 0.0
        cost = trips * (self.trip if trip is None else trip)
        if servers > 1:
            more = page_trips(store, fragments, servers, labels) - trips
            cost += more * (self.another if trip is None else trip)
            cost += (fragments + labels) * self.placing
        return cost

    def page(
        self,
        store: str,
        fragments: int,
        *,
        trip: float | None = None,
        servers: int = 1,
        labels: int = 0,
    ) -> float:
        """Return what a page of hits costs, in µs."""
        return (
            self.render
            + self.once[store]
            + fragments * self.each[store]
            + self.trips_cost(
                store, fragments, trip=trip, servers=servers, labels=labels
            )
        )

    def tier_pays_from(
        self, fragments: int, *, trip: float, servers: int, labels: int
    ) -> float:
        """Return how many pages make up for a near tier.

        In one process and within the tier's staleness.  The first of them
        reads its fragments one by one, the others find them near; without
        a tier each is read ahead.
        """
        near, ahead = (
            self.page(
                store, fragments, trip=trip, servers=servers, labels=labels
            )
            for store in (TIERED, AHEAD)
        )
        # The labels are near when the first fragment has brought them.
        first = self.page(ALONE, fragments, trip=trip, servers=servers)
        return (first - near) / (ahead - near)


@dataclasses.dataclass(frozen=True)
class Election:
    """What was counted of one cold key: requests of the server.

    :param creator: by the process that creates.
    :param waiter: by each process that waits, its questions left out.
    """

    creator: float
    waiter: float

    @classmethod
    def calibrated(cls, one: float, two: float, seconds: float) -> Election:
        """Return it from herds of one and of two processes.

        :param seconds: that the creation takes.
        """
        return cls(one, two - one - questions(seconds))

    def requests(self, processes: int, seconds: float) -> float:
        """Return the requests of *processes* that want the key at once."""
        each = self.waiter + questions(seconds)
        return self.creator + (processes - 1) * each


@dataclasses.dataclass(frozen=True)
class Site:
    """Web hosts before a ring of memcached servers: arithmetic alone.

    :param hosts: that render.
    :param servers: on the ring.
    :param fragments: of a page.
    :param labels: that the fragments have, all together.
    :param pages: that each host renders in a second.
    :param processes: on each host.
    :param threads: in each process that ask at the same moment at most.
    :param pool: idle connections that a process keeps to each server.
    :param staleness: of the near tier, in seconds.
    """

    hosts: int
    servers: int
    fragments: int = 50
    labels: int = 0
    pages: float = 100.0
    processes: int = 8
    threads: int = 4
    pool: int = 16
    staleness: float = 1.0

    @property
    def trips(self) -> float:
        """A page's trips, one after the other."""
        return page_trips(AHEAD, self.fragments, self.servers, self.labels)

    @property
    def requests(self) -> float:
        """What a server is asked in a second: each may name many keys."""
        return self.hosts * self.pages * self.trips / self.servers

    @property
    def gets(self) -> float:
        """Names that a server looks up in a second."""
        names = self.fragments + self.labels
        return self.hosts * self.pages * names / self.servers

    def gets_behind_tiers(self, keys: int) -> float:
        """Return the same, if each process has a near tier.

        :param keys: that a process shows within one *staleness*.
        """
        far = far_reads(keys, 1.0, self.staleness) * self.processes
        return min(self.gets, self.hosts * far / self.servers)

    @property
    def connections(self) -> int:
        """To each server, if all of them hold some of what is shown."""
        return self.hosts * self.processes * min(self.threads, self.pool)

    @property
    def creations(self) -> dict[str, int]:
        """Of one key in one lifetime, by the kind of store."""
        return {
            MEMORY: self.hosts * self.processes,
            FILE: self.hosts,
            AHEAD: 1,
        }

    def questions(self, seconds: float) -> float:
        """Return what a cold key's server is asked in a second.

        If every process waits for it: by one thread in each.

        :param seconds: that the creation takes.
        """
        waiting = self.hosts * self.processes - 1
        return waiting * questions(seconds) / seconds
