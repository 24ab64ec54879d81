"""Which fragments of a base template are its heirs'."""

from __future__ import annotations

import pytest
from mako.template import Template

from mako_cacheplug.template.scan import scan

PLAIN = "<%def name='p()'>x</%def>"


def is_heirs(source: str, name: str) -> bool:
    template = Template(source, uri="/t.mako", cache_impl="cacheplug")
    return scan(template.code).is_heirs(name)


OWN = {
    "text": "text",
    "its arguments": "${x}",
    "the context": "${user.name}",
    "an own def": "${p()}",
    "an own def with arguments": "${q(1)}",
    "a def that is nested": '<%def name="n()">${x}</%def>${n()}',
    "an include": '<%include file="i.mako"/>',
    "a dynamic include": '<%include file="${x}"/>',
    "a namespace": "${lib.f()}",
    "a namespace's tag": "<%lib:f>x</%lib:f>",
    "capture": "${capture(p)}",
    "an anonymous block": "<%block>${x}</%block>",
    "a cached block": '<%block cached="True">${x}</%block>',
    "a loop": "\n% for i in x:\n${loop.index}${i}\n% endfor\n",
    "a variable": "<% y = x %>${y}",
    "writing": "<% context.write('x') %>",
    "another filter": "${x | h,trim}",
}

HEIRS = {
    "self": "${self.title()}",
    "next": "${next.body()}",
    "parent": "${parent.title()}",
    "local": "${local.p()}",
    "self in an own def": "${r()}",
    "self in an own def of an own def": "${s()}",
    "self in a nested def": '<%def name="n()">${self.x}</%def>${n()}',
    "self in a block": "<%block>${self.x}</%block>",
    "self in a cached block": '<%block cached="True">${self.x}</%block>',
    "self from the context": "${context['self'].x}",
    "self got from the context": "${context.get('self').x}",
    "local from the context": "${context.get('local').x}",
    "what the context is asked for": "${context.get(x)}",
    "an item of the context": "${context[x]}",
    "the context, handed on": "${helper(context)}",
    "the context by another name": "<% c = context %>${c}",
    "an attribute of the context": "${context.kwargs}",
    "a namespace's own def": "${inline.f()}",
    "a decorated def": "${d()}",
    "a module's function": "${module.f()}",
    "a module's function in a nested def": '<%def name="n()">${module.f()}'
    "</%def>${n()}",
    "a module's function in an own def": "${m()}",
    "a module's function, imported": "${imported()}",
    "self in content": "<%lib:f>${self.x}</%lib:f>",
    "self in a filter": "${x | self.attr.f}",
    "self as an argument": '<%include file="i.mako" args="x=self"/>',
}

AROUND = """
<%!
def deco(fn):
    return fn
%>
<%namespace name="lib" file="lib.mako"/>
<%def name="p()">p</%def>
<%def name="q(a)">${a}</%def>
<%def name="r()">${self.x}</%def>
<%def name="s()">${r()}</%def>
<%def name="d()" decorator="deco">d</%def>
"""


@pytest.mark.parametrize("tag", ["def", "block"])
@pytest.mark.parametrize("what", OWN)
def test_what_is_its_own(what: str, tag: str) -> None:
    assert not is_heirs(fragment(tag, OWN[what]), "render_f")


@pytest.mark.parametrize("tag", ["def", "block"])
@pytest.mark.parametrize("what", HEIRS)
def test_what_is_its_heirs(what: str, tag: str) -> None:
    assert is_heirs(fragment(tag, HEIRS[what]), "render_f")


INLINE = """
<%namespace name="inline"><%def name="f()">${self.x}</%def></%namespace>
"""


MODULE = '<%namespace name="module" module="m"/>'
IMPORTED = '<%namespace module="m" import="imported"/>'
USES_MODULE = '<%def name="m()">${module.f()}</%def>'


def fragment(tag: str, body: str) -> str:
    around = AROUND + MODULE + USES_MODULE
    around += INLINE if "inline" in body else ""
    around += IMPORTED if "imported" in body else ""
    if tag == "block":
        # What stands in a loop stands alone in a line.
        body = body.replace("<%def", "\n<%def")
        return f'{around}<%block name="f" cached="True">{body}</%block>'
    return f'{around}<%def name="f(x)" cached="True">{body}</%def>'


def test_a_page_with_a_named_block_is_its_heirs() -> None:
    page = '<%page cached="True"/><%block name="b">x</%block>'
    assert is_heirs(page, "render_body")
    assert not is_heirs(page, "render_b")
    assert not is_heirs('<%page cached="True"/>x' + PLAIN, "render_body")


def test_a_nested_fragment_is_asked_by_its_whole_name() -> None:
    source = (
        '<%def name="o()"><%def name="i()" cached="True">${self.x}</%def>'
        '<%def name="j()" cached="True">x</%def>${i()}${j()}</%def>'
    )
    assert is_heirs(source, "render_o.i")
    assert is_heirs(source, "render_o")
    assert not is_heirs(source, "render_o.j")


def test_self_of_the_function_around_counts() -> None:
    source = (
        '<%def name="o()">${self.y}<%def name="i()" cached="True">${self.x}'
        "</%def>${i()}</%def>"
    )
    assert is_heirs(source, "render_o.i")


def test_what_is_not_known_is_its_heirs() -> None:
    assert is_heirs("x", "render_nothing")
