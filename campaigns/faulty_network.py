"""Pages are rendered over a network that damages what it carries.

Between memcached and its client connections are cut in the middle of requests
and answers; answers come late, in part and, with pymemcache, with garbage in
them or in their place, under other keys and with wrong lengths.  What the
pages show changes all the time and is invalidated.  Each page is compared
with what it has to show.
"""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import Final
from typing import NamedTuple

from mako.template import Template

from benchmarks.contenders import Contender
from benchmarks.contenders import dogpile
from benchmarks.contenders import ours
from campaigns.faulty_wire import FaultyWire
from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache")

RENDERS: Final = {Scale.SHORT: 40, Scale.LONG: 4_000}
"""Of each way to the store."""

_PEERS_RENDERS: Final = 100
"""A fault can cost them seconds."""

RATE: Final = 0.8
"""So many of a hundred requests, and of a hundred answers, have a fault."""

_PYLIBMC: Final = "memcached://{}/?client=pylibmc&timeout=40ms"

_PROCESSES: Final = 5

_LONGEST_SECONDS: Final = 1.0
"""Of one render: its budget, some time-outs, and a busy machine."""

_LATE_SECONDS: Final = 3600.0

_CARDS: Final = 50
_BOXES: Final = 5

_PLAIN: Final = (
    '<%def name="card(n)" cached="True" cache_key="card-${str(n)}"><b>${n}:'
    "${made(n)}</b></%def>\\\n"
    "% for n in range(cards):\n${card(n)}\\\n% endfor\n"
)
_NESTED: Final = (
    '<%def name="card(n)" cached="True" cache_key="card-${str(n)}"'
    " cache_tags=\"${'card-%d' % n}\"><b>${n}:${made(n)}</b></%def>\\\n"
    '<%def name="box(g)" cached="True" cache_timeout="60">[\\\n'
    "% for n in range(g, cards, boxes):\n${card(n)}\\\n% endfor\n]</%def>\\\n"
    "% for g in range(boxes):\n${box(g)}\\\n% endfor\n"
)


class _Way(NamedTuple):
    """A way to the store, for one contender."""

    name: str
    servers: int
    open: Callable[[str], Contender]
    """Given ``host:port`` of each server, with commas between."""

    source: str = _NESTED
    garbles: bool = True


def _ways(contender: str) -> list[_Way]:
    if contender == "dogpile.cache":
        return [
            _Way(
                "pylibmc",
                1,
                lambda hosts: dogpile("d", "pylibmc", url=hosts.split(",")),
                _PLAIN,
                # As ours by pylibmc.
                garbles=False,
            )
        ]

    def by(url: str, **given: Any) -> Callable[[str], Contender]:
        return lambda hosts: ours("o", url.format(hosts), **given)

    plain = by("memcached://{}/?client=pymemcache&timeout=40ms")
    far = (
        "tiered://?far=memcached://{}/?client=pymemcache%26timeout=40ms"
        "&staleness=1h"
    )
    return [
        _Way("pymemcache", 1, plain),
        _Way("pymemcache, three servers", 3, plain),
        _Way(
            "without read-ahead",
            1,
            by(
                "memcached://{}/?client=pymemcache&timeout=40ms",
                read_ahead=False,
            ),
        ),
        _Way("tiered", 1, by(far)),
        # Garbage in an answer to many keys can end a process with pylibmc,
        # by a double free of its own; see _ended_by_pylibmc.
        _Way("pylibmc", 1, by(_PYLIBMC), garbles=False),
        _Way("pylibmc, three servers", 3, by(_PYLIBMC), garbles=False),
    ]


class _Site:
    """A page whose parts change."""

    def __init__(self, way: _Way, hosts: str, contender: str) -> None:
        given = way.open(hosts).template_args
        self._versions = [0] * _CARDS
        self._made = 0
        self._is_ours = contender == "cacheplug"
        self.cached = Template(way.source, uri="/faulty", **given)
        self._bare = Template(way.source, cache_enabled=False)
        self.retried = 0

    def change(self, number: int) -> None:
        """Change a card, and invalidate it until that has worked."""
        self._versions[number] += 1
        while True:
            try:
                if self._is_ours:
                    self.cached.cache.impl.invalidate_tags(f"card-{number}")
                else:
                    self.cached.cache.invalidate(f"card-{number}")
            except Exception:  # loud, as it has to be
                self.retried += 1
                time.sleep(0.01)
            else:
                return

    def render(self, template: Template) -> str:
        def made(number: int) -> int:
            self._made += template is self.cached
            return self._versions[number]

        shown: str = template.render(made=made, cards=_CARDS, boxes=_BOXES)
        return shown

    def uncached(self) -> str:
        return self.render(self._bare)

    @property
    def made(self) -> int:
        return self._made


