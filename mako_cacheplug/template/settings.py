"""From a template's options to the region and policy of one fragment.

Strongest first: the tag and the page tag (Mako has merged these two), the
named region, ``cache_args``, the default.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import TypeVar

from mako_cacheplug import keys
from mako_cacheplug import options
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.options import CallOptions
from mako_cacheplug.options import StoreURL
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.regions import get_region
from mako_cacheplug.registry import is_backend
from mako_cacheplug.registry import open_backend
from mako_cacheplug.registry import store_url

__all__ = ["ForeignImpl", "Resolved", "TemplateSettings", "shared_settings"]

_OWN: Final = ("namespace", "secret", "encrypt", "max_share")
"""Options of a region beside its store and the policy of its calls."""

_OTHER_REGION: Final = options.STORE_ONLY | set(_OWN)
"""Options on a tag that make another region of the one it names."""

_guard: Final = ForkSafeLock()
_regions: Final[
    weakref.WeakKeyDictionary[CacheBackend, dict[object, CacheRegion]]
] = weakref.WeakKeyDictionary()
"""The regions that templates share: a thousand of them, one set of
counters, one pool."""

_MOST_KNOWN: Final = 256

_V = TypeVar("_V")

_settings: Final[dict[str, TemplateSettings]] = {}


class ForeignImpl(Exception):  # noqa: N818  # no error: it carries a choice
    """The chosen ``impl`` is no backend: another plugin's, or unknown.

    :param name: the ``impl``.
    :param options: what to hand to that plugin, as the user typed it.
    """

    def __init__(self, name: str, options: dict[str, object]):
        super().__init__(name)
        self.name = name
        self.options = options


class Resolved(NamedTuple):
    """What a fragment is cached with."""

    region: CacheRegion
    call: CallOptions
    options: dict[str, Any]
    """The checked options of tag, page and ``cache_args``."""


def shared_settings(
    cache_args: Mapping[str, object],
    default_impl: str,
    default_dir: str | None,
) -> TemplateSettings:
    """Return the settings of all templates that have the same options.

    Parameters and errors are those of :class:`TemplateSettings`.
    """
    try:
        known = keys.tokens((cache_args, default_impl, default_dir))
    except KeyTypeError:  # such as an object of the application's
        return TemplateSettings(cache_args, default_impl, default_dir)
    settings = _settings.get(known)
    if settings is None:
        # A copy: what is done to the arguments of one lookup later is not
        # done to another's.
        settings = TemplateSettings(
            copy.deepcopy(cache_args), default_impl, default_dir
        )
        _keep(_settings, known, settings)
    return settings


class TemplateSettings:
    """The options of one template.

    :param cache_args: as given to the lookup or template.
    :param default_impl: the backend where nobody names one.
    :param default_dir: the folder of a file store where nobody names one.
    :raises OptionError: for an unknown or wrong option in *cache_args*.
    """

    def __init__(
        self,
        cache_args: Mapping[str, object],
        default_impl: str,
        default_dir: str | None,
    ):
        given = _without_prefix(cache_args)
        self._own = options.check_options(
            given, "cache_args", allowed=options.EVERYWHERE
        )
        self._named: Mapping[str, object] = self._own.get("regions", {})
        self._default_impl = default_impl
        self._default_dir = default_dir
        self._resolved: dict[str, tuple[Resolved, StoreURL]] = {}
        self._checked: dict[str, dict[str, Any]] = {}
        # All of them now: a typing error in a region that is used once a
        # year should not wait for that day.
        for name, region in self._named.items():
            if isinstance(region, Mapping) and (
                is_backend(region.get("impl") or default_impl)
            ):
                self._checked[name] = options.check_options(
                    region,
                    f"region {name!r} in cache_args",
                    allowed=options.REGION_ONLY,
                )

    def resolve(self, given: Mapping[str, object], where: str) -> Resolved:
        """Return region and policy for the options *given* on tag and page.

        :param where: the fragment, for errors.
        :raises OptionError: for an unknown or wrong option or region.
        :raises ForeignImpl: if the store is not one of ours.
        """
        try:
            known = keys.token(given)
        except KeyTypeError:
            return self._resolve(given, where)[0]
        remembered = self._resolved.get(known)
        if remembered is not None:
            resolved, url = remembered
            # A store that has been closed since is opened anew.
            if open_backend(url) is resolved.region.backend:
                return resolved
        resolved, found = self._resolve(given, where)
        if found is not None:
            _keep(self._resolved, known, (resolved, found))
        return resolved

    def _resolve(
        self, given: Mapping[str, object], where: str
    ) -> tuple[Resolved, StoreURL | None]:
        """Return what :meth:`resolve` does, and which store that is.

        ``None`` in its place where a region of the code decides: its name
        can be another's tomorrow.
        """
        own = self._own
        given = _without_prefix(given)
        name = given.get("region") or own.get("region")
        named = self._named.get(str(name))
        self._refuse_foreign(given, named, where)
        tag = options.check_options(given, where)
        levels: list[Mapping[str, Any]] = [tag]
        backend: CacheBackend | None = None
        url: StoreURL | None = None
        is_given = False
        if name is not None:
            region = self._region(str(name), where)
            if not isinstance(region, CacheRegion):
                levels.append(region)
            elif not tag.keys() & _OTHER_REGION:
                call = region.options.replace(tag)
                return Resolved(region, call, {**own, **tag}), None
            else:
                levels.append(region.given)
                is_given = True
                if not tag.keys() & options.STORE_ONLY:
                    backend = region.backend
        levels.append(own)
        try:
            if backend is None:
                url = store_url(levels, self._default_impl, self._default_dir)
                backend = open_backend(url)
                name = name or url.scheme
        except OptionError as error:
            raise error.at(where) from None
        merged: dict[str, Any] = {}
        for level in reversed(levels):
            merged.update(level)
        kept: dict[str, Any] = {k: merged[k] for k in _OWN if k in merged}
        region = _shared_region(backend, str(name), kept)
        resolved = Resolved(region, CallOptions().replace(merged), merged)
        return resolved, None if is_given else url

    def region_names(self) -> list[str]:
        """Return the names of the regions in ``cache_args`` that are ours.

        Another plugin's can stand beside them.
        """
        ours = (CacheRegion, Mapping)
        return [
            n for n, found in self._named.items() if isinstance(found, ours)
        ]

    def _refuse_foreign(
        self, given: Mapping[str, object], named: object, where: str
    ) -> None:
        region = named if isinstance(named, Mapping) else {}
        for level in (given, region, self._own):
            impl = level.get("impl")
            if impl is not None:
                break
        if not isinstance(impl, str) or is_backend(impl.strip()):
            return
        # Of cache_args only what every plugin of Mako's knows: the rest
        # describes our store.
        handed: dict[str, object] = {
            k: self._own[k] for k in ("dir", "timeout") if k in self._own
        }
        handed.update(region)
        handed.update(given)
        handed.pop("impl", None)
        handed.pop("depends", None)
        if isinstance(named, Mapping):
            handed.pop("region", None)
        raise ForeignImpl(impl.strip(), handed)

    def _region(self, name: str, where: str) -> CacheRegion | dict[str, Any]:
        """Return the region called *name*: of cache_args, or of the code."""
        if name not in self._named:
            try:
                return get_region(name)
            except OptionError:
                raise OptionError(
                    f"unknown region {name!r}"
                    f"{options.nearest(name, self._named)}",
                    option="region",
                    value=name,
                    where=where,
                ) from None
        region = self._named[name]
        if isinstance(region, CacheRegion):
            return region
        if isinstance(region, Mapping):
            return self._checked[name]
        raise OptionError(
            f"region {name!r} is {region!r}: write a mapping of options or a"
            " CacheRegion",
            option="regions",
            value=region,
            where="cache_args",
        )


def _keep(known: dict[str, _V], key: str, value: _V) -> None:
    """Enter *value* in what may grow with the values of expressions."""
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[key] = value


def _without_prefix(given: Mapping[str, object]) -> dict[str, object]:
    """Return *given* with ``cacheplug.file``, Mako's name, as ``file``."""
    impl = given.get("impl")
    if isinstance(impl, str) and impl.partition(".")[0] == "cacheplug":
        return {**given, "impl": impl.partition(".")[2] or None}
    return dict(given)


def _shared_region(
    backend: CacheBackend, name: str, kept: dict[str, Any]
) -> CacheRegion:
    identity = (name, tuple(sorted(kept.items())))
    with _guard:
        regions = _regions.setdefault(backend, {})
        region = regions.get(identity)
        if region is None:
            region = regions[identity] = CacheRegion(
                backend, name=name, **kept
            )
    return region
