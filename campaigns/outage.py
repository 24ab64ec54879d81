"""A memcached that is away for a while: what its campaigns have in common."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from campaigns.crowd import longest
from campaigns.crowd import p99
from campaigns.crowd import Render
from campaigns.crowd import render_while
from campaigns.crowd import size_of
from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["Outage", "watch"]

P99_RATIO = 1.5
BACK_SECONDS = 2.0


class Outage(NamedTuple):
    """What was rendered before, during and after it."""

    contender: str
    scale: Scale
    renders: list[Render]
    went: float
    """When the server went, in monotonic seconds."""

    came: float
    """When it was back."""

    def part(
        self, is_cached: bool, since: float, until: float
    ) -> list[Render]:
        """Return the renders that began in a span of time."""
        return [
            render
            for render in self.renders
            if render.is_cached is is_cached and since <= render.at < until
        ]

    def timed(
        self, what: str, value: float, unit: str, most: float
    ) -> Finding:
        """Return a figure whose goal is one of the long pass.

        In a short one it says more about the machine.
        """
        goal = most if self.scale is Scale.LONG else None
        return Finding(self.contender, what, value, unit, most=goal)

    def counts(self) -> list[Finding]:
        """Return what there must be none of."""
        return [
            Finding(
                self.contender,
                "exceptions",
                sum(bool(render.error) for render in self.renders),
                most=0,
                note=", ".join(
                    sorted({r.error for r in self.renders if r.error})
                ),
            ),
            Finding(
                self.contender,
                "wrong pages",
                sum(render.is_wrong for render in self.renders),
                most=0,
                note=f"of {len(self.renders)}",
            ),
        ]

    def ratio(self, what: str, since: float) -> Finding:
        """Return the cached p99 from *since* on, by the uncached one."""
        cached = p99(self.part(True, since, self.came))
        bare = p99(self.part(False, since, self.came))
        found = self.timed(what, cached / bare, "x", P99_RATIO)
        return found._replace(
            note=f"{cached * 1e3:.1f} ms of {bare * 1e3:.1f} ms"
        )

    def excess(self, most: float) -> Finding:
        """Return by how much the longest render is over the uncached one."""
        until = self.came + BACK_SECONDS
        cached = longest(self.part(True, self.went - 1.0, until))
        bare = longest(self.part(False, self.went - 1.0, until))
        found = self.timed(
            "longest render beyond the longest uncached one",
            (cached - bare) * 1e3,
            "ms",
            most * 1e3,
        )
        return found._replace(
            note=f"{cached * 1e3:.0f} ms and {bare * 1e3:.0f} ms"
        )

    def back(self) -> Finding:
        """Return after how long each process had a page of hits again."""
        last = 0.0
        missing = 0
        after = self.part(True, self.came, float("inf"))
        for process in {render.process for render in self.renders}:
            hits = [
                render.at
                for render in after
                if render.process == process
                and not render.made
                and not render.error
            ]
            if hits:
                last = max(last, min(hits) - self.came)
            else:
                missing += 1
        note = f"{missing} processes never" if missing else ""
        found = self.timed(
            "caching again after its return", last, "s", BACK_SECONDS
        )
        if missing:
            return found._replace(value=float("inf"), most=0.0, note=note)
        return found


def watch(
    contender: str,
    scale: Scale,
    away: Callable[[MemcachedServer], None],
    back: Callable[[MemcachedServer], None],
) -> Outage:
    """Let a crowd render while a memcached goes *away* and comes *back*."""
    before, down, after = (
        (3.0, 10.0, 4.0) if scale is Scale.LONG else (1.0, 1.5, 2.5)
    )
    marks: list[float] = []
    with MemcachedServer() as server, tempfile.TemporaryDirectory() as folder:

        def happens(begin: float) -> None:
            for at, act in (
                (begin + before, away),
                (begin + before + down, back),
            ):
                time.sleep(max(0.0, at - time.monotonic()))
                if act is away:
                    marks.append(time.monotonic())
                act(server)
                if act is back:
                    marks.append(time.monotonic())

        renders = render_while(
            contender,
            [server.port],
            folder,
            size_of(scale),
            before + down + after,
            happens,
        )
    went, came = marks
    return Outage(contender, scale, renders, went, came)
