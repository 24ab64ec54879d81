"""Mako's seam: what a page shows, whichever way its fragments are called."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from cached_sites import Ticks
from mako.lookup import TemplateLookup
from mako.template import Template
from markupsafe import Markup

from mako_cacheplug import CacheRegion
from mako_cacheplug.template.impl import CachePlugImpl
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import within


@pytest.fixture
def tick() -> Ticks:
    return Ticks()


def page(source: str, **given: Any) -> Template:
    return Template(source, **{"cache_impl": "cacheplug", **given})


def site(pages: dict[str, str], **given: Any) -> TemplateLookup:
    lookup = TemplateLookup(**{"cache_impl": "cacheplug", **given})
    for uri, source in pages.items():
        lookup.put_string(uri, source)
    return lookup


def words(text: object) -> str:
    return " ".join(str(text).split())


# -- one fragment, created once ----------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        '<%def name="f()" cached="True">[${tick()}]</%def>${f()}',
        '<%def name="f()" cached="True">[${tick()}]</%def><%self:f/>',
        '<%def name="f()" cached="True">[${tick()}]</%def>${self.f()}',
        '<%def name="f()" cached="True">[${tick()}]</%def>${capture(self.f)}',
        '<%def name="f()" cached="True" buffered="True">[${tick()}]</%def>'
        "${f()}",
        '<%def name="f()" cached="True" filter="trim"> [${tick()}] </%def>'
        "${f()}",
        '<%page cached="True"/>[${tick()}]',
        '<%page cached="True" args="x=1, *rest, y=2"/>[${tick()}]',
        '<%block cached="True">[${tick()}]</%block>',
        '<%block name="b" cached="True">[${tick()}]</%block>',
        '<%def name="o()"><%def name="i()" cached="True">[${tick()}]</%def>'
        "${i()}</%def>${o()}",
        '<%def name="o()"><%block cached="True">[${tick()}]</%block></%def>'
        "${o()}",
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_is_created_once_and_shown_each_time(
    source: str, strict: bool, tick: Ticks
) -> None:
    template = page(source, strict_undefined=strict)
    assert [template.render(tick=tick) for _ in range(3)] == ["[1]"] * 3


def test_html_from_a_filter_comes_back_as_markup() -> None:
    source = (
        '<%def name="f()" cached="True" buffered="True" filter="h">'
        "<b></%def>${show(f())}"
    )
    template = page(source)
    seen: list[type] = []

    def show(value: object) -> object:
        seen.append(type(value))
        return value

    assert [template.render(show=show) for _ in range(2)] == ["&lt;b&gt;"] * 2
    assert seen == [Markup, Markup]


@pytest.mark.parametrize("text", ["", "é☃\U0001f40d", "\x00\r\n", "x" * 20000])
def test_any_text_comes_back_as_it_was(text: str, tick: Ticks) -> None:
    source = '<%def name="f()" cached="True">${tick() and text}</%def>${f()}'
    template = page(source)
    for _ in range(2):
        assert template.render_unicode(tick=tick, text=text) == text
    assert tick.count == 1


def test_an_output_encoding_is_applied_once() -> None:
    template = page(
        '<%page cached="True"/>${"é"}', output_encoding="iso-8859-1"
    )
    assert [template.render() for _ in range(2)] == [b"\xe9"] * 2


def test_buffer_filters_are_applied_once(tick: Ticks) -> None:
    source = (
        '<%def name="f()" cached="True" buffered="True">&${tick()}</%def>'
        "${f()}"
    )
    template = page(source, buffer_filters=["h"])
    assert [template.render(tick=tick) for _ in range(2)] == ["&amp;1"] * 2


def test_a_decorated_def_is_cached_with_what_its_decorator_returns(
    tick: Ticks,
) -> None:
    source = """\
<%!
def bold(fn):
    def decorate(context, *args, **kw):
        return "<b>" + fn(*args, **kw) + "</b>"
    return decorate
