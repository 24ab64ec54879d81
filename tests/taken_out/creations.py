"""Who creates and who waits; holes."""

from __future__ import annotations

import threading
from typing import Any

from mako_cacheplug.template import holes
from mako_cacheplug.template.scan import Scan
from mako_cacheplug.waiting import WaitGraph
from taken_out.mechanism import mechanism
from taken_out.mechanism import replace

# -- the lock -----------------------------------------------------------------


@mechanism(
    "who creates a key does not wait for it",
    "test_lock.py::test_a_creator_that_wants_its_own_key_does_not_wait[False]",
)
def _recursion() -> None:
    replace(WaitGraph, "is_creating", lambda self, mine: False)
    replace(WaitGraph, "join", _join_anything(WaitGraph.join))


@mechanism(
    "nobody waits in a circle",
    "traps/test_seam.py"
    "::test_two_that_include_each_other_do_not_wait_for_long[memory]",
)
def _circles() -> None:
    replace(WaitGraph, "join", _join_anything(WaitGraph.join))


def _join_anything(whole: Any) -> Any:
    def join(self: Any, mine: Any, flight: Any) -> bool:
        if not whole(self, mine, flight):
            flight.over = flight.over or threading.Event()
        return True

    return join


# -- holes --------------------------------------------------------------------


@mechanism(
    "an output is cut at its holes",
    "test_holes.py::test_a_hole_among_templates[memory-of a namespace]",
)
def _not_cut() -> None:
    replace(holes.Ground, "finish", lambda self, shown, again: shown)


@mechanism(
    "a hole under a filter or in a buffer is called on the spot",
    *(
        "test_holes.py::test_where_no_hole_can_be_nothing_is_stored_and_all"
        f"_is_right[memory-{what}]"
        for what in ("captured", "in a captured def", "in a filtered def")
    ),
)
def _any_depth() -> None:
    def is_open(self: Any, context: Any) -> bool:
        return not self._closed and not self._is_reshaped()

    replace(holes.Ground, "is_open", is_open)


@mechanism(
    "a mark that a filter has worked on is noticed",
    "test_holes.py::test_where_no_hole_can_be_nothing_is_stored_and_all"
    "_is_right[memory-filtered]",
)
def _reshaped() -> None:
    replace(Scan, "is_reshaped", lambda self, name: False)
