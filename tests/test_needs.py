"""The templates that a template names."""

from __future__ import annotations

import ast

import pytest
from mako.template import Template

from mako_cacheplug.template.needs import read_needs


def needs(source: str) -> set[str]:
    template = Template(source, uri="/t.mako", cache_impl="cacheplug")
    return set(read_needs(template.code, source).named)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nothing", set()),
        ('<%include file="a.mako"/>', {"a.mako"}),
        ('<%include file="/a.mako" args="x=1"/>', {"/a.mako"}),
        ("<%include file=\"${'a.mako'}\"/>", {"a.mako"}),
        ('<%include file="${a}"/>', set()),
        ('<%include file="a-${b}.mako"/>', set()),
        ('<%inherit file="b.mako"/>', {"b.mako"}),
        ('<%inherit file="${b}"/>', set()),
        ('<%namespace name="n" file="n.mako"/>', {"n.mako"}),
        ('<%namespace file="n.mako" import="*"/>', {"n.mako"}),
        ('<%namespace name="n" module="json"/>', set()),
        ('<% x = local.get_template("g.mako") %>', {"g.mako"}),
        ("${self.get_namespace('g.mako').f()}", {"g.mako"}),
        ('${local.include_file("g.mako", x=1)}', {"g.mako"}),
        ("${local.get_template(name)}", set()),
        ('${local.get_template ("g.mako")}', {"g.mako"}),
        ('<% x = (local.get_template\n ("g.mako")) %>', {"g.mako"}),
        ('<% x = local.get_template(\n    "g.mako") %>', {"g.mako"}),
        (
            '<% x = [\nlocal.get_template("1"),\n'
            'local.get_template(\n"2")] %>',
            {"1", "2"},
        ),
        (
            "<%\nx = runtime.Namespace(\n'x', context,\ntemplateuri='n')\n%>",
            {"n"},
        ),
        (
            "\n% if local.get_template('g.mako'):\n"
            "<%include file='a.mako'/>\n% endif\n",
            {"g.mako", "a.mako"},
        ),
        (
            "<%inherit file=\"b.mako\"/>say get_template('x')"
            "${'templateuri=' + x}",
            {"b.mako"},
        ),
        ('<%page cache_depends="a.mako  b.mako"/>', {"a.mako", "b.mako"}),
        ("<%page cache_depends='a.mako'/>", {"a.mako"}),
        (
            '<%def name="f()" cached="True" cache_depends="a.mako">x</%def>',
            {"a.mako"},
        ),
        ('<%page cache_depends="${names}"/>', set()),
        (
            '<%def name="f()"><%def name="g()"><%include file="a.mako"/>'
            '</%def><%block><%include file="b.mako"/></%block></%def>',
            {"a.mako", "b.mako"},
        ),
        (
            '<%inherit file="1"/><%namespace name="n" file="2"/>'
            '<%include file="3"/>',
            {"1", "2", "3"},
        ),
    ],
)
def test_names_what_is_a_literal(source: str, expected: set[str]) -> None:
    assert needs(source) == expected


def test_text_about_includes_names_nothing() -> None:
    assert needs("_include_file(context, 'a.mako') templateuri='b'") == set()


@pytest.mark.parametrize(
    ("source", "is_open"),
    [
        ('<%inherit file="b.mako"/>', False),
        ("<%inherit file=\"${context['b']}\"/>", True),
        ('<%namespace name="n" file="n.mako"/>', False),
        ('<%namespace name="n" file="${context[\'n\']}"/>', True),
        ('<%namespace file="${context[\'n\']}" import="*"/>', True),
        ('<%namespace name="n" module="json"/>', False),
        ('<%namespace name="n"><%def name="f()">x</%def></%namespace>', False),
        ('<%include file="${a}"/>', False),
        ("${local.get_template(name)}", False),
    ],
)
def test_is_open_where_an_expression_says_what_is_inherited_or_taken(
    source: str, is_open: bool
) -> None:
    template = Template(source, uri="/t.mako", cache_impl="cacheplug")
    assert read_needs(template.code, source).is_open is is_open


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<%include file="a"/><%namespace name="n" file="n"/>', ()),
        ('<%inherit file="b"/>${local.include_file("a")}', ()),
        ('${self.include_file("a")}', ("a",)),
        ('<% x = next.get_template("a") %>', ("a",)),
        ('${self.get_namespace("a").f()}', ("a",)),
        ("${context['self'].get_namespace('a').f()}", ("a",)),
    ],
)
def test_those_that_can_be_relative_to_an_heir(
    source: str, expected: tuple[str, ...]
) -> None:
    template = Template(source, uri="/t.mako", cache_impl="cacheplug")
    assert read_needs(template.code, source).of_others == expected


def test_a_page_with_a_base_and_parts_is_not_parsed_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That would take as long as to make it."""
    source = (
        '<%inherit file="b"/><%namespace name="n" file="n" import="f"/>'
        '<%def name="d(a)" cached="True">${a}<%include file="p"/></%def>'
        "text (of some kind), ${d(1)} ${n.g()}"
    )
    code = Template(source, uri="/t.mako", cache_impl="cacheplug").code
    parsed: list[str] = []
    parse = ast.parse

    def noted(text: str) -> ast.Module:
        parsed.append(text)
        return parse(text)

    with monkeypatch.context() as patched:
        patched.setattr(ast, "parse", noted)
        assert set(read_needs(code, source).named) == {"b", "n", "p"}
    assert parsed
    assert not any("\n" in text for text in parsed)
