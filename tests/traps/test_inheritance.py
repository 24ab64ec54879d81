"""A base template's fragments: each child's own where they show what is its.

And one entry for all of them where they do not.
"""

from __future__ import annotations

import pytest
from cached_sites import CACHED
from cached_sites import render
from cached_sites import site
from cached_sites import Ticks

DEF = '<%def name="f()" cached="True">${{tick()}}{}</%def>'

CHILD = """\
<%inherit file="BASE"/>\
<%def name="title()">NAME</%def>\
<%block name="box">NAME</%block>NAME"""
OF_BASE = '<%def name="title()">base</%def><%block name="box">base</%block>'

PER_CHILD = {
    "next": (DEF.format("${next.body()}"), "${f()}"),
    "self": (DEF.format("${self.title()}"), "${f()}"),
    "self, as a tag": (DEF.format("<%self:title/>"), "${f()}"),
    "self, by attribute": (DEF.format("${self.attr.who}"), "${f()}"),
    "context": (DEF.format("${context['self'].title()}"), "${f()}"),
    "another def": (
        DEF.format("${g()}") + '<%def name="g()">${self.title()}</%def>',
        "${f()}",
    ),
    "a nested def": (
        DEF.format(
            '<%def name="g()">${next.body()}</%def>${g()}',
        ),
        "${f()}",
    ),
    "an argument": (
        '<%def name="f(x)" cached="True">${tick()}${x}</%def>',
        "${f(self.attr.who)}",
    ),
    "the page": (CACHED + "${tick()}${next.body()}", ""),
    "the page with a block": (CACHED + "${tick()}", ""),
    "a block": ('<%block cached="True">${tick()}${next.body()}</%block>', ""),
    "a named block": (
        '<%block name="n" cached="True">${tick()}${self.title()}</%block>',
        "",
    ),
}

CHAINS = {
    "two": {"BASE": "/base"},
    "three": {"BASE": "/middle", "/middle": '<%inherit file="/base"/>'},
    "four": {
        "BASE": "/middle",
        "/middle": '<%inherit file="/higher"/>',
        "/higher": '<%inherit file="/base"/>',
    },
    "an expression": {"BASE": "${context['base']}"},
    "three by an expression": {
        "BASE": "/middle",
        "/middle": "<%inherit file=\"${context['base']}\"/>",
    },
}


def pages_of(what: str, chain: str) -> dict[str, str]:
    cached, call = PER_CHILD[what]
    given = CHAINS[chain]
    pages = {
        uri: source + "${next.body()}"
        for uri, source in given.items()
        if uri != "BASE"
    }
    pages["/base"] = cached + OF_BASE + "<%! who = 'base' %>" + call
    for name in "ab":
        child = CHILD.replace("BASE", given["BASE"]).replace("NAME", name)
        pages[f"/{name}"] = child + f"<%! who = {name!r} %>"
    return pages


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("what", PER_CHILD)
def test_what_shows_something_of_its_childs_is_per_child(
    what: str, chain: str, url: str
) -> None:
    lookup = site(pages_of(what, chain), url)
    tick = Ticks()
    shown = [
        render(lookup, f"/{name}", tick=tick, base="/base") for name in "abab"
    ]
    assert "a" in shown[0].replace("base", "")
    assert "b" in shown[1].replace("base", "")
    assert shown[2:] == shown[:2]
    assert tick.count == 2


def test_a_child_of_another_version_is_another_child(url: str) -> None:
    tick = Ticks()
    for text in ("old", "new", "old"):
        pages = {
            "/base": CACHED + "${tick() and ''}${next.body()}",
            "/middle": '<%inherit file="/base"/>${next.body()}',
            "/child": f'<%inherit file="/middle"/>{text}',
        }
        lookup = site(pages, url)
        assert render(lookup, "/child", tick=tick) == text
    assert tick.count == 2


def test_a_library_in_a_base_is_one_entry_for_a_hundred_pages(
    url: str,
) -> None:
    base = DEF.format("lib") + "${next.body()}"
    pages = {"/base": base}
    for number in range(100):
        pages[f"/{number}"] = (
            f'<%inherit file="/base"/>{number}${{parent.f()}}'
        )
    lookup = site(pages, url)
    tick = Ticks()
    for number in range(100):
        shown = render(lookup, f"/{number}", tick=tick)
        assert shown == f"{number}1lib"
    assert tick.count == 1


@pytest.mark.parametrize(
    "base",
    ["/base", "${context['base']}"],
    ids=["a literal", "an expression"],
)
def test_nested_and_overridden_blocks(base: str, url: str) -> None:
    cached = 'cached="True"'
    pages = {
        "/base": f'<%block name="o" {cached}>[<%block name="i" {cached}>base'
        "</%block>]</%block>",
        "/plain": f'<%inherit file="{base}"/>',
        "/inner": f'<%inherit file="{base}"/><%block name="i" {cached}>inner'
        "</%block>",
        "/outer": f'<%inherit file="{base}"/><%block name="o" {cached}>outer'
        "</%block>",
        "/more": f'<%inherit file="{base}"/><%block name="i" {cached}>'
        "(${parent.i()})</%block>",
        "/most": f'<%inherit file="/more"/><%block name="i" {cached}>'
        "<${parent.i()}></%block>",
    }
    expected = {
        "/plain": "[base]",
        "/inner": "[inner]",
        "/outer": "outer",
        "/more": "[(base)]",
        "/most": "[<(base)>]",
    }
    lookup = site(pages, url)
    for _ in range(2):
        for uri, shown in expected.items():
            assert render(lookup, uri, base="/base") == shown


