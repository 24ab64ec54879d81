"""How findings are printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any
from typing import Final
from typing import Protocol

import click

from mako_cacheplug.check import report
from mako_cacheplug.check.finding import Finding

__all__ = ["OUTPUTS", "Output"]

_COLOURS: Final[dict[str, dict[str, Any]]] = {
    "path": {"bold": True},
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "mark": {"fg": "red"},
    "quiet": {"fg": "blue"},
}


class Output(Protocol):
    """Prints findings."""

    findings: list[Finding]

    def add(self, finding: Finding) -> None:
        """Print a finding, or keep it for later."""

    def finish(self, files: int) -> None:
        """Print what is left.

        :param files: how many templates were checked.
        """


class Human:
    """For people: with the line of the template on a terminal, and one line
    for each finding elsewhere."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        # It is none if the process was started with it closed.
        self._on_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._in_colour = self._on_terminal and not os.environ.get("NO_COLOR")

    def add(self, finding: Finding) -> None:
        """Print a finding."""
        self.findings.append(finding)
        if self._on_terminal:
            click.echo(report.for_people(finding, self._paint))
        else:
            click.echo(report.in_a_line(finding))

    def _paint(self, text: str, role: str) -> str:
        return click.style(text, **_COLOURS[role]) if self._in_colour else text

    def finish(self, files: int) -> None:
        """Print how much was found, where it is in nobody's way."""
        click.echo(report.summary(self.findings, files), err=True)


class Json:
    """One list, when all are there."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Keep a finding."""
        self.findings.append(finding)

    def finish(self, files: int) -> None:
        """Print all findings."""
        click.echo(report.as_json(self.findings))


class GitHub:
    """Workflow commands."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Print a finding."""
        self.findings.append(finding)
        click.echo(report.for_github(finding))

    def finish(self, files: int) -> None:
        """Print how much was found."""
        click.echo(report.summary(self.findings, files), err=True)


OUTPUTS: Final[dict[str, Callable[[], Output]]] = {
    "human": Human,
    "json": Json,
    "github": GitHub,
}
