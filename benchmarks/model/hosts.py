"""From one host to a thousand: arithmetic, with what was measured here."""

from __future__ import annotations

from typing import Final

from benchmarks.herd import CREATION_SECONDS
from benchmarks.model.pages import LABELS
from benchmarks.model.rules import AHEAD
from benchmarks.model.rules import ALONE
from benchmarks.model.rules import Costs
from benchmarks.model.rules import FILE
from benchmarks.model.rules import MEMORY
from benchmarks.model.rules import Site
from benchmarks.report import number
from benchmarks.results import Result

__all__ = ["extrapolate"]

SITES: Final = (
    (1, 1),
    (10, 1),
    (10, 4),
    (100, 4),
    (100, 10),
    (100, 100),
    (1000, 10),
    (1000, 100),
    (1000, 1000),
)
"""Hosts, and memcached servers."""

TRIP: Final = 200.0
"""µs of a round trip in a data centre."""

SHOWN: Final = (50, 500)
"""Different fragments that a process shows within the staleness."""

HEAD: Final = [
    "hosts × servers",
    "trips a page",
    "ms a page",
    "ms, read-ahead off",
    "a tier pays from",
    "requests /s and server",
    "gets /s and server",
    "tiered, 50 keys",
    "tiered, 500 keys",
    "connections a server",
]


def extrapolate(costs: Costs) -> tuple[Result, Result]:
    """Return what a site asks its servers, and what it creates."""
    sites = [Site(*size, labels=LABELS) for size in SITES]
    one = sites[0]
    ring = Result(
        "model_ring_of_hosts",
        "Arithmetic: a site on a ring of memcached servers",
        "",
        {},
        table=[HEAD, *(_row(site, costs) for site in sites)],
        notes=[
            f"assumed: a page has {one.fragments} fragments of one def; each"
            f" host renders {one.pages:.0f} of them a second in"
            f" {one.processes} processes of {one.threads} threads; a trip"
            f" takes {TRIP:.0f} µs",
            "a tier pays from so many pages in one process within"
            f" {one.staleness:g} s: the first of them makes a trip for each"
            " fragment",
            "tiered: gets a second and server, where a process shows so many"
            f" different fragments within {one.staleness:g} s",
            "names fall evenly on the servers, and no server is the"
            " bottleneck: a page's time does not grow with its load here",
        ],
    )
    hosts = [Site(count, 1) for count in sorted({h for h, _ in SITES})]
    lives = Result(
        "model_creations_of_hosts",
        "Arithmetic: creations and invalidations",
        "",
        {},
        table=[
            [
                "hosts",
                *(f"creations, {store}" for store in (MEMORY, FILE, AHEAD)),
                "questions a second",
                "invalidation",
            ],
            *(
                [
                    f"{site.hosts:,}",
                    *(f"{count:,}" for count in site.creations.values()),
                    number(site.questions(CREATION_SECONDS)),
                    "1 trip",
                ]
                for site in hosts
            ),
        ],
        notes=[
            "creations are of one key in one lifetime",
            "the questions are those about one cold key, to its server, while"
            f" every process waits for a creation of {CREATION_SECONDS} s;"
            " within grace nobody waits",
            "an invalidation is of a key or a tag, however many entries have"
            " it; each of them is created once more when it is asked for",
        ],
    )
    return ring, lives


def _row(site: Site, costs: Costs) -> list[str]:
    def page(store: str) -> str:
        cost = costs.page(
            store,
            site.fragments,
            trip=TRIP,
            servers=site.servers,
            labels=site.labels,
        )
        return number(cost / 1e3)

    pays_from = costs.tier_pays_from(
        site.fragments, trip=TRIP, servers=site.servers, labels=site.labels
    )
    return [
        f"{site.hosts:,} × {site.servers:,}",
        number(site.trips),
        page(AHEAD),
        page(ALONE),
        number(pays_from),
        number(site.requests),
        number(site.gets),
        *(number(site.gets_behind_tiers(keys)) for keys in SHOWN),
        f"{site.connections:,}",
    ]
