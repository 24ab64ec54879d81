"""The memcached of a busy site is killed, and comes back empty.

With SIGKILL, under the crowd that renders the front page.  It refuses
connections meanwhile.
"""

from __future__ import annotations

from typing import Final

from campaigns.findings import Finding
from campaigns.findings import Scale
from campaigns.outage import watch
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what *contender* does meanwhile and afterwards."""
    outage = watch(
        contender, scale, MemcachedServer.kill, MemcachedServer.start
    )
    return [
        *outage.counts(),
        outage.ratio("p99 while it is down, by the uncached p99", outage.went),
        outage.back(),
    ]
