"""The benchmarks' arithmetic, and that they measure what they say.

Figures are theirs; nothing here depends on how fast anything is.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import socket
import time
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks import measuring
from benchmarks import report
from benchmarks import results
from benchmarks.contenders import DICT
from benchmarks.contenders import ours
from benchmarks.contenders import UNCACHED
from benchmarks.machine import describe
from benchmarks.measuring import Scale
from benchmarks.measuring import TINY
from benchmarks.placement import pinned
from benchmarks.placement import placements
from benchmarks.proxy import Proxy
from benchmarks.results import Goal
from benchmarks.results import Prediction
from benchmarks.results import Result
from benchmarks.results import Spread
from benchmarks.scenarios import Scenario
from benchmarks.scenarios import SCENARIOS
from benchmarks.sites import front_page
from benchmarks.sites import LocalSite
from benchmarks.sites import many_keys
from benchmarks.sites import one_key
from benchmarks.sites import render_in_turns
from benchmarks.sites import same_text
from benchmarks.workers import Workers
from mako_cacheplug.testing.servers import MemcachedServer

GOALS = {
    "memory_hit": [1.00, 0.28, 0.21],
    "memory_threads": [1.0],
    "variants": [],
    "file_hit": [8.0, 0.28, 0.12],
    "file_keys": [1.5],
    "memcached_hit": [1.12, 0.70, 0.38],
    "front_page": [2.0, 0.15, 0.05],
    "tiered_hit": [1.3],
    "cold_herd": [225.0, 60.0],
    "mass_expiry": [1.01],
    "footprint": [1.35, 1.05],
    "imports": [15.0],
    "first_render": [1.25],
    "model": [],
}


PREDICTIONS = [
    Prediction("memory", 10, 3.0, [1.0, 2.0, 9.0]),
    Prediction("memory", 1000, 4.0, [4.0], given=True),
]


def result(**given: object) -> Result:
    rows = {"ours": [1.0, 2.0, 6.0], "a": [2.0, 2.0, 2.0], "b": [2.0] * 3}
    return Result("hit", "A hit", "µs", rows, **given)  # type: ignore[arg-type]


# -- arithmetic ------------------------------------------------------------


def test_quartiles() -> None:
    assert Spread.of([4.0, 1.0, 2.0, 3.0, 5.0]) == (2.0, 3.0, 4.0)
    assert Spread.of([7.0]) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize(
    ("percent", "found"), [(50, 50), (99, 99), (100, 100), (1, 1), (0, 1)]
)
def test_percentile(percent: int, found: int) -> None:
    figures = [float(number) for number in range(100, 0, -1)]
    assert results.percentile(figures, percent) == found


def test_ratios_are_made_in_each_round() -> None:
    assert results.ratios([1.0, 6.0], [2.0, 2.0]) == (0.5, 3.0)
    assert results.ratios([1.0, 6.0], [1.0, 2.0], [1.0, 2.0]) == (0.5, 1.5)
    with pytest.raises(ValueError, match="zip"):
        results.ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("figures", "at_least", "reached", "excess"),
    [
        ((1.0, 2.0, 9.0), False, True, 1.0),
        ((1.0, 3.0, 9.0), False, False, 1.5),
        ((1.0, 4.0, 9.0), True, True, 0.5),
        ((1.0, 1.0, 9.0), True, False, 2.0),
        ((), False, None, None),
    ],
)
def test_goals(
    figures: tuple[float, ...],
    at_least: bool,
    reached: bool | None,
    excess: float | None,
) -> None:
    goal = Goal("goal", 2.0, figures, at_least=at_least)
    assert goal.reached is reached
    assert goal.excess == excess


@pytest.mark.parametrize(
    ("own", "other", "reached"),
    [
        ((3.0,), (3.0,), False),
        ((3.0,), (1.0,), True),
        ((1.0,), (3.0,), True),
        ((1.0,), (), True),
        ((3.0,), (), False),
        ((), (3.0,), False),
        ((), (), None),
    ],
)
def test_one_goal_or_the_other(
    own: tuple[float, ...], other: tuple[float, ...], reached: bool | None
) -> None:
    instead = Goal("other", 2.0, other)
    assert Goal("own", 2.0, own, instead=instead).reached is reached


def test_comparison() -> None:
    one = result()
    goal = one.compare(0.5, "ours", "a", "b")
    assert one.goals == [goal]
    assert goal.text == "ours ≤ 0.50 × (a + b)"
    assert goal.figures == (0.25, 0.5, 1.5)
    assert goal.reached
    assert (
        one.compare(2.0, "ours", "a", at_least=True).text == "ours ≥ 2.00 × a"
    )
    assert one.compare(1.0, "ours", "missing").reached is None


# -- turns -----------------------------------------------------------------


def test_contenders_take_turns_in_changing_orders() -> None:
    scale = Scale("some", 10.0, 3, 1, 1, 1, 1, 1)
    seconds = itertools.count()
    order: list[str] = []

    def turn(name: str) -> float:
        order.append(name)
        return len(order)

    figures = measuring.interleave(
        {name: functools.partial(turn, name) for name in "abc"},
        scale,
        clock=lambda: next(seconds),
    )
    rounds = [order[i : i + 3] for i in range(0, len(order), 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert {len(them) for them in figures.values()} == {len(rounds)}
    # Three rounds at least, then until ten seconds are over.
    assert len(rounds) == 12


def test_a_short_action_is_repeated_within_its_turn() -> None:
    now = 0.0
    calls = 0

    def action() -> None:
        nonlocal now, calls
        now += 0.0005
        calls += 1

    turn = measuring.timed(action, measuring.QUICK, parts=5, clock=lambda: now)
    calls = 0
    assert turn() == pytest.approx(100.0)
    assert calls == measuring.TURN_SECONDS / 0.0005
    turn = measuring.timed(action, TINY, per_second=1e3, clock=lambda: now)
    calls = 0
    assert turn() == pytest.approx(0.5)
    assert calls == 1


# -- what is asserted of every page ----------------------------------------


def test_pages_have_the_hits_that_they_say() -> None:
    for page in (one_key(7), many_keys(range(7)), front_page(3, 4)):
        site = LocalSite(page, UNCACHED)
        before = site.created()
        site.render()
        assert site.created() - before == page.hits == 7


def test_a_contender_that_shows_something_else_is_found() -> None:
    sites = {
        "a": LocalSite(many_keys([1]), DICT),
        "b": LocalSite(many_keys([2]), DICT),
    }
    with pytest.raises(AssertionError, match="unlike pages"):
        same_text(sites)


def test_a_creation_among_the_hits_is_found() -> None:
    forgets = ours("forgets", "null://")
    with pytest.raises(AssertionError, match=r"forgets: \d+ creations"):
        render_in_turns(one_key(2), [UNCACHED, forgets], TINY)


def test_figures_are_of_a_hit_or_of_a_page() -> None:
    rows = render_in_turns(
        one_key(2), [UNCACHED, DICT], TINY, floors={"floor": lambda: 3.0}
    )
    assert rows["floor"] == [3.0] * TINY.rounds
    assert {len(row) for row in rows.values()} == {TINY.rounds}


# -- workers, cores, the proxy ---------------------------------------------


def test_workers_answer_all() -> None:
    with Workers(functools.partial(functools.partial, divmod), 2) as workers:
        assert workers.ask(7, 2) == [(3, 1), (3, 1)]
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            workers.ask(7, 0)


def test_a_worker_that_dies_is_told() -> None:
    with (
        Workers(functools.partial(functools.partial, os._exit)) as workers,
        pytest.raises(RuntimeError, match="a worker died"),
    ):
        workers.ask(3)


def test_a_worker_that_cannot_begin_is_told() -> None:
    with pytest.raises(RuntimeError, match="AttributeError"):
        Workers(functools.partial(getattr, object, "missing"))


def test_a_worker_has_modules_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mako.py").write_text("its = 1", encoding="utf-8")
    make = functools.partial(functools.partial, eval)
    with Workers(make, folder=str(tmp_path)) as workers:
        assert workers.ask("__import__('mako').its") == [1]


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="nothing pins here"
)
def test_cores() -> None:
    cores = os.sched_getaffinity(0)
    for placement in placements():
        with pinned(placement.server):
            assert os.sched_getaffinity(0) == {placement.server}
    with pinned():
        assert len(os.sched_getaffinity(0)) == 1
    with pinned(-1):
        assert os.sched_getaffinity(0) == cores
    assert os.sched_getaffinity(0) == cores


def test_the_proxy_counts_round_trips() -> None:
    with (
        MemcachedServer() as server,
        Proxy(server.port) as proxy,
        socket.create_connection((proxy.host, proxy.port), 10.0) as wire,
        wire.makefile("rb") as answers,
    ):
        assert proxy.trips() == 0
        for done in range(3):
            wire.sendall(b"get k\r\n")
            assert answers.readline() == b"END\r\n"
            assert proxy.trips() == done + 1
        # However many requests, and without an answer: one with the next.
        wire.sendall(b"get a\r\nget b\r\n")
        assert [answers.readline() for _ in "ab"] == [b"END\r\n"] * 2
        assert proxy.trips() == 4
        wire.sendall(b"set a 0 0 1 noreply\r\n1\r\n")
        wire.sendall(b"get a\r\n")
        assert answers.readline() == b"VALUE a 0 1\r\n"
        assert proxy.trips() == 5


def test_the_proxy_delays() -> None:
    with (
        MemcachedServer() as server,
        Proxy(server.port, 0.05) as proxy,
        socket.create_connection((proxy.host, proxy.port), 10.0) as wire,
    ):
        started = time.monotonic()
        wire.sendall(b"version\r\n")
        assert wire.recv(100).startswith(b"VERSION")
        assert time.monotonic() - started >= 0.05


# -- what is written -------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (123456.7, "123,457"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.1234, "0.123"),
        (0.0123, "0.012"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert report.number(value) == text


def test_section() -> None:
    one = result(baseline="a", notes=["b is slow"])
    one.compare(
        0.5, "ours", "a", instead=Goal("ours ≤ 9 µs", 9.0, (2.0,), "µs")
    )
    assert report.section(one, "hit.svg") == (
        "A hit\n"
        "~~~~~\n"
        "\n"
        ".. image:: hit.svg\n"
        "   :alt: A hit\n"
        "\n"
        "=========  ====  ===========  ====\n"
        "contender  µs    quartiles    × a\n"
        "=========  ====  ===========  ====\n"
        "ours       2.00  1.50 – 4.00  1.00\n"
        "a          2.00  2.00 – 2.00  1.00\n"
        "b          2.00  2.00 – 2.00  1.00\n"
        "=========  ====  ===========  ====\n"
        "\n"
        "========  ===============  ========  ============  =======\n"
        "scenario  goal             measured  quartiles     reached\n"
        "========  ===============  ========  ============  =======\n"
        "hit       ours ≤ 0.50 × a  1.00 ×    0.750 – 2.00  yes\n"
        "hit       or ours ≤ 9 µs   2.00 µs   2.00 – 2.00   yes\n"
        "========  ===============  ========  ============  =======\n"
        "\n"
        "- b is slow\n"
    )


def test_predictions() -> None:
    one = Result(
        "page",
        "A page",
        "µs",
        {},
        predictions=PREDICTIONS,
        axis="fragments",
        table=[["which", "µs"], ["a trip", "7"]],
    )
    assert report.section(one) == (
        "A page\n"
        "~~~~~~\n"
        "\n"
        "======  =========  =========  ========  =======\n"
        "µs      fragments  predicted  measured  error\n"
        "======  =========  =========  ========  =======\n"
        "memory  10         3.00       2.00      +50%\n"
        "memory  1,000      4.00       4.00      (given)\n"
        "======  =========  =========  ========  =======\n"
        "\n"
        "======  ==\n"
        "which   µs\n"
        "======  ==\n"
        "a trip  7\n"
        "======  ==\n"
    )


def test_files(tmp_path: Path) -> None:
    one, none = result(), Result("none", "None", "µs", {}, notes=["not here"])
    one.compare(1.0, "ours", "a")
    none.compare(1.0, "ours", "a")
    far = Result("far", "Far apart", "µs", {"ours": [1.0], "a": [999.0]})
    told = Result("told", "Told", "µs", {}, predictions=PREDICTIONS)
    drawn = dataclasses.replace(told, name="drawn", has_curves=True)
    found = [(SCENARIOS[0], [one, none]), (SCENARIOS[1], [far, told, drawn])]
    out, page = tmp_path / "out", tmp_path / "RESULTS.rst"
    machine = describe()
    command.write(found, TINY, machine, out, page)
    names = {"hit", "far", "drawn", "goals"}
    for kind in ("svg", "png"):
        assert {path.stem for path in out.glob(f"*.{kind}")} == names
    committed = tmp_path / "docs" / "results"
    assert {path.name for path in committed.iterdir()} == {
        f"{name}.svg" for name in names
    }
    text = page.read_text(encoding="utf-8")
    assert ".. image:: docs/results/hit.svg\n" in text
    assert ".. image:: docs/results/goals.svg\n" in text
    assert "none.svg" not in text
    assert "memcached (server)" in text
    found_json = json.loads((out / "results.json").read_text("utf-8"))
    assert found_json["scale"] == "tiny"
    assert found_json["machine"]["Python"]
    (hit, missing, _, told_json, _) = found_json["results"]
    assert told_json["predictions"][0] == {
        "of": "memory",
        "at": 10,
        "predicted": 3.0,
        "figures": [1.0, 2.0, 9.0],
        "given": False,
        "measured": 2.0,
    }
    assert hit["rows"]["ours"] == {
        "low": 1.5,
        "median": 2.0,
        "high": 4.0,
        "figures": [1.0, 2.0, 6.0],
    }
    assert hit["goals"][0]["measured"] == 1.0
    assert hit["goals"][0]["reached"] is True
    assert missing["goals"][0]["reached"] is None
    assert missing["notes"] == ["not here"]
    # The same figures make the same files.
    before = (out / "hit.svg").read_bytes()
    command.write(found, TINY, machine, out)
    assert (out / "hit.svg").read_bytes() == before


# -- every scenario --------------------------------------------------------


def test_every_scenario_has_its_goals_here() -> None:
    assert [scenario.name for scenario in SCENARIOS] == list(GOALS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_scenario(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    ((_, found),) = command.measure([scenario], TINY)
    limits: list[float] = []
    for one in found:
        assert one.rows or one.notes or one.predictions
        assert all(known.figures for known in one.predictions)
        assert one.baseline in {"", *one.rows} or not one.rows
        assert all(one.rows.values())
        for goal in one.goals:
            limits += [goal.limit]
            limits += [goal.instead.limit] if goal.instead else []
    assert list(dict.fromkeys(limits)) == GOALS[scenario.name]
    assert capsys.readouterr().out.count("\n") > 10
