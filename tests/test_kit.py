"""The conformance kit itself: it passes the right and catches the wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from mako_cacheplug import api
from mako_cacheplug.testing import ConformanceSuite
from mako_cacheplug.testing.suite import PROTOCOLS

HERE = Path(__file__).parent
CASES = HERE / "kit_over_broken_backends.py"

sys.path.insert(0, str(HERE))
try:
    from broken_backends import Healthy
    from broken_backends import variants
finally:
    sys.path.remove(str(HERE))

BROKEN = list(variants())

Outcomes = dict[str, str]
Run = Callable[..., Outcomes]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run tests of the kit; return "passed" and so on by class and name."""
    folder = tmp_path_factory.mktemp("kit")
    # Registered as if they were installed, for templates and programs.
    metadata = folder / "broken_backends-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: broken-backends\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[mako_cacheplug.backends]\n"
        + "".join(
            f"kit-{name.lower()} = {kind.__module__}:{name}\n"
            for kind in (Healthy, *BROKEN)
            for name in [kind.__name__]
        )
    )

    def run(*tests: str) -> Outcomes:
        report = folder / "report.xml"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "--tb=short"),
                *("-p", "no:cacheprovider", f"--junitxml={report}"),
                *(f"{CASES}::{test}" for test in tests),
            ],
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            timeout=240,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(folder), str(HERE)]),
            },
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return _outcomes(report)

    return run


def _outcomes(report: Path) -> Outcomes:
    found = {}
    for case in ET.parse(report).iter("testcase"):
        outcome = "passed"
        for kind in ("error", "failure", "skipped"):
            detail = case.find(kind)
            if detail is not None:
                outcome = f"{kind}: {detail.get('message')}"
        name = f"{case.get('classname', '').rpartition('.')[2]}::"
        found[name + case.get("name", "")] = outcome
    return found


def test_healthy_store_passes(run: Run) -> None:
    outcomes = run("TestHealthy")
    wrong = {n: o for n, o in outcomes.items() if o != "passed"}
    assert wrong == {}
    assert len(outcomes) > 150


@pytest.fixture(scope="module")
def outcomes(run: Run) -> Outcomes:
    """Run all the tests that are to catch something, in one go."""
    return run(*(test for kind in BROKEN for test in _catching(kind)))


def _catching(kind: type[Healthy]) -> list[str]:
    return [f"Test{kind.__name__}::{name}" for name in kind.caught_by]


@pytest.mark.parametrize(
    "kind", BROKEN, ids=[(kind.__doc__ or "")[:-1] for kind in BROKEN]
)
def test_defect_is_caught(kind: type[Healthy], outcomes: Outcomes) -> None:
    """By each test that is said to catch it, in the test itself."""
    found = {name: outcomes.get(name, "no test") for name in _catching(kind)}
    missed = {n: o for n, o in found.items() if not o.startswith("failure")}
    assert missed == {}


def test_there_are_enough_defects() -> None:
    assert len(BROKEN) >= 12
    assert len({kind.__doc__ for kind in BROKEN}) == len(BROKEN)


def _tests(cls: type) -> set[str]:
    return {
        name
        for name in dir(cls)
        if name.startswith("test_") and getattr(cls, name) is not None
    }


def test_undeclared_protocol_has_a_line_and_no_tests() -> None:
    class Plain(ConformanceSuite):
        supports = ()

    class Clearing(Plain):
        supports = (api.SupportsClear,)

    assert "test_clear_leaves_nothing" not in _tests(Plain)
    assert "test_clear_leaves_nothing" in _tests(Clearing)
    assert (
        _tests(Plain)
        < _tests(Clearing)
        < _tests(ConformanceSuite) | {"test_supports"}
    )
    (mark,) = Plain.test_supports.pytestmark  # type: ignore[attr-defined]
    lines = {param.id for param in mark.args[1]}
    assert "no SupportsClear" in lines
    assert len(lines) == len(PROTOCOLS)


def test_deviation_of_a_test_is_an_expected_failure() -> None:
    class Deviating(ConformanceSuite):
        deviations: ClassVar[dict[str, str]] = {
            "test_case_is_told_apart": "the store folds case"
        }

    (mark,) = Deviating.test_case_is_told_apart.pytestmark  # type: ignore[attr-defined]
    assert mark.name == "xfail"
    assert mark.kwargs == {"strict": True, "reason": "the store folds case"}
    assert not hasattr(ConformanceSuite.test_case_is_told_apart, "pytestmark")


def test_misspelt_deviation_is_refused() -> None:
    with pytest.raises(TypeError, match="mean 'FailureSuite'"):
        type(
            "Misspelt",
            (ConformanceSuite,),
            {"deviations": {"FailuresSuite": "why"}},
        )


def test_deviation_without_a_reason_is_refused() -> None:
    with pytest.raises(TypeError, match="has no reason"):
        type("Silent", (ConformanceSuite,), {"deviations": {"ForkSuite": " "}})
