"""Templates and lookups to test with, and a counter of creations."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug.template import private
from mako_cacheplug.template.impl import CachePlugImpl
from mako_cacheplug.template.library import Library
from mako_cacheplug.testing.servers import MemcachedServer

STORES = ("memory", "file", "memcached")
CACHED = '<%page cached="True"/>'


class Ticks:
    """Counts the creations: each call gives the next number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def __call__(self) -> int:
        with self._lock:
            self.count += 1
            return self.count


def page(source: str, url: str, uri: str = "/p.html", **own: Any) -> Template:
    return Template(
        source,
        uri=uri,
        cache_impl="cacheplug",
        cache_args={"url": url, **own},
    )


def site(pages: dict[str, str], url: str, **own: Any) -> TemplateLookup:
    lookup = TemplateLookup(
        cache_impl="cacheplug", cache_args={"url": url, **own}
    )
    for uri, source in pages.items():
        lookup.put_string(uri, source)
    return lookup


class Files:
    """A site in a folder, whose files can be edited.

    Mako compares whole seconds with when it compiled a template: each edit
    is dated ten seconds after the last one.
    """

    def __init__(self, folder: Path, pages: dict[str, str]) -> None:
        self.folder = folder
        self._edits = 0
        for uri, source in pages.items():
            path = self.folder / uri.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)

    def edit(self, uri: str, source: str) -> str:
        self._edits += 1
        path = self.folder / uri.lstrip("/")
        path.write_text(source)
        dated = time.time() + 10 * self._edits
        os.utime(path, (dated, dated))
        return ""

    def lookup(
        self, url: str, clock: Callable[[], float] = time.monotonic, **own: Any
    ) -> TemplateLookup:
        """Return a new lookup of the files, as of a new process.

        :param clock: of its looks at the files that others depend on.
        """
        lookup = TemplateLookup(
            [str(self.folder)],
            cache_impl="cacheplug",
            cache_args={"url": url, **own},
        )
        watch(lookup, clock)
        return lookup


def watch(lookup: TemplateLookup, clock: Callable[[], float]) -> None:
    """Let *lookup*'s dependencies be looked at by *clock*."""
    library = Library(lookup, private.own_part, private.loaded_template, clock)
    setattr(lookup, private._LIBRARY, library)


def render(lookup: TemplateLookup, uri: str, **given: Any) -> str:
    shown: str = lookup.get_template(uri).render(**given)
    return shown


def def_f(body: str, options: str = "") -> str:
    return f'<%def name="f()" cached="True" {options}>{body}</%def>${{f()}}'


def url_of(store: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of an empty store."""
    if store == "memory":
        return "memory://"
    if store == "file":
        return f"file://{folder}/store"
    server: MemcachedServer = request.getfixturevalue("server")
    server.restart()
    return server.url


def overwrite(template: Template, tick: Ticks, payload: bytes | None) -> None:
    """Replace what a store holds of *template*; None cuts it in half."""
    template.render(tick=tick)
    impl = template.cache.impl
    assert isinstance(impl, CachePlugImpl)
    (region,) = impl._places.used_regions()
    names = region._storage._names  # type: ignore[attr-defined]  # a store of bytes
    (known,) = (n for key, n in names.items() if key.startswith("8:fragment"))
    stored = region.backend.get(known)
    assert isinstance(stored, bytes)
    half = stored[: len(stored) // 2]
    region.backend.set(known, half if payload is None else payload, None)
