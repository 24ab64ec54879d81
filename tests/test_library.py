"""A lookup's templates: their versions, and how edits are noticed."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug.template.library import Library
from mako_cacheplug.template.private import library_in
from mako_cacheplug.template.private import loaded_template
from mako_cacheplug.template.private import own_part
from mako_cacheplug.template.private import template_identity

SITE = {
    "page.mako": '<%inherit file="base.mako"/><%include file="part.mako"/>',
    "base.mako": '<%namespace name="lib" file="lib/lib.mako"/>${next.body()}',
    "part.mako": "part",
    "lib/lib.mako": '<%include file="deep.mako"/>',
    "lib/deep.mako": "deep",
    "other.mako": "other",
}


class Files:
    """A folder of templates, whose times are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1_000_000

    def write(self, name: str, text: str) -> None:
        """Write a file that is newer than all that is compiled."""
        self.now += 10
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, (self.now, self.now))

    def lookup(self, **given: Any) -> TemplateLookup:
        return Dated(self, [str(self.folder)], cache_impl="cacheplug", **given)


class Dated(TemplateLookup):  # type: ignore[misc]  # Mako is untyped
    """Compiles at the time of its files, so that the next edit is newer."""

    def __init__(self, files: Files, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.files = files

    def _load(self, filename: str, uri: str) -> Template:
        template = super()._load(filename, uri)
        own_part(template)
        template.module._modified_time = self.files.now
        return template


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    for name, text in SITE.items():
        files.write(name, text)
    return files


def version(lookup: TemplateLookup, uri: str = "/page.mako") -> str:
    return template_identity(lookup.get_template(uri))


def test_a_version_holds_all_that_is_needed(files: Files) -> None:
    lookup = files.lookup()
    found = library_in(None, lookup.get_template("/page.mako")).version_of(
        lookup.get_template("/page.mako")
    )
    assert set(found.members) == {
        "/base.mako",
        "/part.mako",
        "/lib/lib.mako",
        "/lib/deep.mako",
    }


@pytest.mark.parametrize("name", [n for n in SITE if n != "other.mako"])
def test_an_edit_of_anything_needed_is_another_version(
    name: str, files: Files
) -> None:
    before = version(files.lookup())
    source = (files.folder / name).read_text()
    files.write(name, source + " ")
    after = version(files.lookup())
    assert before != after
    files.write(name, source)
    assert version(files.lookup()) == before


def test_an_edit_of_something_else_is_not(files: Files) -> None:
    before = version(files.lookup())
    files.write("other.mako", "changed")
    assert version(files.lookup()) == before


def test_the_folder_does_not_matter(files: Files, tmp_path: Path) -> None:
    before = version(files.lookup())
    elsewhere = Files(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    for name, text in SITE.items():
        elsewhere.write(name, text)
    assert version(elsewhere.lookup()) == before


def test_what_is_missing_or_broken_counts_and_does_not_break(
    files: Files,
) -> None:
    before = version(files.lookup())
    (files.folder / "part.mako").unlink()
    missing = version(files.lookup())
    files.write("part.mako", "${")
    assert version(files.lookup()) == missing != before
    files.write("part.mako", "part")
    assert version(files.lookup()) == before


def test_templates_that_need_each_other_have_versions(files: Files) -> None:
    files.write("part.mako", '<%include file="page.mako"/>')
    one = version(files.lookup())
    files.write("part.mako", '<%include file="page.mako"/> ')
    assert version(files.lookup()) != one


def test_two_lookups_that_share_a_template_have_a_version_each() -> None:
    one, other = (TemplateLookup(cache_impl="cacheplug") for _ in range(2))
    one.put_string("/page", '<%include file="/part"/>')
    page = one.get_template("/page")
    other.put_template("/page", page)
    one.put_string("/part", "one")
    other.put_string("/part", "other")
    versions = [
        Library(lookup, own_part, lambda lookup, uri: None).version_of(page)
        for lookup in (one, other)
    ]
    assert versions[0].identity != versions[1].identity


# -- looking at files --------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the templates that were looked at."""
    looked: list[str] = []
    stat: Callable[..., os.stat_result] = os.stat

    def counted(path: Any, *args: Any, **given: Any) -> os.stat_result:
        if isinstance(path, str) and path.endswith(".mako"):
            looked.append(os.path.basename(path))
        return stat(path, *args, **given)

    monkeypatch.setattr(os, "stat", counted)
    return looked


def library(lookup: TemplateLookup, clock: Clock) -> Library:
    return Library(lookup, own_part, loaded_template, clock)


def test_each_file_is_looked_at_once_a_second(
    files: Files, stats: list[str]
) -> None:
    clock = Clock()
    lookup = files.lookup()
    found = library(lookup, clock)
    page = lookup.get_template("/page.mako")
    base = lookup.get_template("/base.mako")
    versions = [found.version_of(page), found.version_of(base)]
    clock.now += 0.9
    stats.clear()
    for _ in range(5):
        assert all(map(found.is_current, versions))
    assert stats == []
    clock.now += 0.2
    for _ in range(5):
        assert all(map(found.is_current, versions))
    expected = ["base.mako", "deep.mako", "lib.mako", "part.mako"]
    assert sorted(stats) == expected


def test_an_edit_is_noticed_within_a_second(files: Files) -> None:
    clock = Clock()
    lookup = files.lookup()
    found = library(lookup, clock)
    old = found.version_of(lookup.get_template("/page.mako"))
    files.write("lib/deep.mako", "edited")
    clock.now += 0.5
    assert found.is_current(old)
    clock.now += 0.5
    assert not found.is_current(old)
    new = found.version_of(lookup.get_template("/page.mako"))
    assert new.identity != old.identity
    assert found.is_current(new)


def test_and_at_once_where_mako_has_noticed(files: Files) -> None:
    clock = Clock()
    lookup = files.lookup()
    found = library(lookup, clock)
    old = found.version_of(lookup.get_template("/page.mako"))
    files.write("base.mako", "edited")
    lookup.get_template("/base.mako")
    assert not found.is_current(old)
    assert not found.is_current(old, checking=False)


def test_without_filesystem_checks_no_file_is_looked_at(
    files: Files, stats: list[str]
) -> None:
    clock = Clock()
    lookup = files.lookup(filesystem_checks=False)
    found = library(lookup, clock)
    old = found.version_of(lookup.get_template("/page.mako"))
    stats.clear()
    clock.now += 100
    assert found.is_current(old)
    assert stats == []
    lookup.put_string("/part.mako", "put")
    assert not found.is_current(old)


def test_what_the_lookup_has_let_go_of_is_not_missing(files: Files) -> None:
    clock = Clock()
    lookup = files.lookup(collection_size=1)
    found = library(lookup, clock)
    page = lookup.get_template("/page.mako")
    old = found.version_of(page)
    for _ in range(2):
        assert found.is_current(old)
        assert found.version_of(page) == old
        clock.now += 2


def test_and_an_edit_of_it_is_noticed_by_each_that_needs_it(
    files: Files,
) -> None:
    """Not only by the first, that looks at the file."""
    clock = Clock()
    lookup = files.lookup()
    found = library(lookup, clock)
    old = [
        found.version_of(lookup.get_template(uri))
        for uri in ("/page.mako", "/base.mako")
    ]
    files.write("lib/deep.mako", "edited")
    clock.now += 2
    for version in old:
        lookup._collection.clear()
        assert not found.is_current(version)
        lookup._collection.clear()
        assert not found.is_current(version)
    page = lookup.get_template("/page.mako")
    new = found.version_of(page)
    lookup._collection.clear()
    assert found.is_current(new)


def test_as_it_is_where_the_lookup_knows_it_by_another_name(
    files: Files,
) -> None:
    clock = Clock()
    lookup = files.lookup()
    found = Library(lookup, own_part, lambda lookup, uri: None, clock)
    pages = [lookup.get_template(uri) for uri in ("/page.mako", "/base.mako")]
    old = [found.version_of(page) for page in pages]
    assert all(map(found.is_current, old))
    files.write("lib/deep.mako", "edited")
    clock.now += 2
    assert not any(map(found.is_current, old))
    assert all(found.is_current(found.version_of(page)) for page in pages)


def test_uris_without_end_are_forgotten(files: Files) -> None:
    lookup = files.lookup()
    found = library(lookup, Clock())
    page = lookup.get_template("/other.mako")
    for number in range(2 * Library.MOST_SEEN):
        found.version_of(page, [f"missing{number}"])
    assert 0 < len(found._seen) <= Library.MOST_SEEN


def test_but_it_is_not_trusted_where_no_file_is_looked_at(
    files: Files,
) -> None:
    """As after a creation: it can have been edited and let go of meanwhile."""
    lookup = files.lookup()
    found = library(lookup, Clock())
    old = found.version_of(lookup.get_template("/page.mako"))
    files.write("part.mako", "edited")
    lookup._collection.pop("/part.mako")
    assert not found.is_current(old, checking=False)


def test_it_goes_with_its_lookup(files: Files) -> None:
    lookup = files.lookup()
    lookup.get_template("/page.mako").render()
    held = weakref.ref(library_in(None, lookup.get_template("/page.mako")))
    assert held() is library_in(None, lookup.get_template("/base.mako"))
    del lookup
    gc.collect()
    assert held() is None
