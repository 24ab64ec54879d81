"""What a generated module tells without being parsed."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug.template.outline import _known
from mako_cacheplug.template.outline import _KNOWN_LINES
from mako_cacheplug.template.outline import Outline
from mako_cacheplug.template.outline import outline


def of(source: str) -> Outline:
    template = Template(source, uri="/t.mako", cache_impl="cacheplug")
    return outline(template.code)


PLAIN = {
    "text": "text",
    "text of all signs": "it's <a@b.c>\n@media { }\n${'@'}",
    "what is given": "${x} ${y.z}",
    "a def": '<%def name="f(a, b=1)">${a}</%def>${f(1)}',
    "a cached def": '<%def name="f(a)" cached="True">${a}</%def>${f(1)}',
    "a buffered one": '<%def name="f(a)" cached="True" buffered="True" '
    'cache_timeout="60" cache_key="${a}">${a}</%def>${f(1)}',
    "a nested def": '<%def name="f()"><%def name="g()" cached="True">x</%def>'
    "${g()}</%def>${f()}",
    "a cached page": '<%page cached="True" args="x=1"/>${x}',
    "an include": '<%include file="i.mako" args="x=1"/>',
    "what it inherits": '<%inherit file="b.mako"/>',
    "another file": '<%namespace name="n" file="n.mako"/>${n.f()}',
    "what is imported from it": '<%namespace file="n.mako" import="f"/>${f()}',
    "a def that is called with content": "<%def name='f()'>${caller.body()}"
    "</%def><%self:f>x</%self:f>",
    "assignments and loops": "<% y = x %>\n% for i in y:\n${loop.index}\n"
    "% endfor\n",
    "another word": "${my_context} ${context_of(x)}",
}

NOT_PLAIN = {
    "the context": "${context}",
    "what it is asked for": "${context['x']} ${context.get(x)}",
    "the context, handed on": "${f(context)}",
    "a copy of it": "${f(context._clean_inheritance_tokens())}",
    "its namespaces": "${context.namespaces}",
    "to a function called as Mako's": "${render_x(context)}",
    "to another's def": "${n.render_f(context)}<%def name='f()'>x</%def>",
    "between others": "${f(1, context, 2)}",
    "in a key": '<%def name="f()" cached="True" '
    'cache_key="${k(1, context, 2)}">x</%def>',
    "a decorator": '<%! d = lambda f: f %><%def name="f()" decorator="d">x'
    "</%def>",
    "an author's decorator": "<%\n    @d\n    def f():\n        pass\n%>",
    "a namespace of Python's": '<%namespace name="n" module="json"/>${n.x()}',
    "a namespace of its own": '<%namespace name="n"><%def name="f()">x</%def>'
    "</%namespace>${n.f()}",
    "an author's own function": "<%!\ndef render_x(context):\n"
    "    return context.get('x')\n%>${render_x(context)}",
}


@pytest.mark.parametrize("what", PLAIN)
def test_plain(what: str) -> None:
    assert of(PLAIN[what]).is_plain


@pytest.mark.parametrize("what", NOT_PLAIN)
def test_not_plain(what: str) -> None:
    assert not of(NOT_PLAIN[what]).is_plain


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("text", False),
        ('<%def name="f()" cached="True">x</%def>${f()}', False),
        ('<%def name="f()">${caller.body()}</%def>', True),
        ('<%def name="f()">x</%def><%self:f>y</%self:f>', True),
        ("${context.get('caller')}", True),
        ("${callers} ${my_caller}", False),
    ],
)
def test_tells_whether_content_is_spoken_of(
    source: str, expected: bool
) -> None:
    for _ in range(2):  # read, and known
        assert of(source).names_caller is expected


def test_lines_that_are_kept_in_mind_are_bounded() -> None:
    for number in range(_KNOWN_LINES + 10):
        outline(f"x = {number}")
    outline("x" * 1000)
    assert len(_known) <= _KNOWN_LINES
    assert max(map(len, _known)) <= 200
    assert of(NOT_PLAIN["the context"]).is_plain is False


def test_tells_which_fragments_are_asked_for_by_name() -> None:
    tags = {
        "a": "cached='True' cache_timeout='60'",
        "b": "cached='True' buffered='True'",
        "c": "cached='True' cache_key='c'",
        "d": "cached='True' cache_key='${x}'",
        "e": "",
    }
    source = "".join(
        f"<%def name='{name}()' {tag}>x</%def>" for name, tag in tags.items()
    )
    assert of(source).asked_by_name == {"render_a", "render_b"}


def test_a_key_that_is_another_defs_name_is_not_that_ones() -> None:
    template = Template(
        "<%def name='a()' cached='True' cache_key='render_b'>a</%def>"
        "<%def name='b()' cached='True' cache_key='${k}'>${k}</%def>${b()}",
        cache_impl="cacheplug",
    )
    assert of(template.source).asked_by_name == frozenset()
    for key in ("render_b", "render_b", "x", "render_b"):
        assert template.render(k=key) == key


def test_a_module_that_cannot_be_had_tells_nothing() -> None:
    assert outline("") == Outline(False, frozenset())


def test_a_plain_template_is_not_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At its first render: that would take as long as to make it."""
    lookup = TemplateLookup(cache_impl="cacheplug")
    lookup.put_string(
        "/t", "<%def name='f(a)' cached='True'>[${a}]</%def>${f(1)}${f(2)}"
    )
    template = lookup.get_template("/t")
    parsed = []
    parse = ast.parse

    def counted(*args: Any, **kw: Any) -> ast.AST:
        parsed.append(args)
        return parse(*args, **kw)

    with monkeypatch.context() as patched:
        patched.setattr(ast, "parse", counted)
        assert template.render() == "[1][2]"
    assert parsed == []