%><%def name="f(x)" cached="True" decorator="bold">${x}${tick()}</%def>\
${f(1)}${f(2)}"""
    template = page(source)
    first = template.render(tick=tick)
    assert first == "<b>11</b><b>22</b>"
    assert template.render(tick=tick) == first


def test_get_def_renders_the_same_entry(tick: Ticks) -> None:
    source = '<%def name="f(x)" cached="True">${x}-${tick()}</%def>${f(x)}'
    template = page(source)
    assert template.get_def("f").render(x="a", tick=tick) == "a-1"
    assert template.render(x="a", tick=tick) == "a-1"
    assert template.get_def("f").render(x="b", tick=tick) == "b-2"


def test_cache_enabled_false_on_the_template_caches_nothing(
    tick: Ticks,
) -> None:
    template = page('<%page cached="True"/>${tick()}', cache_enabled=False)
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "2"]


def test_a_new_object_of_the_same_template_shares_its_entries(
    tick: Ticks,
) -> None:
    pages = {
        f"/{n}": f'<%page cached="True"/>{n}:${{tick()}}' for n in range(9)
    }
    shown = []
    for _ in range(3):
        lookup = site(pages, collection_size=2)
        shown.append([lookup.put_string(u, s) for u, s in pages.items()])
        shown[-1] = [
            Template(s, uri=u, lookup=lookup, cache_impl="cacheplug").render(
                tick=tick
            )
            for u, s in pages.items()
        ]
    assert shown[0] == shown[1] == shown[2]
    assert tick.count == len(pages)


# -- arguments ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "calls"),
    [
        ("x", ["1", "'1'", "True", "1.0", "None", "(1,)", "[1]", "{1: 1}"]),
        ("x=1", ["", "2", "x=3"]),
        ("*args", ["", "1", "1, 2", "(1, 2)", "[1, 2]"]),
        ("**kw", ["", "a=1", "a=2", "b=1", "a=1, b=1"]),
        ("*args, k=0", ["", "1", "k=1", "1, k=1"]),
        ("x, *args, k=0, **kw", ["1", "1, 1", "1, k=1", "1, z=1"]),
    ],
)
def test_calls_with_other_arguments_are_told_apart(
    signature: str, calls: list[str], tick: Ticks
) -> None:
    source = f'<%def name="f({signature})" cached="True">${{tick()}}</%def>'
    source += " ".join(f"${{f({call})}}" for call in calls)
    template = page(source)
    expected = " ".join(str(n + 1) for n in range(len(calls)))
    assert [template.render(tick=tick) for _ in range(2)] == [expected] * 2


def test_a_default_and_the_same_argument_given_are_one_call(
    tick: Ticks,
) -> None:
    source = '<%def name="f(x=1)" cached="True">${tick()}</%def>'
    template = page(source + "${f()}${f(1)}${f(x=1)}")
    assert template.render(tick=tick) == "111"


def test_arguments_of_a_page_and_of_a_block_are_told_apart() -> None:
    template = page(
        '<%page args="x"/><%block name="b" args="x" cached="True">[${x}]'
        "</%block>${x}"
    )
    cached_page = page('<%page args="x" cached="True"/>${x}')
    for x in (1, 2, "1"):
        assert cached_page.render(x=x) == str(x)
        assert template.render(x=x) == f"[{x}]{x}"


def test_what_else_is_passed_to_render_is_no_argument(tick: Ticks) -> None:
    for source in (
        '<%page cached="True"/>${tick()}',
        '<%block name="b" cached="True">${tick()}</%block>',
    ):
        template = page(source)
        shown = {template.render(tick=tick, user=object()) for _ in range(3)}
        assert len(shown) == 1


def test_page_arguments_of_an_include_are_told_apart() -> None:
    lookup = site(
        {
            "/part": '<%page args="x" cached="True"/>[${x}]',
            "/page": '<%include file="/part" args="x=1"/>'
            '<%include file="/part" args="x=2"/>',
        }
    )
    whole = lookup.get_template("/page")
    assert [whole.render() for _ in range(2)] == ["[1][2]"] * 2


# -- nested defs -------------------------------------------------------------


def test_nested_defs_of_one_name_are_told_apart() -> None:
    template = page("""
<%def name="i()" cached="True">top</%def>
<%def name="a()"><%def name="i()" cached="True">a</%def>${i()}</%def>
<%def name="b()"><%def name="i()" cached="True">b</%def>${i()}</%def>
${a()} ${b()} ${self.i()}""")
    assert [words(template.render()) for _ in range(2)] == ["a b top"] * 2


NESTED = {
    "an argument": """
