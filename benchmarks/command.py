"""Measure, print the tables, and write them with the plots into a folder.

``python -m benchmarks [--quick|--full] [--out DIR] [--write FILE] [NAME ...]``
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import measuring
from benchmarks import plots
from benchmarks import report
from benchmarks.machine import describe
from benchmarks.measuring import Scale
from benchmarks.results import Result
from benchmarks.results import to_json
from benchmarks.scenarios import Scenario
from benchmarks.scenarios import SCENARIOS

__all__ = ["main", "measure", "write"]

OUT = Path("build/bench")
IMAGES = "docs/results"
"""Where the plots of a committed page are, beside that page."""


def measure(
    scenarios: Sequence[Scenario], scale: Scale
) -> list[tuple[Scenario, list[Result]]]:
    """Run *scenarios* one after the other, printing what they find."""
    found = []
    for scenario in scenarios:
        started = time.monotonic()
        results = []
        for result in scenario.run(scale):
            print(report.section(result), flush=True)
            results.append(result)
        taken = time.monotonic() - started
        print(f"({scenario.name}: {taken:.0f} s)\n", flush=True)
        found.append((scenario, results))
    return found


def write(
    found: Sequence[tuple[Scenario, Sequence[Result]]],
    scale: Scale,
    machine: dict[str, str],
    out: Path,
    page: Path | None = None,
) -> None:
    """Write what was found.

    :param machine: as :func:`~benchmarks.machine.describe` returns it.
    :param out: a folder for tables, plots and figures.
    :param page: another place for the tables, with the plots in
        ``docs/results`` beside it.
    """
    out.mkdir(parents=True, exist_ok=True)
    results = [result for _, some in found for result in some]
    for result in results:
        plots.draw(result, out)
    plots.draw_goals(results, out)
    text = json.dumps(to_json(results, machine, scale.name), indent=1)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    about = [(scenario.about, some) for scenario, some in found]
    (out / "RESULTS.rst").write_text(
        report.page(about, machine, scale.name, "."), encoding="utf-8"
    )
    if page is None:
        return
    images = page.parent / IMAGES
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir(parents=True)
    names = [result.name for result in results if result.has_plot]
    for name in [*names, "goals"]:
        shutil.copy(out / f"{name}.svg", images)
    page.write_text(
        report.page(about, machine, scale.name, IMAGES), encoding="utf-8"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick",
        dest="scale",
        action="store_const",
        const=measuring.QUICK,
        default=measuring.NORMAL,
        help="a minute: fewer rounds, smaller stores",
    )
    size.add_argument(
        "--full",
        dest="scale",
        action="store_const",
        const=measuring.FULL,
        help="the file store with a million entries",
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, help="by default %(default)s"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help=f"write the page there too, its plots into {IMAGES} beside it",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[[], *names],
        help=f"only these: {', '.join(names)}",
    )
    given = parser.parse_args(arguments)
    chosen = [s for s in SCENARIOS if s.name in (given.names or names)]
    machine = describe()
    found = measure(chosen, given.scale)
    results = [result for _, some in found for result in some]
    print(report.goals_table(results))
    write(found, given.scale, machine, given.out, given.write)
    print(f"plots, tables and figures: {given.out}")
