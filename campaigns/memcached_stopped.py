"""The memcached of a busy site stops answering, and goes on later.

With SIGSTOP, under the crowd that renders the front page.  Connections stay
open, new ones are accepted by the system, and nothing is answered.
"""

from __future__ import annotations

from typing import Final

from campaigns.findings import Finding
from campaigns.findings import Scale
from campaigns.outage import watch
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")

EXCESS_SECONDS = 0.3
SETTLED_SECONDS = 1.0


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what *contender* does meanwhile and afterwards."""
    outage = watch(
        contender, scale, MemcachedServer.pause, MemcachedServer.resume
    )
    return [
        *outage.counts(),
        outage.excess(EXCESS_SECONDS),
        outage.ratio(
            "p99 after its first second, by the uncached p99",
            outage.went + SETTLED_SECONDS,
        ),
        outage.back(),
    ]