<%def name="o(x)">
<%def name="i()" cached="True">[${x}]</%def>${i()}
</%def>""",
    "a keyword argument": """
<%def name="o(*, x)">
<%def name="i()" cached="True">[${x}]</%def>${i()}
</%def>""",
    "an argument of the outermost": """
<%def name="o(x)">
<%def name="m()"><%def name="i()" cached="True">[${x}]</%def>${i()}</%def>
${m()}
</%def>""",
    "an argument through another nested def": """
<%def name="o(x)">
<%def name="show()">[${x}]</%def>
<%def name="i()" cached="True">${show()}</%def>${i()}
</%def>""",
    "an argument through two nested defs": """
<%def name="o(x)">
<%def name="show()">[${x}]</%def>
<%def name="again()">${show()}</%def>
<%def name="i()" cached="True">${again()}</%def>${i()}
</%def>""",
    "an argument, of a cached outer def": """
<%def name="o(x)" cached="True">
<%def name="i()" cached="True">[${x}]</%def>${i()}
</%def>""",
    "an argument, in a block": """
<%def name="o(x)"><%block cached="True">[${x}]</%block></%def>""",
    "an argument, in a decorated outer def": """
<%!
def plain(fn):
    def decorate(context, *args, **kw):
        return fn(*args, **kw)
    return decorate
%>
<%def name="o(x)" decorator="plain">
<%def name="i()" cached="True">[${x}]</%def>${i()}
</%def>""",
    "an argument, decorated itself": """
<%!
def plain(fn):
    def decorate(context, *args, **kw):
        return fn(*args, **kw)
    return decorate
%>
<%def name="o(x)">
<%def name="i()" cached="True" decorator="plain">[${x}]</%def>${i()}
</%def>""",
    "a variable": """
<%def name="o(x)">
<% y = x %>
<%def name="i()" cached="True">[${y}]</%def>${i()}
</%def>""",
    "the error of a try": """
<%def name="o(x)">
% try:
<% raise LookupError(x) %>
% except LookupError as y:
<%block cached="True">[${y.args[0]}]</%block>
% endtry
</%def>""",
    "the variable of a loop": """
