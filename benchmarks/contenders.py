"""The cache plugins that are compared, each as arguments for a Template.

The peers are used as their documentation says, with a region or type that
keeps entries for ever, as ours does here.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import NamedTuple

from mako.cache import CacheImpl
from mako.cache import register_plugin

from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.servers import ServerNotInstalled

__all__ = ["Contender", "contenders"]


class Contender(NamedTuple):
    """One plugin, or none, and how a template asks for it."""

    name: str
    template_args: dict[str, Any]


class DictImpl(CacheImpl):  # type: ignore[misc]  # Mako is untyped
    """The plugin of Mako's documentation: a dict per template."""

    def __init__(self, cache: Any) -> None:
        super().__init__(cache)
        self._entries: dict[str, Any] = {}

    def get_or_create(
        self, key: str, creation_function: Any, **kw: Any
    ) -> Any:
        if key in self._entries:
            return self._entries[key]
        self._entries[key] = value = creation_function()
        return value


class ConstantImpl(CacheImpl):  # type: ignore[misc]  # Mako is untyped
    """Mako's own part of a hit: a plugin that does nothing."""

    value = "x" * 2048

    def get_or_create(
        self, key: str, creation_function: Any, **kw: Any
    ) -> Any:
        return self.value


register_plugin("benchmark.dict", __name__, "DictImpl")
register_plugin("benchmark.constant", __name__, "ConstantImpl")


@contextlib.contextmanager
def contenders() -> Iterator[list[Contender]]:
    """Yield every contender that can run here, with its server if needed."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = [
            Contender("uncached", {"cache_enabled": False}),
            Contender("constant plugin", {"cache_impl": "benchmark.constant"}),
            Contender(
                "dict plugin of Mako's docs", {"cache_impl": "benchmark.dict"}
            ),
            _beaker("Beaker memory", {"type": "memory"}),
            _dogpile("dogpile.cache memory", "dogpile.cache.memory", {}),
            _ours("mako-cacheplug memory", "memory://"),
            _beaker(
                "Beaker file", {"type": "file", "dir": str(folder / "beaker")}
            ),
            _dogpile(
                "dogpile.cache dbm",
                "dogpile.cache.dbm",
                {"filename": str(folder / "dogpile.dbm")},
            ),
            _ours("mako-cacheplug file", f"file://{folder}/ours"),
        ]
        try:
            server = stack.enter_context(MemcachedServer())
        except ServerNotInstalled:
            yield found
            return
        address = f"{server.host}:{server.port}"
        found += [
            _dogpile(
                "dogpile.cache pylibmc",
                "dogpile.cache.pylibmc",
                {"url": [address], "binary": True},
            ),
            _dogpile(
                "dogpile.cache pymemcache",
                "dogpile.cache.pymemcache",
                {"url": [address]},
            ),
            _ours("mako-cacheplug memcached", server.url),
            _ours(
                "mako-cacheplug memcached, pymemcache",
                f"{server.url}?client=pymemcache"
                if "?" not in server.url
                else f"{server.url}&client=pymemcache",
            ),
        ]
        yield found


def _ours(name: str, url: str) -> Contender:
    return Contender(
        name, {"cache_impl": "cacheplug", "cache_args": {"url": url}}
    )


def _beaker(name: str, cache_args: dict[str, Any]) -> Contender:
    return Contender(name, {"cache_impl": "beaker", "cache_args": cache_args})


def _dogpile(name: str, backend: str, arguments: dict[str, Any]) -> Contender:
    from dogpile.cache import make_region

    region = make_region().configure(backend, arguments=arguments)
    return Contender(
        name,
        {
            "cache_impl": "dogpile.cache",
            "cache_args": {"regions": {"r": region}, "region": "r"},
        },
    )
