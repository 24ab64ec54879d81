"""A front page of 50 fragments on memcached.

Ten defs without arguments and forty calls of a teaser, 2 KB each, all of
them hits.  Round trips are counted on the wire, by a proxy; times are
measured without it.  The slow network is a proxy that adds 1 ms to each
round trip.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from benchmarks.contenders import UNCACHED
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.measuring import Turn
from benchmarks.network import bare_clients
from benchmarks.network import DOGPILE_PYLIBMC
from benchmarks.network import GET_MULTI
from benchmarks.network import Network
from benchmarks.network import network
from benchmarks.network import OURS
from benchmarks.network import OURS_AHEAD_OFF
from benchmarks.placement import Placement
from benchmarks.placement import placements
from benchmarks.proxy import Proxy
from benchmarks.results import Goal
from benchmarks.results import Result
from benchmarks.sites import BODY
from benchmarks.sites import front_page
from benchmarks.sites import open_site
from benchmarks.sites import render_in_turns
from benchmarks.sites import Site

ADDED_SECONDS = 0.001
PAGE = front_page()


def ours_in(result: Result) -> str:
    """Return the row that is judged: with read-ahead, if there is one."""
    return OURS if OURS in result.rows else OURS_AHEAD_OFF


def counted(site: Site, proxy: Proxy) -> Turn:
    """Return a turn that tells how many round trips a render makes."""

    def turn() -> float:
        before = proxy.trips()
        site.turn()
        return proxy.trips() - before

    return turn


def trips(net: Network, scale: Scale) -> Result:
    """Count a page's round trips."""
    once = dataclasses.replace(scale, seconds=0.0, turn_seconds=0.0)
    turns = {}
    with contextlib.ExitStack() as stack:
        for one, proxy in stack.enter_context(net.proxied()):
            site = stack.enter_context(open_site(PAGE, one))
            site.start(once, 1.0, 1)
            turns[one.name] = counted(site, proxy)
        rows = interleave(turns, once)
    result = Result(
        "front_page_trips",
        f"A front page of {PAGE.hits} fragments: round trips",
        "round trips a page",
        rows,
        notes=net.notes,
    )
    name = ours_in(result)
    result.goals.append(
        Goal(f"{name} ≤ 2 round trips", 2.0, tuple(rows[name]), "trips")
    )
    return result


def times(net: Network, placement: Placement, scale: Scale) -> Result:
    """Measure a page on the loopback."""
    result = Result(
        f"front_page_{placement.name.replace(' ', '_')}",
        f"A front page of {PAGE.hits} fragments, client and server on"
        f" {placement.name}",
        "µs a page",
        render_in_turns(
            PAGE,
            [UNCACHED, *net.contenders()],
            scale,
            floors={
                f"bare pylibmc get_multi of {PAGE.hits}": timed(
                    bare_clients(net, PAGE.hits, len(BODY))[GET_MULTI], scale
                )
            },
            parts=1,
        ),
        DOGPILE_PYLIBMC,
        notes=net.notes,
    )
    result.compare(0.15, ours_in(result), DOGPILE_PYLIBMC)
    return result


def slow_times(net: Network, scale: Scale) -> Result:
    """Measure a page over a network whose round trips take 1 ms more."""
    with net.proxied(ADDED_SECONDS) as found:
        rows = render_in_turns(
            PAGE,
            [one for one, _ in found],
            scale,
            per_second=1e3,
            parts=1,
        )
    result = Result(
        "front_page_slow",
        f"A front page of {PAGE.hits} fragments, 1 ms more for each trip",
        "ms a page",
        rows,
        DOGPILE_PYLIBMC,
        notes=net.notes,
    )
    result.compare(0.05, ours_in(result), DOGPILE_PYLIBMC)
    return result


def run(scale: Scale) -> Iterator[Result]:
    """Count, then measure in each placement, then on the slow network."""
    with network() as net:
        yield trips(net, scale)
    for placement in placements():
        with network(placement) as net:
            yield times(net, placement, scale)
    with network() as net:
        yield slow_times(net, scale)
