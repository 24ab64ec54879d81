"""``template.cache.get`` and so on: what an application calls.

Mako's own ``Cache`` hands these calls on to the plugin's object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.events import RegionStats
from mako_cacheplug.template.holes import BadDonutError
from mako_cacheplug.template.holes import read_donut
from mako_cacheplug.template.places import Place
from mako_cacheplug.template.places import TemplatePlaces
from mako_cacheplug.template.scan import DEFNAME

__all__ = ["ProgrammaticAPI"]


class ProgrammaticAPI:
    """The half of a ``CacheImpl`` that has nothing to do with rendering."""

    _places: TemplatePlaces

    def _own_value(
        self, key: object, creator: Callable[[], object], kw: dict[str, object]
    ) -> object:
        place = self._places.own(key, kw)
        return place.region.fetch(
            place.key, creator, place.call, (place.label,)
        )

    def get(self, key: object, **kw: Any) -> object:
        """Return the fresh value under *key*, or ``None``.

        It is what ``set`` stored or, without that, the content of a
        fragment that has this ``cache_key`` or this name.  One with holes
        is nothing to be had without a request.

        :raises KeyTypeError: for a key that cannot be told apart.
        """
        kw.pop("context", None)
        found: object = NO_VALUE
        if kw.pop(DEFNAME, None) is None:
            place = self._places.own(key, kw)
            found = place.region.peek(place.key)
        for fragment in self._places.with_key(key):
            for other in self._places.of(fragment, key):
                if found is NO_VALUE and isinstance(other, Place):
                    found = _whole(other.region.peek(other.key))
        return None if found is NO_VALUE else found

    def set(self, key: object, value: object, **kw: Any) -> None:
        """Store a value of one's own under *key*; ``put`` is the same.

        It stands beside the template's fragments, none of which it can
        replace.

        :raises CodecError: if *value* is of a type that is not stored.
        :raises KeyTypeError: for a key that cannot be told apart.
        """
        kw.pop("context", None)
        kw.pop(DEFNAME, None)
        place = self._places.own(key, kw)
        place.region.store(place.key, value, place.call, (place.label,))

    def put(self, key: object, value: object, **kw: Any) -> None:
        """Do what ``set`` does."""
        self.set(key, value, **kw)

    def invalidate(self, key: object, **kw: Any) -> None:
        """Remove what is under *key*, or every variant of one def.

        Reached by ``template.cache.invalidate(key)`` and, with the def's
        name, by ``invalidate_def``, ``invalidate_body`` and
        ``invalidate_closure``.  Works in a process that has never rendered
        the template.

        :raises BackendError: if the store could not be reached.
        :raises OptionError: for a def that is not in the template, and for
            one whose place no one knows: that of an expression's value,
            where this process remembers none.
        """
        kw.pop("context", None)
        places = self._places
        defname = kw.pop(DEFNAME, None)
        if defname is not None:
            places.invalidate_each(places.named(defname))
            return
        places.invalidate_own(key, kw)
        places.invalidate_each(places.with_key(key), key)

    def invalidate_template(self) -> None:
        """Remove everything that is cached of this template.

        :raises BackendError: if a store could not be reached.
        :raises OptionError: for a def whose place no one knows.
        """
        self._places.invalidate_all()

    def invalidate_tags(self, *tags: str) -> None:
        """Make every entry with one of *tags* a miss, of any template.

        In every store that this template's options name, and in those that
        hold what shows it, as far as this process knows.

        :raises BackendError: if a store could not be reached.
        """
        self._places.invalidate_tags(tags)

    def stats(self) -> dict[str, RegionStats]:
        """Return this process's counters of the regions used here, by name.

        Regions are shared: the figures are those of all their templates.
        """
        found: dict[str, RegionStats] = {}
        for region in self._places.used_regions():
            stats = region.stats()
            if region.name in found:
                both = zip(found[region.name], stats, strict=True)
                stats = RegionStats(*map(sum, both))
            found[region.name] = stats
        return found


def _whole(found: object) -> object:
    """Return what a fragment shows, or ``NO_VALUE`` if it has holes."""
    if not isinstance(found, dict):
        return found
    try:
        return found if read_donut(found) is None else NO_VALUE
    except BadDonutError:
        return NO_VALUE
