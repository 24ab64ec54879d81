"""The cached fragments, read from a generated module."""

from __future__ import annotations

import pytest
from mako.template import Template

from mako_cacheplug.template.scan import fragment_name
from mako_cacheplug.template.scan import scan

SOURCE = """\
<%page cached="True" cache_timeout="60" cache_tags="site" args="x=1"/>
<%def name="plain()"></%def>
<%def name="f(a)" cached="True" cache_timeout="5" cache_region="${r}"></%def>
<%def name="k()" cached="True" cache_key="const"></%def>
<%def name="d()" cached="True" cache_key="${lang}-x"></%def>
<%block name="b" cached="True" cache_vary="${lang}"></%block>
<%block cached="True"></%block>
<%def name="o()">
<%def name="i()" cached="True" buffered="True" filter="h">
<%def name="i()" cached="True"></%def>
</%def>
</%def>
"""


@pytest.fixture(scope="module")
def code() -> str:
    text: str = Template(SOURCE).code
    return text


def test_finds_every_cached_fragment(code: str) -> None:
    found = {one.name: one.defname for one in scan(code).fragments}
    assert found == {
        "render_body": "render_body",
        "render_f": "render_f",
        "render_k": "render_k",
        "render_d": "render_d",
        "render_b": "render_b",
        "render_body.__M_anon_7": "__M_anon_7",
        "render_o.i": "i",
        "render_o.i.i": "i",
    }


def test_finds_options_of_tag_and_page(code: str) -> None:
    found = {one.name: one for one in scan(code).fragments}
    assert found["render_f"].options == {"timeout": 5, "tags": "site"}
    assert found["render_f"].dynamic == {"region"}
    assert found["render_k"].options == {"timeout": 60, "tags": "site"}
    assert found["render_b"].dynamic == {"vary"}


def test_finds_keys(code: str) -> None:
    found = {one.name: one for one in scan(code).fragments}
    assert [
        (found[name].has_key, found[name].key)
        for name in ("render_f", "render_k", "render_d")
    ] == [(False, None), (True, "const"), (True, None)]


def test_names_every_function(code: str) -> None:
    assert {"render_body", "render_plain", "render_o", "i"} <= scan(
        code
    ).functions


def test_a_name_is_that_of_the_creator() -> None:
    names: list[str] = []

    def note(creator: object) -> str:
        names.append(fragment_name(creator.__qualname__))  # type: ignore[attr-defined]  # a lambda
        return ""

    class Cache:
        def _ctx_get_or_create(
            self, key: object, creator: object, *args: object, **kw: object
        ) -> str:
            return note(creator)

    template = Template(
        '<%def name="o()"><%def name="i()" cached="True"></%def>${i()}'
        '</%def><%def name="f()" cached="True"></%def>${o()}${f()}'
    )
    template.cache = Cache()
    template.render()
    assert set(names) == {one.name for one in scan(template.code).fragments}


def test_a_template_without_cached_parts_has_none() -> None:
    assert scan(Template("x").code).fragments == []
    assert scan("").fragments == []
