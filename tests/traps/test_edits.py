"""An edited template shows in all that it is part of.

Edited as a file, by ``put_string``, or before another process starts.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cached_sites import CACHED
from cached_sites import Files
from cached_sites import render
from cached_sites import site
from cached_sites import Ticks

from mako_cacheplug.testing import ManualClock

PART = '<%def name="g()">{0}</%def>{0}'
BASE = '<%def name="g()">{0}</%def>${next.body()}'
PAGE = CACHED + "${tick()}"
TAG = '<%def name="f()" cached="True">${{tick()}}{}</%def>${{f()}}'

PARTS = {
    "itself": (PAGE + "{0}", ""),
    "included": (PAGE + '<%include file="/d/part"/>', PART),
    "included, relative": (PAGE + '<%include file="part"/>', PART),
    "included, from above": (PAGE + '<%include file="../d/part"/>', PART),
    "included in a def": (TAG.format('<%include file="part"/>'), PART),
    "included in a block": (
        '<%block cached="True">${tick()}<%include file="part"/></%block>',
        PART,
    ),
    "included with arguments": (
        PAGE + '<%include file="part" args="x=1"/>',
        '<%page args="x"/>{0}',
    ),
    "included by a call": (PAGE + "${local.include_file('part') or ''}", PART),
    "included by an included one": (
        PAGE + '<%include file="/middle"/>',
        PART,
    ),
    "inherited": (
        '<%inherit file="part"/>' + TAG.format("${parent.g()}"),
        BASE,
    ),
    "inherited by an inherited one": (
        '<%inherit file="/heir"/>' + TAG.format("${parent.g()}"),
        BASE,
    ),
    "a namespace": (
        PAGE + '<%namespace name="n" file="part"/>${n.g()}',
        PART,
    ),
    "a namespace, called as a tag": (
        PAGE + '<%namespace name="n" file="/d/part"/><%n:g/>',
        PART,
    ),
    "a namespace, imported": (
        PAGE + '<%namespace file="part" import="g"/>${g()}',
        PART,
    ),
    "a namespace, all imported": (
        PAGE + '<%namespace file="/d/part" import="*"/>${g()}',
        PART,
    ),
    "a namespace, named and imported": (
        PAGE + '<%namespace name="n" file="part" import="*"/>${g()}',
        PART,
    ),
    "a namespace in a def": (
        TAG.format('<%namespace name="n" file="part"/>${n.g()}'),
        PART,
    ),
    "a namespace, got by a call": (
        PAGE + "${local.get_namespace('part').g()}",
        PART,
    ),
    "a namespace of an inherited one": (
        '<%inherit file="/lender"/>' + TAG.format("${self.n.g()}"),
        PART,
    ),
    "a template, got by a call": (
        PAGE + "${local.get_template('part').render()}",
        PART,
    ),
    "declared by the page": (
        '<%page cached="True" cache_depends="/x part"/>'
        "${tick()}<%include file=\"${'part'}\"/>",
        PART,
    ),
    "declared by a def": (
        '<%def name="f()" cached="True" cache_depends="/d/part">'
        "${tick()}<%include file=\"${'part'}\"/></%def>${f()}",
        PART,
    ),
    "declared by an expression": (
        '<%def name="f()" cached="True" cache_depends="${[which]}">'
        '${tick()}<%include file="${which}"/></%def>${f()}',
        PART,
    ),
    "declared by what is included": (
        PAGE + '<%include file="/declares"/>',
        PART,
    ),
}
OTHERS = {
    "/middle": 'm<%include file="d/part"/>',
    "/heir": '<%inherit file="/d/part"/>'
    '<%def name="g()">${parent.g()}</%def>${next.body()}',
    "/lender": '<%namespace name="n" file="/d/part" inheritable="True"/>'
    "${next.body()}",
    "/declares": '<%page cache_depends="d/part"/>'
    "<%include file=\"${'d/part'}\"/>",
}


def pages_of(how: str, text: str) -> dict[str, str]:
    """Return a site in which "/d/page" counts, and shows *text*."""
    page, part = (source.replace("{0}", text) for source in PARTS[how])
    return {"/d/page": page, "/d/part": part, **OTHERS}


@pytest.mark.parametrize("how", PARTS)
def test_a_file_within_a_second(
    how: str, url: str, tmp_path: Path, clock: ManualClock
) -> None:
    old, new = (pages_of(how, text) for text in ("old", "new"))
    files = Files(tmp_path / "site", old)
    lookup = files.lookup(url, clock)
    edited = "/d/page" if how == "itself" else "/d/part"

    def shown() -> str:
        return render(lookup, "/d/page", tick=Ticks(), which="part")

    assert [shown()[-3:] for _ in range(2)] == ["old"] * 2
    files.edit(edited, new[edited])
    clock.advance(1)
    assert [shown()[-3:] for _ in range(2)] == ["new"] * 2
    files.edit(edited, old[edited])
    clock.advance(1)
    assert shown()[-3:] == "old"


@pytest.mark.parametrize("how", [*PARTS][:3] + [*PARTS][4:])
def test_a_string_at_once(how: str, url: str) -> None:
    old, new = (pages_of(how, text) for text in ("old", "new"))
    lookup = site(old, url)
    tick = Ticks()

    def shown() -> str:
        text = render(lookup, "/d/page", tick=tick, which="part")
        return text[-3:]

    assert [shown() for _ in range(2)] == ["old"] * 2
    for uri in ("/d/page", "/d/part"):
        lookup.put_string(uri, new[uri])
    assert [shown() for _ in range(2)] == ["new"] * 2
    for uri in ("/d/page", "/d/part"):
        lookup.put_string(uri, old[uri])
    created = tick.count
    assert shown() == "old"
    assert tick.count == created


@pytest.mark.parametrize("how", PARTS)
def test_before_another_lookup_is_made(
    how: str, url: str, tmp_path: Path
) -> None:
    old, new = (pages_of(how, text) for text in ("old", "new"))
    tick = Ticks()
    for pages, text, created in ((old, "old", 1), (new, "new", 2)):
        for number in range(2):
            files = Files(tmp_path / f"{text}{number}", pages)
            lookup = files.lookup(url)
            for _ in range(2):
                shown = render(lookup, "/d/page", tick=tick, which="part")
                assert shown[-3:] == text
        assert tick.count == created


def test_what_is_missing_and_comes(
    url: str, tmp_path: Path, clock: ManualClock
) -> None:
    source = (
        CACHED
        + """
% try:
<%include file="/part"/>
% except Exception:
none
% endtry
"""
    )
    pages = {"/page": source}
    files = Files(tmp_path / "site", pages)
    lookup = files.lookup(url, clock)
    assert [render(lookup, "/page").strip() for _ in range(2)] == ["none"] * 2
    files.edit("/part", "some")
    clock.advance(1)
    assert [render(lookup, "/page").strip() for _ in range(2)] == ["some"] * 2
