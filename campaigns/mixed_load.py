"""A process renders on all stores for an hour, while everything changes.

Keys come and go, more than the stores have room for; templates are edited,
what they show changes and is invalidated, pages fail; memcached is killed and
comes back.  A page that begins after a change was invalidated has to show it.
Memory, objects, descriptors, threads and files are counted all the time: none
of them may grow.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any
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
"""From the second quarter to the last: caches are full by then."""

_TAGS: Final = 10

_SOURCE: Final = (
    "<%page args='key, state, fails=False'/>"
    '<%def name="card(key)" cached="True" cache_key="${key}"'
    ' cache_tags="${\'tag\' + key[-1]}" cache_timeout="5">'
    "${key}:${state(key)}:${'x' * (len(key) * 200)}</%def>\\\n"
    '<%def name="box()" cached="True" cache_timeout="1">box ${card("box-0")}'
    "</%def>\\\n"
    "EDITION ${card(key)} ${card('more-' + key)} ${box()}\\\n"
    "% if fails:\n${1 / 0}\\\n% endif\n"
)


class Sample(NamedTuple):
    """What the process has at one moment."""

    mib: float
    objects: int
    descriptors: int
    """Without the folders that the file store keeps for a second: up to 256,
    as many as are asked for in one."""
    threads: int
    leftovers: int
    """Files of the file store that are no entries."""


def _descriptors(folder: str) -> int:
    count = 0
    for number in os.listdir("/proc/self/fd"):
        # The one of the listing has gone.
        with contextlib.suppress(FileNotFoundError):
            where = os.readlink(f"/proc/self/fd/{number}")
            count += not where.startswith(folder)
    return count


def _sample(folder: str) -> Sample:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    leftovers = sum(
        name.startswith(("new-", "mark-")) or "lock" in name
        for _, _, names in os.walk(folder)
        for name in names
    )
    return Sample(
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(gc.get_objects()),
        _descriptors(folder),
        threading.active_count(),
        leftovers,
    )


class _Load:
    """What the threads do until it is over."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._lookups = [
            TemplateLookup(cache_impl="cacheplug", cache_args={"url": url})
            for url in urls
        ]
        self.over = threading.Event()
        self._edit = threading.Lock()
        self._editions: dict[tuple[int, int], int] = {}
        self._states = {
            (number, tag): 0
            for number in range(len(urls))
            for tag in range(_TAGS)
        }
        """What is shown of each tag, on each store."""

        self._settled = dict(self._states)
        """As of what has been invalidated."""

        for number in range(len(urls)):
            for page in range(_TEMPLATES):
                self._put(number, page)
        self.renders = self.wrong = self.failed = 0
        self.errors: set[str] = set()

    def _put(self, number: int, page: int) -> None:
        """Edit a page: one of a few editions, each of which comes again."""
        edition = self._editions.get((number, page), 0) + 1
        self._lookups[number].put_string(
            f"/{number}/{page}.html",
            _SOURCE.replace("EDITION", str(edition % _EDITS)),
        )
        self._editions[number, page] = edition

    def work(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self.over.is_set():
            self._step(chance)

    def _step(self, chance: random.Random) -> None:
        number = chance.randrange(len(self._lookups))
        page = chance.randrange(_TEMPLATES)
        lookup = self._lookups[number]
        kind = chance.random()
        if kind < 0.005:
            with self._edit:
                self._put(number, page)
        template = lookup.get_template(f"/{number}/{page}.html")
        if kind > 0.98:
            self._change(number, chance.randrange(_TAGS), template)
        key = f"k{int(chance.random() ** 3 * _KEYS)}"
        fails = chance.random() < 0.01
        self.renders += 1
        tags = int(key[-1]), 0
        oldest = [self._settled[number, tag] for tag in tags]
        try:
            shown = template.render(
                key=key,
                state=lambda key: self._states[number, int(key[-1])],
                fails=fails,
            )
        except ZeroDivisionError:
            return
        except Exception as error:  # it is what is counted
            self.failed += 1
            self.errors.add(repr(error)[:100])
            return
        latest = [self._states[number, tag] for tag in tags]
        if not _is_right(shown, key, oldest, latest):
            self.wrong += 1

    def _change(self, number: int, tag: int, template: Any) -> None:
        """Change what is shown of *tag*, and invalidate it if that works."""
        with self._edit:
            self._states[number, tag] = state = self._states[number, tag] + 1
            try:
                template.cache.impl.invalidate_tags(f"tag{tag}")
                template.cache.invalidate_def("box")
            except BackendError:
                pass  # It is away: loud, as it has to be.
            else:
                self._settled[number, tag] = state


_SHOWN: Final = re.compile(
    r"\s*\d+ (k\d+):(\d+):(x+) more-(k\d+):(\d+):(x+) box box-0:(\d+):(x+)\s*"
)


def _is_right(
    shown: str, key: str, oldest: Sequence[int], latest: Sequence[int]
) -> bool:
    """Tell whether a page is the one of *key*, and of a state of its time.

    :param oldest: of the key's tag and the box's, when it began.
    :param latest: when it ended.
    """
    found = _SHOWN.fullmatch(shown)
    if found is None or not found[1] == found[4] == key:
        return False
    sizes = [len(found[group]) for group in (3, 6, 8)]
    if sizes != [200 * len(k) for k in (key, "more-" + key, "box-0")]:
        return False
    states = [int(found[group]) for group in (2, 5, 7)]
    tags = (0, 0, 1)
    return all(
        oldest[tag] <= state <= latest[tag]
        for tag, state in zip(tags, states, strict=True)
    )


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
            )
        )
        samples: list[Sample] = []
        work: list[Callable[[], None]] = [
            lambda seed=seed: load.work(seed)  # type: ignore[misc]  # ints
            for seed in range(_THREADS)
        ]

        def watch() -> None:
            try:
                samples.extend(_watch(seconds, server, folder))
            finally:
                load.over.set()

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
    objects = statistics.median(one.objects for one in before)
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
            "growth of objects",
            100.0 * grown("objects") / objects,
            "%",
            most=100.0 * _MOST_GROWTH if scale is Scale.LONG else None,
            note=f"{objects:,.0f} in the second quarter, which tables are of",
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
