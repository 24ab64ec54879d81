"""A crowd that renders the front page, and what each render was like.

Forked processes with threads, as a site has them.  Every thread renders the
page with the cache and without it, in turns: what a cached page is compared
with was rendered at the same time, on the same machine, beside the same
crowd.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final
from typing import NamedTuple

from mako.template import Template

from benchmarks.contenders import beaker
from benchmarks.contenders import BEAKER_PYLIBMC_FOLDER
from benchmarks.contenders import Contender
from benchmarks.contenders import dogpile
from benchmarks.contenders import ours
from benchmarks.contenders import UNCACHED
from benchmarks.sites import front_page
from campaigns.findings import Scale
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import in_threads

__all__ = [
    "Crowd",
    "Render",
    "longest",
    "p99",
    "render_while",
    "size_of",
]

_PAGE: Final = front_page()

FRAGMENTS: Final = _PAGE.hits

_PAUSE_SECONDS: Final = 0.001
"""After an error, which takes no time: of those there are enough."""

_LATE_SECONDS: Final = 60.0


class Render(NamedTuple):
    """One render."""

    process: int
    at: float
    """When it began, in monotonic seconds."""

    seconds: float
    made: int
    """How many fragments were created."""

    is_cached: bool
    """Whether the cache was on."""

    error: str
    """What it raised; empty if it did not."""

    is_wrong: bool
    """Whether it is another page than the uncached one."""


class Crowd(NamedTuple):
    """How many render."""

    processes: int
    threads: int


def size_of(scale: Scale) -> Crowd:
    """Return how large a crowd is."""
    return Crowd(8, 4) if scale is Scale.LONG else Crowd(2, 2)


def _contender(name: str, ports: Sequence[int], folder: str) -> Contender:
    """Return how *name* uses memcacheds, each as its documentation has it."""
    places = [f"127.0.0.1:{port}" for port in ports]
    if name == "cacheplug":
        return ours(name, "memcached://" + ",".join(places))
    if name == "dogpile.cache":
        return dogpile(name, "pylibmc", url=places, distributed_lock=True)
    assert name == "beaker", name
    # The last one that takes pylibmc; nothing else may have imported it.
    sys.path.insert(0, str(BEAKER_PYLIBMC_FOLDER))
    return beaker(
        name,
        type="ext:memcached",
        url=";".join(places),
        memcache_module="pylibmc",
        lock_dir=folder,
    )


def render_while(
    contender: str,
    ports: Sequence[int],
    folder: str,
    crowd: Crowd,
    seconds: float,
    happens: Callable[[float], None],
) -> list[Render]:
    """Return what a crowd rendered in *seconds* while something *happens*.

    :param ports: of the memcacheds.
    :param folder: for locks.
    :param happens: is called in this process with the monotonic time at
        which the crowd begins.
    """
    begin = time.monotonic() + 1.0

    def work(number: int) -> Callable[[], list[Render]]:
        def run() -> list[Render]:
            args = _contender(contender, ports, folder).template_args
            pages = (
                _template("/front", args),
                _template("/bare", UNCACHED.template_args),
            )
            each = in_threads(
                [lambda: _render(number, pages, begin, begin + seconds)]
                * crowd.threads,
                seconds + _LATE_SECONDS,
            )
            return [render for renders in each for render in renders]

        return run

    with children(*map(work, range(crowd.processes))) as started:
        happens(begin)
        return [
            render
            for child in started
            for render in child.result(seconds + _LATE_SECONDS)
        ]


def _template(uri: str, args: dict[str, Any]) -> Template:
    return Template(_PAGE.source, uri=uri, **args)  # no user's


def _render(
    process: int, pages: Sequence[Template], begin: float, end: float
) -> list[Render]:
    cached, bare = pages
    expected = bare.render(made=str, **_PAGE.data)
    found: list[Render] = []
    time.sleep(max(0.0, begin - time.monotonic()))
    while time.monotonic() < end:
        for page in (cached, bare):
            made: list[None] = []
            text = error = ""
            at = time.monotonic()
            try:
                text = page.render(
                    made=lambda made=made: made.append(None) or "",
                    **_PAGE.data,
                )
            except Exception as raised:  # it is what is counted
                error = type(raised).__name__
            seconds = time.monotonic() - at
            found.append(
                Render(
                    process,
                    at,
                    seconds,
                    len(made),
                    page is cached,
                    error,
                    not error and text != expected,
                )
            )
            if error:
                time.sleep(_PAUSE_SECONDS)
    return found


def p99(renders: Iterable[Render]) -> float:
    """Return the seconds that one render in a hundred takes longer than.

    Infinitely many where none has begun: all who could have been waiting.
    """
    ordered = sorted(render.seconds for render in renders)
    if not ordered:
        return math.inf
    return ordered[len(ordered) * 99 // 100]


def longest(renders: Iterable[Render]) -> float:
    """Return the seconds of the longest one; as for :func:`p99`."""
    return max((render.seconds for render in renders), default=math.inf)
