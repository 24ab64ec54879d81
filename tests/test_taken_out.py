"""The tests themselves: each mechanism that is taken out makes some fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent

sys.path.insert(0, str(HERE))
try:
    from taken_out import MECHANISMS
finally:
    sys.path.remove(str(HERE))

Outcomes = dict[str, str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcomes]:
    """Return a function that runs the program and returns its report."""
    report = tmp_path_factory.mktemp("taken_out") / "report.json"

    def run(*args: str) -> Outcomes:
        done = subprocess.run(
            [sys.executable, "-m", "taken_out", report, *args],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found: Outcomes = json.loads(report.read_text())
        return found

    return run


@pytest.fixture(scope="module")
def without(run: Callable[..., Outcomes]) -> Outcomes:
    return run()


def test_with_all_of_them_all_pass(run: Callable[..., Outcomes]) -> None:
    tests = {test for one in MECHANISMS.values() for test in one.tests}
    assert run("all") == {"nothing": dict.fromkeys(tests, "passed")}


@pytest.mark.parametrize("name", MECHANISMS)
def test_without_it_they_fail(name: str, without: Outcomes) -> None:
    tests = MECHANISMS[name].tests
    assert tests
    assert without[name] == dict.fromkeys(tests, "failed")
