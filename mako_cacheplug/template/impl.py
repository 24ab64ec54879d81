"""The seam: Mako's calls become a region's.

Every private name of Mako's that this package touches is in this module.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import threading
import uuid
from types import FunctionType
from typing import Any
from typing import ClassVar
from typing import Final

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
from mako_cacheplug.registry import backend_names
from mako_cacheplug.template import plan as plans
from mako_cacheplug.template.identity import identity
from mako_cacheplug.template.identity import own_uri
from mako_cacheplug.template.places import Place
from mako_cacheplug.template.places import PluginImpl
from mako_cacheplug.template.places import TemplatePlaces
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.scan import fragment_name
from mako_cacheplug.template.settings import ForeignImpl
from mako_cacheplug.template.settings import TemplateSettings

__all__ = ["CachePlugImpl", "MemoryCacheImpl"]

_log = logging.getLogger(__name__)

_DEFNAME: Final = "__M_defname"
_KNOWN_PLANS: Final = 1024
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
        self._identity = template_identity(template)
        self._places = TemplatePlaces(
            template.uri,
            self._identity,
            lambda: compiled_code(template),
            lambda: TemplateSettings(
                template.cache_args, self.default_impl, _default_dir(template)
            ),
            self._load_plugin,
        )
        # By the place in the module that asks: its code lives as long as
        # the template.
        self._plans: dict[int, FragmentPlan] = {}
        self._known_plans: dict[str, FragmentPlan] = {}
        self._said: set[str] = set()
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
                impl, handed = self._places.foreign(
                    foreign, str(defname), vary, context
                )
                return impl.get_or_create(key, creator, **handed)
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
            raise error.at(self._places.where(defname)) from None

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
        places = self._places
        where = places.where(defname)
        region, call, given = places.resolve(kw, where)
        name = fragment_name(creator.__qualname__)
        around: frozenset[str] = frozenset()
        if "." in name:
            scanned = places.scanned()
            name = scanned.name_at(name, creator.__code__.co_firstlineno)
            around = scanned.variables_around(name)
        places.remember(name, kw)
        return FragmentPlan(
            kw,
            region,
            call,
            self._identity,
            name,
            defname,
            plans.argument_cells(creator, around),
            plans.uses_caller(creator),
            given,
            where,
        )

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

    def _load_plugin(self, name: str) -> PluginImpl:
        """Return the plugin that Mako's own group knows by that name."""
        try:
            made = mako_cache._cache_plugins.load(name)
        except RuntimeException:
            known = {*backend_names(), *_plugin_names()}
            raise OptionError(
                f"unknown backend or plugin {name!r}"
                f"{options.nearest(name, known)}",
                option="impl",
                value=name,
            ) from None
        impl: PluginImpl = made(self.cache)
        return impl

    # -- template.cache.get and so on --------------------------------------

    def _own_value(
        self, key: object, creator: _Creator, kw: dict[str, object]
    ) -> object:
        place = self._places.own(key, kw)
        return place.region.fetch(
            place.key, creator, place.call, (place.label,)
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
            place = self._places.own(key, kw)
            found = place.region.peek(place.key)
        for fragment in self._places.with_key(key):
            for other in self._places.of(fragment, key):
                if found is NO_VALUE and isinstance(other, Place):
                    found = other.region.peek(other.key)
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
        :raises OptionError: for a def that is not in the template.
        """
        kw.pop("context", None)
        defname = kw.pop(_DEFNAME, None)
        if defname is not None:
            for fragment in self._places.named(defname):
                self._places.invalidate(fragment)
            return
        place = self._places.own(key, kw)
        place.region.discard(place.key)
        for fragment in self._places.with_key(key):
            self._places.invalidate(fragment, key)

    def invalidate_template(self) -> None:
        """Remove everything that is cached of this template.

        :raises BackendError: if a store could not be reached.
        """
        places = self._places
        for fragment in places.scanned().fragments:
            places.invalidate(fragment)
        for region in places.every_region():
            region.discard_label(places.own_label(region))

    def invalidate_tags(self, *tags: str) -> None:
        """Make every entry with one of *tags* a miss, of any template.

        In every store that this template's options name.

        :raises BackendError: if a store could not be reached.
        """
        for region in self._places.every_region():
            region.invalidate_tags(*tags)

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


class MemoryCacheImpl(CachePlugImpl):
    """``cacheplug.memory``: ``CachePlugImpl``, whose default it is anyway."""

    default_impl = "memory"


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
