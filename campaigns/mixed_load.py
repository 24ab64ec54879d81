"""A process renders on all stores for an hour, while everything changes.

Keys come and go, more than the stores have room for; templates are edited,
entries and tags invalidated, pages fail; memcached is killed and comes back.
Memory, descriptors, threads and files are counted all the time: none of them
may grow.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from typing import NamedTuple

from mako.lookup import TemplateLookup

from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug",)

SECONDS: Final = {Scale.SHORT: 6.0, Scale.LONG: 3600.0}

_THREADS: Final = 4
_TEMPLATES: Final = 40
_KEYS: Final = 20_000
_EDITS: Final = 50
_SAMPLES: Final = 200
_RESTARTS: Final = 20

_MOST_MIB: Final = 8.0
_MOST_GROWTH: Final = 0.05
"""Of memory, from the second quarter to the last: caches are full by then."""

_SOURCE: Final = (
    "<%page args='key, edition, fails=False'/>"
    '<%def name="card(key)" cached="True" cache_key="${key}"'
    ' cache_tags="${\'tag\' + key[-1]}" cache_timeout="5">'
    "${key}:${'x' * (len(key) * 200)}</%def>\\\n"
    '<%def name="box()" cached="True" cache_timeout="1">box ${card("box-0")}'
    "</%def>\\\n"
    "EDITION ${card(key)} ${card(key + '-more')} ${box()}\\\n"
    "% if fails:\n${1 / 0}\\\n% endif\n"
)


class Sample(NamedTuple):
    """What the process has at one moment."""

    mib: float
    descriptors: int
    threads: int
    leftovers: int
    """Files of the file store that are no entries."""


def _sample(folder: str) -> Sample:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    leftovers = sum(
        name.startswith(("new-", "mark-")) or "lock" in name
        for _, _, names in os.walk(folder)
        for name in names
    )
    return Sample(
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        leftovers,
    )


class _Load:
    """What the threads do until it is over."""

    def __init__(self, urls: Sequence[str], ends_at: float) -> None:
        self._lookups = [
            TemplateLookup(cache_impl="cacheplug", cache_args={"url": url})
            for url in urls
        ]
        self._ends_at = ends_at
        self._edit = threading.Lock()
        self._editions: dict[tuple[int, int], int] = {}
        for number in range(len(urls)):
            for page in range(_TEMPLATES):
                self._put(number, page)
        self.renders = self.wrong = self.failed = 0
        self.errors: set[str] = set()

    def _put(self, number: int, page: int) -> None:
        """Edit a page: one of a few editions, each of which comes again."""
        edition = self._editions.get((number, page), 0) + 1
        self._lookups[number].put_string(
            f"/{page}.html",
            _SOURCE.replace("EDITION", str(edition % _EDITS)),
        )
        self._editions[number, page] = edition

    def work(self, seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self._ends_at:
            self._step(chance)

    def _step(self, chance: random.Random) -> None:
        number = chance.randrange(len(self._lookups))
        page = chance.randrange(_TEMPLATES)
        lookup = self._lookups[number]
        kind = chance.random()
        if kind < 0.005:
            with self._edit:
                self._put(number, page)
        template = lookup.get_template(f"/{page}.html")
        if kind > 0.98:
            try:
                template.cache.impl.invalidate_tags(
                    f"tag{chance.randrange(10)}"
                )
                template.cache.invalidate_def("box")
            except BackendError:
                pass  # It is away: loud, as it has to be.
        key = f"k{int(chance.random() ** 3 * _KEYS)}"
        fails = chance.random() < 0.01
        self.renders += 1
        try:
            shown = template.render(key=key, edition=0, fails=fails)
        except ZeroDivisionError:
            return
        except Exception as error:  # it is what is counted
            self.failed += 1
            self.errors.add(repr(error)[:100])
            return
        each = [f"{k}:{'x' * (len(k) * 200)}" for k in (key, key + "-more")]
        box = f"box box-0:{'x' * 1000}"
        if not shown.endswith(f" {each[0]} {each[1]} {box}"):
            self.wrong += 1


def _watch(
    seconds: float, server: MemcachedServer, folder: str
) -> list[Sample]:
    """Sample the process, and let memcached go now and then."""
    began = time.monotonic()
    samples = []
    for number in range(_SAMPLES):
        due = began + seconds * (number + 1) / _SAMPLES
        time.sleep(max(0.0, due - time.monotonic()))
        if (number + 1) % (_SAMPLES // _RESTARTS) == 0:
            server.kill()
            time.sleep(min(1.0, seconds / _SAMPLES))
            server.restart()
        gc.collect()
        samples.append(_sample(folder))
    return samples


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what has grown."""
    seconds = SECONDS[scale]
    with (
        MemcachedServer("-m", "16") as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        near = f"{server.url}?timeout=50ms".replace("&", "%26")
        load = _Load(
            (
                "memory://?max_bytes=16m",
                f"file://{folder}?max_bytes=16m",
                server.url,
                f"tiered://?near=memory://?max_bytes=8m&far={near}",
            ),
            time.monotonic() + seconds,
        )
        samples: list[Sample] = []
        work: list[Callable[[], None]] = [
            lambda seed=seed: load.work(seed)  # type: ignore[misc]  # ints
            for seed in range(_THREADS)
        ]

        def watch() -> None:
            samples.extend(_watch(seconds, server, folder))

        in_threads([*work, watch], seconds + 120.0)
    return [
        Finding(
            contender,
            "exceptions",
            load.failed,
            most=0,
            note=", ".join(sorted(load.errors)),
        ),
        Finding(
            contender,
            "wrong pages",
            load.wrong,
            most=0,
            note=f"of {load.renders:,} in {seconds:g} s",
        ),
        *_growth(contender, samples, scale),
    ]


def _growth(
    contender: str, samples: Sequence[Sample], scale: Scale
) -> list[Finding]:
    """Return what the last quarter has more than the second one."""
    quarter = len(samples) // 4
    before = samples[quarter : 2 * quarter]
    after = samples[-quarter:]

    def grown(name: str) -> float:
        old, new = (
            float(statistics.median([getattr(one, name) for one in some]))
            for some in (before, after)
        )
        return new - old

    mib = statistics.median(one.mib for one in before)
    most = max(_MOST_MIB, _MOST_GROWTH * mib)
    return [
        Finding(
            contender,
            "growth of memory",
            grown("mib"),
            "MiB",
            # A few seconds do not fill the stores.
            most=most if scale is Scale.LONG else None,
            note=f"{mib:.0f} MiB in the second quarter",
        ),
        Finding(
            contender,
            "growth of descriptors",
            grown("descriptors"),
            # Nor do they bring a pool to its size after each restart.
            most=8 if scale is Scale.LONG else None,
        ),
        Finding(contender, "growth of threads", grown("threads"), most=0),
        Finding(
            contender,
            "growth of files that are no entries",
            grown("leftovers"),
            most=4,
        ),
    ]
