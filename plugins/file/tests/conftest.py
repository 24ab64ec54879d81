"""What the tests of the file store share: a clock, and other processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
from mako_cacheplug_file import FileBackend

Start = Callable[..., "subprocess.Popen[str]"]


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def backend(root: Path, clock: Clock) -> Iterator[FileBackend]:
    backend = FileBackend(root, clock=clock)
    yield backend
    backend.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Run a script in another process; its arguments are in ``args``."""
    running: list[subprocess.Popen[str]] = []

    def run(script: str, *args: object) -> subprocess.Popen[str]:
        text = "import sys\nargs = sys.argv[1:]\n" + textwrap.dedent(script)
        process = subprocess.Popen(
            [sys.executable, "-c", text, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()
