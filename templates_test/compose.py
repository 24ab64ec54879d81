"""Composes ``data/articles.json`` from the wire reports and the phrase book.

Run ``python -m templates_test.compose`` after an edit of ``data/wire.txt``
or ``data/phrases.json``.  The same input gives the same bytes.
"""

from __future__ import annotations

import datetime
import json
import math
import pathlib
from collections.abc import Iterator
from typing import Any
from typing import Final

DATA: Final = pathlib.Path(__file__).parent / "data"
EDITION: Final = datetime.datetime(2025, 5, 16, 6, 0)

_PARTS: Final = ("quote", "doubt", "plan", "outlook")


def _wire(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield section, place in the section and the report's four lines."""
    for section in text.split("# ")[1:]:
        slug, _, reports = section.partition("\n")
        for place, report in enumerate(reports.strip().split("\n\n")):
            yield slug, place, report.splitlines()


def _body(
    phrases: dict[str, Any], section: str, number: int, lines: list[str]
) -> str:
    _, _, names, facts = lines
    topic, role = names.split(" | ")
    background = phrases["background"][section]
    # Steps of a fixed length, not draws: neighbours never share a phrase.
    parts = {
        part: phrases[part][number * step % len(phrases[part])]
        for part, step in zip(_PARTS, (3, 5, 2, 5), strict=True)
    }
    ordered = [
        facts,
        background[number % len(background)],
        parts["quote"],
        parts["plan"],
        parts["doubt"],
        parts["outlook"],
    ]
    text = "\n\n".join(ordered)
    return text.replace("{topic}", topic).replace("{role}", role)


def _comments(
    phrases: dict[str, Any], number: int, published: datetime.datetime
) -> list[dict[str, Any]]:
    """Return a thread of up to eleven remarks, answers nested in it."""
    thread: list[dict[str, Any]] = []
    for place in range((number * 7) % 12):
        # Every third remark opens a conversation, the others answer in it.
        opens = place % 3 == 0
        texts = phrases["comments" if opens else "replies"]
        readers = phrases["readers"]
        published += datetime.timedelta(minutes=11 + 17 * (place % 5))
        thread.append(
            {
                "id": number * 100 + place,
                "parent": None if opens else number * 100 + place - 1,
                "reader": readers[(number * 3 + place * 5) % len(readers)],
                "written": published.isoformat(timespec="minutes"),
                "text": texts[(number * 5 + place) % len(texts)],
            }
        )
    return thread


def compose() -> str:
    """Return the text of ``articles.json``."""
    wire = (DATA / "wire.txt").read_text("utf-8")
    phrases = json.loads((DATA / "phrases.json").read_text("utf-8"))
    articles = []
    for index, (section, place, lines) in enumerate(_wire(wire)):
        number = index + 1
        published = EDITION - datetime.timedelta(
            hours=7 * place + index % 5, minutes=13 * index % 60
        )
        articles.append(
            {
                "id": number,
                "section": section,
                "headline": lines[0],
                "standfirst": lines[1],
                "published": published.isoformat(timespec="minutes"),
                "body": _body(phrases, section, number, lines),
                "comments": _comments(phrases, number, published),
            }
        )
    # A mild May day by the sea, hour by hour, in degrees Celsius.
    readings = [
        round(12.5 - 4.5 * math.cos((hour - 3) / 24 * math.tau), 1)
        for hour in range(24)
    ]
    edition = EDITION.isoformat(timespec="minutes")
    return (
        json.dumps(
            {
                "edition": edition,
                "readings": readings,
                "articles": articles,
            },
            ensure_ascii=False,
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    (DATA / "articles.json").write_text(compose(), "utf-8")
