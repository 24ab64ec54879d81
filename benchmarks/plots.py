"""Results as plots, one SVG and one PNG each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import number
from benchmarks.results import Result
from benchmarks.results import Spread

__all__ = ["draw", "draw_goals"]

OURS: Final = "mako-cacheplug"
OUR_COLOUR: Final = "#b5432a"
COLOUR: Final = "#8a9199"
REACHED_COLOUR: Final = "#3b7d4f"
FAR_APART: Final = 20.0
"""Medians further apart than that are drawn on a logarithmic axis."""

STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Text stays text, and two runs differ only where their figures do.
    "svg.fonttype": "none",
    "svg.hashsalt": "mako-cacheplug",
}


def _axes(width: float, count: int) -> tuple[Figure, Axes]:
    """Return axes for *count* rows, on a figure of *width* inches."""
    figure = Figure(figsize=(width, 0.8 + 0.3 * count), layout="constrained")
    axes = figure.add_subplot()
    axes.margins(x=0.15)
    axes.set_ylim(-0.6, count - 0.4)
    return figure, axes


def _save(figure: Figure, folder: Path, name: str) -> None:
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=120)


def draw(result: Result, folder: Path) -> None:
    """Draw every contender's median, and its quartiles.

    Bars from zero; or, where medians are far apart, points.  Of a model,
    what it predicts as lines, and what was measured as points.
    """
    if result.has_curves:
        _draw_predictions(result, folder)
    if not result.rows:
        return
    names = list(result.rows)[::-1]
    spreads = [Spread.of(result.rows[name]) for name in names]
    medians = [spread.median for spread in spreads]
    colours = [
        OUR_COLOUR if name.startswith(OURS) else COLOUR for name in names
    ]
    with mpl.rc_context(STYLE):
        figure, axes = _axes(9.0, len(names))
        if min(medians) > 0 and max(medians) / min(medians) > FAR_APART:
            axes.set_xscale("log")
            axes.grid(axis="x", linewidth=0.3)
            axes.scatter(medians, names, color=colours, zorder=3)
        else:
            axes.barh(names, medians, color=colours)
        axes.errorbar(
            medians,
            names,
            xerr=[
                [spread.median - spread.low for spread in spreads],
                [spread.high - spread.median for spread in spreads],
            ],
            fmt="none",
            ecolor="black",
            elinewidth=1.0,
            capsize=2.0,
        )
        axes.xaxis.set_major_formatter("{x:,g}")
        for place, spread in enumerate(spreads):
            _label(axes, spread.high, place, number(spread.median))
        axes.set_xlabel(
            f"{result.unit} ({'more' if result.more_is_better else 'less'} is"
            " better)"
        )
        axes.set_title(result.title, loc="left")
        _save(figure, folder, result.name)


def _draw_predictions(result: Result, folder: Path) -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.5), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(linewidth=0.3)
        for name in dict.fromkeys(one.of for one in result.predictions):
            them = [one for one in result.predictions if one.of == name]
            places = [one.at for one in them]
            (line,) = axes.plot(
                places, [one.predicted for one in them], label=name
            )
            axes.scatter(
                places,
                [one.measured for one in them],
                color=line.get_color(),
                s=16,
            )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,g}")
        axes.set_xlabel(result.axis)
        axes.set_ylabel(result.unit)
        axes.legend(frameon=False)
        axes.set_title(
            f"{result.title}: lines predicted, points measured", loc="left"
        )
        _save(figure, folder, result.name)


def draw_goals(results: Sequence[Result], folder: Path) -> None:
    """Draw every goal's figure over the goal: up to 1 is reached."""
    goals = [(result, goal) for result in results for goal in result.goals]
    goals.reverse()
    if not goals:
        return
    with mpl.rc_context(STYLE):
        figure, axes = _axes(11.0, len(goals))
        axes.set_xscale("log")
        axes.axvline(1.0, color="black", linewidth=1.0)
        for place, (_, goal) in enumerate(goals):
            excess = goal.excess or 1.0
            axes.barh(
                place,
                excess - 1.0,
                left=1.0,
                color=REACHED_COLOUR if goal.reached else OUR_COLOUR,
            )
            text = number(goal.excess) if goal.excess else "not measured"
            _label(axes, max(excess, 1.0), place, text)
        axes.set_yticks(
            range(len(goals)),
            [f"{result.name}: {goal.text}" for result, goal in goals],
        )
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(
            "measured over the goal: up to 1 it is reached", loc="left"
        )
        axes.set_title("Goals", loc="left")
        _save(figure, folder, "goals")


def _label(axes: Axes, x: float, y: int, text: str) -> None:
    axes.annotate(
        text, (x, y), (5, 0), textcoords="offset points", va="center"
    )
