"""The seam on every Mako that it is for, from the oldest to the newest.

``make test`` installs each into a folder of its own.  Here the tests of what
knows Mako run on it, over the memory store.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FILES = (
    "test_heirs.py",
    "test_holes.py",
    "test_identity.py",
    "test_library.py",
    "test_needs.py",
    "test_nesting.py",
    "test_outline.py",
    "test_private_names.py",
    "test_programmatic.py",
    "test_scan.py",
    "test_seam.py",
    "test_seam_options.py",
    "traps",
)
VERSIONS = {
    "1.3.0": r"1\.3\.0",
    "1.3.x": r"1\.3\.([1-9]\d+)",
    "1.4.x": r"1\.4\.\d+",
}


def folder_of(version: str) -> Path:
    return Path(sys.prefix, f"mako-{version}")


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start the tests on all of them at once."""
    started = {}
    for version in VERSIONS:
        folder = folder_of(version)
        assert (folder / "installed").exists(), "make test installs it"
        places = [str(folder), str(HERE / "shared")]
        started[version] = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "--color=no"),
                *("-p", "no:cacheprovider", "-p", "memory_only"),
                *("-o", "addopts=--import-mode=importlib"),
                *(f"tests/{name}" for name in FILES),
            ],
            cwd=HERE.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_seam_on(version: str, running: dict[str, Any]) -> None:
    output, _ = running[version].communicate(timeout=240)
    assert running[version].returncode == 0, output
    (found,) = re.findall(r"^Mako (.*) in (.*)$", output, re.MULTILINE)
    assert re.fullmatch(VERSIONS[version], found[0])
    assert Path(found[1]) == folder_of(version)
    (result,) = re.findall(
        r"^=+ (\d+) passed, \d+ deselected in", output, re.M
    )
    assert int(result) > 500
