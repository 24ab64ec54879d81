"""What a hit costs: one cached def of 2 KB, called 100 times in a render.

All contenders take turns in one process, so that they see the same machine.
``python -m benchmarks.hits [--rounds N]``
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

from mako.template import Template

from benchmarks.contenders import contenders

CALLS = 100
BODY = "x" * 2048
SOURCE = f"""\
<%def name="card()" cached="True">{BODY}</%def>\\
% for i in range({CALLS}):
${{card()}}\\
% endfor
"""


def measure(rounds: int) -> dict[str, list[float]]:
    """Return for each contender the µs per hit of every round."""
    with contenders() as found:
        templates = {
            one.name: Template(SOURCE, **one.template_args) for one in found
        }
        for template in templates.values():
            assert len(template.render()) >= CALLS * len(BODY)
        taken: dict[str, list[float]] = {name: [] for name in templates}
        for _ in range(rounds):
            for name, template in templates.items():
                started = time.perf_counter()
                template.render()
                ended = time.perf_counter()
                taken[name].append((ended - started) / CALLS * 1e6)
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    taken = measure(parser.parse_args().rounds)
    floor = statistics.median(taken["dict plugin of Mako's docs"])
    print(f"Python {platform.python_version()}, {platform.machine()}")
    print(f"{'plugin':40} {'µs per hit':>10} {'quartiles':>15} {'x dict':>7}")
    for name, values in taken.items():
        low, median, high = statistics.quantiles(values, n=4)
        spread = f"{low:.2f}-{high:.2f}"
        print(f"{name:40} {median:10.2f} {spread:>15} {median / floor:7.2f}")


if __name__ == "__main__":
    main()
