"""What is known to go wrong at Mako's seam, on every store."""

from __future__ import annotations

import socket
import threading
from functools import partial
from pathlib import Path

import pytest
from cached_sites import CACHED
from cached_sites import Files
from cached_sites import page
from cached_sites import render
from cached_sites import site
from cached_sites import Ticks
from mako.lookup import TemplateLookup
from mako.template import Template
from markupsafe import Markup

from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import within
from mako_cacheplug.testing.servers import MemcachedServer

DEF = '<%def name="f()" cached="True" {}>${{tick()}}</%def>${{f()}}'


# -- 2, 3, 4: template.cache -------------------------------------------------


@pytest.mark.parametrize(
    "options",
    ["", 'cache_region="r"', 'cache_key="k"', 'cache_key="${k}"'],
)
def test_an_invalidation_before_the_first_render(
    options: str, url: str
) -> None:
    """In the right place, and without damage to what is rendered later."""
    regions = {"r": {"timeout": "1h", "namespace": "n"}}
    tick = Ticks()

    def make() -> Template:
        return page(DEF.format(options), url, regions=regions)

    assert make().render(tick=tick, k="k") == "1"
    template = make()
    template.cache.invalidate_def("f")
    assert template.render(tick=tick, k="k") == "2"
    assert template.render(tick=tick, k="k") == "2"
    assert make().render(tick=tick, k="k") == "2"
    used = template.cache.impl.stats()
    assert ("region" in options) == (used["r"].hits > 0)


@pytest.mark.parametrize("key", ["k", "k-${n}", "${(n, 1)}"])
def test_invalidate_def_with_a_key(key: str, url: str) -> None:
    template = page(DEF.format(f'cache_key="{key}"'), url)
    tick = Ticks()
    before = [template.render(tick=tick, n=n) for n in "ab"]
    template.cache.invalidate_def("f")
    after = [template.render(tick=tick, n=n) for n in "ab"]
    assert not {*before} & {*after}


@pytest.mark.parametrize(
    "value", ["", "text", Markup("<b>"), b"\x00\xff", [1, {"a": None}], 7]
)
def test_set_put_and_get(value: object, url: str) -> None:
    cache = page("", url).cache
    cache.set("one", value)
    cache.put("two", value, timeout="5m")
    for key in ("one", "two"):
        found = page("", url).cache.get(key)
        assert (type(found), found) == (type(value), value)
    cache.invalidate("one")
    assert (cache.get("one"), cache.get("two")) == (None, value)


def test_what_is_set_is_no_fragment_and_no_fragment_is_set(url: str) -> None:
    template = page(DEF.format('cache_key="k"'), url)
    template.cache.set("k", "set")
    template.cache.set("render_f", "set")
    assert template.render(tick=Ticks()) == "1"
    assert template.cache.get("k") == "set"


# -- 5, 6: what a template is not --------------------------------------------


def test_uris_with_one_id(url: str, tmp_path: Path) -> None:
    names = ("/a/b.html", "/a_b.html", "/a-b.html", "/a/b_html")
    source = '<%def name="f()" cached="True">{0}</%def>{0}${{f()}}'
    files = Files(tmp_path, {name: source.format(name) for name in names})
    lookup = files.lookup(url)
    templates = [lookup.get_template(name) for name in names]
    assert len({template.cache.id for template in templates}) < len(names)
    for template, name in [*zip(templates, names, strict=True)] * 2:
        assert template.render() == name * 2


def test_string_templates_at_one_address(url: str) -> None:
    """Each is gone before the next one is made."""
    for number in [*range(20)] * 2:
        source = f'<%page cached="True"/>{number}'
        template = Template(
            source, cache_impl="cacheplug", cache_args={"url": url}
        )
        assert template.render() == str(number)


def test_when_it_was_compiled_does_not_matter(url: str) -> None:
    tick = Ticks()
    for starttime in (0.0, 2e9, 4e9):
        template = page(DEF.format(""), url)
        template.cache.starttime = starttime
        assert template.render(tick=tick) == "1"


REST = '<%def name="rest()"></%def>'


def test_two_themes_that_differ_in_a_part(url: str, tmp_path: Path) -> None:
    """One source for the page in both; each includes its own."""
    source = {
        "/page": CACHED + '<%include file="part"/>',
        "/heir": '<%inherit file="part"/><%def name="f()" cached="True">'
        "${parent.g()}</%def>${f()}",
        "/user": CACHED + '<%namespace name="n" file="part"/>${n.g()}',
    }
    part = '<%def name="g()">{0}</%def><%block name="b" cached="True">{0}'
    part += "</%block>${{self.rest()}}"
    themes = []
    for name in ("red", "blue"):
        pages = {**source, "/part": part.format(name) + REST}
        themes.append((name, Files(tmp_path / name, pages).lookup(url)))
    for name, theme in themes * 2:
        other = "blue" if name == "red" else "red"
        for uri in source:
            shown = render(theme, uri)
            assert name in shown
            assert other not in shown


