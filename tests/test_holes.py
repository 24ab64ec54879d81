"""Holes in what is cached, filled at each request."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from cached_sites import Ticks
from dogpile.cache import make_region
from mako.lookup import TemplateLookup
from mako.template import Template
from markupsafe import Markup

from mako_cacheplug import CacheRegion
from mako_cacheplug import hole
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.codec import JSONText
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import CacheEvent
from mako_cacheplug.events import EventKind
from mako_cacheplug.template import holes

USE = "<%! from mako_cacheplug import hole %>"
CACHED = '<%page cached="True"/>'
OF_DOGPILE = 'cache_impl="dogpile.cache" cache_region="theirs"'
WHO = '<%def name="who(*a, **k)">Hi ${user}${a or ""}${k or ""}</%def>'


class Site:
    def __init__(self, url: str, sources: dict[str, str], **given: Any):
        self.url = url
        self.tick = Ticks()
        self.lookup = TemplateLookup(
            cache_impl="cacheplug", cache_args={"url": url}, **given
        )
        for uri, source in sources.items():
            self.lookup.put_string(uri, USE + source)

    def show(self, user: str, uri: str = "/page", **given: Any) -> str:
        template = self.lookup.get_template(uri)
        text: str = template.render(user=user, tick=self.tick, **given)
        return text


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory://?max_entries=6000"
    return f"file://{tmp_path}/store"


@pytest.fixture(autouse=True)
def _say_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "_said", set())


SHOWN = {
    "of self": (WHO + CACHED + "${tick()}[${hole(self.who)}]", "1[Hi {}]"),
    "by name": (WHO + CACHED + "${tick()}[${hole(who)}]", "1[Hi {}]"),
    "of local": (WHO + CACHED + "${tick()}[${hole(local.who)}]", "1[Hi {}]"),
    "with arguments": (
        WHO + CACHED + "${tick()}[${hole(who, 1, 'a', k=[None, {'x': 1.5}])}]",
        "1[Hi {}(1, 'a'){{'k': [None, {{'x': 1.5}}]}}]",
    ),
    "several": (
        WHO + CACHED + "${hole(who)}|${tick()}|${hole(who, 2)}${hole(who)}",
        "Hi {}|1|Hi {}(2,)Hi {}",
    ),
    "in a loop": (
        WHO + CACHED + "\n% for i in range(3):\n${hole(who, i)}\\\n% endfor\n"
        "${tick()}",
        "\nHi {}(0,)Hi {}(1,)Hi {}(2,)1",
    ),
    "in a def": (
        WHO + '<%def name="f()" cached="True">${tick()}${hole(who)}</%def>'
        "<${f()}>",
        "<1Hi {}>",
    ),
    "in a block": (
        WHO + '<%block cached="True">${tick()}${hole(self.who)}</%block>',
        "1Hi {}",
    ),
    "in a named block": (
        WHO + '<%block name="b" cached="True">${tick()}${hole(self.who)}'
        "</%block>",
        "1Hi {}",
    ),
    "in a nested def": (
        WHO + '<%def name="o()"><%def name="i()" cached="True">${tick()}'
        "${hole(who)}</%def>${i()}</%def>${o()}",
        "1Hi {}",
    ),
    "in a plain def of a cached page": (
        WHO + CACHED + '<%def name="f()">${hole(who)}</%def>${tick()}${f()}',
        "1Hi {}",
    ),
    "a buffered def": (
        '<%def name="w()" buffered="True">Hi ${user}</%def>'
        + CACHED
        + "${tick()}${hole(w)}",
        "1Hi {}",
    ),
    "a filtered def": (
        '<%def name="w()" filter="h"><${user}></%def>'
        + CACHED
        + "${tick()}${hole(w)}",
        "1&lt;{}&gt;",
    ),
    "in a buffered def": (
        WHO + '<%def name="f()" cached="True" buffered="True">${tick()}'
        "${hole(who)}</%def>${f() | h}",
        "1Hi {}",
    ),
    "a cached def": (
        '<%def name="w()" cached="True" cache_vary="${user}">Hi ${user}</%def>'
        + CACHED
        + "${tick()}${hole(w)}",
        "1Hi {}",
    ),
    "in a cached def of a cached page": (
        WHO
        + '<%def name="f()" cached="True">${tick()}${hole(who)}</%def>'
        + CACHED
        + "${tick()}<${f()}>",
        "1<2Hi {}>",
    ),
}


@pytest.mark.parametrize("what", SHOWN)
def test_is_filled_at_each_request_and_the_rest_is_kept(
    what: str, url: str
) -> None:
    source, expected = SHOWN[what]
    site = Site(url, {"/page": source})
    for user in ("ann", "bob", "ann"):
        assert site.show(user) == expected.replace("{}", user).replace(
            "{{", "{"
        ).replace("}}", "}")
    again = Site(url, {"/page": source})
    again.tick.count = 90
    assert again.show("eve").count("eve") == expected.count("{}")
    assert again.tick.count == 90


SITES = {
    "a base's hole of a child's def": (
        {
            "/base": CACHED + "${tick()}<${hole(self.who)}>${next.body()}",
            "/page": '<%inherit file="/base"/>' + WHO + "page",
        },
        "1<Hi {}>page",
    ),
    "a base's own def": (
        {
            "/base": WHO + CACHED + "${tick()}<${hole(who)}>${next.body()}",
            "/page": '<%inherit file="/base"/>page',
        },
        "1<Hi {}>page",
    ),
    "a base's def that the child overrides": (
        {
            "/base": WHO + CACHED + "${tick()}<${hole(self.who)}>",
            "/page": '<%inherit file="/base"/><%def name="who()">Bye ${user}'
            "</%def>",
        },
        "1<Bye {}>",
    ),
    "a base's local def that the child overrides": (
        {
            "/base": WHO + CACHED + "${tick()}<${hole(local.who)}>",
            "/page": '<%inherit file="/base"/><%def name="who()">Bye ${user}'
            "</%def>",
        },
        "1<Hi {}>",
    ),
    "the whole body": (
        {
            "/base": CACHED + "${tick()}<${hole(next.body)}>",
            "/page": '<%inherit file="/base"/>for ${user}',
        },
        "1<for {}>",
    ),
    "the body in the middle of a chain": (
        {
            "/base": CACHED + "${tick()}<${hole(next.body)}>",
            "/mid": '<%inherit file="/base"/>[${next.body()}]',
            "/page": '<%inherit file="/mid"/>for ${user}',
        },
        "1<[for {}]>",
    ),
    "in a child's body": (
        {
            "/base": CACHED + "${tick()}<${next.body()}>",
            "/page": '<%inherit file="/base"/>' + WHO + "${hole(who)}",
        },
        "1<Hi {}>",
    ),
    "in a block of the base that a child's cached block shows": (
        {
            "/base": '<%block name="b" cached="True">${tick()}'
            "${hole(self.who)}</%block>",
            "/page": '<%inherit file="/base"/>'
            + WHO
            + '<%block name="b" cached="True">${tick()}(${parent.b()})'
            "</%block>",
        },
        "1(2Hi {})",
    ),
    "in an included page": (
        {
            "/part": WHO + "(${hole(who)})",
            "/page": CACHED + '${tick()}<%include file="/part"/>',
        },
        "1(Hi {})",
    ),
    "in an included page by a relative uri": (
        {
            "/a/part": WHO + "(${hole(self.who)})",
            "/a/page": CACHED + '${tick()}<%include file="part"/>',
            "/page": '<%include file="a/page"/>',
        },
        "1(Hi {})",
    ),
    "in an included page that inherits": (
        {
            "/frame": WHO + "(${hole(self.who)}${next.body()})",
            "/part": '<%inherit file="/frame"/>part',
            "/page": CACHED + '${tick()}<%include file="/part"/>',
        },
        "1(Hi {}part)",
    ),
    "in an included cached page": (
        {
            "/part": WHO + CACHED + "${tick()}(${hole(who)})",
            "/page": CACHED + '${tick()}<%include file="/part"/>',
        },
        "12(Hi {})",
    ),
    "of a namespace": (
        {
            "/lib": WHO,
            "/page": CACHED + '<%namespace name="lib" file="/lib"/>'
            "${tick()}${hole(lib.who)}",
        },
        "1Hi {}",
    ),
    "in a cached def of a namespace": (
        {
            "/lib": WHO
            + '<%def name="f()" cached="True">${tick()}${hole(who)}</%def>',
            "/page": CACHED + '<%namespace name="lib" file="/lib"/>'
            "${tick()}${lib.f()}",
        },
        "12Hi {}",
    ),
    "in an included page that is declared": (
        {
            "/part": WHO + "(${hole(who)})",
            "/page": '<%page cached="True" cache_depends="/part"/>'
            "${tick()}<%include file=\"${'/' + 'part'}\"/>",
        },
        "1(Hi {})",
    ),
}


@pytest.mark.parametrize("what", SITES)
def test_a_hole_among_templates(what: str, url: str) -> None:
    sources, expected = SITES[what]
    for site in (Site(url, sources), Site(url, sources)):
        for user in ("ann", "bob"):
            assert site.show(user) == expected.replace("{}", user)
    assert site.tick.count == 0


NOT_STORED = {
    "filtered": (
        WHO + '<%def name="f()" cached="True" filter="h"><${tick()}'
        "${hole(who)}></%def>${f()}",
        "&lt;{n}Hi &amp;{user}&gt;",
    ),
    "captured": (
        WHO + CACHED + "${tick()}${capture(hole, who) | h}",
        "{n}Hi &amp;{user}",
    ),
    "in a filtered def": (
        WHO + CACHED + '<%def name="f()" filter="h">${hole(who)}</%def>'
        "${tick()}${f()}",
        "{n}Hi &amp;{user}",
    ),
    "in a captured def": (
        WHO + CACHED + '<%def name="f()">${hole(who)}</%def>'
        "${tick()}${len(capture(f))}",
        "{n}7",
    ),
    "a nested def": (
        CACHED + '<%def name="o()"><%def name="i()">Hi ${user}</%def>'
        "${hole(i)}</%def>${tick()}${o()}",
        "{n}Hi &{user}",
    ),
    "a function": (CACHED + "${tick()}${hole(lambda: user)}", "{n}&{user}"),
    "an argument that is no plain value": (
        WHO + CACHED + "${tick()}${hole(who, tick) and ''}",
        None,
    ),
    "in a buffered cached def of a cached page": (
        WHO
        + '<%def name="f()" cached="True" buffered="True">${hole(who)}</%def>'
        + CACHED
        + "${tick()}${f() | h}",
        "{n}Hi &amp;{user}",
    ),
    "in a decorated def": (
        "<%!\ndef twice(fn):\n"
        "    def go(context, *a, **k):\n"
        "        return fn(*a, **k) * 2\n"
        "    return go\n%>"
        + WHO
        + '<%def name="f()" cached="True" decorator="twice">${hole(who)}'
        "</%def>${tick()}${f()}",
        "{n}Hi &{user}Hi &{user}",
    ),
}


@pytest.mark.parametrize("what", NOT_STORED)
def test_where_no_hole_can_be_nothing_is_stored_and_all_is_right(
    what: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, expected = NOT_STORED[what]
    site = Site(url, {"/page": source})
    with caplog.at_level(logging.WARNING, "mako_cacheplug"):
        shown = [site.show(f"&{user}") for user in ("ann", "bob")]
    if expected is not None:
        assert shown == [
            expected.replace("{n}", str(n))
            .replace("{user}", user)
            .replace("&amp;&", "&amp;")
            .replace("&&", "&")
            for n, user in ((1, "ann"), (2, "bob"))
        ]
    assert site.tick.count == 2
    assert len(caplog.records) == 1
    assert "hole in '/page'" in caplog.text


def test_a_hole_in_a_template_that_is_not_named_is_not_stored(
    url: str,
) -> None:
    site = Site(
        url,
        {
            "/part": WHO + "(${hole(who)})",
            "/page": CACHED + '${tick()}<%include file="${part}"/>',
        },
    )
    for number, user in enumerate(("ann", "bob"), start=1):
        assert site.show(user, part="/part") == f"{number}(Hi {user})"


def test_without_a_cache_it_is_a_call() -> None:
    template = Template(
        USE + WHO + "[${hole(who)}|${hole(self.who, 1)}|${hole(str)}]",
        cache_enabled=False,
        cache_impl="cacheplug",
    )
    assert template.render(user="ann") == "[Hi ann|Hi ann(1,)|]"


def test_default_filters_do_not_work_on_it(url: str) -> None:
    site = Site(
        url,
        {"/page": CACHED + '<%def name="b()"><b>${user}</b></%def>${hole(b)}'},
        default_filters=["h"],
    )
    for user in ("a", "<b>"):
        escaped = Markup.escape(user)
        assert site.show(user) == f"<b>{escaped}</b>"


def test_nothing_of_a_hole_is_stored() -> None:
    region = CacheRegion("memory://?max_entries=6001")
    lookup = TemplateLookup(
        cache_impl="cacheplug",
        cache_args={"regions": {"r": region}, "region": "r"},
    )
    lookup.put_string("/page", USE + WHO + CACHED + "[${hole(who)}]")
    lookup.get_template("/page").render(user="a secret")
    table = region.backend._table  # type: ignore[attr-defined]  # memory's
    kept = [str(held) for held in table.values()]
    assert any("who" in text for text in kept)
    assert "a secret" not in "".join(kept)


def test_tags_in_a_hole_do_not_rise(url: str) -> None:
    site = Site(
        url,
        {
            "/page": '<%def name="w()" cached="True" cache_tags="t">w${tick()}'
            "</%def>" + CACHED + "${tick()}-${hole(w)}"
        },
    )
    assert site.show("a") == "1-w2"
    site.lookup.get_template("/page").cache.impl.invalidate_tags("t")
    assert site.show("a") == "1-w3"


def test_an_error_in_a_hole_is_the_pages(url: str) -> None:
    site = Site(
        url, {"/page": CACHED + '<%def name="w()">${1 // n}</%def>${hole(w)}'}
    )
    assert site.show("a", n=1) == "1"
    with pytest.raises(ZeroDivisionError):
        site.show("a", n=0)
    assert site.show("a", n=1) == "1"


def test_a_page_without_holes_is_told_from_a_donut(url: str) -> None:
    text = json.dumps({"mako_cacheplug donut": False, "text": ["x"]})
    site = Site(url, {"/page": CACHED + "${text}"})
    assert [site.show("a", text=text) for _ in range(2)] == [text] * 2


SAID = {"text": ["a", "b"], "holes": [["", "", "who", [], {}]]}


@pytest.mark.parametrize(
    "planted",
    [
        {},
        {"text": "ab", "holes": []},
        {"text": ["a"], "holes": None},
        {**SAID, "text": ["a", "b", "c"]},
        {**SAID, "text": ["a", 2]},
        {**SAID, "holes": [["", "", "who", []]]},
        {**SAID, "holes": [["", "", "who", {}, []]]},
        {**SAID, "holes": [[None, "", "who", [], {}]]},
        {**SAID, "holes": [["", "", "nothing", [], {}]]},
        {**SAID, "holes": [["", "", "include_file", ["/other"], {}]]},
        {**SAID, "holes": [["", "/other", "body", [], {}]]},
        {**SAID, "holes": [["/other", "", "body", [], {}]]},
        {**SAID, "holes": [["/other", "/other", "body", [], {}]]},
        {**SAID, "holes": [["/page", "/page", "who", [], {}]]},
        # What cannot be called so.
        {**SAID, "holes": [["", "", "tell", [], {}]]},
        {**SAID, "holes": [["", "", "tell", [1, 2], {}]]},
        {**SAID, "holes": [["", "", "tell", [1], {"context": 2}]]},
        # What is no fragment at all.
        {"mako_cacheplug donut": ...},
        ["text"],
        5,
        None,
    ],
)
def test_what_is_planted_in_a_store_is_a_miss(planted: object) -> None:
    if isinstance(planted, dict):
        planted = {"mako_cacheplug donut": False, **planted}
        if planted["mako_cacheplug donut"] is ...:
            planted = {"a": "b"}
    check_planted(JSONText(json.dumps(planted)))


def test_planted_bytes_are_no_fragment() -> None:
    check_planted(b"bytes")


def test_a_planted_page_does_not_show_itself_for_ever() -> None:
    planted = {**SAID, "holes": [["", "", "body", [], {}]]}
    planted = {"mako_cacheplug donut": False, **planted}
    check_planted(JSONText(json.dumps(planted)), "a2Hi ab")


def check_planted(value: str | bytes, shown: str = "2Hi a") -> None:
    """Check that a page with *value* in a fragment's place shows its own.

    :param shown: what it shows at first.
    """
    region = CacheRegion("memory://?max_entries=6002")
    lookup = TemplateLookup(
        cache_impl="cacheplug",
        cache_args={"regions": {"r": region}, "region": "r"},
    )
    lookup.put_string("/other", "secret")
    tell = '<%def name="tell(one)">told</%def>'
    source = USE + WHO + tell + CACHED + "${tick()}${hole(who)}"
    lookup.put_string("/page", source)
    page = lookup.get_template("/page")
    tick = Ticks()
    assert page.render(tick=tick, user="a") == "1Hi a"
    events: list[CacheEvent] = []
    backend = region.backend
    assert isinstance(backend, MemoryBackend)
    (key,) = (k for k in backend._table if k.startswith("8:fragment"))
    entry = backend.get_entry(key)
    assert isinstance(entry, CacheEntry)
    backend.set_entry(key, entry._replace(value=value), None)
    region.add_hook(events.append)
    assert page.render(tick=tick, user="a") == shown
    assert EventKind.UNREADABLE in [event.kind for event in events]
    assert page.render(tick=tick, user="a") == "3Hi a"
    assert page.render(tick=tick, user="b") == "3Hi b"


def test_in_threads_each_is_shown_its_own(url: str) -> None:
    from mako_cacheplug.testing.running import in_threads

    site = Site(url, {"/page": WHO + CACHED + "${tick()}:${hole(who)}"})
    users = [f"user{number}" for number in range(12)]

    def show(user: str) -> str:
        return "".join({site.show(user) for _ in range(10)})

    shown = in_threads([lambda user=user: show(user) for user in users])  # type: ignore[misc]  # the default binds
    assert shown == [f"1:Hi {user}" for user in users]


def test_content_around_a_page_is_not_a_holes(url: str) -> None:
    site = Site(
        url,
        {
            "/page": '<%def name="w()">${"none" if not caller else "some"}'
            '</%def><%def name="f()" cached="True" cache_key="k">'
            "${hole(w)}</%def><%self:f>content</%self:f>"
        },
    )
    assert [site.show("a") for _ in range(2)] == ["none"] * 2


FOREIGN = ['cache_impl="beaker" cache_type="memory"', OF_DOGPILE]


@pytest.mark.parametrize("options", FOREIGN)
@pytest.mark.parametrize("body", ["${hole(who)}", "Hi ${user}${nocache()}"])
@pytest.mark.parametrize("around", ["", CACHED])
def test_another_plugin_stores_no_hole(
    options: str, body: str, around: str
) -> None:
    region = make_region().configure("dogpile.cache.memory")
    site = Site("memory://", {})
    site.lookup.template_args["cache_args"] = {
        "url": "memory://?max_entries=6002",
        "regions": {"theirs": region},
    }
    site.lookup.put_string(
        "/page",
        "<%! from mako_cacheplug import hole, nocache %>"
        + WHO
        + around
        + f'<%def name="f()" cached="True" {options}>'
        + "${tick()} "
        + body
        + "</%def>${f()}",
    )
    for number, user in enumerate(("ann", "bob"), start=1):
        assert site.show(user) == f"{number} Hi {user}"


@pytest.mark.parametrize("options", FOREIGN)
def test_another_plugin_stores_the_rest(options: str) -> None:
    region = make_region().configure("dogpile.cache.memory")
    site = Site("memory://", {})
    site.lookup.template_args["cache_args"] = {
        "url": "memory://?max_entries=6003",
        "regions": {"theirs": region},
    }
    site.lookup.put_string(
        "/page",
        USE
        + WHO
        + '<%def name="in_it()" cached="True" cache_tags="t">i${tick()}</%def>'
        f'<%def name="f()" cached="True" {options}>'
        "f${tick()}${in_it()}</%def>" + CACHED + "${f()} ${hole(who)}",
    )
    assert site.show("ann") == "f1i2 Hi ann"
    assert site.show("bob") == "f1i2 Hi bob"
    site.lookup.get_template("/page").cache.impl.invalidate_tags("t")
    assert site.show("bob") == "f1i2 Hi bob"


def test_a_hole_in_another_render_is_that_ones(url: str) -> None:
    """Its buffers are as many, and others."""
    site = Site(
        url,
        {
            "/mail": WHO
            + '<%def name="f()" buffered="True">${hole(who)}</%def>${f()}!',
            "/page": '<%page cached="True" cache_depends="/mail"/>'
            "${tick()}[${mail()}]",
        },
    )
    mail = site.lookup.get_template("/mail")
    for number, user in enumerate(("ann", "bob"), start=1):
        shown = site.show(user, mail=lambda: mail.render(user="carl"))
        assert shown == f"{number}[Hi carl!]"


def test_arguments_are_those_of_the_call(url: str) -> None:
    site = Site(
        url,
        {
            "/page": '<%def name="show(row)">${row}</%def>'
            + CACHED
            + "<% row = [] %>${tick()}\\\n% for i in range(3):\n"
            "<% row.append(i) %>${hole(show, row)}\\\n% endfor\n"
        },
    )
    for _ in range(2):
        assert site.show("ann") == "1[0][0, 1][0, 1, 2]"


PARTIALS = ["partial(self.who, 7)", "partial(who, 7)", "partial(who, k=7)"]


@pytest.mark.parametrize("function", [*PARTIALS, "partial(self.who, k=7)"])
def test_a_partial_of_ones_own_keeps_its_arguments(
    function: str, url: str
) -> None:
    source = (
        "<%! from functools import partial %>"
        + WHO
        + CACHED
        + "${tick()}${hole("
        + function
        + ")}"
    )
    given = "{'k': 7}" if "k=7" in function else "(7,)"
    site = Site(url, {"/page": source})
    for number, user in enumerate(("ann", "bob"), start=1):
        assert site.show(user) == f"{number}Hi {user}{given}"


def test_why_nothing_is_stored_is_said_once_for_a_string(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holes, "_REMEMBERED_SAID", 2)

    def show(body: str) -> None:
        with caplog.at_level(logging.WARNING, "mako_cacheplug"):
            Template(
                USE + CACHED + body + "${hole(lambda: 5)}",
                cache_impl="cacheplug",
            ).render()

    for body in "aaabcd":
        show(body)
    assert len(caplog.records) == len("abcd")
    assert len(holes._said) <= 2


def test_a_fragment_with_holes_is_no_value_to_get(url: str) -> None:
    """What is stored of it is nobody's but ours."""
    site = Site(
        url,
        {
            "/page": WHO
            + '<%def name="f()" cached="True" cache_key="k">${hole(who)}'
            '</%def><%def name="g()" cached="True" cache_key="l">g</%def>'
            "${f()}${g()}"
        },
    )
    assert site.show("ann") == "Hi anng"
    cache = site.lookup.get_template("/page").cache
    assert (cache.get("k"), cache.get("l")) == (None, "g")
    cache.set("k", {"mine": 1})
    assert cache.get("k") == {"mine": 1}


def test_an_argument_can_have_any_name(url: str) -> None:
    site = Site(
        url,
        {
            "/page": '<%def name="show(function)">${function}${user}</%def>'
            + CACHED
            + '${tick()}${hole(show, function="a")}'
        },
    )
    assert [site.show(user) for user in "xy"] == ["1ax", "1ay"]


def test_hole_is_exported_where_it_lives() -> None:
    assert hole is holes.hole


def test_an_error_in_a_holes_def_is_its_own(url: str) -> None:
    """Only what could not be called is taken for planted."""
    fails = '<%def name="fails()">${len(5)}</%def>'
    site = Site(url, {"/page": fails + CACHED + "${tick()}${hole(fails)}"})
    for _ in range(2):
        with pytest.raises(TypeError, match=r"len\(\)"):
            site.show("a")
    assert site.tick.count == 1  # What is around it stays.
