"""The seam: Mako's calls become a region's.

Every private name of Mako's that this package touches is in this module.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import threading
import uuid
from collections.abc import Iterator
from collections.abc import Mapping
from types import FunctionType
from typing import Any
from typing import ClassVar
from typing import Final
from typing import NamedTuple

from mako import cache as mako_cache
from mako import util
from mako.cache import Cache
from mako.cache import CacheImpl
from mako.exceptions import RuntimeException
from mako.template import Template

from mako_cacheplug import keys
from mako_cacheplug import options
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.events import RegionStats
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.options import CallOptions
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.registry import backend_names
from mako_cacheplug.template import plan as plans
from mako_cacheplug.template.identity import identity
from mako_cacheplug.template.identity import own_uri
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.scan import Fragment
from mako_cacheplug.template.scan import fragment_name
from mako_cacheplug.template.scan import Scan
from mako_cacheplug.template.scan import scan
from mako_cacheplug.template.settings import ForeignImpl
from mako_cacheplug.template.settings import Resolved
from mako_cacheplug.template.settings import TemplateSettings

__all__ = ["CachePlugImpl", "MemoryCacheImpl"]

_log = logging.getLogger(__name__)

_DEFNAME: Final = "__M_defname"
_ABSENT: Final = object()
_KNOWN_PLANS: Final = 1024
_PER_CALL: Final = frozenset({"enabled", "vary"})
_CHOOSE_STORE: Final = frozenset(
    {"dir", "impl", "namespace", "region", "type", "url"}
)

_Creator = FunctionType


class CachePlugImpl(CacheImpl):  # type: ignore[misc]  # Mako is untyped
    """Mako's ``cache_impl="cacheplug"``.

    One object per template; the regions, and with them stores, locks and
    counters, are shared by all templates of the process.  Safe in threads.

    Bad options raise :exc:`~mako_cacheplug.exceptions.OptionError` at the
    first use, naming def and template.
    """

    pass_context = True
    default_impl: ClassVar[str] = "memory"

    def __init__(self, cache: Cache):
        super().__init__(cache)
        template: Template = cache.template
        self._template = template
        self._uri: str = template.uri
        self._identity = template_identity(template)
        self._settings: TemplateSettings | None = None
        # By the place in the module that asks: its code lives as long as
        # the template.
        self._plans: dict[int, FragmentPlan] = {}
        self._known_plans: dict[str, FragmentPlan] = {}
        self._foreign: dict[str, CacheImpl] = {}
        self._regions: dict[int, CacheRegion] = {}
        self._said: set[str] = set()
        self._scan: Scan | None = None
        self._guard = threading.Lock()
        # Mako freezes a def's options at its first call and drops the def's
        # name on the way here.  On this one object it no longer does.
        cache._get_cache_kw = _keep_everything
        cache._ctx_get_or_create = self._ctx_get_or_create

    # -- rendering ---------------------------------------------------------

    def _ctx_get_or_create(
        self, key: object, creator: _Creator, context: Any, **kw: Any
    ) -> object:
        """Take the place of the method that generated code calls."""
        if not self._template.cache_enabled:
            return creator()
        return self._serve(key, creator, context, kw)

    def get_or_create(
        self, key: object, creation_function: _Creator, **kw: Any
    ) -> object:
        """Return a fragment's content, or a value of the template's own.

        :param kw: the tag's options, the context, and the def's name; a
            call without a name is ``template.cache.get_or_create()``.
        """
        context = kw.pop("context", None)
        return self._serve(key, creation_function, context, kw)

    def _serve(
        self,
        key: object,
        creator: _Creator,
        context: Any,
        kw: dict[str, object],
    ) -> object:
        defname = kw.pop(_DEFNAME, None)
        if defname is None:
            return self._own_value(key, creator, kw)
        enabled = kw.pop("enabled", None)
        if enabled is not None and not self._is_on(enabled, str(defname)):
            return creator()
        vary = kw.pop("vary", None)
        site = id(creator.__code__)
        plan = self._plans.get(site)
        if plan is None or plan.kw != kw:
            try:
                plan = self._find_plan(site, str(defname), creator, kw)
            except ForeignImpl as foreign:
                impl = self._ask_foreign(foreign, str(defname), vary)
                return impl.get_or_create(
                    key, creator, **self._handed(foreign, context)
                )
        if enabled is None and not plan.enabled:
            return creator()
        try:
            logical, labels = plan.variant(
                key,
                plan.vary if vary is None else vary,
                creator,
                self._child(context),
                plan.uses_caller and _has_content(context),
            )
        except KeyTypeError as error:
            self._say_uncached(plan, error)
            return creator()
        return plan.region.fetch(
            logical, creator, plan.call, labels, must_store=False
        )

    def _is_on(self, enabled: object, defname: str) -> bool:
        try:
            return options.boolean(enabled, "enabled")
        except OptionError as error:
            raise error.at(self._where(defname)) from None

    def _find_plan(
        self,
        site: int,
        defname: str,
        creator: _Creator,
        kw: dict[str, object],
    ) -> FragmentPlan:
        """Return the plan for these options, which become the latest."""
        try:
            known = keys.token((site, kw))
        except KeyTypeError:
            known = ""
        plan = self._known_plans.get(known)
        if plan is None:
            plan = self._plan(defname, creator, kw)
        with self._guard:
            if len(self._known_plans) >= _KNOWN_PLANS:
                self._known_plans.clear()
            if known:
                self._known_plans[known] = plan
            self._plans[site] = plan
        return plan

    def _plan(
        self,
        defname: str,
        creator: _Creator,
        kw: dict[str, object],
    ) -> FragmentPlan:
        where = self._where(defname)
        resolved = self._resolve(kw, where)
        name = fragment_name(creator.__qualname__)
        if "." in name:
            line = creator.__code__.co_firstlineno
            name = self._scanned().name_at(name, line)
        return FragmentPlan(
            kw,
            self._note(resolved.region),
            resolved.call,
            self._identity,
            name,
            defname,
            plans.argument_cells(creator, self._variables_around(name)),
            plans.uses_caller(creator),
            resolved.options,
            where,
        )

    def _variables_around(self, name: str) -> frozenset[str]:
        if "." not in name:
            return frozenset()
        return self._scanned().variables_around(name)

    def _resolve(self, given: Mapping[str, object], where: str) -> Resolved:
        settings = self._settings
        if settings is None:
            try:
                settings = TemplateSettings(
                    self._template.cache_args,
                    self.default_impl,
                    _default_dir(self._template),
                )
            except OptionError as error:
                raise OptionError(
                    str(error),
                    option=error.option,
                    value=error.value,
                    where=where,
                ) from None
            self._settings = settings
        return settings.resolve(given, where)

    def _child(self, context: Any) -> str:
        """Return what tells the child of an inherited template apart.

        What a base template shows can be its child's, so it is cached for
        each child.
        """
        if context is None:
            return ""
        main = getattr(context.get("self"), "template", None)
        if main is None or main is self._template:
            return ""
        impl = main.cache.impl
        if not isinstance(impl, CachePlugImpl):
            return plans.child_token(template_identity(main))
        return plans.child_token(impl._identity)

    def _say_uncached(self, plan: FragmentPlan, error: KeyTypeError) -> None:
        if plan.where not in self._said:
            self._said.add(plan.where)
            _log.warning(
                '%s is not cached: %s; write cache_key="${...}" with what'
                " tells two calls apart (said once)",
                plan.where,
                error,
            )

    def _where(self, defname: str) -> str:
        name = defname.removeprefix("render_")
        uri = self._uri
        if defname == "render_body":
            return f"page {uri!r}"
        if name.startswith("__M_anon_"):
            line = name.removeprefix("__M_anon_")
            return f"block in line {line} of {uri!r}"
        return f"def {name!r} of {uri!r}"

    def _note(self, region: CacheRegion) -> CacheRegion:
        self._regions.setdefault(id(region), region)
        return region

    # -- other plugins of Mako's group -------------------------------------

    def _ask_foreign(
        self, chosen: ForeignImpl, defname: str, vary: object = None
    ) -> CacheImpl:
        """Return the plugin that Mako's own group knows by that name."""
        name = chosen.name
        where = self._where(defname)
        if vary is not None:
            raise OptionError(
                f"option 'vary': the plugin {name!r} does not know it; write"
                ' cache_key="${...}"',
                option="vary",
                value=vary,
                where=where,
            )
        impl = self._foreign.get(name)
        if impl is None:
            try:
                made = mako_cache._cache_plugins.load(name)
            except RuntimeException:
                known = {*backend_names(), *_plugin_names()}
                raise OptionError(
                    f"unknown backend or plugin {name!r}"
                    f"{options.nearest(name, known)}",
                    option="impl",
                    value=name,
                    where=where,
                ) from None
            impl = self._foreign[name] = made(self.cache)
        return impl

    def _handed(
        self, chosen: ForeignImpl, context: Any = None
    ) -> dict[str, object]:
        handed = dict(chosen.options)
        impl = self._foreign[chosen.name]
        if context is not None and impl.pass_context:
            handed.setdefault("context", context)
        return handed

    # -- template.cache.get and so on --------------------------------------

    def _own_value(
        self, key: object, creator: _Creator, kw: dict[str, object]
    ) -> object:
        place = self._own(key, kw)
        return place.region.fetch(
            place.prefix + place.base, creator, place.call, (place.label,)
        )

    def get(self, key: object, **kw: Any) -> object:
        """Return the fresh value under *key*, or ``None``.

        It is what ``set`` stored or, without that, the content of a
        fragment that has this ``cache_key`` or this name.

        :raises KeyTypeError: for a key that cannot be told apart.
        """
        kw.pop("context", None)
        found: object = NO_VALUE
        if kw.pop(_DEFNAME, None) is None:
            place = self._own(key, kw)
            found = place.region.peek(place.prefix + place.base)
        for fragment in self._with_key(key) if found is NO_VALUE else ():
            for other in self._places(fragment, key):
                if isinstance(other, _Foreign):
                    continue
                found = other.region.peek(other.prefix + other.base)
                if found is not NO_VALUE:
                    return found
        return None if found is NO_VALUE else found

    def set(self, key: object, value: object, **kw: Any) -> None:
        """Store a value of one's own under *key*; ``put`` is the same.

        It stands beside the template's fragments, none of which it can
        replace.

        :raises CodecError: if *value* is of a type that is not stored.
        :raises KeyTypeError: for a key that cannot be told apart.
        """
        kw.pop("context", None)
        kw.pop(_DEFNAME, None)
        place = self._own(key, kw)
        place.region.store(
            place.prefix + place.base, value, place.call, (place.label,)
        )

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
        :raises OptionError: for a def that is not in the template.
        """
        kw.pop("context", None)
        defname = kw.pop(_DEFNAME, None)
        if defname is not None:
            self._check_name(defname)
            for fragment in self._scanned().fragments:
                if fragment.defname == defname:
                    self._invalidate_fragment(fragment)
            return
        place = self._own(key, kw)
        place.region.discard(place.prefix + place.base)
        for fragment in self._with_key(key):
            self._invalidate_fragment(fragment, key)

    def invalidate_template(self) -> None:
        """Remove everything that is cached of this template.

        :raises BackendError: if a store could not be reached.
        """
        for fragment in self._scanned().fragments:
            self._invalidate_fragment(fragment)
        for region in self._every_region():
            region.discard_label(self._own_label(region))

    def invalidate_tags(self, *tags: str) -> None:
        """Make every entry with one of *tags* a miss, of any template.

        In every store that this template's options name.

        :raises BackendError: if a store could not be reached.
        """
        for region in self._every_region():
            region.invalidate_tags(*tags)

    def stats(self) -> dict[str, RegionStats]:
        """Return this process's counters of the regions used here, by name.

        Regions are shared: the figures are those of all their templates.
        """
        found: dict[str, RegionStats] = {}
        for region in list(self._regions.values()):
            stats = region.stats()
            if region.name in found:
                both = zip(found[region.name], stats, strict=True)
                stats = RegionStats(*map(sum, both))
            found[region.name] = stats
        return found

    # -- where things are --------------------------------------------------

    def _own(self, key: object, kw: Mapping[str, object]) -> _Place:
        resolved = self._resolve(kw, f"cache of {self._uri!r}")
        region = self._note(resolved.region)
        return _Place(
            region,
            resolved.call,
            keys.join("own", region.scope, self._identity),
            keys.token(key),
            self._own_label(region),
        )

    def _own_label(self, region: CacheRegion) -> str:
        return keys.join("owned", region.scope, self._identity)

    def _places(
        self, fragment: Fragment, key: object = _ABSENT
    ) -> Iterator[_Place | _Foreign]:
        """Yield where a fragment, or that with a key, can be cached."""
        where = self._where(fragment.defname)
        base = ""
        if fragment.has_key and key is not _ABSENT:
            base = "k" + keys.token(key)
        for given in self._possible_options(fragment):
            try:
                resolved = self._resolve(given, where)
            except ForeignImpl as foreign:
                impl = self._ask_foreign(foreign, fragment.defname)
                yield _Foreign(impl, self._handed(foreign))
                continue
            region = self._note(resolved.region)
            yield _Place(
                region,
                resolved.call,
                plans.fragment_prefix(region, self._identity, fragment.name),
                base,
                plans.variants_label(region, self._identity, fragment.name),
            )

    def _possible_options(self, fragment: Fragment) -> list[dict[str, object]]:
        """Return the options of a tag: several if they are expressions."""
        static = {
            name: value
            for name, value in fragment.options.items()
            if name not in _PER_CALL
        }
        possible = [static]
        if fragment.dynamic & _CHOOSE_STORE:
            possible += [
                {**static, "region": name} for name in self._region_names()
            ]
            with self._guard:
                possible += [
                    {k: v for k, v in plan.kw.items() if k not in _PER_CALL}
                    for plan in self._known_plans.values()
                    if plan.name == fragment.name
                ]
        return possible

    def _invalidate_fragment(
        self, fragment: Fragment, key: object = _ABSENT
    ) -> None:
        for place in self._places(fragment, key):
            if isinstance(place, _Foreign):
                name = fragment.key if fragment.has_key else fragment.defname
                known = name if key is _ABSENT else key
                if known is not None:
                    place.impl.invalidate(known, **place.options)
                continue
            place.region.discard(place.prefix + place.base)
            place.region.discard_label(place.label + place.base)

    def _region_names(self) -> Iterator[str]:
        regions = self._template.cache_args.get("regions")
        yield from regions if isinstance(regions, Mapping) else ()

    def _with_key(self, key: object) -> list[Fragment]:
        return [
            fragment
            for fragment in self._scanned().fragments
            if (
                fragment.key in (None, key)
                if fragment.has_key
                else fragment.defname == key
            )
        ]

    def _check_name(self, defname: str) -> None:
        functions = self._scanned().functions
        if functions and defname not in functions | {"render_body"}:
            name = defname.removeprefix("render_")
            known = {f.removeprefix("render_") for f in functions}
            raise OptionError(
                f"no def {name!r} in {self._uri!r}"
                f"{options.nearest(name, known)}",
                option="name",
                value=name,
            )

    def _every_region(self) -> list[CacheRegion]:
        """Return the regions that this template's options name."""
        for fragment in self._scanned().fragments:
            for _ in self._places(fragment):
                pass
        for name in (None, *self._region_names()):
            try:
                resolved = self._resolve(
                    {"region": name}, f"cache of {self._uri!r}"
                )
            except ForeignImpl:
                continue
            self._note(resolved.region)
        return list(self._regions.values())

    def _scanned(self) -> Scan:
        if self._scan is None:
            self._scan = scan(compiled_code(self._template))
        return self._scan


