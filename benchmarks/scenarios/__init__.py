"""What is measured: one module each, with a function ``run``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Iterator
from types import ModuleType
from typing import Final
from typing import NamedTuple

from benchmarks.measuring import Scale
from benchmarks.results import Result
from benchmarks.scenarios import cold_herd
from benchmarks.scenarios import file_hit
from benchmarks.scenarios import file_keys
from benchmarks.scenarios import first_render
from benchmarks.scenarios import footprint
from benchmarks.scenarios import front_page
from benchmarks.scenarios import imports
from benchmarks.scenarios import mass_expiry
from benchmarks.scenarios import memcached_hit
from benchmarks.scenarios import memory_hit
from benchmarks.scenarios import memory_threads
from benchmarks.scenarios import model
from benchmarks.scenarios import tiered_hit
from benchmarks.scenarios import variants

__all__ = ["SCENARIOS", "Scenario"]


class Scenario(NamedTuple):
    """One of them.

    :param name: what the command line calls it.
    :param about: what it measures and how, as paragraphs.
    """

    name: str
    about: str
    run: Callable[[Scale], Iterator[Result]]


def _scenario(module: ModuleType) -> Scenario:
    return Scenario(
        module.__name__.rpartition(".")[2],
        inspect.getdoc(module) or "",
        module.run,
    )


SCENARIOS: Final = tuple(
    _scenario(module)
    for module in (
        memory_hit,
        memory_threads,
        variants,
        file_hit,
        file_keys,
        memcached_hit,
        front_page,
        tiered_hit,
        cold_herd,
        mass_expiry,
        footprint,
        imports,
        first_render,
        model,
    )
)
