"""What was begun under an old version is never kept as a new one's.

Nor what shows something of both as that of either.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cached_sites import CACHED
from cached_sites import Files
from cached_sites import render
from cached_sites import site

from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import LIMIT

DEF = '<%def name="f()" cached="True">{}</%def>${{f()}}'
PART = '<%def name="g()">{0}</%def>{0}'
BASE = '<%def name="g()">{0}</%def>${next.body()}'
INCLUDE = '<%include file="/part"/>'

HOW = {
    "itself, before": (CACHED + "${during()}{0}", "", "/page"),
    "itself, after": (CACHED + "{0}${during()}", "", "/page"),
    "included, before": (CACHED + "${during()}" + INCLUDE, PART, "/part"),
    "included, after": (CACHED + INCLUDE + "${during()}", PART, "/part"),
    "included, between": (
        CACHED + INCLUDE + "${during()}" + INCLUDE,
        PART,
        "/part",
    ),
    "included in a def, between": (
        DEF.format(INCLUDE + "${during()}" + INCLUDE),
        PART,
        "/part",
    ),
    "included by an included one": (
        CACHED + '${during()}<%include file="/middle"/>',
        PART,
        "/part",
    ),
    "inherited": (
        '<%inherit file="/part"/>' + DEF.format("${parent.g()}${during()}"),
        BASE,
        "/part",
    ),
    "inherited, by a call": (
        '<%inherit file="/part"/>'
        + DEF.format(
            "${parent.g()}${during()}${local.get_namespace('/part').g()}"
        ),
        BASE,
        "/part",
    ),
    "a namespace": (
        CACHED + '<%namespace name="n" file="/part"/>${during()}${n.g()}',
        PART,
        "/part",
    ),
    "a namespace, imported": (
        CACHED + '<%namespace file="/part" import="g"/>${g()}${during()}',
        PART,
        "/part",
    ),
    "declared": (
        '<%page cached="True" cache_depends="/part"/>'
        "<%include file=\"${'/part'}\"/>${during()}"
        "<%include file=\"${'/part'}\"/>",
        PART,
        "/part",
    ),
    "an heir": (
        '<%inherit file="/base"/><%def name="title()">{0}</%def>{0}',
        "",
        "/page",
    ),
    "an heir's part": (
        '<%inherit file="/base"/><%def name="title()">-</%def>' + INCLUDE,
        PART,
        "/part",
    ),
}
OTHERS = {
    "/middle": INCLUDE,
    "/base": CACHED + "${self.title()}${during()}${next.body()}",
}


def pages_of(how: str, text: str) -> dict[str, str]:
    page, part, _ = HOW[how]
    return {
        "/page": page.replace("{0}", text),
        "/part": part.replace("{0}", text),
        **OTHERS,
    }


def nothing() -> str:
    return ""


def shows_only(text: str, shown: str) -> bool:
    other = "old" if text == "new" else "new"
    return text in shown and other not in shown


@pytest.mark.parametrize("how", HOW)
def test_in_one_process(
    how: str, url: str, tmp_path: Path, clock: ManualClock
) -> None:
    old, new = (pages_of(how, text) for text in ("old", "new"))
    files = Files(tmp_path / "site", old)
    lookup = files.lookup(url, clock)
    edited = HOW[how][2]

    def during() -> str:
        return files.edit(edited, new[edited])

    render(lookup, "/page", during=during)
    clock.advance(1)
    later = render(lookup, "/page", during=nothing)
    assert shows_only("new", later)
    check_both(old, new, url, tmp_path)


@pytest.mark.parametrize("how", HOW)
def test_of_strings(how: str, url: str, tmp_path: Path) -> None:
    old, new = (pages_of(how, text) for text in ("old", "new"))
    lookup = site(old, url)
    edited = HOW[how][2]

    def during() -> str:
        lookup.put_string(edited, new[edited])
        return ""

    render(lookup, "/page", during=during)
    assert shows_only("new", render(lookup, "/page", during=nothing))
    check_both(old, new, url, tmp_path)


@pytest.mark.parametrize("how", HOW)
def test_while_another_process_creates(
    how: str, shared_url: str, tmp_path: Path, clock: ManualClock
) -> None:
    old, new = (pages_of(how, text) for text in ("old", "new"))
    files = Files(tmp_path / "site", old)
    begun, edited = fork_context.Event(), fork_context.Event()

    def create() -> str:
        lookup = files.lookup(shared_url, clock)

        def during() -> str:
            begun.set()
            assert edited.wait(LIMIT)
            return ""

        return render(lookup, "/page", during=during)

    with children(create) as (child,):
        assert begun.wait(LIMIT)
        uri = HOW[how][2]
        files.edit(uri, new[uri])
        lookup = files.lookup(shared_url, clock)
        while_it_creates = render(lookup, "/page", during=nothing)
        edited.set()
        child.result()
    assert shows_only("new", while_it_creates)
    assert shows_only("new", render(lookup, "/page", during=nothing))
    check_both(old, new, shared_url, tmp_path)


def check_both(
    old: dict[str, str], new: dict[str, str], url: str, folder: Path
) -> None:
    """Render both versions, as processes do that started with them."""
    for text, pages in (("old", old), ("new", new)):
        lookup = Files(folder / text, pages).lookup(url)
        assert shows_only(text, render(lookup, "/page", during=nothing))


def test_a_part_that_the_lookup_has_let_go_of(
    url: str, tmp_path: Path, clock: ManualClock
) -> None:
    """Between the edit and the end of the creation."""
    pages = {
        "/page": CACHED + "${during()}" + INCLUDE + "${drop()}",
        "/part": "old",
    }
    files = Files(tmp_path / "site", pages)
    lookup = files.lookup(url, clock)

    def drop() -> str:
        lookup._collection.pop("/part")
        return ""

    during = partial(files.edit, "/part", "new")
    assert render(lookup, "/page", during=during, drop=drop) == "new"
    before = Files(tmp_path / "before", pages).lookup(url)
    assert render(before, "/page", during=nothing, drop=nothing) == "old"


def began_with(lookup: Any, edit: Callable[[], object]) -> Callable[[], str]:
    """Return an ``edit`` for a page to call before it asks for a fragment."""

    def once() -> str:
        edit()
        return ""

    return once


@pytest.mark.parametrize(
    ("page", "part"),
    [
        (
            '<%inherit file="/part"/>${early()}' + DEF.format("${parent.g()}"),
            BASE,
        ),
        (
            '<%namespace name="n" file="/part"/>${n.g()}${early()}'
            + DEF.format("${n.g()}"),
            PART,
        ),
        (
            '<%namespace file="/part" import="g"/>${g()}${early()}'
            + DEF.format("${g()}"),
            PART,
        ),
    ],
    ids=["inherited", "a namespace", "imported"],
)
def test_a_render_that_began_with_the_old_ones(
    page: str, part: str, url: str, tmp_path: Path
) -> None:
    """It has the old base or namespace; the fragment is asked for later."""
    versions = [
        {"/page": page, "/part": part.replace("{0}", text)}
        for text in ("old", "new")
    ]
    lookup = site(versions[0], url)

    def early() -> str:
        lookup.put_string("/part", versions[1]["/part"])
        return ""

    render(lookup, "/page", early=early)
    assert shows_only("new", render(lookup, "/page", early=nothing))
    for text, pages in zip(("old", "new"), versions, strict=True):
        other = Files(tmp_path / text, pages).lookup(url)
        assert shows_only(text, render(other, "/page", early=nothing))


LEAF = DEF.format('<%include file="/part"/>')
KEPT = {
    "in a page": {
        "/leaf": LEAF,
        "/around": CACHED + '<%include file="/leaf"/>',
    },
    "in an heir's base": {
        "/base": CACHED + "${self.f()}${next.body()}",
        "/leaf": LEAF,
        "/around": '<%inherit file="/base"/>'
        '<%namespace name="leaf" file="/leaf"/>'
        '<%def name="f()"><%include file="/leaf"/></%def>',
    },
}


@pytest.mark.parametrize("how", KEPT)
def test_what_a_render_had_begun_with_is_not_kept_around(
    how: str, url: str
) -> None:
    first = '<%include file="/leaf"/>${during()} '
    pages = {
        "/part": "old",
        "/page": first + '<%include file="/around"/>',
        **KEPT[how],
    }
    lookup = site(pages, url)

    def during() -> str:
        lookup.put_string("/part", "new")
        return ""

    render(lookup, "/page", during=during)
    assert render(lookup, "/page", during=nothing).split() == ["new", "new"]
