"""What a call is told apart by, where that is easily missed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from cached_sites import page
from cached_sites import render
from cached_sites import site
from cached_sites import Ticks
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug import labels


class Compared(str):
    """A text that counts how often it is compared."""

    __slots__ = ()
    __hash__ = str.__hash__
    count = 0

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return str.__eq__(self, other)


# -- many labels -------------------------------------------------------------


def test_each_of_many_labels_is_not_looked_for_among_all() -> None:
    expected = tuple(Compared(f"label {number}") for number in range(1000))
    pairs = tuple((Compared(label), "version") for label in expected)
    Compared.count = 0
    assert labels._have(pairs, expected)
    assert Compared.count < 3 * len(expected)
    assert not labels._have(pairs[1:], expected)


# -- what is around a nested fragment ----------------------------------------

CLOSED_OVER = {
    "a default": '<%def name="h(x=u)">${x}</%def>'
    '<%def name="c()" cached="True">${h()}</%def>${c()}',
    "what a decorator made": '<%def name="h()" decorator="shown">${u}</%def>'
    '<%def name="c()" cached="True">${h()}</%def>${c()}',
    "what a decorator was given": '<%def name="h()" decorator="says(u)">'
    '</%def><%def name="c()" cached="True">${h()}</%def>${c()}',
    "two decorated": '<%def name="g()" decorator="says(0)"></%def>'
    '<%def name="h()" decorator="says(u)"></%def>'
    '<%def name="c()" cached="True">${g()}${h()}</%def>${c()}',
    "a function's default": """<%
def g(w=u): return w
%><%block cached="True">${g()}</%block>""",
    "a function's keyword": """<%
def g(*, w=u): return w
%><%block cached="True">${g()}</%block>""",
    "a decorated function": """<%
@functools.lru_cache
def g(): return u
%><%block cached="True">${g()}</%block>""",
    "a function of two": """<%
w = u * 2
if u == 1:
    def g(): return 1
else:
    def g(): return w
%><%block cached="True">${g()}</%block>""",
    "a class": """<%
w = u * 2
class G:
    __str__ = lambda s: str(w)
%><%block cached="True">${G()}</%block>""",
    "an import": """<%
if u == 1:
    import json as m
else:
    import math as m
%><%block cached="True">${m.__name__}</%block>""",
    "an import from": """<%
if u == 1:
    from json import dumps as m
else:
    from json import loads as m
%><%block cached="True">${m.__name__}</%block>""",
    "match": """<%
match {"id": u, "more": 1}:
    case {"id": uid}: pass
%><%block cached="True">${uid}</%block>""",
    "the rest of a match": """<%
match {"id": 0, "more": u}:
    case {"id": 0, **uid}: pass
%><%block cached="True">${uid}</%block>""",
    "a starred match": """<%
match [0, u]:
    case [0, *uid]: pass
%><%block cached="True">${uid}</%block>""",
}

MODULE = """<%!
import functools

class shown:
    def __init__(self, function):
        self.function = function
    def __call__(self, context):
        return self.function()

def says(what):
    return lambda function: lambda context: str(what)
