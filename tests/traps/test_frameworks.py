"""What frameworks pass to a lookup, on every store."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cached_sites import CACHED
from cached_sites import Files
from cached_sites import render
from cached_sites import Ticks
from cached_sites import watch
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug.testing import ManualClock

DEF = '<%def name="f()" cached="True" {}>${{tick()}}</%def>${{f()}}'


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (
            {"type": "memory", "dir": None, "timeout": None, "url": None},
            math.inf,
        ),
        ({"type": None, "dir": None, "timeout": "60", "url": "URL"}, 60),
        ({"type": "file", "dir": "DIR", "timeout": "60", "url": None}, 60),
    ],
    ids=["memory", "url", "file"],
)
def test_what_pyramid_mako_passes(
    given: dict[str, Any], seconds: float, url: str, tmp_path: Path
) -> None:
    place = {"URL": url, "DIR": str(tmp_path / "cache")}
    args = {k: place.get(v, v) for k, v in given.items()}
    lookup = TemplateLookup(cache_impl="cacheplug", cache_args=args)
    lookup.put_string("/p", DEF.format(""))
    tick = Ticks()
    template = lookup.get_template("/p")
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]
    resolved = template.cache.impl._places.resolve({}, "/p")
    assert resolved.call.timeout == seconds


class AssetLookup(TemplateLookup):  # type: ignore[misc]  # Mako is untyped
    """Knows ``package:path``, as pyramid_mako's lookup does."""

    def adjust_uri(self, uri: str, relativeto: str | None) -> str:
        if not uri.startswith("/"):
            if ":" in uri:
                return uri
            if "$" in uri:
                return uri.replace("$", ":")
            if relativeto is not None:
                package, colon, path = relativeto.replace("$", ":").partition(
                    ":"
                )
                if colon:
                    folder = os.path.dirname(path)
                    return f"{package}:{os.path.join(folder, uri)}"
        adjusted: str = super().adjust_uri(uri, relativeto)
        return adjusted

    def get_template(self, uri: str) -> Template:
        if uri.startswith("/") or ":" not in uri:
            return super().get_template(uri)
        adjusted = uri.replace(":", "$")
        known = self._collection.get(adjusted)
        if known is not None:
            return self._check(adjusted, known)
        path = os.path.join(self.directories[0], uri.partition(":")[2])
        return self._load(path, adjusted)


@pytest.mark.parametrize("edited", ["before", "during"])
def test_assets_of_pyramid(
    edited: str, url: str, tmp_path: Path, clock: ManualClock
) -> None:

    pages = {
        "/t/page": CACHED + "${during()}" + '<%include file="part"/>',
        "/t/part": "old",
    }
    files = Files(tmp_path / "site", pages)
    lookup = AssetLookup(
        [str(files.folder)], cache_impl="cacheplug", cache_args={"url": url}
    )
    watch(lookup, clock)

    def edit() -> str:
        return files.edit("/t/part", "new")

    during: Callable[[], str] = edit if edited == "during" else str
    first = render(lookup, "app:t/page", during=during)
    if edited == "before":
        assert first == "old"
        edit()
    clock.advance(1)
    assert render(lookup, "app:t/page", during=str) == "new"
    before = AssetLookup(
        [str(Files(tmp_path / "before", pages).folder)],
        cache_impl="cacheplug",
        cache_args={"url": url},
    )
    assert render(before, "app:t/page", during=str) == "old"
