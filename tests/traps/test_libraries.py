"""Lookups with ways of their own, and templates by several names."""

from __future__ import annotations

from typing import Any

import pytest
from cached_sites import CACHED
from cached_sites import def_f
from cached_sites import render
from cached_sites import Ticks
from mako.lookup import TemplateLookup
from mako.template import Template

HOLE = "<%! from mako_cacheplug import hole %>"


class Themed(TemplateLookup):  # type: ignore[misc]  # Mako is untyped
    """Shows a theme's own templates where it has any."""

    theme = "dark"

    def get_template(self, uri: str) -> Template:
        if f"/{self.theme}{uri}" in self._collection:
            uri = f"/{self.theme}{uri}"
        return super().get_template(uri)


class Strict(TemplateLookup):  # type: ignore[misc]  # Mako is untyped
    """Knows no templates of packages."""

    def adjust_uri(self, uri: str, relativeto: str) -> str:
        if ":" in uri:
            raise LookupError(uri)
        return str(super().adjust_uri(uri, relativeto))


def filled(lookup: TemplateLookup, pages: dict[str, str]) -> TemplateLookup:
    for uri, source in pages.items():
        lookup.put_string(uri, source)
    return lookup


def site(pages: dict[str, str], **given: Any) -> TemplateLookup:
    return filled(TemplateLookup(cache_impl="cacheplug", **given), pages)


def themed(pages: dict[str, str]) -> Themed:
    lookup = Themed(cache_impl="cacheplug")
    filled(lookup, pages)
    return lookup


def test_a_theme_is_not_shown_in_another() -> None:
    lookup = themed(
        {
            "/page": CACHED + '${tick()} <%include file="/side"/>',
            "/dark/side": "dark",
            "/light/side": "light",
            "/side": "plain",
        }
    )
    page = lookup.get_template("/page")
    tick = Ticks()
    shown = []
    for theme in ("dark", "light", "none") * 2:
        lookup.theme = theme
        shown.append(page.render(tick=tick))
    assert shown == ["1 dark", "2 light", "3 plain"] * 2


def test_nor_one_that_has_no_such_part() -> None:
    part = '${tick()}\\\n% if more:\n <%include file="/side"/>\\\n% endif\n'
    lookup = themed({"/page": CACHED + part, "/dark/side": "dark"})
    page = lookup.get_template("/page")
    tick = Ticks()
    assert page.render(tick=tick, more=True) == "1 dark"
    lookup.theme = "light"
    assert page.render(tick=tick, more=False) == "2"
    lookup.theme = "dark"
    assert page.render(tick=tick, more=False) == "1 dark"


def test_a_hole_in_a_theme_s_part_is_one() -> None:
    lookup = themed(
        {
            "/page": CACHED + '${tick()} <%include file="/side"/>',
            "/dark/side": HOLE + '<%def name="h()">${x}</%def>${hole(h)}',
        }
    )
    tick = Ticks()
    shown = [render(lookup, "/page", tick=tick, x=x) for x in "ab"]
    assert shown == ["1 a", "1 b"]


def test_a_uri_that_cannot_be_resolved_breaks_nothing() -> None:
    source = def_f('${tick()}\\\n% if 0:\n<%include file="a:b"/>\n% endif\n')
    lookup = filled(Strict(cache_impl="cacheplug"), {"/page": source})
    tick = Ticks()
    shown = [render(lookup, "/page", tick=tick).strip() for _ in range(2)]
    assert shown == ["1", "1"]


@pytest.mark.parametrize("edited", ["/x", "/y"])
def test_two_templates_of_one_uri_by_two_names(edited: str) -> None:
    part = def_f(" ${tick()}${x.t()}${y.t()}")
    names = "".join(f'<%namespace name="{n}" file="/{n}"/>' for n in "xy")
    lookup = site({"/page": names + "${x.t()}${y.t()}" + part})

    def put(name: str, text: str) -> None:
        source = f'<%def name="t()">{text}</%def>'
        lookup.put_template(name, Template(source, uri="/one", lookup=lookup))

    put("/x", "x")
    put("/y", "y")
    tick = Ticks()
    shown = [render(lookup, "/page", tick=tick) for _ in range(2)]
    assert shown == ["xy 1xy"] * 2
    put(edited, "z")
    shown = [render(lookup, "/page", tick=tick) for _ in range(2)]
    both = "xy".replace(edited[1], "z")
    assert shown == [f"{both} 2{both}"] * 2


