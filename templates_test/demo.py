"""Renders the sample site cold and warm on every store, and compares.

Run ``python -m templates_test.demo``.  Ends with status 1 if any page that
went through a cache differs from the uncached one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Final

from mako.lookup import TemplateLookup
from rich import box
from rich.console import Console
from rich.table import Table

from mako_cacheplug.registry import close_backends
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.servers import ServerNotInstalled
from templates_test.site import fragment_counts
from templates_test.site import GUEST
from templates_test.site import make_lookup
from templates_test.site import Page
from templates_test.site import pages
from templates_test.site import render
from templates_test.site import User
from templates_test.site import USERS

THREADS: Final = 8
WARM_ROUNDS: Final = 3

Job = tuple[Page, User]


@dataclasses.dataclass(frozen=True)
class Pass:
    """What came of some jobs: *wall* seconds in all, and each one's own."""

    jobs: Sequence[Job]
    wall: float
    seconds: Sequence[float]
    html: Sequence[str]

    def milliseconds(self) -> tuple[str, str]:
        """Return the 50th and 99th percentile, for people."""
        cuts = statistics.quantiles(self.seconds, n=100, method="inclusive")
        return f"{cuts[49] * 1e3:.1f}", f"{cuts[98] * 1e3:.1f}"


def render_all(lookup: TemplateLookup, jobs: Sequence[Job]) -> Pass:
    """Render *jobs* with a few threads."""

    def one(job: Job) -> tuple[float, str]:
        began = time.perf_counter()
        html = render(lookup, *job)
        return time.perf_counter() - began, html

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        began = time.perf_counter()
        done = list(pool.map(one, jobs))
        wall = time.perf_counter() - began
    seconds, html = zip(*done, strict=True)
    return Pass(jobs, wall, seconds, html)


@contextlib.contextmanager
def stores(console: Console) -> Iterator[Iterator[tuple[str, str]]]:
    """Yield name and URL of every store that there is on this machine."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        found = [
            ("memory", "memory://"),
            ("file", f"file://{folder}/cache"),
            ("tiered", f"tiered://?far=file://{folder}/far"),
        ]
        try:
            server = stack.enter_context(MemcachedServer())
        except (ServerNotInstalled, RuntimeError) as error:
            console.print(f"memcached is left out: {error}", soft_wrap=True)
        else:
            found.append(("memcached", server.url))
        # Before the servers end and the folder goes.
        stack.callback(close_backends)
        yield iter(found)


def compare(table: Table, url: str, name: str, uncached: Pass) -> list[str]:
    """Add one store's row to *table*; return what is wrong with it."""
    lookup = make_lookup({"url": url, "namespace": "demo"})
    jobs = uncached.jobs
    cold = render_all(lookup, [job for job in jobs if job[1] is GUEST])
    others = render_all(lookup, jobs)
    warm = render_all(lookup, [*jobs] * WARM_ROUNDS)

    counts = list(fragment_counts(lookup).values())
    hits = sum(one.hits for one in counts)
    creations = sum(one.creations for one in counts)
    errors = sum(one.errors for one in counts)
    asked = hits + sum(one.misses + one.stale for one in counts)
    faster = uncached.wall * WARM_ROUNDS / warm.wall
    table.add_row(
        name,
        f"{asked:,}",
        f"{creations:,}",
        f"{hits:,}",
        *cold.milliseconds(),
        *warm.milliseconds(),
        f"{faster:.0f}x" if faster >= 10 else f"{faster:.1f}x",
    )

    expected = {
        (page.path, user.id): html
        for (page, user), html in zip(
            uncached.jobs, uncached.html, strict=True
        )
    }
    wrong = [
        f"{name}: {page.path} for {user.id} differs from the uncached page"
        for one in (cold, others, warm)
        for (page, user), html in zip(one.jobs, one.html, strict=True)
        if html != expected[page.path, user.id]
    ]
    if errors:
        wrong.append(f"{name}: the store failed {errors} times")
    return wrong


def main() -> int:
    """Print the table; return the exit status."""
    console = Console()
    jobs = [(page, user) for user in USERS.values() for page in pages()]
    console.print(
        f"Rendering {len(pages())} pages for {len(USERS)} readers with"
        f" {THREADS} threads, first without a cache ...",
        soft_wrap=True,
    )
    plain = make_lookup(cache_enabled=False)
    uncached = render_all(plain, jobs)

    # Narrow enough for 80 columns.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("store", no_wrap=True)
    for heading in (
        "fragments",
        "creations",
        "hits",
        "cold\np50",
        "cold\np99",
        "warm\np50",
        "warm\np99",
        "times\nfaster",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("none", "", "", "", *uncached.milliseconds(), "", "", "")
    wrong = []
    with stores(console) as found:
        for name, url in found:
            wrong += compare(table, url, name, uncached)
    console.print(table)
    console.print(
        "Fragments: how often one was asked for. p50 and p99: milliseconds"
        f" for one page, with {THREADS} threads at work. Cold: every page for"
        " the first reader. Warm: every page for every reader. Times faster:"
        " all pages warm, against uncached, in this run."
    )
    for line in wrong[:20]:
        console.print(line, soft_wrap=True)
    differ = any("differs" in line for line in wrong)
    console.print(f"pages identical: {'no' if differ else 'yes'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
