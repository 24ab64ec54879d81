"""The cache plugins that are compared, each as arguments for a Template.

The peers are used as their documentation says, with a region or type that
keeps entries for ever, as ours does here.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any
from typing import Final

from mako.cache import CacheImpl
from mako.cache import register_plugin

from mako_cacheplug import options

__all__ = [
    "BEAKER_PYLIBMC",
    "BEAKER_PYLIBMC_FOLDER",
    "CONSTANT",
    "DICT",
    "UNCACHED",
    "Contender",
    "beaker",
    "beaker_pylibmc",
    "dogpile",
    "dogpile_region",
    "has_read_ahead",
    "ours",
]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One plugin, or none, and how a template asks for it.

    :param name: what it is called in tables.
    :param template_args: picklable if it has a folder.
    :param folder: where it is imported from, in a process of its own;
        empty: from where everything is, in this one.
    """

    name: str
    template_args: dict[str, Any]
    folder: str = ""


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
    """Mako's own part of a hit: after the first call it does nothing."""

    def __init__(self, cache: Any) -> None:
        super().__init__(cache)
        self._value: Any = None

    def get_or_create(
        self, key: str, creation_function: Any, **kw: Any
    ) -> Any:
        return self._value or self._create(creation_function)

    def _create(self, creation_function: Any) -> Any:
        self._value = creation_function()
        return self._value


register_plugin("benchmark.dict", __name__, "DictImpl")
register_plugin("benchmark.constant", __name__, "ConstantImpl")

UNCACHED: Final = Contender("uncached", {"cache_enabled": False})
CONSTANT: Final = Contender(
    "constant plugin", {"cache_impl": "benchmark.constant"}
)
DICT: Final = Contender("Mako docs' dict", {"cache_impl": "benchmark.dict"})

# Regions have no close(), and clients that are forgotten open complain.
_kept: Final[list[Any]] = []

BEAKER_PYLIBMC: Final = "Beaker 1.13 pylibmc"
BEAKER_PYLIBMC_FOLDER: Final = Path(sys.prefix) / "beaker-1.13"
"""Where ``make bench`` installs the last Beaker with pylibmc."""


def has_read_ahead() -> bool:
    """Tell whether the option ``read_ahead`` exists."""
    return "read_ahead" in options.EVERYWHERE


def ours(name: str, url: str, **cache_args: Any) -> Contender:
    """Return this project's plugin over the store at *url*.

    :param cache_args: further options.
    """
    return Contender(
        name,
        {"cache_impl": "cacheplug", "cache_args": {"url": url, **cache_args}},
    )


def beaker(name: str, **cache_args: Any) -> Contender:
    """Return Beaker, with arguments such as ``type``."""
    return Contender(name, {"cache_impl": "beaker", "cache_args": cache_args})


def beaker_pylibmc(port: int, folder: str) -> Contender | None:
    """Return Beaker 1.13 over a memcached, if it is installed.

    :param folder: where it may keep its locks.
    """
    if not BEAKER_PYLIBMC_FOLDER.is_dir():
        return None
    arguments = {
        "type": "ext:memcached",
        "url": f"127.0.0.1:{port}",
        "memcache_module": "pylibmc",
        "lock_dir": folder,
    }
    return dataclasses.replace(
        beaker(BEAKER_PYLIBMC, **arguments), folder=str(BEAKER_PYLIBMC_FOLDER)
    )


def dogpile_region(
    backend: str, timeout: float | None = None, **arguments: Any
) -> Any:
    """Return a region of dogpile.cache.

    :param timeout: in seconds; by default it keeps entries for ever.
    """
    from dogpile.cache import make_region

    region = make_region().configure(
        f"dogpile.cache.{backend}",
        expiration_time=timeout,
        arguments=arguments,
    )
    _kept.append(region)
    return region


def dogpile(name: str, backend: str, **arguments: Any) -> Contender:
    """Return dogpile.cache with its backend *backend*."""
    regions = {"r": dogpile_region(backend, **arguments)}
    return Contender(
        name,
        {
            "cache_impl": "dogpile.cache",
            "cache_args": {"regions": regions, "region": "r"},
        },
    )
