"""How often files are looked at that other templates depend on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cached_sites import CACHED
from cached_sites import Files

from mako_cacheplug.testing import ManualClock


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counter[str]:
    """Return how often each file of the site has been looked at."""
    counts: Counter[str] = Counter()
    stat: Callable[..., os.stat_result] = os.stat
    start = f"{tmp_path}/site/"

    def counted(path: Any, *args: Any, **given: Any) -> os.stat_result:
        if isinstance(path, str) and path.startswith(start):
            counts[path.removeprefix(start)] += 1
        return stat(path, *args, **given)

    monkeypatch.setattr(os, "stat", counted)
    return counts


def test_each_dependency_once_a_second_however_many_pages(
    looked: Counter[str], url: str, tmp_path: Path, clock: ManualClock
) -> None:
    parts = [f"part{number}" for number in range(5)]
    pages = dict.fromkeys((f"/{part}" for part in parts), "part")
    pages["/base"] = '<%def name="g()">base</%def>${next.body()}'
    pages["/lib"] = '<%def name="h()">lib</%def>'
    included = "".join(f'<%include file="/{part}"/>' for part in parts)
    for number in range(30):
        pages[f"/{number}"] = (
            '<%inherit file="/base"/><%namespace name="n" file="/lib"/>'
            + CACHED
            + f"{number}{included}${{parent.g()}}${{n.h()}}"
        )
    lookup = Files(tmp_path / "site", pages).lookup(url, clock)
    templates = [lookup.get_template(f"/{n}") for n in range(30)]
    shown = [template.render() for template in templates]
    # What is rendered looks at its files by itself: from here on all are
    # hits, and Mako looks at the base alone.
    bare = [f"{n}{'part' * 5}baselib" for n in range(30)]
    assert shown == bare
    for _ in range(3):
        looked.clear()
        clock.advance(0.25)
        for _ in range(4):
            assert [template.render() for template in templates] == bare
            clock.advance(0.05)
        assert {name: looked[name] for name in parts} == dict.fromkeys(
            parts, 0
        )
        clock.advance(1.0)
        for _ in range(4):
            assert [template.render() for template in templates] == bare
        assert {name: looked[name] for name in parts} == dict.fromkeys(
            parts, 1
        )


def test_without_checks_no_file_is_looked_at(
    looked: Counter[str], url: str, tmp_path: Path, clock: ManualClock
) -> None:
    pages = {"/page": CACHED + '<%include file="/part"/>', "/part": "part"}
    lookup = Files(tmp_path / "site", pages).lookup(url, clock)
    lookup.filesystem_checks = False
    lookup.get_template("/page").render()
    looked.clear()
    for _ in range(5):
        clock.advance(10)
        assert lookup.get_template("/page").render() == "part"
    assert looked.total() == 0
