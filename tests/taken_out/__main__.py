"""Runs the tests, each mechanism's in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import hypothesis
import mako_cacheplug_file
import mako_cacheplug_memcached
import pytest

from mako_cacheplug.testing.running import children
from taken_out import MECHANISMS

IMPORTED = (hypothesis, mako_cacheplug_file, mako_cacheplug_memcached)
"""What each of the processes would import by itself."""

ROOT = Path(__file__).parent.parent.parent
Outcomes = dict[str, str]


class _Recorder:
    """A plugin of pytest's that notes how each test ended."""

    def __init__(self) -> None:
        self.outcomes: Outcomes = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.removeprefix("tests/")
        if report.when == "call":
            self.outcomes[name] = report.outcome
        elif report.failed:
            self.outcomes[name] = f"error in its {report.when}"


def run(take_out: Callable[[], None], tests: tuple[str, ...]) -> Outcomes:
    """Run *tests* in this process, which is good for nothing else then."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    take_out()
    recorder = _Recorder()
    # Nobody reads why they failed.
    options = ["-q", "-p", "no:cacheprovider", "--assert=plain"]
    named = [f"tests/{test}" for test in tests]
    pytest.main([*options, *named], plugins=[recorder])
    return recorder.outcomes


def nothing() -> None:
    """Take nothing out."""


def main(report: str, which: str = "") -> None:
    found: dict[str, Outcomes] = {}
    if which == "all":
        tests = dict.fromkeys(t for m in MECHANISMS.values() for t in m.tests)
        with children(partial(run, nothing, tuple(tests))) as (child,):
            found["nothing"] = child.result(120)
    else:
        for name, (take_out, its) in MECHANISMS.items():
            if which in name:
                with children(partial(run, take_out, its)) as (child,):
                    found[name] = child.result(60)
    Path(report).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
