"""Findings as text: for people, for programs, for GitHub."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Sequence
from typing import Final

from mako_cacheplug.check.finding import Finding
from mako_cacheplug.check.finding import Severity

__all__ = ["as_json", "for_github", "for_people", "in_a_line", "summary"]

Paint = Callable[[str, str], str]
"""Gives a text the colour of what it is: ``path``, ``error``, ``warning``,
``mark`` or ``quiet``."""

_WIDTH: Final = 100
"""Of a long line of a template so much is shown."""


def visible(text: str) -> str:
    """Return *text* without what a terminal would take for a command."""
    return "".join(
        one
        if one.isprintable()
        else " "
        if one == "\t"
        else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )


def in_a_line(finding: Finding) -> str:
    """Return a finding in one line, as compilers write theirs."""
    column = f":{finding.column}" if finding.column else ""
    return (
        f"{visible(finding.path)}:{finding.line}{column}:"
        f" {finding.severity.value} {finding.code} {finding.name}:"
        f" {visible(finding.message)}"
    )


def for_people(finding: Finding, paint: Paint) -> str:
    """Return a finding with its line of the template, and what helps."""
    severity = finding.severity.value
    column = f":{finding.column}" if finding.column else ""
    lines = [
        f"{paint(visible(finding.path), 'path')}:{finding.line}{column}:"
        f" {paint(f'{finding.code} {finding.name}', severity)}:"
        f" {visible(finding.message)}"
    ]
    margin = " " * len(str(finding.line))
    bar = paint("|", "quiet")
    if finding.text.strip():
        shown, marks = _excerpt(finding)
        lines.append(f"{margin} {bar}")
        number = paint(str(finding.line), "quiet")
        lines.append(f"{number} {bar} {shown}")
        if marks:
            lines.append(f"{margin} {bar} {paint(marks, 'mark')}")
    if finding.help:
        lines.append(f"{margin} {paint('=', 'quiet')} {visible(finding.help)}")
    return "\n".join([*lines, ""])


def _excerpt(finding: Finding) -> tuple[str, str]:
    """Return the part of a line around a finding, and marks under it."""
    first = 0
    if finding.column > _WIDTH // 2:
        first = finding.column - _WIDTH // 2
    part = finding.text[first : first + _WIDTH]
    before = visible(part[: max(finding.column - 1 - first, 0)])
    shown = visible(part).rstrip()
    if not finding.column:
        return shown, ""
    length = max(min(finding.length, len(shown) - len(before)), 1)
    return shown, " " * len(before) + "^" * length


def as_json(findings: Sequence[Finding]) -> str:
    """Return all findings as a JSON list of objects."""
    return json.dumps(
        [
            {
                "code": one.code,
                "name": one.name,
                "severity": one.severity.value,
                "path": one.path,
                "line": one.line,
                "column": one.column or None,
                "length": one.length if one.column else None,
                "message": one.message,
                "help": one.help,
            }
            for one in findings
        ],
        indent=1,
    )


def for_github(finding: Finding) -> str:
    """Return a finding as a workflow command, which GitHub shows in a diff."""
    properties = {
        "title": f"{finding.code} {finding.name}",
        "file": finding.path,
        "line": str(finding.line),
    }
    if finding.column:
        properties["col"] = str(finding.column)
    joined = ",".join(
        f"{name}={_escaped(value, ':,')}" for name, value in properties.items()
    )
    message = finding.message
    if finding.help:
        message += f"\n{finding.help}"
    return f"::{finding.severity.value} {joined}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    """Return *text* as a workflow command takes it: ``%`` and two digits."""
    for one in "%\r\n" + more:
        text = text.replace(one, f"%{ord(one):02X}")
    return "".join(one if one.isprintable() else "?" for one in text)


def summary(findings: Sequence[Finding], files: int) -> str:
    """Return how much was found, in a sentence."""
    checked = f"{files} template{'' if files == 1 else 's'}"
    if not findings:
        return f"{checked} checked, nothing found"
    errors = sum(one.severity is Severity.ERROR for one in findings)
    warnings = len(findings) - errors
    return (
        f"{checked} checked: {errors} error{'' if errors == 1 else 's'},"
        f" {warnings} warning{'' if warnings == 1 else 's'}"
    )