%>"""


@pytest.mark.parametrize("what", CLOSED_OVER)
def test_what_a_nested_fragment_sees_tells_its_calls_apart(
    what: str, url: str
) -> None:
    source = (
        f'{MODULE}<%def name="outer(u)">{CLOSED_OVER[what]}</%def>'
        "${outer(1)} ${outer(2)} ${outer(1)}"
    )
    plain = Template(source, cache_enabled=False).render().split()
    assert plain[0] != plain[1]
    template = page(source, url)
    for _ in range(2):
        assert template.render().split() == plain


@pytest.mark.parametrize(
    "seen",
    [
        "<% import json as m %>",
        "<% from json import dumps as m %>",
        "<% from decimal import Decimal as m %>",
        "<%\ndef m(x=1): return x\n%>",
        '<%def name="m(x=1)">${x}</%def>',
        '<%def name="m()" decorator="says(1)">x</%def>',
    ],
)
def test_what_is_the_same_in_all_calls_is_cached(seen: str, url: str) -> None:
    source = (
        f'{MODULE}<%def name="outer()">{seen}'
        '<%block cached="True">${tick()}<% m %></%block></%def>${outer()}'
    )
    template = page(source, url)
    tick = Ticks()
    assert {template.render(tick=tick) for _ in range(3)} == {"1"}


def test_a_function_from_the_context_is_not_looked_into(url: str) -> None:
    template = page(
        '<%def name="outer()"><%block cached="True">${link()}</%block></%def>'
        "${outer()}",
        url,
    )

    def make(request: object) -> Callable[[], str]:
        return lambda: str(request is not None)

    assert {template.render(link=make(object())) for _ in range(2)} == {"True"}


# -- pageargs ----------------------------------------------------------------

PAGEARGS = {
    "all keywords": '<%def name="f(**pageargs)" cached="True">'
    '${pageargs["x"]}</%def>${f(x=1)} ${f(x=2)}',
    "one argument": '<%def name="f(pageargs)" cached="True">'
    "${pageargs}</%def>${f(1)} ${f(2)}",
    "of a nested def": '<%def name="o()"><%def name="f(pageargs)"'
    ' cached="True">${pageargs}</%def>${f(1)} ${f(2)}</%def>${o()}',
    "of the def around": '<%def name="o(**pageargs)"><%block cached="True">'
    '${pageargs["x"]}</%block></%def>${o(x=1)} ${o(x=2)}',
}


@pytest.mark.parametrize("what", PAGEARGS)
def test_pageargs_of_a_def_are_its_arguments(what: str, url: str) -> None:
    template = page(PAGEARGS[what], url)
    assert {template.render() for _ in range(2)} == {"1 2"}


@pytest.mark.parametrize(
    "source",
    [
        '<%page cached="True"/>${tick()}',
        '<%page args="x"/><%block name="b" cached="True">${tick()}</%block>',
        '<%page args="x"/><%block name="b">'
        '<%block cached="True">${tick()}</%block></%block>',
        '<%page args="x"/><%block name="b">'
        '<%block name="c" cached="True">${tick()}</%block></%block>',
    ],
)
def test_pageargs_that_mako_adds_are_no_arguments(
    source: str, url: str
) -> None:
    template = page(source, url)
    tick = Ticks()
    given = {"x": object(), "pageargs": object()}
    found = {template.render(tick=tick, **given) for _ in range(2)}
    assert found == {"1"}


# -- keys --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "key"),
    [
        (
            '<%def name="f()" cached="True" cache_key="${k}">${tick()}'
            "</%def>${f()}",
            "render_f",
        ),
        (
            '<%def name="o()"><%def name="f()" cached="True"'
            ' cache_key="${k}">${tick()}</%def>${f()}</%def>${o()}',
            "f",
        ),
        (
            '<%page cached="True" cache_key="${k}"/>${tick()}',
            "render_body",
        ),
    ],
)
def test_a_key_that_is_the_name_of_the_def_can_be_invalidated(
    source: str, key: str, url: str
) -> None:
    template = page(source, url)
    tick = Ticks()
    shown = [template.render(tick=tick, k=key) for _ in range(2)]
    template.cache.invalidate(key)
    shown += [template.render(tick=tick, k=key) for _ in range(2)]
    assert shown == ["1", "1", "2", "2"]


class Incomparable:
    __hash__ = None  # type: ignore[assignment]  # as an array of numbers

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __ne__ = __eq__


def test_a_key_that_cannot_be_compared_is_said_to_be_none(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    template = page(
        '<%def name="f()" cached="True" cache_key="${k}">${tick()}'
        "</%def>${f()}",
        url,
    )
    tick = Ticks()
    assert template.render(tick=tick, k=Incomparable()) == "1"
    assert template.render(tick=tick, k=Incomparable()) == "2"
    assert caplog.text.count("Incomparable cannot be in a cache key") == 1


# -- what Python functions find in the context -------------------------------


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of functions that are handed the context."""

    def show(context: Any) -> str:
        context["caller"].body()
        return ""

    def where(context: Any) -> str:
        uri: str = context["local"].uri
        return uri

    def which(context: Any) -> str:
        uri: str = context["self"].uri
        return uri

    made = ModuleType("shown_in_templates")
    vars(made).update(show=show, where=where)
    vars(made).update(render_shown=show, render_which=which)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


NAMESPACE = '<%namespace name="m" module="shown_in_templates"/>'
SHOWN = {
    "a module's": (NAMESPACE, "${m.show()}"),
    "a module's, in another def": (
        f'{NAMESPACE}<%def name="h()">${{m.show()}}</%def>',
        "<%self:h>${caller.body()}</%self:h>",
    ),
    "a module's, imported": (
        '<%namespace module="shown_in_templates" import="*"/>',
        "${show()}",
    ),
    "one that is handed the context": ("", "${given(context)}"),
    "one that is handed it between others": (
        "<%! around = lambda a, context, b: context['caller'].body() %>",
        "${around(1, context, 2) and ''}",
    ),
    "one that is called as Mako calls its own": (
        "<%! from shown_in_templates import render_shown %>",
        "${render_shown(context)}",
    ),
    "one in the template that is called so": (
        "<%!\ndef render_shown(context):\n"
        "    context.get('caller').body()\n    return ''\n%>",
        "${render_shown(context)}",
    ),
}


@pytest.mark.parametrize("what", SHOWN)
def test_content_that_a_python_function_shows_is_its_callers(
    what: str, url: str, module: ModuleType
) -> None:
    before, shows = SHOWN[what]
    template = page(
        f'{before}<%def name="f()" cached="True">{shows}</%def>'
        "<%self:f>A</%self:f><%self:f>B</%self:f>",
        url,
    )
    for _ in range(2):
        assert template.render(given=vars(module)["show"]) == "AB"


def test_what_shows_nothing_of_its_caller_is_cached_with_content(
    url: str,
) -> None:
    template = page(
        '<%def name="g()">g</%def><%def name="f()" cached="True">'
        "${tick()}${g()}</%def><%self:f>A</%self:f><%self:f>B</%self:f>",
        url,
    )
    assert template.render(tick=Ticks()) == "1g1g"


IMPORTED = "<%! from shown_in_templates import render_which %>"


@pytest.mark.parametrize(
    ("before", "shows"),
    [(NAMESPACE, "${m.where()}"), (IMPORTED, "${render_which(context)}")],
)
def test_a_module_s_function_finds_the_heir_in_the_context(
    before: str, shows: str, url: str, module: ModuleType
) -> None:
    lookup = site(
        {
            "/base.html": f'{before}<%def name="f()" cached="True">'
            f"{shows}</%def>${{f()}}",
            "/1.html": '<%inherit file="/base.html"/>',
            "/2.html": '<%inherit file="/base.html"/>',
        },
        url,
    )
    plain = TemplateLookup(cache_enabled=False)
    for uri in ("/base.html", "/1.html", "/2.html"):
        plain.put_string(uri, lookup.get_template(uri).source)
    for uri in ("/1.html", "/2.html") * 2:
        assert render(lookup, uri) == render(plain, uri)
    assert render(plain, "/1.html") != render(plain, "/2.html")
