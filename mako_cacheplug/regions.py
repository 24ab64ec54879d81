"""Regions by name, for templates and plain code alike."""

from __future__ import annotations

from collections.abc import Mapping

from mako_cacheplug import options
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.registry import open_backend
from mako_cacheplug.registry import store_url

__all__ = ["configure_regions", "get_region", "region_names"]

_regions: dict[str, CacheRegion] = {}


def configure_regions(regions: Mapping[str, object]) -> None:
    """Give names to regions, for ``cached(region=)`` and for templates.

    ::

        configure_regions({"short": {"url": "memory://", "timeout": "60s"}})

    All are checked before any is put in force; a name that is there already
    gets its new meaning.

    :param regions: for each name its options, or a :class:`CacheRegion`.
    :raises OptionError: for an option that is unknown or wrong.
    """
    made = {}
    for name, given in regions.items():
        if isinstance(given, CacheRegion):
            made[name] = given
        elif isinstance(given, Mapping):
            made[name] = _region_from(name, given)
        else:
            raise OptionError(
                f"region {name!r} is {given!r}: write a mapping of options"
                " or a CacheRegion",
                option="regions",
                value=given,
            )
    _regions.update(made)


def get_region(name: str) -> CacheRegion:
    """Return the region that :func:`configure_regions` called *name*.

    :raises OptionError: if there is none, with the nearest right spelling.
    """
    try:
        return _regions[name]
    except KeyError:
        raise OptionError(
            f"unknown region {name!r}{options.nearest(name, _regions)}",
            option="region",
            value=name,
        ) from None


def region_names() -> list[str]:
    """Return all names that :func:`configure_regions` has given."""
    return list(_regions)


def _region_from(name: str, given: Mapping[str, object]) -> CacheRegion:
    where = f"region {name!r}"
    checked = options.check_options(given, where, allowed=options.REGION_ONLY)
    try:
        backend = open_backend(store_url([checked]))
    except OptionError as error:
        raise error.at(where) from None
    rest = {
        option: value
        for option, value in checked.items()
        if option not in options.STORE_ONLY
    }
    return CacheRegion(backend, name=name, **rest)