<%def name="o(x)">
% for y in [x]:
<%block cached="True">[${y}]</%block>
% endfor
</%def>""",
}


@pytest.mark.parametrize("uses", NESTED)
def test_a_nested_fragment_shows_what_the_def_around_it_was_given(
    uses: str,
) -> None:
    template = page(NESTED[uses] + "${o(x=1)} ${o(x=2)}")
    assert [words(template.render()) for _ in range(2)] == ["[1] [2]"] * 2


def test_a_nested_def_is_not_keyed_on_the_context(tick: Ticks) -> None:
    template = page(
        '<%def name="o()"><%def name="i()" cached="True">${user and tick()}'
        "</%def>${i()}${user and ''}</%def>${o()}"
    )
    shown = {template.render(tick=tick, user=object()) for _ in range(3)}
    assert shown == {"1"}


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        '<%block name="b">{}</%block>',
        '<%def name="o()">{}</%def>${{o()}}',
    ],
)
@pytest.mark.parametrize(
    "fragment",
    [
        '<%block cached="True">${x()}${tick()}</%block>',
        '<%def name="i()" cached="True">${x()}${tick()}</%def>${i()}',
    ],
)
def test_what_a_namespace_gives_is_no_variable_around_a_fragment(
    around: str, fragment: str, tick: Ticks
) -> None:
    whole = site(
        {
            "/lib": '<%def name="x()">x</%def>',
            "/page": '<%namespace file="/lib" import="x"/>'
            + around.format(fragment),
        }
    ).get_template("/page")
    assert [whole.render(tick=tick) for _ in range(2)] == ["x1"] * 2


# -- called with content -----------------------------------------------------


CARD = '<%def name="card()" cached="True">[${caller.body()}]</%def>'


@pytest.mark.parametrize(
    "call",
    ["<%self:card>{}</%self:card>", '<%call expr="card()">{}</%call>'],
)
def test_defs_called_with_other_content_show_that_content(call: str) -> None:
    template = page(CARD + call.format("one") + call.format("two"))
    assert [template.render() for _ in range(2)] == ["[one][two]"] * 2


def test_a_def_of_a_namespace_called_with_other_content_shows_it() -> None:
    lookup = site(
        {
            "/lib": CARD,
            "/page": '<%namespace name="lib" file="/lib"/>'
            "<%lib:card>${x}</%lib:card>",
        }
    )
    whole = lookup.get_template("/page")
    assert [whole.render(x=x) for x in (1, 2, 1)] == ["[1]", "[2]", "[1]"]


def test_with_a_key_of_its_own_a_def_called_with_content_is_cached(
    tick: Ticks,
) -> None:
    source = (
        '<%def name="card(id)" cached="True" cache_key="card-${id}">'
        "[${caller.body()}]</%def>"
        '<%self:card id="1">${tick()}</%self:card>'
    )
    template = page(source)
    assert [template.render(tick=tick) for _ in range(2)] == ["[1]"] * 2


# -- several templates -------------------------------------------------------


def test_children_of_a_cached_base_do_not_share_its_page() -> None:
    base = '<%page cached="True"/>{${self.title()}|${next.body()}}'
    child = '<%inherit file="/base"/><%def name="title()">{0}</%def>{0}'
    lookup = site(
        {
            "/base": base,
            **{f"/{n}": child.replace("{0}", n) for n in ("a", "b")},
        }
    )
    for _ in range(2):
        for name in ("a", "b"):
            shown = lookup.get_template(f"/{name}").render()
            assert shown == f"{{{name}|{name}}}"


def test_three_levels_of_cached_pages_with_blocks() -> None:
    cached = '<%page cached="True"/>'
    lookup = site(
        {
            "/base": cached + '<<%block name="x" cached="True">base</%block>'
            "${next.body()}>",
            "/mid": cached + '<%inherit file="/base"/>(${next.body()})',
            "/one": cached + '<%inherit file="/mid"/>'
            '<%block name="x" cached="True">1${parent.x()}</%block>one',
            "/two": cached + '<%inherit file="/mid"/>two',
        }
    )
    for _ in range(2):
        assert lookup.get_template("/one").render() == "<1base(one)>"
        assert lookup.get_template("/two").render() == "<base(two)>"


def test_templates_with_defs_of_one_name_do_not_share_them() -> None:
    source = '<%def name="f()" cached="True">{0}</%def>${f()}'
    lookup = site({u: source.replace("{0}", u) for u in ("/a/b", "/a_b")})
    for _ in range(2):
        for uri in ("/a/b", "/a_b"):
            assert lookup.get_template(uri).render() == uri


def test_a_hundred_templates_share_one_store_and_one_region(
    tick: Ticks,
) -> None:
    regions: set[CacheRegion] = set()
    for number in range(100):
        template = page(
            f'<%page cached="True"/>{number}${{tick()}}',
            uri=f"/{number}",
            cache_args={"url": "memory://?max_entries=1000"},
        )
        template.render(tick=tick)
        impl = template.cache.impl
        assert isinstance(impl, CachePlugImpl)
        regions.update(impl._places.used_regions())
        stats = impl.stats()["memory"]
    assert len(regions) == 1
    assert (stats.misses, stats.creations) == (100, 100)


INLINE = (
    '<%namespace name="n"><%def name="f()" cached="True">{}${{tick()}}</%def>'
    "</%namespace>[${{n.f()}}]"
)


def test_a_namespaces_own_defs_are_the_templates_that_has_them(
    tick: Ticks,
) -> None:
    """Mako makes a base's namespaces with its heir's context."""
    lookup = site(
        {
            "/base": INLINE.format("base") + "${next.body()}",
            "/page": '<%inherit file="/base"/>' + INLINE.format("page"),
        }
    )
    whole = lookup.get_template("/page")
    for _ in range(2):
        assert whole.render(tick=tick) == "[base1][page2]"
    lookup.get_template("/base").cache.invalidate_closure("f")
    assert whole.render(tick=tick) == "[base3][page2]"
    lookup.get_template("/page").cache.impl.invalidate_template()
    assert whole.render(tick=tick) == "[base3][page4]"


# -- nothing waits for itself ------------------------------------------------


RECURSIVE = """
<%def name="f(n)" cached="True" cache_key="same">\
${n}${f(n - 1) if n else ""}</%def>${f(3)}"""


def test_a_def_that_calls_itself_under_one_key_returns() -> None:
    assert words(within(10, page(RECURSIVE).render)) == "3210"


def test_what_is_nested_deep_is_part_of_what_is_around(
    tick: Ticks,
) -> None:
    source = (
        '<%def name="f(n)" cached="True" cache_tags="${[str(n)]}">${n}'
        "${tick() and ''} ${f(n - 1) if n else ''}</%def>${f(n)}"
    )
    template = page(source)
    expected = " ".join(str(n) for n in range(100, -1, -1))
    for _ in range(2):
        assert words(template.render(n=100, tick=tick)) == expected
    assert tick.count == 101
    template.cache.impl.invalidate_tags("3")
    assert words(template.render(n=100, tick=tick)) == expected
    assert tick.count > 101


def test_cached_pages_that_include_each_other_return() -> None:
    part = '<%page cached="True" args="n"/>{0}${{n}}\n% if n:\n'
    part += '<%include file="/{1}" args="n=n - 1"/>\n% endif\n'
    lookup = site({"/a": part.format("a", "b"), "/b": part.format("b", "a")})
    shown = within(10, lambda: lookup.get_template("/a").render(n=3))
    assert words(shown) == "a3 b2 a1 b0"


def test_fragments_that_include_each_other_in_two_threads_return() -> None:
    meet = threading.Barrier(2)
    part = '<%page cached="True" cache_key="k"/>{0}<% arrive() %>\n% if top:\n'
    part += '<%include file="/{1}" args="**{{}}"/>\n% endif\n'
    part = part.replace(' args="**{{}}"', "")
    lookup = site(
        {"/a": part.format("a", "b"), "/b": part.format("b", "a")},
        cache_args={"wait": "0.2s"},
    )

    def show(uri: str) -> Callable[[], str]:
        depth: list[str] = []

        class Top:
            def __bool__(self) -> bool:
                depth.append(uri)
                return len(depth) == 1

        def arrive() -> None:
            if not depth:
                meet.wait(10)

        return lambda: words(
            lookup.get_template(uri).render(top=Top(), arrive=arrive)
        )

    one, other = in_threads([show("/a"), show("/b")], 10)
    # Whoever waited less made the other's part without its own in it.
    assert one in ("a b", "a b a")
    assert other in ("b a", "b a b")


def test_eight_threads_on_a_cold_page_create_each_fragment_once() -> None:
    source = '<%def name="f(x)" cached="True">${make(x)}</%def>'
    template = page(source + "".join(f"${{f({n})}}" for n in range(5)))
    made: list[int] = []

    def make(x: int) -> int:
        made.append(x)
        threading.Event().wait(0.01)
        return x

    shown = in_threads([lambda: template.render(make=make)] * 8)
    assert shown == ["01234"] * 8
    assert sorted(made) == list(range(5))


def test_threads_on_cold_nested_fragments_do_not_disturb_each_other() -> None:
    source = (
        '<%def name="o(x)"><%def name="i()" cached="True">${x}</%def>'
        "${i()}</%def>${o(n)}"
    )
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(40):
            template = page(source)
            calls = [partial(template.render, n=n) for n in range(6)]
            assert in_threads(calls) == list("012345")
    finally:
        sys.setswitchinterval(interval)


# -- what cannot be cached ---------------------------------------------------


def test_an_argument_without_a_value_is_said_once_and_shown(
    tick: Ticks, caplog: pytest.LogCaptureFixture
) -> None:
    source = '<%def name="f(x)" cached="True">${tick()}</%def>${f(thing)}'
    template = page(source, uri="/t.html")
    with caplog.at_level(logging.WARNING, "mako_cacheplug"):
        shown = [template.render(tick=tick, thing=tick) for _ in range(3)]
    assert shown == ["1", "2", "3"]
    (record,) = caplog.records
    told = record.getMessage()
    for part in ("def 'f' of '/t.html'", "Ticks", "cache_key="):
        assert part in told


def test_an_undefined_argument_does_not_break_the_page(tick: Ticks) -> None:
    template = page(
        '<%def name="f(x)" cached="True">${tick()}</%def>${f(missing)}'
    )
    assert template.render(tick=tick) == "1"
    assert template.render(tick=tick)


def test_an_argument_that_compares_oddly_does_not_break_the_page() -> None:
    class Odd(str):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("do not compare me")

        __hash__ = str.__hash__

    template = page('<%def name="f(x)" cached="True">${1}</%def>${f(odd)}')
    assert template.render(odd=Odd("x")) == "1"


def test_a_value_of_a_strange_type_is_shown(
    tick: Ticks, caplog: pytest.LogCaptureFixture
) -> None:
    class Shout(str):
        pass

    source = (
        '<%! shout = None %><%def name="f()" cached="True" filter="loud">'
        "${tick()}</%def>${f()}"
    )
    template = page(source, imports=["loud = lambda text: Loud(text)"])
    template.module.Loud = Shout
    with caplog.at_level(logging.WARNING, "mako_cacheplug"):
        assert [template.render(tick=tick) for _ in range(2)] == ["1", "2"]
    assert len(caplog.records) == 1
    assert "Shout" in caplog.text


def test_an_error_in_a_creator_is_the_pages_and_is_not_kept() -> None:
    template = page('<%def name="f()" cached="True">${1 // x}</%def>${f()}')
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            template.render(x=0)
    assert template.render(x=1) == "1"
    assert template.render(x=0) == "1"


def test_a_stale_value_stands_in_for_an_error(clock: ManualClock) -> None:
    region = CacheRegion(timeout=10, grace=0, stale_if_error=60, clock=clock)
    template = page(
        '<%def name="f()" cached="True" cache_region="r">${1 // x}</%def>'
        "a${f()}b",
        cache_args={"regions": {"r": region}},
    )
    assert template.render(x=1) == "a1b"
    clock.advance(20)
    assert template.render(x=0) == "a1b"
    clock.advance(60)
    with pytest.raises(ZeroDivisionError):
        template.render(x=0)


KEYS = [
    "x" * 100_000,
    "a\r\nset b 0 0 1\r\n2\r\n",
    "with space",
    "é\x00\udc80",
    None,
    42,
    ("news", "de", 1),
    b"bytes",
]


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_any_key_works(key: object, tick: Ticks) -> None:
    template = page(
        '<%def name="f()" cached="True" cache_key="${key}">${tick()}</%def>'
        "${f()}"
    )
    assert [template.render(tick=tick, key=key) for _ in range(2)] == ["1"] * 2
    assert template.render(tick=tick, key="another") == "2"
    template.cache.invalidate(key)
    assert template.render(tick=tick, key=key) == "3"


def test_a_key_without_a_value_is_not_cached(tick: Ticks) -> None:
    template = page(
        '<%def name="f()" cached="True" cache_key="${key}">${tick()}</%def>'
        "${f()}"
    )
    shown = [template.render(tick=tick, key=object()) for _ in range(2)]
    assert shown == ["1", "2"]


def test_a_variable_that_is_not_assigned_is_told_apart_from_one_that_is(
    tick: Ticks,
) -> None:
    template = page("""
<%def name="o(x)">
% if x:
<% y = x %>
% endif
<%block cached="True">[${y if x else "none"}-${tick()}]</%block>
</%def>${o(0)} ${o(1)} ${o(0)} ${o(1)}""")
    shown = words(template.render(tick=tick))
    assert shown == "[none-1] [1-2] [none-1] [1-2]"


def test_two_calls_that_define_one_def_each_show_their_own() -> None:
    call = '<%self:w><%def name="item(z)" cached="True">[{}]</%def></%self:w>'
    template = page(
        '<%def name="w()">${caller.item(1)}</%def>'
        + call.format("a")
        + call.format("b")
    )
    assert [template.render() for _ in range(2)] == ["[a][b]"] * 2
    template.cache.invalidate_closure("item")
    assert template.render() == "[a][b]"
