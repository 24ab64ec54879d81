"""What one template caches, and where: its fragments and their regions.

For rendering, which asks about one fragment, and for invalidation, which has
to find them all without having rendered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import NamedTuple

from mako_cacheplug import keys
from mako_cacheplug import options
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.options import CallOptions
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.regions import region_names
from mako_cacheplug.registry import backend_names
from mako_cacheplug.template import plan as plans
from mako_cacheplug.template.foreign import ForeignPlace
from mako_cacheplug.template.foreign import PluginImpl
from mako_cacheplug.template.scan import Fragment
from mako_cacheplug.template.scan import Scan
from mako_cacheplug.template.scan import scan
from mako_cacheplug.template.settings import ForeignImpl
from mako_cacheplug.template.settings import Resolved
from mako_cacheplug.template.settings import TemplateSettings

__all__ = ["Place", "TemplatePlaces"]

_ABSENT: Final = object()

_guard: Final = ForkSafeLock()
"""Of what the templates' calls were given: one, as it is held for moments."""

_REMEMBERED_OPTIONS: Final = 1024
_PER_CALL: Final = frozenset({"enabled", "vary"})
_CHOOSE_STORE: Final = frozenset(
    {"dir", "impl", "namespace", "region", "type", "url"}
)
_UNKNOWABLE: Final = ("namespace", "url", "dir")
"""Of these, those whose values cannot be tried one by one."""


class Place(NamedTuple):
    """Where something is cached."""

    region: CacheRegion
    call: CallOptions
    key: str
    label: str
    """The label of all variants of this key."""


