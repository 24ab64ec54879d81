"""Roots and URLs: where a store is, and what is wrong with such a place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mako_cacheplug_file import FileBackend

from mako_cacheplug import BackendError
from mako_cacheplug import OptionError
from mako_cacheplug.options import StoreURL


def test_a_relative_root_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = FileBackend("cache")
    monkeypatch.chdir("/")
    backend.set("k", b"v", None)
    assert len([*(tmp_path / "cache").glob("??/*")]) == 1


@pytest.mark.parametrize(
    "leads_nowhere", ["a folder that is gone", "a name that cannot be one"]
)
def test_a_root_that_leads_nowhere_says_what_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads_nowhere: str
) -> None:
    name = "cache"
    if "gone" in leads_nowhere:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
    else:
        name = "/\ud800"
    with pytest.raises(OptionError, match="write a full path") as caught:
        FileBackend(name)
    assert caught.value.option == "url"
    assert caught.value.value == name


def test_a_root_may_have_bytes_that_are_no_text(tmp_path: Path) -> None:
    backend = FileBackend(tmp_path / "caf\udce9")
    backend.set("k", b"v", None)
    assert backend.get("k") == b"v"
    assert backend.url.endswith("/caf%E9")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9"]


@pytest.mark.parametrize(
    "root", ["/proc/cache/pages", "/dev/null/cache", "/" + 300 * "x"]
)
def test_a_root_where_nothing_can_be_made_is_an_error_each_time(
    root: str,
) -> None:
    backend = FileBackend(root)
    for use in (
        lambda: backend.set("k", b"v", None),
        lambda: backend.claim("k"),
        backend.mutex("k", 1.0).acquire,
    ):
        with pytest.raises(BackendError, match="could not"):
            use()


def from_url(text: str) -> FileBackend:
    return FileBackend.from_url(StoreURL.parse(text))


def test_a_url_says_folder_and_bounds() -> None:
    plain = from_url("file:///var/cache/my%20app")
    assert plain.root == "/var/cache/my app"
    assert plain.max_bytes == 2**30
    assert plain.max_value_bytes == 2**26
    full = from_url("file:///srv/c?max_bytes=64m&max_value_bytes=1m")
    assert full.max_bytes == 2**26
    assert full.max_value_bytes == 2**20
    assert from_url("file:///srv/c?max_bytes=none").max_bytes is None


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("file://", "'file:///var/cache/app'"),
        ("file:///", "'file:///var/cache/app'"),
        ("file://?max_bytes=1g", "'file:///var/cache/app'"),
        ("file://var/cache", "'file:///var/cache'"),
        ("file://./cache", "'file:///cache'"),
        ("file:///c?max_byte=1g", "did you mean 'max_bytes'"),
        ("file:///c?max_bytes=lots", "a size"),
        ("file:///c?max_bytes=0", "leaves no room"),
        ("file:///c%00d", "'/var/cache/app'"),
    ],
)
def test_a_wrong_url_says_what_is_right(url: str, advice: str) -> None:
    with pytest.raises(OptionError) as caught:
        from_url(url)
    assert advice in str(caught.value)
