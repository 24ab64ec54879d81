"""What importing the package adds to ``import mako.template``.

In fresh processes that take turns; each imports Mako first.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.placement import pinned
from benchmarks.results import Goal
from benchmarks.results import Result

OURS = "mako_cacheplug"
MODULES = (OURS, "beaker.cache", "dogpile.cache")
LIMIT = 15.0

PROGRAM = """
import sys, time
import mako.template
started = time.perf_counter()
__import__(sys.argv[1])
print((time.perf_counter() - started) * 1e3)
"""


def import_ms(module: str) -> float:
    """Return how long a fresh process takes for that import after Mako's."""
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, module],
        capture_output=True,
        text=True,
        check=True,
        # Compiled once, as wherever it is installed.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    return float(said.stdout)


def run(scale: Scale) -> Iterator[Result]:
    """Measure."""
    with pinned():
        turns = {m: functools.partial(import_ms, m) for m in MODULES}
        for turn in turns.values():
            turn()  # now its bytecode is on disk
        rows = interleave(turns, scale)
    result = Result("imports", "Imports after Mako's", "ms", rows)
    result.goals.append(
        Goal(f"{OURS} ≤ {LIMIT:g} ms", LIMIT, tuple(rows[OURS]), "ms")
    )
    yield result
