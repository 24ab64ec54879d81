"""What a fragment shows, and what is stored: each cell of a table.

The table stands in ``docs/failing-open.rst``.  It is read from there.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
from mako.template import Template
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug import breaker
from mako_cacheplug import budget
from mako_cacheplug import CacheRegion
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.servers import MemcachedServer

DOCS = Path(__file__).parents[3] / "docs" / "failing-open.rst"

PAGE = """
<%def name="first()" cached="True">first</%def>
<%def name="part()" cached="True">${make()}</%def>
${first()} ${happens()} ${part()}
"""

AGES = {"fresh": 0, "in grace": 15, "if error": 50}
"""Seconds since what is there was made, for the rows that have it."""

OPTIONS = {"timeout": 10, "grace": 20, "stale_if_error": 100, "lease": 30}

LIMIT = 30.0


def read_table() -> dict[tuple[str, str], str]:
    """Return the documented cells, by row and column."""
    text = DOCS.read_text("utf-8")
    found = re.search(r"^(=+ .*)\n(what is there .*)\n=.*\n", text, re.M)
    assert found is not None
    edges = [m.span() for m in re.finditer("=+", found[1])]
    columns = [found[2][begin:end].strip() for begin, end in edges]
    cells = {}
    for line in text[found.end() :].splitlines():
        if line.startswith("="):
            break
        row, *rest = (line[begin:end].strip() for begin, end in edges)
        for column, cell in zip(columns[1:], rest, strict=True):
            cells[row, column] = cell
    return cells


TABLE = read_table()


class Site:
    """The page in one process over a memcached.

    :param now: seconds since the epoch, for entries.
    :param clock: the same, for locks.
    """

    def __init__(
        self, server: MemcachedServer, now: ManualClock, clock: ManualClock
    ) -> None:
        self.backend = MemcachedBackend(
            [(server.host, server.port)], timeout=0.1, clock=clock
        )
        self.region = CacheRegion(self.backend, name="r", clock=now, **OPTIONS)
        self.keys: list[str] = []
        self.region.add_hook(lambda event: self.keys.append(event.key))
        self.page = Template(  # nothing here is a user's
            PAGE,
            uri="/page",
            cache_impl="cacheplug",
            cache_args={"regions": {"r": self.region}, "region": "r"},
        )

    def render(
        self, make: Callable[[], str], happens: Callable[[], object] = str
    ) -> str:
        """Return what the part shows."""
        text: str = self.page.render(make=make, happens=happens)
        return text.split()[-1]

    def stored(self, key: str) -> str:
        """Return what is stored; an en dash for nothing."""
        assert self.region.bulk_storage is not None
        entry = self.region.bulk_storage.read(key)
        return "–" if entry is NO_VALUE else str(entry.value)


class Scene:
    """One cell: the page here, another process, and what becomes of them."""

    def __init__(self, server: MemcachedServer, row: str, column: str) -> None:
        self.server = server
        self.row = row
        self.column = column
        self.clock = ManualClock(1_000_000.0)
        now = ManualClock(1_000_000.0)
        self.peer = Site(server, now, self.clock)
        self.peer.render(lambda: "old")
        self.key = self.peer.keys[-1]
        if row not in AGES:
            self.peer.backend.clear()
        self.here = Site(
            server, ManualClock(now() + AGES.get(row, 0)), self.clock
        )
        assert self.peer.region.bulk_storage is not None
        self.mutex = self.peer.backend.mutex(
            self.peer.region.bulk_storage.name(self.key), OPTIONS["lease"]
        )

    def make(self) -> str:
        if self.column == "creator raises":
            raise ZeroDivisionError
        return "new"

    def happens(self) -> str:
        """Bring about what the column says, in the midst of the render."""
        own = self.here.backend.breakers[0]
        if self.row == "by a process" or self.column == "holder died":
            assert self.mutex.acquire()
        if self.column == "failing" and self.row in AGES:
            self.server.pause()
        elif self.column == "failing":
            # What is sent to one that hangs takes effect when it goes on.
            self.server.kill()
        elif self.column in ("open", "probing"):
            own._clock = clock = ManualClock()
            for _ in range(3):
                own.failed(OSError("away"))
            if self.column == "probing":
                clock.advance(breaker.LONGEST_REST_SECONDS)
                own.admit()
        elif self.column == "budget spent":
            budget.spend(1.0)
        return ""

    def goes_on(self, _: float) -> None:
        """Let another process do its part, as somebody waits for it."""
        if self.column == "holder died":
            self.clock.advance(OPTIONS["lease"] + 1)
            return
        self.mutex.release()
        if self.column != "creator raises":
            self.peer.render(lambda: "theirs")

    def play(self) -> str:
        """Return what is served, and what is stored then."""
        self.here.region._lock._sleep = self.goes_on
        served = ["raises"]

        def call() -> None:
            with contextlib.suppress(ZeroDivisionError):
                served[0] = self.here.render(self.make, self.happens)

        if self.row == "by a thread":
            self._beside(call)
        else:
            call()
        if self.column == "failing" and self.row in AGES:
            self.server.resume()
        elif self.column == "failing":
            self.server.start()
            self.peer.backend.close()
        return f"{served[0]} / {self.peer.stored(self.key)}"

    def _beside(self, call: Callable[[], None]) -> None:
        """Do *call* while another thread creates."""
        begun, end = threading.Event(), threading.Event()

        def create() -> str:
            begun.set()
            assert end.wait(LIMIT)
            return "theirs" if self.make() else ""

        def other() -> None:
            with contextlib.suppress(ZeroDivisionError):
                self.here.render(create)

        def joined() -> bool:
            flights = list(self.here.region._lock._flights.values())
            return any(flight.over is not None for flight in flights)

        first = threading.Thread(target=other)
        second = threading.Thread(target=call)
        first.start()
        assert begun.wait(LIMIT)
        second.start()
        while second.is_alive() and not joined():
            second.join(0.005)
        end.set()
        first.join(LIMIT)
        second.join(LIMIT)


@pytest.fixture
def server(server: MemcachedServer) -> Iterator[MemcachedServer]:
    yield server
    with contextlib.suppress(RuntimeError):
        server.resume()


@pytest.mark.parametrize(
    ("row", "column"), [cell for cell, text in TABLE.items() if text != "·"]
)
def test_a_cell(
    server: MemcachedServer,
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    column: str,
) -> None:
    monkeypatch.undo()
    if column == "failing":
        monkeypatch.setattr(breaker, "FAILURES", 1000)
        monkeypatch.setattr(breaker, "SLOW_SECONDS", LIMIT)
    scene = Scene(server, row, column)
    try:
        assert scene.play() == TABLE[row, column]
    finally:
        scene.here.backend.close()
        scene.peer.backend.close()


def test_the_table_is_whole() -> None:
    assert len(TABLE) == 6 * 7
    assert [*TABLE.values()].count("·") == 2
