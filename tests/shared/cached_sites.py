"""Templates and lookups to test with, and a counter of creations."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug.template.impl import CachePlugImpl
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
