"""Template caching for Mako that can be trusted with a real site."""

from __future__ import annotations

import logging as _logging

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.decorators import cached
from mako_cacheplug.events import CacheEvent
from mako_cacheplug.events import EventKind
from mako_cacheplug.events import RegionStats
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import CachePlugError
from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import UnknownCompressionError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.nesting import nocache
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.regions import configure_regions
from mako_cacheplug.regions import get_region
from mako_cacheplug.template.holes import hole

__all__ = [
    "NO_VALUE",
    "BackendError",
    "CacheBackend",
    "CacheEvent",
    "CachePlugError",
    "CacheRegion",
    "CodecError",
    "CorruptEntryError",
    "EventKind",
    "KeyTypeError",
    "OptionError",
    "RegionStats",
    "UnknownCompressionError",
    "ValueTooLargeError",
    "__version__",
    "cached",
    "configure_regions",
    "get_region",
    "hole",
    "nocache",
]

_logging.getLogger(__name__).addHandler(_logging.NullHandler())


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("mako-cacheplug")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