class MemoryCacheImpl(CachePlugImpl):
    """``cacheplug.memory``: ``CachePlugImpl``, whose default it is anyway."""

    default_impl = "memory"


class _Place(NamedTuple):
    """Where something is cached."""

    region: CacheRegion
    call: CallOptions
    prefix: str
    base: str
    label: str


class _Foreign(NamedTuple):
    """Another plugin's impl, and the options to hand to it."""

    impl: CacheImpl
    options: dict[str, object]


# -- Mako's privacy --------------------------------------------------------


def _keep_everything(kw: dict[str, object], context: Any) -> dict[str, object]:
    """Stand in for ``Cache._get_cache_kw``: keep all, freeze nothing."""
    if context is not None:
        kw.setdefault("context", context)
    return kw


def _has_content(context: Any) -> bool:
    """Tell whether a fragment is called with content, as by ``<%call>``.

    Or nested in a def that was called so, whose content it can show.
    """
    if context is None:
        return False
    stack = context.caller_stack
    return stack.nextcaller is not None or bool(stack and stack[-1])


def _plugin_names() -> set[str]:
    """Return the names that Mako's own group knows, but for ours."""
    points = importlib.metadata.entry_points(group="mako.cache")
    names = {point.name for point in points} | {
        *mako_cache._cache_plugins.impls
    }
    return {n for n in names if n.partition(".")[0] != "cacheplug"}