# -- the other way round: a child that leaves its base to an expression ------

CHOSEN = {
    "a base's def": DEF.format("${parent.g()}") + "${f()}",
    "a base's def, by self": DEF.format("${self.g()}") + "${f()}",
    "a base's def, by the page": CACHED + "${tick()}${parent.g()}",
    "a base's block": '<%block name="t" cached="True">${tick()}${parent.t()}'
    "</%block>",
    "a namespace's def": CACHED
    + '<%namespace name="n" file="${context[\'base\']}"/>'
    "${tick()}${n.g()}",
    "an imported def": CACHED
    + '<%namespace file="${context[\'base\']}" import="g"/>'
    "${tick()}${g()}",
}


@pytest.mark.parametrize("through", ["", "/middle"])
@pytest.mark.parametrize("what", CHOSEN)
def test_each_theme_shows_its_own(what: str, through: str, url: str) -> None:
    chosen = "<%inherit file=\"${context['base']}\"/>"
    if "namespace" in CHOSEN[what]:
        chosen = ""
    theme = '<%def name="g()">{0}</%def><%block name="t">{0}</%block>'
    theme += "${{next.body() if next else ''}}"
    source = CHOSEN[what]
    pages = {"/middle": chosen + "${next.body()}"}
    inherits = f'<%inherit file="{through}"/>' if through else chosen
    pages["/page"] = inherits + source
    for name in ("red", "blue"):
        pages[f"/{name}"] = theme.format(name)
    lookup = site(pages, url)
    tick = Ticks()
    first = {}
    for name in ("red", "blue"):
        first[name] = render(lookup, "/page", tick=tick, base=f"/{name}")
        assert name in first[name]
    for name in ("red", "blue"):
        again = render(lookup, "/page", tick=tick, base=f"/{name}")
        assert again == first[name]
    assert tick.count == 2
    lookup.put_string("/red", theme.format("dark"))
    assert "dark" in render(lookup, "/page", tick=tick, base="/red")
    assert render(lookup, "/page", tick=tick, base="/blue") == first["blue"]
    assert tick.count == 3


def test_a_theme_that_is_edited_while_it_is_rendered(url: str) -> None:
    theme = '<%def name="g()">{0}</%def>${{next.body()}}'
    pages = {
        "/page": "<%inherit file=\"${context['base']}\"/>${early()}"
        + DEF.format("${parent.g()}")
        + "${f()}",
        "/red": theme.format("old"),
    }
    lookup = site(pages, url)
    tick = Ticks()

    def early() -> str:
        lookup.put_string("/red", theme.format("new"))
        return ""

    given = {"tick": tick, "base": "/red"}
    assert render(lookup, "/page", early=early, **given) == "1old"
    assert render(lookup, "/page", early=str, **given) == "2new"
    assert render(lookup, "/page", early=str, **given) == "2new"


def test_a_theme_that_is_missing_breaks_what_uses_it_and_no_more(
    url: str,
) -> None:
    source = '<%namespace name="n" file="${context[\'base\']}"/>' + DEF.format(
        ""
    )
    source += '<%def name="g()">${n.g()}</%def>'
    source += "${f() if plain else g()}"
    lookup = site({"/page": source, "/red": '<%def name="g()">r</%def>'}, url)
    tick = Ticks()
    given = {"tick": tick, "base": "/none"}
    assert render(lookup, "/page", plain=True, **given) == "1"
    with pytest.raises(Exception, match="/none"):
        render(lookup, "/page", plain=False, **given)
    given["base"] = "/red"
    assert render(lookup, "/page", plain=False, **given) == "r"


def test_what_is_between_a_page_and_its_base_counts_too(url: str) -> None:
    chosen = "<%inherit file=\"${context['chosen']}\"/>page"
    pages = {"/base": CACHED + "[${next.body()}]", "/page": chosen}
    for name in ("red", "blue"):
        pages[f"/{name}"] = f'<%inherit file="/base"/>{name} ${{next.body()}}'
    lookup = site(pages, url)
    for name in ("red", "blue") * 2:
        shown = render(lookup, "/page", chosen=f"/{name}")
        assert shown == f"[{name} page]"


@pytest.mark.parametrize(
    "source",
    [
        '<%def name="f()" cached="True" cache_depends="${[base]}">${tick()}'
        "</%def>${f()}",
        "<%inherit file=\"${context['base']}\"/>"
        + DEF.format("${parent.g()}")
        + "${f()}",
    ],
    ids=["declared", "inherited"],
)
def test_what_an_expression_names_does_not_hide_it_from_an_invalidation(
    source: str, url: str
) -> None:
    pages = {"/page": source, "/red": '<%def name="g()"></%def>${next.body()}'}
    lookup = site(pages, url)
    tick = Ticks()
    for created in ("1", "2"):
        for _ in range(2):
            shown = render(lookup, "/page", tick=tick, base="/red")
            assert shown == created
        lookup.get_template("/page").cache.invalidate_def("f")
