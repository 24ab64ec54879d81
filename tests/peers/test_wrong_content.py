"""Wrong content: what has been seen of Beaker and dogpile.cache.

One test for each thing, on every store.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from cached_sites import CACHED
from cached_sites import def_f
from cached_sites import overwrite
from cached_sites import page
from cached_sites import site
from cached_sites import Ticks
from mako.lookup import TemplateLookup
from mako.template import Template


@pytest.mark.parametrize("source", [def_f("{0}"), CACHED + "{0}"])
def test_one_name_in_two_templates(source: str, url: str) -> None:
    pages = {u: source.replace("{0}", u) for u in ("/one", "/two")}
    lookup = site(pages, url, regions={"r": {}}, region="r")
    for uri in ("/one", "/two", "/one", "/two"):
        assert lookup.get_template(uri).render() == uri


def test_two_uris_with_one_id(url: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/b.html", "a_b.html"):
        (tmp_path / name).write_text(CACHED + name)
    lookup = TemplateLookup(
        [str(tmp_path)],
        cache_impl="cacheplug",
        cache_args={"url": url},
        module_directory=str(tmp_path / "modules"),
    )
    for name in ("a/b.html", "a_b.html") * 2:
        assert lookup.get_template(f"/{name}").render() == name


def test_one_uri_in_two_themes(url: str) -> None:
    themes = [site({"/p": CACHED + name}, url) for name in ("red", "blue")]
    for _ in range(2):
        shown = [theme.get_template("/p").render() for theme in themes]
        assert shown == ["red", "blue"]


def test_uri_and_key_run_into_each_other(url: str) -> None:
    keyed = '<%page cached="True" cache_key="{0}"/>'
    one = page(keyed.format("html_x") + "${who}", url, "/p")
    other = page(keyed.format("x") + "${who}", url, "/p.html")
    for _ in range(2):
        assert one.render(who="one") == "one"
        assert other.render(who="other") == "other"


def test_arguments_are_ignored(url: str) -> None:
    source = '<%def name="foo(x)" cached="True">for ${x}</%def>${foo(who)}'
    template = page(source, url)
    for who in ("alice", "bob", "alice"):
        assert template.render(who=who) == f"for {who}"


def test_two_nested_defs_of_one_name(url: str) -> None:
    outer = '<%def name="{0}()"><%def name="i()" cached="True">{0}</%def>'
    outer += "${{i()}}</%def>${{{0}()}}"
    template = page(outer.format("a") + outer.format("b"), url)
    assert [template.render() for _ in range(2)] == ["ab", "ab"]


def test_a_region_per_tenant_freezes(url: str) -> None:
    regions = {name: {"namespace": name} for name in "ab"}
    template = page(def_f("${r}", 'cache_region="${r}"'), url, regions=regions)
    for name in "abab":
        assert template.render(r=name) == name


def test_a_directory_per_tenant_freezes(tmp_path: Path) -> None:
    template = Template(
        def_f("${d}", 'cache_type="file" cache_dir="${d}"'),
        cache_impl="cacheplug",
    )
    folders = [str(tmp_path / name) for name in "ab"]
    for folder in folders * 2:
        assert template.render(d=folder) == folder
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_an_edited_template_shows_the_old(url: str, tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    lookup = TemplateLookup(
        [str(tmp_path)],
        cache_impl="cacheplug",
        cache_args={"url": url},
        filesystem_checks=True,
    )
    for number, text in enumerate(("old", "new")):
        path.write_text(CACHED + text)
        edited = time.time() + 10 * number
        os.utime(path, (edited, edited))
        # Mako compares whole seconds with when it compiled the template.
        assert [lookup.get_template("/p.html").render() for _ in range(2)] == [
            text
        ] * 2


LINES = [
    "a\r\nset b 0 0 5\r\nwrong\r\n",
    "a\r\nget b\r\n",
    "a\nflush_all\n",
    "b noreply",
    "../../b",
    "\x00",
]


def test_a_key_with_line_ends_becomes_a_command(
    url: str,
) -> None:
    template = page(def_f("${key}", 'cache_key="${key}"'), url)
    keys = ["b", *LINES]
    for key in keys * 2:
        assert template.render(key=key) == key


def test_stored_bytes_are_executed(shared_url: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    pickled = b"cos\nsystem\n(S'touch " + os.fsencode(mark) + b"'\ntR."
    tick = Ticks()
    template = page(def_f("${tick()}"), shared_url)
    overwrite(template, tick, pickled)
    assert template.render(tick=tick)
    assert not mark.exists()