def test_a_theme_falls_back_to_the_pages_of_another(
    url: str, tmp_path: Path
) -> None:
    common = {"/page": CACHED + '<%include file="/part"/>', "/part": "common"}
    Files(tmp_path / "common", common)
    Files(tmp_path / "red", {"/part": "red"})

    def theme(*folders: str) -> TemplateLookup:
        return TemplateLookup(
            [str(tmp_path / folder) for folder in folders],
            cache_impl="cacheplug",
            cache_args={"url": url},
        )

    plain, red = theme("common"), theme("red", "common")
    for _ in range(2):
        assert render(plain, "/page") == "common"
        assert render(red, "/page") == "red"


# -- 7: names and arguments --------------------------------------------------


def test_nested_defs_of_one_name_and_of_a_key(url: str) -> None:
    """A nested def's default key is its name: here also another's key."""
    template = page(
        """\
<%def name="a()"><%def name="i()" cached="True">a</%def>${i()}</%def>\
<%def name="b()"><%def name="i()" cached="True">b</%def>${i()}</%def>\
<%def name="c()" cached="True" cache_key="i">c</%def>\
<%def name="d()" cached="True" cache_key="render_i">d</%def>\
<%def name="i()" cached="True">e</%def>\
${a()}${b()}${c()}${d()}${self.i()}""",
        url,
    )
    assert [template.render() for _ in range(2)] == ["abcde"] * 2


def test_what_is_passed_to_render_is_no_argument(url: str) -> None:
    tick = Ticks()
    for source in (
        CACHED + "${tick()}",
        '<%block name="b" cached="True">${tick()}</%block>',
        '<%block cached="True">${tick()}</%block>',
        '<%page args="x" cached="True"/>${tick()}',
    ):
        template = page(source, url, f"/{tick.count}")
        shown = {
            template.render(tick=tick, x=1, user=user) for user in range(3)
        }
        assert len(shown) == 1


def test_arguments(url: str) -> None:
    template = page(
        '<%def name="f(x, *rest, y=0, **more)" cached="True">'
        "${repr([x, rest, y, more])}</%def>"
        "${f(*given, **named)}",
        url,
    )
    calls: list[tuple[list[object], dict[str, object]]] = [
        (["alice"], {}),
        (["bob"], {}),
        ([1], {}),
        (["1"], {}),
        ([True], {}),
        ([Markup("1")], {}),
        ([1, 2], {}),
        ([(1, 2)], {}),
        ([1], {"y": 2}),
        ([1], {"z": 2}),
    ]
    for given, named in calls * 2:
        shown = template.render(given=given, named=named)
        x, *rest = given
        y = named.get("y", 0)
        more = {k: v for k, v in named.items() if k != "y"}
        assert shown == repr([x, tuple(rest), y, more])


# -- 8: nothing waits for itself ---------------------------------------------


def test_an_inheriting_and_an_inherited_page(url: str) -> None:
    lookup = site(
        {
            "/base": CACHED + "[${self.body()}|${next.body()}]",
            "/middle": CACHED + '<%inherit file="/base"/>(${next.body()})',
            "/page": CACHED + '<%inherit file="/middle"/>page',
        },
        url,
    )
    for _ in range(2):
        shown = within(8, partial(render, lookup, "/page"))
        assert shown == "[page|(page)]"


def test_a_page_that_includes_itself(url: str) -> None:
    source = '<%page args="n=3" cached="True" cache_key="k"/>${n}\\\n'
    source += '% if n:\n<%include file="/page" args="n=n - 1"/>\\\n% endif\n'
    lookup = site({"/page": source}, url)
    shown = within(8, partial(render, lookup, "/page"))
    assert shown == "3210"


def test_a_fragment_that_includes_what_includes_it(url: str) -> None:
    part = '<%page args="n" cached="True"/>{0}${{n}}\\\n% if n:\n'
    part += '<%include file="/{1}" args="n=n - 1"/>\\\n% endif\n'
    lookup = site(
        {"/a": part.format("a", "b"), "/b": part.format("b", "a")}, url
    )
    calls = [partial(render, lookup, uri, n=4) for uri in ("/a", "/b")]
    for _ in range(2):
        shown = in_threads(calls * 3, 15)
        assert shown == ["a4b3a2b1a0", "b4a3b2a1b0"] * 3


def test_two_that_include_each_other_do_not_wait_for_long(url: str) -> None:
    both = threading.Barrier(2)

    def arrive(template: str, top: str) -> str:
        if template == top:
            both.wait(8)
        return template

    part = CACHED + '${arrive("{0}", top)}\\\n% if top == "{0}":\n'
    part += '<%include file="/{1}"/>\\\n% endif\n'
    pages = {
        f"/{a}": part.replace("{0}", a).replace("{1}", b)
        for a, b in ("xy", "yx")
    }
    lookup = site(pages, url, wait="30s")
    calls = [
        partial(render, lookup, f"/{top}", arrive=arrive, top=top)
        for top in "xy"
    ]
    assert [text[:2] for text in in_threads(calls, 4)] == ["xy", "yx"]


# -- 10: the creator's thread ------------------------------------------------


