"""Findings as text."""

from __future__ import annotations

import json

import pytest

from mako_cacheplug.check import Finding
from mako_cacheplug.check import Severity
from mako_cacheplug.check.report import as_json
from mako_cacheplug.check.report import for_github
from mako_cacheplug.check.report import for_people
from mako_cacheplug.check.report import in_a_line
from mako_cacheplug.check.report import summary

FINDING = Finding(
    "MC101",
    "unknown-option",
    Severity.ERROR,
    "shop/card.mako",
    12,
    6,
    4,
    "it is wrong",
    "write it right",
    '\t<%d "ü"> and more',
)


def brackets(text: str, role: str) -> str:
    return f"<{role}:{text}>"


def plain(text: str, _: str) -> str:
    return text


def test_a_line() -> None:
    assert in_a_line(FINDING) == (
        "shop/card.mako:12:6: error MC101 unknown-option: it is wrong"
    )
    assert in_a_line(FINDING._replace(column=0)).startswith(
        "shop/card.mako:12: error"
    )


def test_for_people() -> None:
    assert for_people(FINDING, plain).split("\n") == [
        "shop/card.mako:12:6: MC101 unknown-option: it is wrong",
        "   |",
        '12 |  <%d "ü"> and more',
        "   |      ^^^^",
        "   = write it right",
        "",
    ]
    painted = for_people(FINDING, brackets)
    assert painted.startswith("<path:shop/card.mako>:12:6: <error:MC101 ")
    assert "<mark:     ^^^^>" in painted


def test_for_people_without_a_column_a_line_or_help() -> None:
    finding = FINDING._replace(column=0, help="")
    lines = for_people(finding, plain).split("\n")
    assert lines[1:] == ["   |", '12 |  <%d "ü"> and more', ""]
    finding = finding._replace(text=" ")
    assert for_people(finding, plain).split("\n")[1:] == [""]


@pytest.mark.parametrize("column", [1, 40, 51, 180, 400])
def test_long_lines_are_cut_around_the_place(column: int) -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(400))
    finding = FINDING._replace(text=text, column=column, length=3)
    lines = for_people(finding, plain).split("\n")
    assert all(len(line) < 120 for line in lines[1:])
    start, end = lines[3].index("^"), lines[3].rindex("^") + 1
    assert lines[2][start:end] == text[column - 1 : column + 2]


def test_nothing_commands_a_terminal() -> None:
    nasty = "\x1b]0;x\x07\r\u202e\udcff"
    finding = FINDING._replace(
        path=nasty, message=nasty, help=nasty, text=nasty + "abc", column=8
    )
    for text in (
        in_a_line(finding),
        for_people(finding, plain),
        for_github(finding),
    ):
        assert text.replace("\n", "").isprintable()
        text.encode()
    assert json.loads(as_json([finding]))[0]["path"] == nasty


def test_json() -> None:
    (found,) = json.loads(as_json([FINDING]))
    assert found == {
        "code": "MC101",
        "name": "unknown-option",
        "severity": "error",
        "path": "shop/card.mako",
        "line": 12,
        "column": 6,
        "length": 4,
        "message": "it is wrong",
        "help": "write it right",
    }
    (found,) = json.loads(as_json([FINDING._replace(column=0)]))
    assert found["column"] is None
    assert json.loads(as_json([])) == []


def test_github() -> None:
    assert for_github(FINDING) == (
        "::error title=MC101 unknown-option,file=shop/card.mako,line=12,col=6"
        "::it is wrong%0Awrite it right"
    )
    finding = FINDING._replace(
        path="a,b:c%.mako",
        message="50%: a,b\r\n::error::x",
        help="",
        column=0,
        severity=Severity.WARNING,
    )
    assert for_github(finding) == (
        "::warning title=MC101 unknown-option,file=a%2Cb%3Ac%25.mako,line=12"
        "::50%25: a,b%0D%0A::error::x"
    )


def test_summary() -> None:
    warning = FINDING._replace(severity=Severity.WARNING)
    assert summary([], 1) == "1 template checked, nothing found"
    assert summary([FINDING, warning, warning], 2) == (
        "2 templates checked: 1 error, 2 warnings"
    )
