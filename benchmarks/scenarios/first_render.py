"""The first render of many small templates with a cached def each.

Each template is read from its file, compiled and rendered once, as after a
deployment; and again in a process whose module directory holds what was
compiled, as after a restart.  Templates pile up over the rounds: what grows
with their number shows.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

from mako.lookup import TemplateLookup

from benchmarks.contenders import Contender
from benchmarks.contenders import UNCACHED
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.placement import pinned
from benchmarks.results import Result
from benchmarks.scenarios.memory_hit import DOGPILE
from benchmarks.scenarios.memory_hit import in_memory
from benchmarks.scenarios.memory_hit import OURS

ROUNDS = 20
LIMIT = 1.25

_numbers = itertools.count()


class Deployment:
    """New templates, for every contender the same.

    :param folder: an empty one.
    :param count: of templates in each round.
    :param compiled: whether their modules are on disk already.
    """

    def __init__(self, folder: str, count: int, compiled: bool) -> None:
        self._folder = Path(folder)
        self._count = count
        self._compiled = compiled
        self._kept: list[TemplateLookup] = []

    def turn(self, contender: Contender) -> float:
        """Return the µs that a template of the next lot takes."""
        root = self._folder / str(next(_numbers))
        root.mkdir()
        modules = {"module_directory": str(root / "modules")}
        # Not the same names again: Beaker takes those for one template.
        names = [f"{root.name}-{n}.mako" for n in range(self._count)]
        for name in names:
            (root / name).write_text(
                f'<%def name="card(name)" cached="True">'
                f"<b>{name}: ${{name}}</b></%def>\n"
                '<h1>${title}</h1>\n${card("you")}\n',
                encoding="utf-8",
            )

        def lookup() -> TemplateLookup:
            made = TemplateLookup(
                [str(root)],
                **(modules if self._compiled else {}),
                **contender.template_args,
            )
            self._kept.append(made)
            return made

        if self._compiled:
            before = lookup()
            for name in names:
                before.get_template(name)
        now = lookup()
        started = time.perf_counter()
        shown = [now.get_template(name).render(title="T") for name in names]
        taken = time.perf_counter() - started
        for name, text in zip(names, shown, strict=True):
            assert text.split("\n")[1:3] == [
                "<h1>T</h1>",
                f"<b>{name}: you</b>",
            ]
        return taken / self._count * 1e6


def measure(scale: Scale, compiled: bool) -> dict[str, list[float]]:
    """Return the µs per template."""
    count = max(1, scale.templates // ROUNDS)
    with tempfile.TemporaryDirectory() as folder, pinned():
        deployment = Deployment(folder, count, compiled)
        turns: dict[str, Callable[[], float]] = {
            one.name: functools.partial(deployment.turn, one)
            for one in (UNCACHED, *in_memory())
            if one.name != DOGPILE
        }
        rounds = dataclasses.replace(scale, seconds=0.0, rounds=ROUNDS)
        return interleave(turns, rounds)


def run(scale: Scale) -> Iterator[Result]:
    """Measure both."""
    for compiled in (False, True):
        result = Result(
            "first_render" + ("_compiled" if compiled else ""),
            f"The first render of {scale.templates:,} templates, "
            + ("compiled before" if compiled else "compilation included"),
            "µs a template",
            measure(scale, compiled),
            UNCACHED.name,
            notes=[
                f"{DOGPILE}: left out, as it takes defs of one name in all"
                " templates for one"
            ],
        )
        if not compiled:
            result.compare(LIMIT, OURS, UNCACHED.name)
        yield result