def _default_dir(template: Template) -> str | None:
    folder = getattr(template, "module_directory", None)
    return None if folder is None else os.path.join(folder, "_cacheplug")


def template_identity(template: Template) -> str:
    """Return the identity of *template*.

    One whose generated module cannot be read is nobody else's, in no other
    process.
    """
    uri = own_uri(template.uri, template.filename)
    code = compiled_code(template)
    source = _source(template)
    if not code or source is None:
        return identity(uri, uuid.uuid4().hex, "")
    return identity(uri, source, code)


def _source(template: Template) -> str | None:
    """Return what the author wrote, or ``None`` if it is not that any more.

    "" where only the module is left.
    """
    info: Any = getattr(template, "_mmarker", None)
    path = getattr(info, "template_filename", None)
    try:
        # A file is read only now, and may be newer than what runs.
        if (
            path
            and info.template_source is None
            and os.stat(path).st_mtime > template.module._modified_time
        ):
            return None
        source = info.source
    except (AttributeError, OSError, TypeError):
        return ""
    if isinstance(source, bytes):
        return source.decode("utf-8", "surrogateescape")
    return str(source)


def compiled_code(template: Template) -> str:
    """Return the module that runs as *template*; "" if it cannot be had.

    Not ``template.code``: Mako looks that up by a module name which several
    templates can share.
    """
    info = getattr(template, "_mmarker", None)
    module = template.module
    try:
        if info is not None and info.module_source is not None:
            code: str = info.module_source
        else:
            path = getattr(info, "module_filename", None) or module.__file__
            code = util.read_python_file(path)
    except (AttributeError, OSError):
        return ""
    # A module file can have been written anew since this one was loaded.
    made = f"_modified_time = {module._modified_time!r}\n"
    return code if made in code else ""
