"""Findings as text: for the terminal, and as the page SURVIVES.rst."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from benchmarks.report import heading
from benchmarks.report import number
from benchmarks.report import table
from campaigns.findings import Campaign
from campaigns.findings import Finding
from campaigns.findings import Scale
from campaigns.running import CONTENDERS

__all__ = ["BEGIN", "END", "goals", "missed", "page", "section"]

Found = Sequence[Campaign]

_ABSENT: Final = "–"

_HEAD: Final = ("counted or measured", *CONTENDERS, "goal", "reached")

BEGIN: Final = ".. everything in one table"
END: Final = ".. what each of them does"
"""Comments: what is between them is shown in the documentation, too."""


def missed(found: Found) -> list[Finding]:
    """Return our own findings that miss their goals."""
    return [
        one
        for campaign in found
        for one in campaign.findings
        if one.contender == CONTENDERS[0] and not one.is_met
    ]


def _value(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "not measured" if math.isnan(value) else "never"
    shown = f"{value:,.0f}" if value == int(value) else number(value)
    return f"{shown} {unit}".rstrip()


def _goal(one: Finding) -> str:
    bounds = []
    if one.most is not None:
        bounds.append(f"≤ {_value(one.most, one.unit)}")
    if one.least is not None:
        bounds.append(f"≥ {_value(one.least, one.unit)}")
    return ", ".join(bounds) or _ABSENT


def _rows(findings: Iterable[Finding]) -> list[list[str]]:
    """Return what was counted, of each contender, and our goal.

    The same thing counted several times, as for several stores, is as many
    rows.
    """
    rows: dict[tuple[str, int], dict[str, Finding]] = {}
    seen: dict[tuple[str, str], int] = {}
    for one in findings:
        times = seen[one.contender, one.what] = (
            seen.get((one.contender, one.what), -1) + 1
        )
        rows.setdefault((one.what, times), {})[one.contender] = one
    table_rows = []
    for (what, _), row in rows.items():
        ours = row.get(CONTENDERS[0])
        cells = [
            _value(row[name].value, row[name].unit) if name in row else _ABSENT
            for name in CONTENDERS
        ]
        goal = _ABSENT if ours is None else _goal(ours)
        verdict = _ABSENT
        if ours is not None and goal != _ABSENT:
            verdict = "yes" if ours.is_met else "no"
        table_rows.append([what, *cells, goal, verdict])
    return table_rows


def _about(campaign: Campaign, *tables: str) -> str:
    """Return a campaign's title, what it does, *tables*, and its notes."""
    notes = dict.fromkeys(
        f"- {one.contender}, {one.what}: {one.note}"
        for one in campaign.findings
        if one.note
    )
    parts = [heading(campaign.name, "-"), campaign.about + "\n", *tables]
    if notes:
        parts.append("\n".join(notes) + "\n")
    if campaign.ran:
        parts.append(f"Ran on {campaign.ran}.\n")
    return "\n".join(parts)


def section(campaign: Campaign) -> str:
    """Return a campaign's title, what it does, and what it found."""
    return _about(campaign, table(_HEAD, _rows(campaign.findings)))


def all_in_one(found: Found) -> str:
    """Return the table of everything that was found."""
    rows = [
        [campaign.name, *row]
        for campaign in found
        for row in _rows(campaign.findings)
    ]
    return table(("campaign", *_HEAD), rows)


def goals(found: Found) -> str:
    """Return how many goals are reached, and which are not."""
    ours = [
        one
        for campaign in found
        for one in campaign.findings
        if one.contender == CONTENDERS[0]
        and (one.most is not None or one.least is not None)
    ]
    lines = [f"{sum(o.is_met for o in ours)} of {len(ours)} goals reached"]
    for campaign in found:
        lines += [
            f"- {campaign.name}: {one.what}: {_value(one.value, one.unit)},"
            f" {_goal(one)}; {one.note}"
            for one in missed([campaign])
        ]
    return "\n".join(lines)


def page(found: Found, machine: Mapping[str, str], scale: Scale) -> str:
    """Return SURVIVES.rst."""
    parts = [
        heading("What it survives: the figures", "="),
        f"Written by ``python -m campaigns``, the {scale.value} pass.  Each"
        " campaign runs\nagainst real servers, files and processes;"
        " ``docs/survives.rst`` says what it\nmeans.  A dash: it does not"
        " apply, or was not counted.  Most goals of time and of\ngrowth"
        " are judged in the long pass only.\n",
        goals(found) + "\n",
        f"{BEGIN}\n",
        all_in_one(found),
        f"{END}\n",
        *map(_about, found),
        heading("What it ran on", "-"),
        table(("what", "which"), machine.items()),
    ]
    return "\n".join(parts)
