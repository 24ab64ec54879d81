"""One store, many processes: other folders, other ways, other versions.

What was made by one of them is a hit for all that have the same sources;
versions that run side by side have their own, and share invalidations.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cached_sites import Files
from cached_sites import render
from cached_sites import Ticks
from mako.cache import Cache
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug import CacheRegion
from mako_cacheplug.testing import ManualClock

WAYS = (
    "text",
    "text and uri",
    "filename",
    "filename and modules",
    "lookup",
    "lookup and modules",
)

FORMS = {
    "plain": "",
    "an imported namespace": '<%namespace file="/lib.html" import="g"/>${g()}',
    "two imported namespaces": '<%namespace file="/lib.html" import="g"/>'
    '<%namespace file="/other.html" import="*"/>${g()}${h()}',
    "a named namespace": '<%namespace name="n" file="/lib.html"/>${n.g()}',
    "an include": '<%include file="/lib.html"/>',
    "a base": '<%inherit file="/base.html"/>',
}

# Many names: Mako writes them in the order of a set.
SOURCE = """\
<%page cached="True"/>{}<%def name="f(a, b)" cached="True">
<% p = a; q = b; r = alpha %>${{tick()}}${{alpha}}${{beta}}${{gamma}}\
<%def name="i()" cached="True">${{tick()}}${{p}}${{q}}${{r}}${{delta}}</%def>\
${{i()}}</%def>${{tick()}}${{alpha}}${{gamma}}${{f(1, x=2) if 0 else f(1, 2)}}
"""
OTHERS = {
    "/lib.html": '<%def name="g()">lib</%def>',
    "/other.html": '<%def name="h()">other</%def>',
    "/base.html": "[${next.body()}]",
}
NAMES = dict.fromkeys(("alpha", "beta", "gamma", "delta"), 1)


def template_of(way: str, folder: Path, url: str, modules: str) -> Template:
    given: dict[str, Any] = {
        "cache_impl": "cacheplug",
        "cache_args": {"url": url, "namespace": way},
    }
    lookup = TemplateLookup([str(folder)], **given)
    if "modules" in way:
        given["module_directory"] = modules
        lookup = TemplateLookup([str(folder)], **given)
    path = folder / "page.html"
    if way.startswith("lookup"):
        return lookup.get_template("/page.html")
    if way.startswith("filename"):
        return Template(filename=str(path), lookup=lookup, **given)
    if way == "text and uri":
        given["uri"] = "/page.html"
    return Template(path.read_text(), lookup=lookup, **given)


def created(folder: str, url: str, modules: str) -> dict[str, int]:
    """Return how much is created in each way of making each template."""
    counts = {}
    for form in sorted(os.listdir(folder)):
        for way in WAYS:
            template = template_of(
                way, Path(folder, form), url, f"{modules}-{form}"
            )
            tick = Ticks()
            template.render(tick=tick, **NAMES)
            counts[f"{form} by {way}"] = tick.count
    return counts


ELSEWHERE = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
spec = importlib.util.spec_from_file_location("deploys", sys.argv[2])
deploys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(deploys)
print(json.dumps(deploys.created(*sys.argv[3:])))
"""


def test_six_ways_of_making_a_template_hit_from_a_second_process(
    shared_url: str, tmp_path: Path
) -> None:
    for form, start in FORMS.items():
        pages = {"/page.html": SOURCE.format(start), **OTHERS}
        Files(tmp_path / "site" / form, pages)
    found = []
    for seed in ("1", "2", "3"):
        shared = str(Path(__file__).parent.parent / "shared")
        modules = str(tmp_path / f"modules{seed}")
        given = [str(tmp_path / "site"), shared_url, modules]
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, shared, __file__, *given],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    assert len(found[0]) == len(FORMS) * len(WAYS)
    assert set(found[0].values()) == {3}
    assert [{n: c for n, c in one.items() if c} for one in found[1:]] == [
        {},
        {},
    ]


def test_the_folder_it_was_deployed_to_does_not_matter(
    url: str, tmp_path: Path
) -> None:
    tick = Ticks()
    for folder in ("releases/1", "releases/2", "elsewhere/x"):
        for start in FORMS.values():
            pages = {"/page.html": SOURCE.format(start), **OTHERS}
            name = f"{folder}/{len(start)}"
            lookup = Files(tmp_path / name, pages).lookup(url)
            shown = render(lookup, "/page.html", tick=tick, **NAMES)
            assert "11" in shown
        assert tick.count == 3 * len(FORMS)


