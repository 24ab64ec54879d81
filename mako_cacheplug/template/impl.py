"""The seam: Mako's calls become a region's.

Every private name of Mako's that this package touches is in this module.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import weakref
from collections.abc import Callable
from collections.abc import Collection
from types import CodeType
from types import FunctionType
from typing import Any
from typing import cast
from typing import ClassVar
from typing import Final

from mako import cache as mako_cache
from mako import util
from mako.cache import Cache
from mako.cache import CacheImpl
from mako.exceptions import RuntimeException
from mako.lookup import TemplateLookup
from mako.runtime import TemplateNamespace
from mako.template import Template

from mako_cacheplug import nesting
from mako_cacheplug import options
from mako_cacheplug.ahead import ReadAhead
from mako_cacheplug.ahead import RenderReads
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.nesting import Creation
from mako_cacheplug.registry import backend_names
from mako_cacheplug.standing import StandingHit
from mako_cacheplug.storage import CodedStorage
from mako_cacheplug.template.editions import Edition
from mako_cacheplug.template.editions import Editions
from mako_cacheplug.template.editions import running
from mako_cacheplug.template.foreign import PluginImpl
from mako_cacheplug.template.holes import BadDonutError
from mako_cacheplug.template.holes import Ground
from mako_cacheplug.template.holes import read_donut
from mako_cacheplug.template.holes import serve
from mako_cacheplug.template.identity import identity
from mako_cacheplug.template.identity import ordered_settings
from mako_cacheplug.template.identity import own_uri
from mako_cacheplug.template.library import Library
from mako_cacheplug.template.library import OwnPart
from mako_cacheplug.template.needs import read_needs
from mako_cacheplug.template.outline import outline
from mako_cacheplug.template.places import TemplatePlaces
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.planning import Planner
from mako_cacheplug.template.programmatic import ProgrammaticAPI
from mako_cacheplug.template.scan import DEFNAME
from mako_cacheplug.template.settings import ForeignImpl
from mako_cacheplug.template.settings import shared_settings

__all__ = ["CachePlugImpl", "MemoryCacheImpl"]

_log = logging.getLogger(__name__)

_READS: Final = "_mako_cacheplug_reads"
_LIBRARY: Final = "_mako_cacheplug_library"
_OWN_PART: Final = "_mako_cacheplug_own_part"
_GET_TEMPLATE: Final = TemplateLookup.get_template
_Creator = FunctionType
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
            template, own_part, library_in, _namespaces_of
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
            self._load_plugin,
        )
        self._planner = Planner(self._places, family, own.outline, self._run)
        self._said: set[str] = set()
        # Mako freezes a def's options at its first call and drops the def's
        # name on the way here.  On this one object it no longer does.
        cache._get_cache_kw = _keep_everything
        self._sites: dict[object, _Site] = {}
        cache._ctx_get_or_create = _shortcut(self)

    # -- rendering ---------------------------------------------------------

    def _ctx_get_or_create(
        self, key: object, creator: _Creator, context: Any, **kw: Any
    ) -> object:
        """Take the place of the method that generated code calls.

        All but the hits that :func:`_shortcut` has.
        """
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
        if plan.is_heirs is not False and context is not None:
            top = context._data.get("self")
            if top is not None and top.template is not self._template:
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
            try:
                variant = plan.variant(
                    key,
                    plan.vary if vary is None else vary,
                    creator,
                    heirs,
                    plan.uses_caller and _has_content(context),
                    plan.tag_labels if tags is None else plan.labels_of(tags),
                )
            except KeyTypeError as error:
                self._say_uncached(plan, error)
                return creator()
            except OptionError as error:
                raise error.at(plan.where) from None
        logical, labels, fragment = variant
        value = plan.region.fetch(
            logical,
            creator,
            plan.call,
            labels,
            fragment,
            (context, plan, edition),
            None if plan.ahead is None else _at_hand(context, plan.ahead),
        )
        if value.__class__ is dict:
            origin = context, plan, edition
            return self._with_holes(value, logical, creator, origin)
        if is_simple and enabled is None:
            hit = plan.region.standing(logical)
            if hit is not None:
                if tags is not None:
                    kw["tags"] = tags
                self._note_site(defname, creator, kw, edition, plan, hit)
        return value

    def _note_site(
        self,
        defname: object,
        creator: _Creator,
        kw: dict[str, object],
        edition: Edition,
        plan: FragmentPlan,
        hit: StandingHit,
    ) -> None:
        """Let the next call like this one take the shortcut.

        One whose options are all in its tag: nothing that a caller could
        change without being noticed.
        """
        is_plain = {*map(type, kw.values())} <= {str, int}
        if is_plain and not ("depends" in kw or edition.version.is_open):
            self._sites[defname] = _Site(
                creator.__code__, kw, edition, plan, hit
            )

    def _with_holes(
        self, value: Any, logical: str, creator: _Creator, origin: _Origin
    ) -> object:
        """Return the fragment that *value* stands for, if it has holes."""
        context, plan, edition = origin
        try:
            donut = read_donut(value)
            if donut is None:
                return value
            return serve(
                donut,
                self._template,
                context,
                lambda: self._places.scanned().is_buffered(plan.name),
                lambda: self._guarded(context, plan, edition)[0],
                _self_of,
            )
        except BadDonutError:
            # Planted in the store: a miss, for this call and the next one.
            with contextlib.suppress(BackendError):
                plan.region.discard(logical)
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
            _count_buffers,
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


class MemoryCacheImpl(CachePlugImpl):
    """``cacheplug.memory``: ``CachePlugImpl``, whose default it is anyway."""

    default_impl = "memory"


# -- Mako's privacy --------------------------------------------------------


class _Site:
    """A place in a template that called for a fragment, and had a hit.

    :param code: of the lambda that it passes, and no other place does.
    :param kw: the options that it passes.
    :param hit: its latest; the only one, if its key is always the same.
    """

    __slots__ = (
        "_own_labels",
        "_plan",
        "_tags",
        "code",
        "edition",
        "has_heirs",
        "kw",
        "take",
    )

    def __init__(
        self,
        code: CodeType,
        kw: dict[str, object],
        edition: Edition,
        plan: FragmentPlan,
        hit: StandingHit,
    ):
        self.code = code
        self.kw = kw
        self.edition = edition
        self.has_heirs = plan.is_heirs is not False
        self.take = None if plan.constant is None else hit.take
        self._plan = plan
        self._own_labels = 2 if plan.has_key else 1
        self._tags = hit.expected[self._own_labels :]

    def find(
        self, key: object, creator: _Creator
    ) -> Callable[[], CacheEntry | None]:
        """Return what takes the hit for the key and arguments of this call."""
        plan = self._plan
        try:
            hit = plan.region.standing(plan.simple_key(key, creator))
        except KeyTypeError:
            return _nothing
        if hit is None or hit.expected[self._own_labels :] != self._tags:
            return _nothing
        return hit.take


def _nothing() -> None:
    """Take no hit."""


def _shortcut(impl: CachePlugImpl) -> Callable[..., object]:
    """Return what takes the place of the method that generated code calls.

    A fragment whose key is its own, or its own with its arguments, is served
    here while its last hit stands.  Whatever is not certain goes the long way.
    """
    template = impl._template
    editions = impl._editions
    sites = impl._sites
    is_only = editions.only is not None
    the_long_way = impl._ctx_get_or_create
    under_way = nesting.under_way
    current = nesting.current

    def ctx_get_or_create(
        key: object,
        creator: _Creator,
        context: Any,
        __M_defname: object = None,  # noqa: N803  # Mako's name for it
        **kw: object,
    ) -> object:
        site = sites.get(__M_defname)
        if (
            site is not None
            and site.code is creator.__code__
            and site.kw == kw
            and template.cache_enabled
            and (is_only or site.edition is editions.noted(context))
            and (
                not site.has_heirs
                or context._data["self"].template is template
            )
            and (not under_way or current() is None)
        ):
            take = site.take or site.find(key, creator)
            entry = take()
            if entry is not None:
                return entry.value
        kw[DEFNAME] = __M_defname
        return the_long_way(key, creator, context, **kw)

    return ctx_get_or_create


def _keep_everything(kw: dict[str, object], context: Any) -> dict[str, object]:
    """Stand in for ``Cache._get_cache_kw``: keep all, freeze nothing."""
    if context is not None:
        kw.setdefault("context", context)
    return kw


def _at_hand(context: Any, storage: CodedStorage) -> ReadAhead | None:
    """Return what a render has at hand of a fragment's store.

    It is kept with the output: a context is part of a circle, and stays in
    memory until the garbage is collected.
    """
    if context is None:
        return None
    output = getattr(context._buffer_stack[0], "__dict__", None)
    if not isinstance(output, dict):
        return None  # As of a class, whose attributes are its author's.
    reads = output.get(_READS)
    if reads is None or reads.render() is not context.caller_stack:
        module = getattr(context._with_template, "module", None)
        page = getattr(module, "_template_uri", "")
        render = weakref.ref(context.caller_stack)
        reads = output[_READS] = RenderReads(str(page), render)
    ahead: ReadAhead = reads.of(storage)
    return ahead


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


def _self_of(context: Any, uri: str) -> Any:
    """Return what ``self`` is in an included template or a namespace."""
    return TemplateNamespace(
        f"self:{uri}",
        context._clean_inheritance_tokens(),
        templateuri=uri,
        calling_uri="",
    )


def _namespaces_of(template: Template, context: Any) -> list[Template]:
    """Return the templates that a template's namespaces are in a render.

    Where they have not been made yet, they are made as its body would do, but
    not kept: the body makes them later, with the variables that it has then.
    """
    module = template.module
    generate = getattr(module, "_mako_generate_namespaces", None)
    if generate is None:
        return []
    found = _made_namespaces(module, context)
    if not found:
        context = _stand_in(context)
        generate(context)
        found = _made_namespaces(module, context)
    return [one.template for one in found if hasattr(one, "template")]


def _stand_in(context: Any) -> Any:
    """Return a context like *context*, in which namespaces can be made.

    They are entered in neither its own nor the ``self`` of the render.
    """
    copied = context._copy()
    copied.namespaces = {}
    top = context.get("self")
    if top is not None:
        # Not copy.copy(): a namespace answers for whatever it is asked.
        copied._data["self"] = other = object.__new__(type(top))
        vars(other).update(vars(top))
    return copied


def _made_namespaces(module: Any, context: Any) -> list[Any]:
    known = list(context.namespaces.items())
    return [made for (name, _), made in known if name == module.__name__]


def _count_buffers(context: Any) -> int:
    return 0 if context is None else len(context._buffer_stack)


def _owner_serves(
    key: object,
    creator: _Creator,
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


def _uncached(creator: Callable[[], object]) -> object:
    """Return what *creator* makes; what is around it is not cached either."""
    nesting.nocache()
    return creator()


def library_in(context: Any, template: Template) -> Library:
    """Return the library of the lookup that a render takes templates from.

    :param context: of the render; ``None`` for the template's own lookup.
    """
    top = getattr(context, "_with_template", None)
    lookup = template.lookup if top is None else top.lookup
    library = getattr(lookup, _LIBRARY, None)
    if library is None or library.lookup is not lookup:
        find = getattr(lookup, "get_template", None)
        asks = getattr(find, "__func__", None) is not _GET_TEMPLATE
        library = Library(lookup, own_part, loaded_template, asks=asks)
        with contextlib.suppress(AttributeError):
            # It lives as long as the lookup, and one copy is not another's.
            setattr(lookup, _LIBRARY, library)
    return library


def loaded_template(lookup: Any, uri: str) -> Template | None:
    """Return the template that *lookup* holds, without looking at files."""
    try:
        return lookup._collection[uri]
    except (AttributeError, KeyError):
        return None


def template_identity(template: Template) -> str:
    """Return what *template* is now, with all that it needs."""
    return library_in(None, template).version_of(template).identity


def own_part(template: Template) -> OwnPart:
    """Return what *template* is by itself.

    One whose generated module cannot be read is nobody else's, in no other
    process.
    """
    known: OwnPart | None = vars(template).get(_OWN_PART)
    if known is None:
        # Read once: the file that it was made from can change.
        found = _read_own_part(template)
        known = vars(template).setdefault(_OWN_PART, found)
    return known


def _read_own_part(template: Template) -> OwnPart:
    has_lookup = template.lookup is not None
    uri = own_uri(template.uri, template.filename, has_lookup)
    code = compiled_code(template)
    base = template.module._template_uri
    if not code:
        told = identity(uri, os.urandom(16).hex(), "")
        return OwnPart(told, uri, base, (), False)
    source, is_its_own = _source(template)
    told = identity(
        uri, source if is_its_own else None, code, ordered_settings(template)
    )
    needs = read_needs(code, source)
    return OwnPart(told, uri, base, *needs, outline(code))


def _source(template: Template) -> tuple[str, bool]:
    """Return what the author wrote, and whether that is what runs.

    "" where only the module is left.
    """
    info: Any = getattr(template, "_mmarker", None)
    path = getattr(info, "template_filename", None)
    try:
        # A file is read only now, and may be newer than what runs.
        is_its_own = not (
            path
            and info.template_source is None
            and os.stat(path).st_mtime > template.module._modified_time
        )
        source = info.source
    except (AttributeError, OSError, TypeError):
        return "", True
    if isinstance(source, bytes):
        source = source.decode("utf-8", "surrogateescape")
    return str(source), is_its_own


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
