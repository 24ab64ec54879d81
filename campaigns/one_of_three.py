"""One of three memcacheds is killed: what the others hold is served.

Each of them in its turn, as what is lost depends on what it holds.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from typing import Final

from campaigns.crowd import FRAGMENTS
from campaigns.crowd import render_while
from campaigns.crowd import size_of
from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")

SERVERS = 3
SETTLED_SECONDS = 1.0
LEAST_HITS = 60.0


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what *contender* still serves from the cache."""
    before, down = (2.0, 5.0) if scale is Scale.LONG else (0.7, 1.7)
    kept = []
    errors = wrong = total = 0
    for victim in range(SERVERS):
        killed: list[float] = []
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(MemcachedServer()) for _ in range(SERVERS)
            ]
            folder = stack.enter_context(tempfile.TemporaryDirectory())

            def happens(
                begin: float,
                server: MemcachedServer = servers[victim],
                killed: list[float] = killed,
            ) -> None:
                time.sleep(max(0.0, begin + before - time.monotonic()))
                server.kill()
                killed.append(time.monotonic())

            renders = render_while(
                contender,
                [server.port for server in servers],
                folder,
                size_of(scale),
                before + down,
                happens,
            )
        errors += sum(bool(render.error) for render in renders)
        wrong += sum(render.is_wrong for render in renders)
        total += len(renders)
        since = killed[0] + SETTLED_SECONDS
        made = [
            FRAGMENTS if render.error else render.made
            for render in renders
            if render.is_cached and render.at >= since
        ]
        kept.append(100.0 * (1.0 - sum(made) / (len(made) * FRAGMENTS)))
    return [
        Finding(contender, "exceptions", errors, most=0),
        Finding(contender, "wrong pages", wrong, most=0, note=f"of {total}"),
        Finding(
            contender,
            "hits kept",
            sum(kept) / len(kept),
            "%",
            least=LEAST_HITS,
            note=", ".join(f"{one:.0f} %" for one in kept),
        ),
    ]