class _Tally:
    """What the renders of one way, or of several, were like."""

    def __init__(self) -> None:
        self.wrong = self.errors = self.renders = self.made = self.faults = 0
        self.kinds: set[str] = set()
        self.longest = 0.0
        """Seconds that a render took."""

    def add(self, other: _Tally) -> None:
        self.wrong += other.wrong
        self.errors += other.errors
        self.renders += other.renders
        self.made += other.made
        self.faults += other.faults
        self.kinds |= other.kinds
        self.longest = max(self.longest, other.longest)


@contextlib.contextmanager
def _reached(way: _Way, seed: int) -> Iterator[list[FaultyWire]]:
    with contextlib.ExitStack() as stack:
        wires = []
        for number in range(way.servers):
            server = stack.enter_context(MemcachedServer())
            wire = FaultyWire(server, seed + number, RATE, garbles=way.garbles)
            wires.append(stack.enter_context(contextlib.closing(wire)))
        yield wires


def _travel(way: _Way, contender: str, renders: int, seed: int) -> _Tally:
    """Render pages on one way, and count what goes wrong."""
    tally = _Tally()
    chance = random.Random(seed)
    with _reached(way, seed) as wires:
        hosts = ",".join(f"{wire.host}:{wire.port}" for wire in wires)
        site = _Site(way, hosts, contender)
        for number in range(renders):
            if chance.random() < 0.2:
                site.change(chance.randrange(_CARDS))
            began = time.monotonic()
            shown = None
            try:
                shown = site.render(site.cached)
            except Exception as error:  # it is what is counted
                tally.errors += 1
                tally.kinds.add(type(error).__name__)
            tally.longest = max(tally.longest, time.monotonic() - began)
            if shown not in (None, site.uncached()):
                tally.wrong += 1
                tally.kinds.add(f"{way.name}, seed {seed}, page {number}")
            tally.renders += 1
        tally.made += site.made
        tally.faults += sum(wire.faults for wire in wires)
    return tally


def _ended_by_pylibmc(renders: int) -> Finding:
    """Return how many processes pylibmc ends, where there is garbage."""
    way = _Way("pylibmc", 1, _ways("cacheplug")[-1].open)
    died = 0
    for seed in range(_PROCESSES):
        travel = functools.partial(_travel, way, "cacheplug", renders, seed)
        with children(travel) as (child,):
            try:
                child.result(600.0)
            except Exception:  # it has died, without a word
                died += 1
    return Finding(
        "cacheplug",
        "processes ended by pylibmc, if answers are garbled",
        died,
        note=f"of {_PROCESSES}, each with {renders} renders; with pymemcache"
        " there are none",
    )


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return how many pages were wrong, or none."""
    tally = _Tally()
    renders = RENDERS[scale]
    if contender != "cacheplug":
        renders = min(renders, _PEERS_RENDERS)
    travels = [
        functools.partial(_travel, way, contender, renders, 1000 * seed)
        for seed, way in enumerate(_ways(contender))
    ]
    # At once: most of the time is spent in waiting.
    with children(*travels) as started:
        for child in started:
            tally.add(child.result(_LATE_SECONDS))
    kinds = ", ".join(sorted(tally.kinds))
    created = 100.0 * tally.made / (tally.renders * _CARDS)
    findings = [
        Finding(contender, "wrong pages", tally.wrong, most=0, note=kinds),
        Finding(contender, "exceptions", tally.errors, most=0, note=kinds),
        Finding(
            contender,
            "fragments created, of those shown",
            created,
            "%",
            most=90.0,
            note=f"{tally.faults} faults in {tally.renders} renders",
        ),
        Finding(
            contender,
            "longest render",
            tally.longest,
            "s",
            # In a short pass it says more about the machine.
            most=_LONGEST_SECONDS if scale is Scale.LONG else None,
        ),
    ]
    if contender == "cacheplug" and scale is Scale.LONG:
        findings.append(_ended_by_pylibmc(RENDERS[scale] // 40))
    return findings
