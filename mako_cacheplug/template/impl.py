"""The seam: Mako's calls become a region's."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from collections.abc import Collection
from typing import Any
from typing import cast
from typing import ClassVar

from mako.cache import Cache
from mako.cache import CacheImpl
from mako.template import Template

from mako_cacheplug import nesting
from mako_cacheplug import options
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.nesting import Creation
from mako_cacheplug.template.editions import Edition
from mako_cacheplug.template.editions import Editions
from mako_cacheplug.template.editions import running
from mako_cacheplug.template.holes import BadDonutError
from mako_cacheplug.template.holes import Ground
from mako_cacheplug.template.holes import read_donut
from mako_cacheplug.template.holes import serve
from mako_cacheplug.template.places import TemplatePlaces
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.plan import Variant
from mako_cacheplug.template.planning import Planner
from mako_cacheplug.template.private import compiled_code
from mako_cacheplug.template.private import count_buffers
from mako_cacheplug.template.private import Creator
from mako_cacheplug.template.private import has_content
from mako_cacheplug.template.private import library_in
from mako_cacheplug.template.private import load_plugin
from mako_cacheplug.template.private import namespaces_of
from mako_cacheplug.template.private import own_part
from mako_cacheplug.template.private import reads_of
from mako_cacheplug.template.private import self_of
from mako_cacheplug.template.private import Site
from mako_cacheplug.template.private import take_over
from mako_cacheplug.template.private import top_template
from mako_cacheplug.template.programmatic import ProgrammaticAPI
from mako_cacheplug.template.scan import DEFNAME
from mako_cacheplug.template.settings import ForeignImpl
from mako_cacheplug.template.settings import shared_settings

__all__ = ["CachePlugImpl", "MemoryCacheImpl"]

_log = logging.getLogger(__name__)

_Origin = tuple[Any, FragmentPlan, Edition]
"""The context that a fragment is called in, and how it is cached."""


class CachePlugImpl(ProgrammaticAPI, CacheImpl):  # type: ignore[misc]  # Mako is untyped
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
        own = own_part(template)
        self._editions = Editions(
            template, own_part, library_in, namespaces_of
        )
        family = own.uri or own.identity
        self._places = TemplatePlaces(
            template.uri,
            own.identity,
            family,
            lambda: self._editions.alone().version.identity,
            lambda: compiled_code(template),
            lambda: shared_settings(
                template.cache_args, self.default_impl, _default_dir(template)
            ),
            lambda name: load_plugin(name, cache),
        )
        self._planner = Planner(self._places, family, own.outline, self._run)
        self._said: set[str] = set()
        self._sites: dict[object, Site] = {}
        take_over(cache, self._editions, self._sites, self._fetch, self._serve)

    # -- rendering ---------------------------------------------------------

    def get_or_create(
        self, key: object, creation_function: Creator, **kw: Any
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
        creator: Creator,
        context: Any,
        kw: dict[str, object],
    ) -> object:
        defname = kw.pop(DEFNAME, None)
        if defname is None:
            return self._own_value(key, creator, kw)
        enabled = vary = tags = None
        if kw:
            enabled = kw.pop("enabled", None)
            if enabled is not None and not self._is_on(enabled, str(defname)):
                return _uncached(creator)
            vary = kw.pop("vary", None)
            tags = kw.pop("tags", None)
        edition = self._editions.only
        if edition is None or "depends" in kw:
            try:
                edition = self._editions.in_render(context, kw.get("depends"))
            except OptionError as error:
                raise error.at(self._places.where(str(defname))) from None
            if edition is None:
                return _uncached(creator)
            if nesting.current() and self._editions.is_past(context, edition):
                # What is around can be of the newer templates already.
                nesting.nocache()
        site = id(creator.__code__)
        plan = edition.plans.get(site)
        if plan is None or plan.kw != kw:
            if creator.__globals__ is not vars(self._template.module):
                given = {"enabled": enabled, "vary": vary, "tags": tags, **kw}
                return _owner_serves(key, creator, context, given, defname)
            try:
                plan = self._planner.find(edition, str(defname), creator, kw)
            except ForeignImpl as foreign:
                place = self._places.foreign(
                    foreign, str(defname), vary, tags, context
                )
                return place.get_or_create(key, creator)
        if enabled is None and not plan.enabled:
            return _uncached(creator)
        heirs = ""
        if plan.is_heirs is not False:
            top = top_template(context)
            if top is not None and top is not self._template:
                heirs = self._heirs(context, plan)
        variant = plan.constant
        is_simple = (
            plan.is_simple
            and not heirs
            and vary is None
            and (
                plan.has_key or (type(key) is str and key == plan.default_key)
            )
        )
        if variant is None or not is_simple or tags is not None:
            labels = plan.tag_labels
            try:
                if tags is not None:
                    labels = plan.labels_of(tags)
                variant = plan.variant(
                    key,
                    plan.vary if vary is None else vary,
                    creator,
                    heirs,
                    plan.uses_caller and has_content(context),
                    labels,
                )
            except KeyTypeError as error:
                self._say_uncached(plan, error)
                return plan.region.create_unkeyed(
                    creator, plan.call, (plan.label, *labels)
                )
            except OptionError as error:
                raise error.at(plan.where) from None
        value = self._fetch(plan, variant, creator, context, edition)
        if is_simple and enabled is None:
            if tags is not None:
                kw["tags"] = tags
            self._note_site(defname, creator, kw, edition, plan, variant)
        return value

    def _fetch(
        self,
        plan: FragmentPlan,
        variant: Variant,
        creator: Creator,
        context: Any,
        edition: Edition,
    ) -> object:
        """Return the fragment from its region, with what its holes show."""
        logical, labels, fragment = variant
        region = plan.region
        if (
            not region.health.is_well
            and nesting.current() is None
            and region.goes_without(logical)
        ):
            return creator()
        value = region.fetch(
            logical,
            creator,
            plan.call,
            labels,
            fragment,
            (context, plan, edition),
            reads_of if plan.is_timed else None,
        )
        if not isinstance(value, str):
            origin = context, plan, edition
            return self._with_holes(value, logical, creator, origin)
        return value

    def _note_site(
        self,
        defname: object,
        creator: Creator,
        kw: dict[str, object],
        edition: Edition,
        plan: FragmentPlan,
        variant: Variant,
    ) -> None:
        """Let the next call like this one take the shortcut.

        One whose options are all in its tag: nothing that a caller could
        change without being noticed.
        """
        hit = None
        if plan.region.can_stand and not plan.call.early:
            hit = plan.region.standing(variant[0])
            if hit is None or hit.expected != variant[1]:
                return
        is_plain = {*map(type, kw.values())} <= {str, int}
        if is_plain and not ("depends" in kw or edition.version.is_open):
            self._sites[defname] = Site(
                creator.__code__, kw, edition, plan, variant, hit
            )

    def _with_holes(
        self, value: Any, logical: str, creator: Creator, origin: _Origin
    ) -> object:
        """Return the fragment that *value*, which is no text, stands for."""
        context, plan, edition = origin
        try:
            return serve(
                read_donut(value),
                logical,
                self._template,
                context,
                lambda: self._places.scanned().is_buffered(plan.name),
                lambda: self._guarded(context, plan, edition)[0],
                self_of,
            )
        except BadDonutError as error:
            # Planted in the store: a miss, for this call and the next one.
            plan.region.refuse(logical, error)
            return _uncached(creator)

    def _is_on(self, enabled: object, defname: str) -> bool:
        try:
            return options.boolean(enabled, "enabled")
        except OptionError as error:
            raise error.at(self._places.where(defname)) from None

    def _heirs(self, context: Any, plan: FragmentPlan) -> str:
        """Return what tells the heirs of an inherited template apart.

        For a fragment that can show what is theirs.
        """
        if plan.is_heirs is None:
            name = plan.name.partition("#")[0]
            plan.is_heirs = self._places.scanned().is_heirs(name)
        return self._editions.heirs(context).token if plan.is_heirs else ""

    def _run(self, creation: Creation, creator: Callable[[], object]) -> Any:
        """Run a fragment's creator; see to its holes, and to edits."""
        context, plan, edition = cast("_Origin", creation.origin)
        uris, is_unedited = self._guarded(context, plan, edition)
        ground = creation.origin = Ground(
            self._template,
            context,
            count_buffers,
            lambda: self._places.scanned().is_reshaped(plan.name),
            uris,
        )
        shown = creator()
        if not is_unedited():
            # It can hold something of the newer templates.
            creation.forbid()
        return ground.finish(shown, creator)

    def _guarded(
        self, context: Any, plan: FragmentPlan, edition: Edition
    ) -> tuple[Collection[str], Callable[[], bool]]:
        return self._editions.guard(context, edition, plan.is_heirs is True)

    def _say_uncached(self, plan: FragmentPlan, error: KeyTypeError) -> None:
        if plan.where not in self._said:
            self._said.add(plan.where)
            _log.warning(
                '%s is not cached: %s; write cache_key="${...}" with what'
                " tells two calls apart (said once)",
                plan.where,
                error,
            )


class MemoryCacheImpl(CachePlugImpl):
    """``cacheplug.memory``: ``CachePlugImpl``, whose default it is anyway."""

    default_impl = "memory"


def _owner_serves(
    key: object,
    creator: Creator,
    context: Any,
    kw: dict[str, object],
    defname: object,
) -> object:
    """Return a fragment of another template than that whose cache was asked.

    A def inside a namespace's tag in a base template asks its heir's: Mako
    makes a base's namespaces with its heir's context.
    """
    for template in running(context):
        if vars(template.module) is creator.__globals__:
            impl = template.cache.impl
            if isinstance(impl, CachePlugImpl):
                given = {n: v for n, v in kw.items() if v is not None}
                given[DEFNAME] = defname
                return impl._serve(key, creator, context, given)
    return _uncached(creator)


def _default_dir(template: Template) -> str | None:
    folder = getattr(template, "module_directory", None)
    return None if folder is None else os.path.join(folder, "_cacheplug")


def _uncached(creator: Callable[[], object]) -> object:
    """Return what *creator* makes; what is around it is not cached either."""
    nesting.nocache()
    return creator()