def test_a_creator_runs_in_its_callers_thread_and_render(
    url: str, clock: ManualClock
) -> None:
    """On a cold start, after expiry, and after it has waited for another."""
    from mako_cacheplug import CacheRegion

    region = CacheRegion(url, clock=clock, timeout=5, grace=60)
    source = '<%def name="f()" cached="True" cache_region="r">${make()}'
    source += "</%def>${f()}${done()}"
    template = page(source, url, regions={"r": region})

    def show() -> str:
        me = threading.get_ident()
        ended: list[bool] = []

        def make() -> str:
            assert threading.get_ident() == me
            assert not ended
            return "made"

        shown: str = template.render(make=make, done=lambda: "")
        ended.append(True)
        return shown

    before = threading.active_count()
    for _ in range(3):
        assert in_threads([show] * 6) == ["made"] * 6
        assert threading.active_count() == before
        clock.advance(10)


def test_nothing_of_a_creation_is_written_into_another_render(
    url: str,
) -> None:
    """Also where one waits for the other's creation."""
    source = '[${who}<%def name="f()" cached="True">${slow()}</%def>${f()}]'
    template = page(source, url)

    def slow() -> str:
        threading.Event().wait(0.02)
        return "made"

    calls = [partial(template.render, who=who, slow=slow) for who in "abcdef"]
    assert in_threads(calls) == [f"[{who}made]" for who in "abcdef"]


# -- 11: one pool for all ----------------------------------------------------


def connections(server: MemcachedServer) -> int:
    """Return how many connections *server* has had since its start."""
    with socket.create_connection((server.host, server.port), 5) as probe:
        probe.sendall(b"stats\r\n")
        text = b""
        while not text.endswith(b"END\r\n"):
            text += probe.recv(65536)
    lines = dict(
        line.split()[1:3]
        for line in text.decode().splitlines()
        if line.startswith("STAT")
    )
    return int(lines["total_connections"])


def test_a_thousand_templates_share_one_connection(
    server: MemcachedServer,
) -> None:
    server.restart()
    before = connections(server)
    regions = {"r": {"timeout": 60}}
    tick = Ticks()
    for number in range(1000):
        template = page(
            '<%page cached="True" cache_region="r"/>${tick()}',
            server.url,
            f"/{number}",
            regions=regions,
        )
        template.render(tick=tick)
    assert tick.count == 1000
    # The probe's own is one of them.
    assert connections(server) - before <= 1 + 2


def test_a_thousand_templates_have_one_region(url: str) -> None:
    found = set()
    for number in range(100):
        template = page(CACHED + "x", url, f"/{number}")
        template.render()
        found.update(template.cache.impl._places.used_regions())
    assert len(found) == 1


# -- 12: context, self and namespaces ----------------------------------------

LIB = '<%def name="f(x)" cached="True">${tick()}${x}${context.get("y")}</%def>'


def test_a_def_is_one_entry_from_wherever_it_is_called(url: str) -> None:
    lookup = site(
        {
            "/lib": LIB + "${f(1)}",
            "/n": '<%namespace name="n" file="/lib"/>${n.f(1)}',
            "/tag": '<%namespace name="n" file="/lib"/><%n:f x="${1}"/>',
            "/imported": '<%namespace file="/lib" import="f"/>${f(1)}',
            "/included": '<%include file="/lib"/>',
            "/got": "${local.get_namespace('/lib').f(1)}",
            "/base": '<%namespace name="n" file="/lib" inheritable="True"/>'
            "${next.body()}",
            "/heir": '<%inherit file="/base"/>${self.n.f(1)}',
        },
        url,
    )
    tick = Ticks()
    uris = ("/lib", "/n", "/tag", "/imported", "/included", "/got", "/heir")
    for uri in uris:
        assert render(lookup, uri, tick=tick, y=2) == "112"
    shown = lookup.get_template("/lib").get_def("f").render(x=1, tick=tick)
    assert shown == "112"


def test_a_def_that_is_called_with_content_shows_that_content(
    url: str,
) -> None:
    lookup = site(
        {
            "/lib": '<%def name="f()" cached="True">[${caller.body()}]</%def>'
            '<%def name="g()"><%self:f>${caller.body()}</%self:f></%def>',
            "/page": '<%namespace name="n" file="/lib"/>'
            "<%n:f>${x}</%n:f><%n:g>${x}</%n:g>",
        },
        url,
    )
    for x in "aba":
        assert render(lookup, "/page", x=x) == f"[{x}][{x}]"


def test_two_includes_in_one_render_are_each_themselves(url: str) -> None:
    """One render, one caller stack; ``self`` is another in each."""
    lookup = site(
        {
            "/page": '<%include file="/a"/><%include file="/b"/>'
            '<%include file="/c"/>',
            "/a": '<%inherit file="/base"/>a',
            "/b": '<%inherit file="/base"/>b',
            "/c": '<%inherit file="/a"/>c',
            "/base": CACHED + "[${next.body()}]",
        },
        url,
    )
    for _ in range(2):
        assert render(lookup, "/page") == "[a][b][a]"
    for uri, shown in (("/b", "[b]"), ("/a", "[a]")):
        assert render(lookup, uri) == shown
