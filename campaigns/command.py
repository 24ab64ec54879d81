"""Run the campaigns, print what they find, and write the page of it.

``python -m campaigns [--long] [--peers] [--resume] [--out DIR]
[--write FILE] [NAME …]``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from benchmarks.machine import describe
from campaigns import report
from campaigns.findings import Campaign
from campaigns.findings import Finding
from campaigns.findings import Scale
from campaigns.kept import Kept
from campaigns.running import campaigns
from campaigns.running import CONTENDERS
from campaigns.running import run_apart

__all__ = ["main"]

OUT: Final = Path("build/campaigns")

LIMITS: Final = {Scale.SHORT: 300.0, Scale.LONG: 5400.0}
"""Seconds after which a campaign hangs: the longest takes an hour."""


def _run(
    modules: Iterable[ModuleType],
    contenders: Sequence[str],
    scale: Scale,
    limit: float,
    kept: Kept,
    resumes: bool,
) -> list[Campaign]:
    found = []
    for module in modules:
        name = module.__name__.rpartition(".")[2]
        about = (module.__doc__ or "").strip()
        before = kept.load(name, about) if resumes else None
        if before is not None:
            found.append(before)
            continue
        now = describe()
        began = time.monotonic()
        findings: list[Finding] = []
        for contender in contenders:
            if contender not in module.CONTENDERS:
                continue
            findings += run_apart(module.__name__, contender, scale, limit)
        ran = (
            f"{now['date']}, {time.monotonic() - began:,.0f} s, load"
            f" {now['load']}"
        )
        found.append(Campaign(name, about, findings, ran))
        kept.save(found[-1])
        print(report.section(found[-1]), flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says; fail if a goal of ours is missed."""
    known = campaigns()
    names = list(known)
    parser = argparse.ArgumentParser(
        prog="python -m campaigns", description=__doc__
    )
    parser.add_argument(
        "--long",
        dest="scale",
        action="store_const",
        const=Scale.LONG,
        default=Scale.SHORT,
        help="as the goals want it: hours",
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="the other plugins too, where a campaign applies to them",
    )
    parser.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help="after which a campaign is taken to hang",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="do not run again what is in the folder of --out",
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, help="by default %(default)s"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="write the page there too"
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[[], *names],
        help=f"only these: {', '.join(names)}",
    )
    given = parser.parse_args(arguments)
    chosen = [known[name] for name in given.names or names]
    contenders = CONTENDERS if given.peers else CONTENDERS[:1]
    machine = describe()
    del machine["date"], machine["load"]  # Each campaign says its own.
    found = _run(
        chosen,
        contenders,
        given.scale,
        given.limit or LIMITS[given.scale],
        Kept(given.out, machine, given.scale.value, contenders),
        given.resume,
    )
    pages = [given.out / "SURVIVES.rst"]
    if given.write is not None:
        pages.append(given.write)
    for page in pages:
        page.write_text(
            report.page(found, machine, given.scale), encoding="utf-8"
        )
    print(report.goals(found))
    print(f"page and figures: {given.out}")
    if report.missed(found):
        sys.exit(1)
