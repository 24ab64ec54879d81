"""Several processes over one store: one cache, one creation."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsCheckAndSet
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.testing import program
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.invalidation import check_overtaken
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import LIMIT

__all__ = ["ProcessSuite"]

PROCESSES = 4
THREADS = 4


class ProcessSuite(Suite):
    """What one process stored, invalidated or creates, others know."""

    def test_other_process_reads_and_deletes(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        ours, theirs = harness.key("ours"), harness.key("theirs")
        backend.set(ours, b"ours", 60.0)
        assert backend.get(ours) == b"ours"

        def work() -> object:
            other = harness.make_backend()
            found = other.get(ours)
            other.delete(ours)
            other.set(theirs, b"theirs", 60.0)
            other.close()
            return found if found is not NO_VALUE else None

        with children(work) as (child,):
            assert child.result() == b"ours"
        assert backend.get(ours) is NO_VALUE
        assert backend.get(theirs) == b"theirs"

    def test_cold_herd_of_processes(
        self, harness: StoreHarness, backend: CacheBackend, tmp_path: Path
    ) -> None:
        """One creation with a mutex; without, one in each process."""
        found = _herd(harness, tmp_path, time.time)
        self._check_creations(tmp_path)
        if SupportsMutex in self.supports:
            assert len(set(found)) == 1
        assert all(value.startswith("made by ") for value in found)

    def test_expired_herd_of_processes(
        self, harness: StoreHarness, backend: CacheBackend, tmp_path: Path
    ) -> None:
        """The others are served the old value, or already the new one."""
        region = _region(harness, backend, time.time)
        region.get_or_create("k", lambda: "old")
        found = _herd(harness, tmp_path, lambda: time.time() + 1000.0)
        self._check_creations(tmp_path)
        made = set(found) - {"old"}
        assert made
        if SupportsMutex in self.supports:
            assert len(made) == 1
        assert found.count("old") > 0

    def _check_creations(self, folder: Path) -> None:
        created = (folder / "created").stat().st_size
        if SupportsMutex in self.supports:
            assert created == 1
        elif SupportsCheckAndSet in self.supports:
            assert 1 <= created <= PROCESSES
        else:
            # Versions that they made for the key at once void each other.
            assert 1 <= created <= 2 * PROCESSES

    def test_page_of_another_program_is_a_hit(
        self, harness: StoreHarness
    ) -> None:
        """Though each program orders its sets, and so Mako, otherwise."""
        created = [_run_program(harness, "render", seed) for seed in range(5)]
        assert created == [3, 0, 0, 0, 0]
        assert _created(harness) == 0

    @pytest.mark.parametrize(
        ("action", "created"),
        [
            ("invalidate_def", 2),
            ("invalidate_tags", 2),
            ("invalidate_template", 3),
        ],
    )
    def test_invalidation_by_another_program(
        self, harness: StoreHarness, action: str, created: int
    ) -> None:
        """Which has never rendered the template."""
        assert _created(harness) == 3
        assert _created(harness) == 0
        _run_program(harness, action)
        assert _created(harness) == created
        assert _created(harness) == 0

    def test_other_process_overtakes_a_creation(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        region = _region(harness, backend, time.time)
        check_overtaken(
            lambda make: region.get_or_create("k", make),
            _elsewhere(harness, lambda other: other.invalidate("k")),
        )
        check_overtaken(
            lambda make: region.get_or_create("t", make, tags="t"),
            _elsewhere(harness, lambda other: other.invalidate_tags("t")),
        )
        if SupportsClear in self.supports:
            check_overtaken(
                lambda make: region.get_or_create("c", make),
                _elsewhere(harness, CacheRegion.clear),
            )

    def test_other_program_overtakes_a_fragment(
        self, harness: StoreHarness
    ) -> None:
        """By its key, while it is being rendered."""
        page = program.page(harness.url(), harness.mark)
        created: list[int] = []

        def count() -> str:
            if not created:
                _run_program(harness, "invalidate")
            created.append(1)
            return ""

        assert page.render(count=count) == program.EXPECTED
        assert len(created) == 3
        assert _created(harness) == 1
        assert _created(harness) == 0

    @pytest.mark.parametrize("action", ["invalidate", "invalidate_tags"])
    def test_who_joins_after_an_invalidation_gets_what_began_after_it(
        self, harness: StoreHarness, backend: CacheBackend, action: str
    ) -> None:
        """This process does not know that another one invalidated."""
        region = _region(harness, backend, time.time)
        invalidate = _elsewhere(
            harness, lambda other: getattr(other, action)("k")
        )
        invalidated, served = threading.Event(), threading.Event()

        def old() -> str:
            invalidate()
            invalidated.set()
            # Time to join; who is not in time gets no chance to be wrong.
            served.wait(0.3)
            return "old"

        def call() -> object:
            assert invalidated.wait(LIMIT / 2)
            value = region.get_or_create("k", lambda: "new", tags="k")
            served.set()
            return value

        found = in_threads(
            [lambda: region.get_or_create("k", old, tags="k"), call]
        )
        assert found == ["old", "new"]
        assert region.get_or_create("k", lambda: "newer", tags="k") == "new"


def _elsewhere(
    harness: StoreHarness, act: Callable[[CacheRegion], None]
) -> Callable[[], None]:
    """Return a function that does *act* in another process."""

    def work() -> None:
        backend = harness.make_backend()
        act(_region(harness, backend, time.time))
        backend.close()

    def run() -> None:
        with children(work) as (child,):
            child.result()

    return run


def _region(
    harness: StoreHarness, backend: CacheBackend, clock: Callable[[], float]
) -> CacheRegion:
    return CacheRegion(
        backend,
        clock=clock,
        namespace=harness.mark,
        timeout=500,
        grace=5000,
        wait=LIMIT,
    )


def _herd(
    harness: StoreHarness, folder: Path, clock: Callable[[], float]
) -> list[str]:
    """Return what each thread of each process got; count the creations."""
    start = fork_context.Barrier(PROCESSES)

    def process(number: int) -> Callable[[], Any]:
        def run() -> list[object]:
            backend = harness.make_backend()
            region = _region(harness, backend, clock)

            def create() -> str:
                with (folder / "created").open("ab") as log:
                    log.write(b"x")
                time.sleep(0.4)
                return f"made by {number}"

            start.wait(LIMIT)
            found = in_threads(
                [lambda: region.get_or_create("k", create)] * THREADS
            )
            backend.close()
            return found

        return run

    with children(*map(process, range(PROCESSES))) as started:
        return [str(v) for child in started for v in child.result()]


def _run_program(harness: StoreHarness, action: str, seed: int = 0) -> int:
    """Return how much another program created.

    :param seed: of its hashes, on which the order of its sets depends.
    """
    done = subprocess.run(  # our own program
        [
            sys.executable,
            "-m",
            program.__name__,
            harness.url(),
            harness.mark,
            action,
        ],
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout or 0)


def _created(harness: StoreHarness) -> int:
    """Return how much this process creates when it renders the page."""
    count = program.Counter()
    page = program.page(harness.url(), harness.mark)
    assert page.render(count=count) == program.EXPECTED
    return count.calls