@pytest.mark.parametrize("inherits", ["/layouts/base", "${context['base']}"])
@pytest.mark.parametrize(
    "shown",
    [
        'self.include_file("side") or ""',
        'self.get_namespace("side").body() or ""',
        'self.get_template("side").render()',
    ],
)
@pytest.mark.parametrize("where", ["in the base", "in a def of the base"])
def test_what_a_base_takes_relative_to_its_heir(
    where: str, shown: str, inherits: str
) -> None:
    base, page = f"{CACHED}${{tick()}} ${{{shown}}}", ""
    if where == "in a def of the base":
        base = f'<%def name="g()">${{{shown}}}</%def>${{next.body()}}'
        page = def_f("${tick()} ${parent.g()}")
    lookup = site(
        {
            "/layouts/base": base,
            "/pages/page": f'<%inherit file="{inherits}"/>{page}',
            "/pages/side": "old",
            "/others/page": f'<%inherit file="{inherits}"/>{page}',
            "/others/side": "other",
        }
    )
    given = {"tick": Ticks(), "base": "/layouts/base"}
    for _ in range(2):
        assert render(lookup, "/pages/page", **given) == "1 old"
        assert render(lookup, "/others/page", **given) == "2 other"
    lookup.put_string("/pages/side", "new")
    for _ in range(2):
        assert render(lookup, "/pages/page", **given) == "3 new"
        assert render(lookup, "/others/page", **given) == "2 other"


def test_and_an_heir_that_is_included() -> None:
    lookup = site(
        {
            "/layouts/base": '${self.get_template("side").render()}',
            "/pages/page": '<%inherit file="/layouts/base"/>',
            "/pages/side": "old",
            "/all": CACHED + '${tick()} <%include file="/pages/page"/>',
        }
    )
    tick = Ticks()
    assert [render(lookup, "/all", tick=tick) for _ in "12"] == ["1 old"] * 2
    lookup.put_string("/pages/side", "new")
    assert render(lookup, "/all", tick=tick) == "2 new"


@pytest.mark.parametrize(
    "source",
    [
        """<%inherit file="${context['which']}"/>"""
        + def_f("${tick()} ${parent.t()}"),
        """<%namespace name="n" file="${context['which']}"/>"""
        + def_f("${tick()} ${n.t()}"),
    ],
    ids=["inherited", "namespace"],
)
def test_what_an_expression_names_by_another_name(source: str) -> None:
    lookup = site({"/page": source})

    def put(text: str) -> None:
        source = f'<%def name="t()">{text}</%def>${{next.body()}}'
        lookup.put_template("/it", Template(source, uri="/x", lookup=lookup))

    tick = Ticks()
    for text in ("1 old", "2 new"):
        put(text[2:])
        for _ in range(2):
            shown = render(lookup, "/page", tick=tick, which="/it")
            assert shown == text


@pytest.mark.parametrize("has_lookup", [True, False])
def test_an_invalidation_reaches_what_another_lookup_shows(
    has_lookup: bool,
) -> None:
    own = site({"/x": "own"}) if has_lookup else None
    source = CACHED + '${tick()} <%include file="/x"/>'
    template = Template(
        source, uri="/part", lookup=own, cache_impl="cacheplug"
    )
    lookup = site({"/x": "x", "/page": '<%include file="/part"/>'})
    lookup.put_template("/part", template)
    tick = Ticks()
    for number in "12":
        for _ in range(2):
            assert render(lookup, "/page", tick=tick) == f"{number} x"
        template.cache.invalidate_body()


@pytest.mark.parametrize("options", ["", 'inheritable="True"'])
def test_a_namespace_s_variables_are_those_where_it_is_used(
    options: str,
) -> None:
    source = (
        f"""<%namespace name="n" file="${{context['which']}}" {options}/>"""
        '<%def name="before()" cached="True">${tick()}</%def>'
        '<%def name="after()">${n.show()}</%def>'
        "${before()} <% x = 2; which = '/b' %>${after()}"
    )
    lookup = site(
        {
            "/page": source,
            "/a": '<%def name="show()">a ${x}</%def>',
            "/b": '<%def name="show()">b ${x}</%def>',
        }
    )
    tick = Ticks()
    expected = Template(source, lookup=lookup, cache_enabled=False)
    for _ in range(2):
        assert render(lookup, "/page", tick=tick, which="/a") == "1 b 2"
    assert expected.render(tick=tick, which="/a") == "2 b 2"
