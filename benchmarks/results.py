"""What a scenario found: figures by contender, and goals beside them."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

__all__ = [
    "Goal",
    "Prediction",
    "Result",
    "Spread",
    "percentile",
    "ratios",
    "to_json",
]


class Spread(NamedTuple):
    """The median of some figures and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Return the quartiles of one figure or more."""
        if len(figures) == 1:
            return cls(figures[0], figures[0], figures[0])
        return cls(*statistics.quantiles(figures, n=4, method="inclusive"))


def percentile(figures: Sequence[float], percent: int) -> float:
    """Return the smallest figure that *percent* % are not above."""
    ordered = sorted(figures)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def ratios(
    figures: Sequence[float], *others: Sequence[float]
) -> tuple[float, ...]:
    """Return each figure over the sum of the same round's *others*."""
    return tuple(
        one / sum(rest) for one, *rest in zip(figures, *others, strict=True)
    )


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a scenario must show, and what it shows.

    :param text: the goal in words, such as ``"≤ 1.00 × the dict plugin"``.
    :param limit: the number in it.
    :param figures: what was measured, one or more; none if it could not be.
    :param unit: of *limit* and *figures*.
    :param at_least: whether more is better.
    :param instead: another goal that will do in its place.
    """

    text: str
    limit: float
    figures: tuple[float, ...]
    unit: str = "×"
    at_least: bool = False
    instead: Goal | None = None

    @property
    def measured(self) -> float | None:
        """The median of the figures."""
        return Spread.of(self.figures).median if self.figures else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; ``None``: it was not measured."""
        own = None
        if self.measured is not None:
            own = (
                self.measured >= self.limit
                if self.at_least
                else self.measured <= self.limit
            )
        other = self.instead.reached if self.instead else None
        return own or other if other is not None else own

    @property
    def excess(self) -> float | None:
        """Measured over the goal, the other way round if more is better.

        1 and below is reached.
        """
        if not self.measured:
            return None
        if self.at_least:
            return self.limit / self.measured
        return self.measured / self.limit


class Prediction(NamedTuple):
    """What a model says of one case, and what was measured.

    :param of: what the case is one of, such as a store.
    :param at: where it is on the axis, such as a number of fragments.
    :param figures: one or more.
    :param given: whether the model was made to fit it.
    """

    of: str
    at: float
    predicted: float
    figures: Sequence[float]
    given: bool = False

    @property
    def measured(self) -> float:
        """The median of the figures."""
        return Spread.of(self.figures).median

    @property
    def error(self) -> float:
        """How far the prediction is off, as a fraction of the measured."""
        return self.predicted / self.measured - 1.0


@dataclasses.dataclass
class Result:
    """One table.

    :param name: a file name's worth.
    :param title: what was measured, and where it ran if that matters.
    :param unit: of the figures.
    :param rows: figures by contender; one of each round, or of each caller.
    :param baseline: the row that others are given as multiples of.
    :param more_is_better: what is good.
    :param predictions: of a model, beside what was measured.
    :param axis: what *predictions* are along.
    :param has_curves: whether *predictions* are worth drawing.
    :param table: anything else, its head first.
    """

    name: str
    title: str
    unit: str
    rows: dict[str, list[float]]
    baseline: str = ""
    more_is_better: bool = False
    goals: list[Goal] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    predictions: list[Prediction] = dataclasses.field(default_factory=list)
    axis: str = ""
    has_curves: bool = False
    table: list[list[str]] = dataclasses.field(default_factory=list)

    @property
    def has_plot(self) -> bool:
        """Whether there is something to draw."""
        return bool(self.rows) or self.has_curves

    def compare(
        self,
        limit: float,
        contender: str,
        *others: str,
        at_least: bool = False,
        instead: Goal | None = None,
    ) -> Goal:
        """Add the goal that *contender* is *limit* times the *others*' sum.

        If one of them has no row, it is not measured.
        """
        sign = "≥" if at_least else "≤"
        named = " + ".join(others)
        names = f"({named})" if len(others) > 1 else named
        rows = [self.rows.get(name) for name in (contender, *others)]
        known = [row for row in rows if row is not None]
        goal = Goal(
            f"{contender} {sign} {limit:.2f} × {names}",
            limit,
            ratios(*known) if len(known) == len(rows) else (),
            at_least=at_least,
            instead=instead,
        )
        self.goals.append(goal)
        return goal


def to_json(
    results: Sequence[Result], machine: dict[str, str], scale: str
) -> dict[str, Any]:
    """Return what is written as JSON: all figures, and what they come to."""
    return {
        "scale": scale,
        "machine": machine,
        "results": [
            {
                "name": result.name,
                "title": result.title,
                "unit": result.unit,
                "more_is_better": result.more_is_better,
                "rows": {
                    name: {
                        **Spread.of(figures)._asdict(),
                        "figures": list(figures),
                    }
                    for name, figures in result.rows.items()
                },
                "predictions": [
                    {
                        **one._asdict(),
                        "figures": list(one.figures),
                        "measured": one.measured,
                    }
                    for one in result.predictions
                ],
                "table": result.table,
                "goals": [_goal(goal) for goal in result.goals],
                "notes": result.notes,
            }
            for result in results
        ],
    }


def _goal(goal: Goal) -> dict[str, Any]:
    return {
        "text": goal.text,
        "limit": goal.limit,
        "unit": goal.unit,
        "measured": goal.measured,
        "quartiles": list(Spread.of(goal.figures)) if goal.figures else None,
        "reached": goal.reached,
        "instead": _goal(goal.instead) if goal.instead else None,
    }
