"""A template's identity: the same everywhere, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mako.lookup import TemplateLookup
from mako.template import ModuleTemplate
from mako.template import Template

from mako_cacheplug.template.identity import ordered_settings
from mako_cacheplug.template.identity import own_uri
from mako_cacheplug.template.impl import CachePlugImpl
from mako_cacheplug.template.private import compiled_code
from mako_cacheplug.template.private import template_identity

# Many free names, nested defs and assignments: Mako writes each of these in
# the order of a set.
SOURCE = """\
<%page args="first, second=2"/>
<%def name="outer(a, b)">
<% p = a; q = b; r = alpha %>
<%def name="inner()" cached="True">${alpha}${beta}${gamma}${delta}</%def>
<%def name="other()">${epsilon}${zeta}${eta}</%def>
<%def name="third()">${inner()}${other()}</%def>
${inner()}${other()}${third()}${p}${q}${r}
</%def>
<% u = 1; v = 2; w = 3 %>
<%block name="news">${alpha}${beta}${gamma}</%block>
<%block cached="True">${u}${v}${w}${alpha}${beta}</%block>
<%self:outer a="1" b="2">${u} ${alpha} ${beta} <%def name="x()">${v}</%def>
</%self:outer>
"""

WAYS = (
    "text",
    "text+uri",
    "filename",
    "filename+modules",
    "lookup",
    "lookup+modules",
)


def make(way: str, folder: Path, modules: str = "modules") -> Template:
    """Return the template page.html of *folder*, made in one of six ways."""
    given = {"cache_impl": "cacheplug"}
    if way.endswith("modules"):
        given["module_directory"] = str(folder / modules)
    path = folder / "page.html"
    if way.startswith("filename"):
        return Template(filename=str(path), **given)
    if way.startswith("lookup"):
        found = TemplateLookup([str(folder)], **given)
        return found.get_template("/page.html")
    if way == "text+uri":
        given["uri"] = "/page.html"
    return Template(path.read_text(), **given)


ELSEWHERE = f"""
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("here", {__file__!r})
here = importlib.util.module_from_spec(spec)
spec.loader.exec_module(here)
for way in here.WAYS:
    template = here.make(way, pathlib.Path(sys.argv[1]), sys.argv[2])
    print(here.template_identity(template))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize("modules", ["modules", "others"])
def test_is_the_same_in_another_process_in_all_six_ways(
    folder: Path, modules: str
) -> None:
    here = [template_identity(make(way, folder)) for way in WAYS]
    for seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, str(folder), modules + seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        )
        assert told.stdout.splitlines() == here


def test_does_not_depend_on_where_the_module_is_kept(folder: Path) -> None:
    assert template_identity(make("lookup", folder)) == template_identity(
        make("lookup+modules", folder)
    )
    assert template_identity(make("filename", folder)) == template_identity(
        make("filename+modules", folder)
    )


def test_a_module_template_has_one(folder: Path) -> None:
    whole = make("text+uri", folder)
    again = ModuleTemplate(
        whole.module,
        template=whole,
        template_source=whole.source,
        module_source=whole.code,
        cache_impl="cacheplug",
    )
    assert again.cache.impl is not whole.cache.impl
    assert template_identity(again)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A${x}", "${x}A"),
        ("<% x = 1 %>${x}", "${x}<% x = 1 %>"),
        ("${x}", "${x | h}"),
        ("<%def name='f()'>1</%def>", "<%def name='g()'>1</%def>"),
        (
            "<%def name='f()' cached='True'>1</%def>",
            "<%def name='f()' cached='True' cache_key='f'>1</%def>",
        ),
        ("<%! a = 1 %>", "<%! a = 2 %>"),
        ("% if a:\nx\n% endif\ny", "% if a:\nx\ny\n% endif\n"),
        ("", " "),
    ],
)
def test_another_source_is_another(one: str, other: str) -> None:
    assert template_identity(
        Template(one, uri="/u", cache_impl="cacheplug")
    ) != template_identity(Template(other, uri="/u", cache_impl="cacheplug"))