class TemplatePlaces:
    """The places of one template.  Safe in threads.

    :param uri: the template's, for errors.
    :param own_identity: what the template is by itself.
    :param family: what it is in all its versions.
    :param identity: returns what it is now, with all that it needs.
    :param code: returns the module that Mako generated, or "".
    :param settings: makes the template's settings; called at the first use.
    :param load_plugin: returns the impl of Mako's own group with a name.
    :raises OptionError: from every method, for an option that is unknown or
        wrong.
    """

    def __init__(
        self,
        uri: str,
        own_identity: str,
        family: str,
        identity: Callable[[], str],
        code: Callable[[], str],
        settings: Callable[[], TemplateSettings],
        load_plugin: Callable[[str], PluginImpl],
    ):
        self._uri = uri
        self._own_identity = own_identity
        self._family = family
        self._identity = identity
        self._code = code
        self._make_settings = settings
        self._load_plugin = load_plugin
        self._settings: TemplateSettings | None = None
        self._plugins: dict[str, PluginImpl] = {}
        self._regions: dict[int, CacheRegion] = {}
        self._guessed: set[int] = set()
        self._scan: Scan | None = None
        self._given: dict[tuple[str, str], dict[str, object]] = {}

    def resolve(self, given: Mapping[str, object], where: str) -> Resolved:
        """Return region and policy for a tag's options.

        :raises ForeignImpl: if the store is not one of ours.
        """
        resolved = self._known_settings(where).resolve(given, where)
        self._regions.setdefault(id(resolved.region), resolved.region)
        self._guessed.discard(id(resolved.region))
        return resolved

    def _guess(
        self, given: Mapping[str, object], where: str
    ) -> Resolved | None:
        """Return what :meth:`resolve` does, if there is such a place."""
        try:
            resolved = self._known_settings(where).resolve(given, where)
        except OptionError:
            return None
        region = resolved.region
        if id(region) not in self._regions:
            self._regions[id(region)] = region
            self._guessed.add(id(region))
        return resolved

    def _known_settings(self, where: str) -> TemplateSettings:
        settings = self._settings
        if settings is None:
            try:
                settings = self._settings = self._make_settings()
            except OptionError as error:
                raise OptionError(
                    str(error),
                    option=error.option,
                    value=error.value,
                    where=where,
                ) from None
        return settings

    def remember(self, fragment: str, given: dict[str, object]) -> None:
        """Note the options that a fragment was called with.

        Where they are expressions, an invalidation cannot know them.
        """
        with _guard:
            known = fragment, repr(given)
            self._given.pop(known, None)
            if len(self._given) >= _REMEMBERED_OPTIONS:
                del self._given[next(iter(self._given))]
            self._given[known] = given

    def where(self, defname: str) -> str:
        """Return a fragment in words, for errors."""
        name = defname.removeprefix("render_")
        uri = self._uri
        if defname == "render_body":
            return f"page {uri!r}"
        if name.startswith("__M_anon_"):
            line = name.removeprefix("__M_anon_")
            return f"block in line {line} of {uri!r}"
        return f"def {name!r} of {uri!r}"

    def foreign(
        self,
        chosen: ForeignImpl,
        defname: str,
        vary: object = None,
        tags: object = None,
        context: Any = None,
    ) -> ForeignPlace:
        """Return the plugin that Mako's own group knows by that name."""
        name = chosen.name
        where = self.where(defname)
        if vary is not None:
            raise OptionError(
                f"option 'vary': the plugin {name!r} does not know it; write"
                ' cache_key="${...}"',
                option="vary",
                value=vary,
                where=where,
            )
        impl = self._plugins.get(name)
        if impl is None:
            try:
                impl = self._plugins[name] = self._load_plugin(name)
            except OptionError as error:
                raise error.at(where) from None
        handed = dict(chosen.options)
        if tags is not None:
            handed["tags"] = tags
        if context is not None and impl.pass_context:
            handed.setdefault("context", context)
        return ForeignPlace(impl, handed)

    def own(self, key: object, given: Mapping[str, object]) -> Place:
        """Return the place of a value that is not a fragment's."""
        region, call, _ = self.resolve(given, f"cache of {self._uri!r}")
        prefix = keys.join("own", region.scope, self._own_identity)
        return Place(
            region, call, prefix + keys.token(key), self.own_label(region)
        )

    def own_label(self, region: CacheRegion) -> str:
        """Return the label of all such values."""
        return keys.join("owned", region.scope, self._own_identity)

    def of(
        self, fragment: Fragment, key: object = _ABSENT
    ) -> Iterator[Place | ForeignPlace]:
        """Yield where a fragment, or that with a key, can be cached."""
        where = self.where(fragment.defname)
        identity = self._identity()
        base = ""
        if fragment.has_key and key is not _ABSENT:
            base = "k" + keys.token(key)
        possible = self._possible_options(fragment, where)
        guesses = self._guesses(fragment)
        for number, given in enumerate([*possible, *guesses]):
            try:
                if number < len(possible):
                    region, call, _ = self.resolve(given, where)
                else:
                    guessed = self._guess(given, where)
                    if guessed is None:
                        continue
                    region, call, _ = guessed
            except ForeignImpl as foreign:
                yield self.foreign(foreign, fragment.defname)
                continue
            name = fragment.name
            yield Place(
                region,
                call,
                plans.fragment_prefix(region, identity, name) + base,
                plans.variants_label(region, self._family, name) + base,
            )

    def _possible_options(
        self, fragment: Fragment, where: str
    ) -> list[dict[str, object]]:
        """Return the options of a tag: several if they are expressions."""
        static = {
            name: value
            for name, value in fragment.options.items()
            if name not in _PER_CALL
        }
        possible = [static]
        if fragment.dynamic & _CHOOSE_STORE:
            possible += [
                {**static, "region": name}
                for name in self._known_settings(where).region_names()
            ]
            with _guard:
                possible += [
                    {k: v for k, v in given.items() if k not in _PER_CALL}
                    for (name, _), given in self._given.items()
                    if name == fragment.name
                ]
        return possible

    def _guesses(self, fragment: Fragment) -> list[dict[str, object]]:
        """Return what an expression can have chosen in another process."""
        static = {
            name: value
            for name, value in fragment.options.items()
            if name not in _PER_CALL
        }
        guesses: list[dict[str, object]] = []
        if "region" in fragment.dynamic:
            guesses += [{**static, "region": n} for n in region_names()]
        if fragment.dynamic & {"impl", "type"}:
            guesses += [{**static, "impl": n} for n in sorted(backend_names())]
        return guesses

    def _check_known(self, fragment: Fragment) -> None:
        """Refuse to do nothing: nobody knows where the fragment is.

        :raises OptionError: if its place depends on an expression of which
            this process knows no value.
        """
        for option in _UNKNOWABLE:
            if option not in fragment.dynamic:
                continue
            with _guard:
                known = {name for name, _ in self._given}
            if fragment.name not in known:
                raise OptionError(
                    f"option {option!r} is an expression and this process"
                    " has rendered none of its values: what is cached there"
                    " is not invalidated; write cache_vary and a tag in its"
                    " place, or a region for each value and cache_region",
                    option=option,
                    where=self.where(fragment.defname),
                )

    def invalidate(self, fragment: Fragment, key: object = _ABSENT) -> None:
        """Remove all variants of a fragment, or those with a key.

        What shows it can be in another store: its label is invalidated in
        all of them.

        :raises BackendError: if a store could not be reached.
        :raises OptionError: if nobody knows where the fragment is.
        """
        regions = self.every_region()
        is_ours = False
        with _Attempts() as attempts:
            for place in self.of(fragment, key):
                if isinstance(place, Place):
                    is_ours = True
                    self._attempt(attempts, place.region, "discard", place.key)
                    for region in _one_of_each_store([place.region, *regions]):
                        self._attempt(
                            attempts, region, "discard_label", place.label
                        )
                    continue
                name = fragment.key if fragment.has_key else fragment.defname
                known = name if key is _ABSENT else key
                if known is not None:
                    place.impl.invalidate(known, **place.options)
            if is_ours:
                attempts.make(self._check_known, fragment)

    def _attempt(
        self, attempts: _Attempts, region: CacheRegion, what: str, *args: Any
    ) -> None:
        """Do *what* to *region*.

        A store that is only a guess may not exist: a process that renders
        the template, and knows which are in use, can do without.
        """
        if id(region) in self._guessed and self._given:
            with contextlib.suppress(BackendError):
                getattr(region, what)(*args)
        else:
            attempts.make(getattr(region, what), *args)

    def invalidate_each(
        self, fragments: Iterable[Fragment], key: object = _ABSENT
    ) -> None:
        """Do what :meth:`invalidate` does, to each of several."""
        with _Attempts() as attempts:
            for fragment in fragments:
                attempts.make(self.invalidate, fragment, key)

    def invalidate_own(self, key: object, given: Mapping[str, object]) -> None:
        """Remove a value that is not a fragment's."""
        place = self.own(key, given)
        place.region.discard(place.key)

    def invalidate_all(self) -> None:
        """Remove all fragments and all values of one's own."""
        with _Attempts() as attempts:
            for fragment in self.scanned().fragments:
                attempts.make(self.invalidate, fragment)
            for region in self.every_region():
                self._attempt(
                    attempts, region, "discard_label", self.own_label(region)
                )

    def invalidate_tags(self, tags: tuple[str, ...]) -> None:
        """Invalidate what has one of *tags*, and what shows it."""
        with _Attempts() as attempts:
            for region in self.every_region():
                self._attempt(attempts, region, "invalidate_tags", *tags)

    def with_key(self, key: object) -> list[Fragment]:
        """Return the fragments that can have *key*, theirs or Mako's."""
        return [
            fragment
            for fragment in self.scanned().fragments
            if (
                fragment.key in (None, key)
                if fragment.has_key
                else fragment.defname == key
            )
        ]

    def named(self, defname: str) -> list[Fragment]:
        """Return the cached fragments of that name, nested ones too.

        :raises OptionError: if there is no def or block of that name.
        """
        functions = self.scanned().functions
        if functions and defname not in functions | {"render_body"}:
            name = defname.removeprefix("render_")
            known = {f.removeprefix("render_") for f in functions}
            raise OptionError(
                f"no def {name!r} in {self._uri!r}"
                f"{options.nearest(name, known)}",
                option="name",
                value=name,
            )
        return [f for f in self.scanned().fragments if f.defname == defname]

    def every_region(self) -> list[CacheRegion]:
        """Return the regions that this template's options name."""
        for fragment in self.scanned().fragments:
            for _ in self.of(fragment):
                pass
        where = f"cache of {self._uri!r}"
        self._resolve_ours({}, where)
        for name in self._known_settings(where).region_names():
            self._resolve_ours({"region": name}, where)
        return self.used_regions()

    def used_regions(self) -> list[CacheRegion]:
        """Return the regions that have been used so far."""
        return list(self._regions.values())

    def _resolve_ours(self, given: Mapping[str, object], where: str) -> None:
        with contextlib.suppress(ForeignImpl):
            self.resolve(given, where)

    def scanned(self) -> Scan:
        """Return what is in the template's module."""
        if self._scan is None:
            self._scan = scan(self._code())
        return self._scan


def _one_of_each_store(regions: Iterable[CacheRegion]) -> list[CacheRegion]:
    """Return the first region of each store."""
    first: dict[int, CacheRegion] = {}
    for region in regions:
        first.setdefault(id(region.backend), region)
    return list(first.values())


class _Attempts:
    """Makes every attempt, and raises at the end what the first one did.

    An invalidation that did not reach one store must still reach the others.
    """

    def __init__(self) -> None:
        self._error: BackendError | OptionError | None = None

    def __enter__(self) -> _Attempts:
        return self

    def make(self, action: Callable[..., None], *args: Any) -> None:
        """Do *action*; keep what it raises for later."""
        try:
            action(*args)
        except (BackendError, OptionError) as error:
            self._error = self._error or error

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._error is not None:
            raise self._error
