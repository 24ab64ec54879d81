"""Results as text: for the terminal, and as the page RESULTS.rst.

Tables are reStructuredText's simple ones, which are plain text as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from benchmarks.results import Goal
from benchmarks.results import Result
from benchmarks.results import Spread

__all__ = ["goals_table", "number", "page", "section", "table"]

REACHED = {True: "yes", False: "no", None: "not measured"}


def number(value: float) -> str:
    """Return *value* with three digits that count, or all before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a simple table; no first cell may be empty."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    texts = [
        "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([rule, texts[0], rule, *texts[1:], rule]) + "\n"


def section(result: Result, image: str = "") -> str:
    """Return a result's title, table, goals and notes.

    :param image: the path of its plot, if it is to be shown.
    """
    parts = [heading(result.title, "~")]
    if image:
        parts.append(_image(image, result.title))
    if result.rows:
        parts.append(_figures(result))
    if result.predictions:
        parts.append(_predictions(result))
    if result.table:
        parts.append(table(result.table[0], result.table[1:]))
    if result.goals:
        parts.append(goals_table([result]))
    if result.notes:
        parts.append("".join(f"- {note}\n" for note in result.notes))
    return "\n".join(parts)


def heading(title: str, line: str) -> str:
    """Return *title*, underlined."""
    return f"{title}\n{line * len(title)}\n"


def _figures(result: Result) -> str:
    head = ["contender", result.unit, "quartiles"]
    base = result.rows.get(result.baseline)
    if base is not None:
        head.append(f"× {result.baseline}")
    rows = []
    for name, figures in result.rows.items():
        low, median, high = Spread.of(figures)
        cells = [name, number(median), f"{number(low)} – {number(high)}"]
        if base is not None:
            cells.append(number(median / Spread.of(base).median))
        rows.append(cells)
    return table(head, rows)


def _predictions(result: Result) -> str:
    head = [result.unit, result.axis, "predicted", "measured", "error"]
    return table(
        head,
        [
            [
                one.of,
                f"{one.at:,g}",
                number(one.predicted),
                number(one.measured),
                "(given)" if one.given else f"{one.error:+.0%}",
            ]
            for one in result.predictions
        ],
    )


def goals_table(results: Iterable[Result]) -> str:
    """Return the goals of all *results*, and what was measured."""
    rows = []
    for result in results:
        for goal in result.goals:
            rows += [[result.name, *row] for row in _goal_rows(goal)]
    head = ["scenario", "goal", "measured", "quartiles", "reached"]
    return table(head, rows)


def _goal_rows(goal: Goal, before: str = "") -> list[list[str]]:
    measured = spread = "–"
    if goal.figures:
        low, median, high = Spread.of(goal.figures)
        measured = f"{number(median)} {goal.unit}"
        spread = f"{number(low)} – {number(high)}"
    rows = [[before + goal.text, measured, spread, REACHED[goal.reached]]]
    if goal.instead:
        rows += _goal_rows(goal.instead, "or ")
    return rows


def page(
    scenarios: Iterable[tuple[str, Sequence[Result]]],
    machine: Mapping[str, str],
    scale: str,
    images: str,
) -> str:
    """Return the page with all results.

    :param scenarios: what each of them is about, and its results.
    :param images: where the plots are, by the page's links.
    """
    scenarios = list(scenarios)
    results = [one for _, found in scenarios for one in found]
    parts = [
        heading("Results", "="),
        f"Written by ``python -m benchmarks`` at the scale {scale!r}.  Figures"
        " are medians\nwith their quartiles; contenders took turns, and a"
        " ratio is the median of the\nratios in each round.  Compare what"
        " stands in one table, not what stands in two.\n",
        table(["what", "which"], [list(pair) for pair in machine.items()]),
        heading("Goals", "-"),
        _image(f"{images}/goals.svg", "What was measured over the goals"),
        goals_table(results),
    ]
    for about, found in scenarios:
        title, _, rest = about.partition("\n")
        parts += [heading(title.rstrip("."), "-")]
        if rest.strip():
            parts += [rest.strip() + "\n"]
        parts += [
            section(one, f"{images}/{one.name}.svg" if one.has_plot else "")
            for one in found
        ]
    return "\n".join(parts)


def _image(path: str, text: str) -> str:
    return f".. image:: {path}\n   :alt: {text}\n"