@pytest.mark.parametrize(
    "given",
    [
        {"default_filters": ["str", "h"]},
        {"preprocessor": lambda text: text.replace("a ", "A ")},
        {"imports": ["from json import dumps as d"]},
        {"strict_undefined": True},
        {"buffer_filters": ["trim"]},
    ],
)
def test_what_else_shapes_the_output_is_in_it(
    given: dict[str, object],
) -> None:
    source = "a ${x}<%def name='f()' buffered='True' cached='True'>b</%def>"
    plain = Template(source, uri="/u", cache_impl="cacheplug")
    shaped = Template(source, uri="/u", cache_impl="cacheplug", **given)
    assert template_identity(plain) != template_identity(shaped)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("default_filters", ["str", "u", "h"], ["str", "h", "u"]),
        ("buffer_filters", ["u", "h"], ["h", "u"]),
        ("imports", ["a = 1", "a = 2"], ["a = 2", "a = 1"]),
    ],
)
def test_so_is_the_order_of_filters_and_imports(
    name: str, one: list[str], other: list[str]
) -> None:
    source = "${a}<%def name='f()' buffered='True'>b</%def>"
    identities = {
        template_identity(
            Template(source, uri="/u", cache_impl="cacheplug", **{name: order})
        )
        for order in (one, other, list(one))
    }
    assert len(identities) == 2


def test_a_setting_that_is_no_text_counts_by_its_name() -> None:
    class Asked:
        imports = (len, object())

    told = ordered_settings(Asked())
    assert told == ordered_settings(Asked())
    assert "builtins.len" in told[-1]
    assert "0x" not in told[-1]


def test_uris_with_one_module_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/b.html", "a_b.html"):
        (tmp_path / name).write_text("same")
    lookup = TemplateLookup([str(tmp_path)], cache_impl="cacheplug")
    one = lookup.get_template("/a/b.html")
    other = lookup.get_template("/a_b.html")
    assert one.cache.id == other.cache.id
    assert template_identity(one) != template_identity(other)
    assert compiled_code(one) != compiled_code(other)


def test_a_rewritten_module_file_is_not_taken_for_the_loaded_one(
    folder: Path,
) -> None:
    old = make("lookup+modules", folder)
    before = template_identity(old)
    page = folder / "page.html"
    page.write_text("new")
    later = page.stat().st_mtime + 10
    os.utime(page, (later, later))
    new = make("lookup+modules", folder)
    assert new.module is not old.module
    assert template_identity(new) not in (before, template_identity(old))


@pytest.mark.parametrize("way", ["filename", "lookup", "lookup+modules"])
def test_it_is_of_what_runs_and_not_of_what_the_file_has_become(
    way: str, folder: Path
) -> None:
    page = folder / "page.html"
    page.write_text("${one}${two}")
    old = make(way, folder)
    page.write_text("${two}${one}")
    new = make(way, folder, "others")
    assert template_identity(old) != template_identity(new)


def test_where_its_file_is_dated_in_the_future_the_module_counts(
    folder: Path,
) -> None:
    page = folder / "page.html"

    def found(text: str) -> str:
        page.write_text(text)
        later = time.time() + 3600
        os.utime(page, (later, later))
        return template_identity(make("lookup", folder))

    before = found("Tom beats Ann")
    assert found("Tom beats Ann") == before
    assert found("Ann beats Tom") != before


def test_string_templates_of_one_source_share_it() -> None:
    one = Template("x", cache_impl="cacheplug")
    other = Template("x", cache_impl="cacheplug")
    assert one.uri != other.uri
    assert template_identity(one) == template_identity(other)


def test_it_is_made_once_per_template(folder: Path) -> None:
    template = make("lookup", folder)
    impl = template.cache.impl
    assert isinstance(impl, CachePlugImpl)
    assert impl is template.cache.impl


@pytest.mark.parametrize(
    ("uri", "filename", "own"),
    [
        ("memory:0x7f00", None, ""),
        ("/srv/site/page.html", "/srv/site/page.html", ""),
        ("/srv/site/page.html", "/srv/site/x/../page.html", ""),
        ("/page.html", "/srv/site/page.html", "/page.html"),
        ("/page.html", None, "/page.html"),
    ],
)
def test_a_uri_that_mako_made_up_is_none(
    uri: str, filename: str | None, own: str
) -> None:
    assert own_uri(uri, filename) == own


@pytest.mark.parametrize(
    ("filename", "has_lookup", "own"),
    [
        ("site/page.html", True, "site/page.html"),
        ("./site/page.html", True, "site/page.html"),
        ("site/page.html", False, ""),
    ],
)
def test_a_path_is_one_where_a_lookup_found_it(
    filename: str, has_lookup: bool, own: str
) -> None:
    assert own_uri("site/page.html", filename, has_lookup) == own


def test_two_folders_of_a_site_that_is_here_do_not_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.html").write_text("${local.uri}")
    lookup = TemplateLookup(["."], cache_impl="cacheplug")
    one, other = (lookup.get_template(f"{n}/card.html") for n in "ab")
    assert template_identity(one) != template_identity(other)