# -- two versions side by side -----------------------------------------------

PAGES = {
    "/page.html": '<%page cached="True" cache_tags="news"/>{0}${{tick()}}'
    '<%include file="/part.html"/>',
    "/part.html": '<%def name="f(n)" cached="True">{0}${{tick()}}</%def>'
    "${{f(1)}}${{f(2)}}",
    "/keyed.html": '<%def name="f()" cached="True" cache_key="k">{0}'
    "${{tick()}}</%def>${{f()}}",
    "/plain.html": '<%def name="f()" cached="True">{0}${{tick()}}</%def>'
    "${{f()}}",
}


class Versions:
    """Two versions of a site, each in its own folder and lookup."""

    def __init__(
        self, url: str, folder: Path, clock: Callable[[], float] = time.time
    ) -> None:
        regions = {"r": CacheRegion(url, clock=clock)}
        self.tick = Ticks()
        self.lookups = {}
        for version in ("v", "w"):
            pages = {u: s.format(version) for u, s in PAGES.items()}
            files = Files(folder / version, pages)
            self.lookups[version] = files.lookup(
                url, regions=regions, region="r"
            )

    def show(self, version: str, uri: str) -> str:
        shown = render(self.lookups[version], uri, tick=self.tick)
        other = "v" if version == "w" else "w"
        assert version in shown
        assert other not in shown
        return shown


@pytest.mark.parametrize("uri", PAGES)
def test_versions_side_by_side_never_mix_and_never_thrash(
    uri: str, url: str, tmp_path: Path
) -> None:
    versions = Versions(url, tmp_path)
    first = {version: versions.show(version, uri) for version in "vw"}
    created = versions.tick.count
    for version in "vwwvwvvvw":
        assert versions.show(version, uri) == first[version]
    assert versions.tick.count == created


@pytest.mark.parametrize("uri", PAGES)
def test_back_to_the_old_version_is_a_hit(
    uri: str, url: str, tmp_path: Path
) -> None:
    versions = Versions(url, tmp_path / "one")
    old = versions.show("v", uri)
    versions.show("w", uri)
    created = versions.tick.count
    again = Versions(url, tmp_path / "another")
    assert again.show("v", uri) == old
    assert again.tick.count == 0
    assert versions.tick.count == created


INVALIDATIONS: dict[str, tuple[str, Callable[[Cache], None]]] = {
    "the page": ("/page.html", lambda c: c.invalidate_body()),
    "a tag": ("/page.html", lambda c: c.impl.invalidate_tags("news")),
    "a template": ("/page.html", lambda c: c.impl.invalidate_template()),
    "a def in it": ("/part.html", lambda c: c.invalidate_def("f")),
    "a def": ("/plain.html", lambda c: c.invalidate_def("f")),
    "a key": ("/keyed.html", lambda c: c.invalidate("k")),
    "a def with a key": ("/keyed.html", lambda c: c.invalidate_def("f")),
}


@pytest.mark.parametrize("what", INVALIDATIONS)
def test_what_the_other_version_invalidates_is_gone_after_a_rollback(
    what: str, url: str, tmp_path: Path
) -> None:
    uri, invalidate = INVALIDATIONS[what]
    shown = "/page.html" if uri == "/part.html" else uri
    versions = Versions(url, tmp_path / "one")
    old = versions.show("v", shown)
    versions.show("w", shown)
    invalidate(versions.lookups["w"].get_template(uri).cache)
    # The process that returns to the old one; another has it in memory.
    rolled_back = Versions(url, tmp_path / "another")
    rolled_back.tick.count = 100
    assert rolled_back.show("v", shown) != old
    made = rolled_back.tick.count
    assert made > 100
    rolled_back.show("v", shown)
    assert rolled_back.tick.count == made


@pytest.mark.parametrize("what", INVALIDATIONS)
def test_what_the_other_version_invalidates_is_gone_in_a_second(
    what: str, url: str, tmp_path: Path, clock: ManualClock
) -> None:
    uri, invalidate = INVALIDATIONS[what]
    shown = "/page.html" if uri == "/part.html" else uri
    versions = Versions(url, tmp_path, clock)
    old = versions.show("v", shown)
    assert versions.show("v", shown) == old
    invalidate(versions.lookups["w"].get_template(uri).cache)
    clock.advance(1.0)
    assert versions.show("v", shown) != old
