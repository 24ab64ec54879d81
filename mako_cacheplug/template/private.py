"""Mako's private side.

Every private name of Mako's that this package touches is in this module: what
generated code calls, and what a render, a template and a lookup hold.  If one
of them is called otherwise in another Mako, fragments go Mako's ordinary way,
and templates of which too little is known are nobody else's.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import weakref
from collections.abc import Callable
from types import CodeType
from types import FunctionType
from typing import Any
from typing import Final

from mako import cache as mako_cache
from mako import util
from mako.cache import Cache
from mako.exceptions import RuntimeException
from mako.lookup import TemplateLookup
from mako.runtime import TemplateNamespace
from mako.template import Template

from mako_cacheplug import nesting
from mako_cacheplug import options
from mako_cacheplug.ahead import RenderReads
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.registry import backend_names
from mako_cacheplug.standing import StandingHit
from mako_cacheplug.template.editions import Edition
from mako_cacheplug.template.editions import Editions
from mako_cacheplug.template.foreign import PluginImpl
from mako_cacheplug.template.identity import identity
from mako_cacheplug.template.identity import ordered_settings
from mako_cacheplug.template.identity import own_uri
from mako_cacheplug.template.library import Library
from mako_cacheplug.template.library import OwnPart
from mako_cacheplug.template.needs import read_needs
from mako_cacheplug.template.outline import outline
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.plan import Variant
from mako_cacheplug.template.scan import DEFNAME

__all__ = [
    "Creator",
    "Site",
    "compiled_code",
    "count_buffers",
    "has_content",
    "library_in",
    "load_plugin",
    "loaded_template",
    "namespaces_of",
    "own_part",
    "reads_of",
    "self_of",
    "take_over",
    "template_identity",
    "top_template",
]

_READS: Final = "_mako_cacheplug_reads"
_LIBRARY: Final = "_mako_cacheplug_library"
_OWN_PART: Final = "_mako_cacheplug_own_part"
_GET_TEMPLATE: Final = TemplateLookup.get_template

Creator = FunctionType
"""The lambda that generated code passes."""


class Site:
    """A place in a template that called for a fragment, and had one.

    :param code: of the lambda that it passes, and no other place does.
    :param kw: the options that it passes.
    :param variant: of its latest call.
    :param hit: of that, if the store is one in which hits stand.
    """

    __slots__ = (
        "_tags",
        "_variant",
        "code",
        "edition",
        "has_heirs",
        "health",
        "kw",
        "plan",
        "stands",
        "take",
    )

    def __init__(
        self,
        code: CodeType,
        kw: dict[str, object],
        edition: Edition,
        plan: FragmentPlan,
        variant: Variant,
        hit: StandingHit | None,
    ):
        self.code = code
        self.kw = kw
        self.edition = edition
        self.plan = plan
        self.health = plan.region.health
        self.has_heirs = plan.is_heirs is not False
        self.stands = hit is not None
        self.take = hit.take if hit and plan.constant else None
        self._variant = variant
        self._tags = plan.tags_among(variant[1])

    def find(
        self, key: object, creator: Creator
    ) -> Callable[[], CacheEntry | None]:
        """Return what takes the hit for the key and arguments of this call."""
        plan = self.plan
        try:
            hit = plan.region.standing(plan.simple_key(key, creator))
        except KeyTypeError:
            return _nothing
        if hit is None or plan.tags_among(hit.expected) != self._tags:
            return _nothing
        return hit.take

    def goes_without(self) -> bool:
        """Tell whether the store is away, and count the miss if it is.

        Where a hook wants to know which key it is, the long way tells.
        """
        return self.plan.region.goes_without()

    def variant(self, key: object, creator: Creator) -> Variant:
        """Return what this call asks for.

        :raises KeyTypeError: if its key or an argument cannot be in a key.
        """
        plan = self.plan
        if plan.constant is not None:
            return self._variant
        return plan.variant(key, None, creator, "", False, self._tags)


def _nothing() -> None:
    """Take no hit."""


def take_over(
    cache: Cache,
    editions: Editions,
    sites: dict[object, Site],
    fetch: Callable[[FragmentPlan, Variant, Creator, Any, Edition], object],
    the_long_way: Callable[[object, Creator, Any, dict[str, object]], object],
) -> None:
    """Take the place of the method that generated code calls, on one cache.

    Mako freezes a def's options at its first call and drops the def's name on
    its own way; here it does neither.

    A fragment whose key is the author's, or its own with its arguments, is
    served here while its last hit stands, and where none does, fetched without
    looking at its options again.  What is not certain goes the long way.

    :param editions: of the cache's template.
    :param sites: the places that may take the shortcut, by the def's name.
    :param fetch: returns what a call at a site shows.
    :param the_long_way: returns what any call shows.
    """
    template = cache.template
    is_only = editions.only is not None
    under_way = nesting.under_way
    current = nesting.current

    def ctx_get_or_create(
        key: object,
        creator: Creator,
        context: Any,
        /,
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
            take = site.take
            if take is None and site.stands:
                take = site.find(key, creator)
            if take is not None:
                entry = take()
                if entry is not None:
                    return entry.value
            elif not site.health.is_well and site.goes_without():
                return creator()
            else:
                try:
                    variant = site.variant(key, creator)
                except KeyTypeError:
                    pass  # Which is said there.
                else:
                    return fetch(
                        site.plan, variant, creator, context, site.edition
                    )
        if not template.cache_enabled:
            return creator()
        kw[DEFNAME] = __M_defname
        return the_long_way(key, creator, context, kw)

    cache._get_cache_kw = _keep_everything
    cache._ctx_get_or_create = ctx_get_or_create


def _keep_everything(kw: dict[str, object], context: Any) -> dict[str, object]:
    """Stand in for ``Cache._get_cache_kw``: keep all, freeze nothing."""
    if context is not None:
        kw.setdefault("context", context)
    return kw


def reads_of(origin: tuple[Any, FragmentPlan, object]) -> RenderReads | None:
    """Return what a render has at hand of its stores.

    :param origin: the context and the plan of a call in it.  The plan says
        how long the render may ask stores, if it is the first that does.

    It is kept with the output: a context is part of a circle, and stays in
    memory until the garbage is collected.  With an output that takes no
    attributes, or a class, whose attributes are its author's, it has to stay.
    """
    context, plan, _ = origin
    if context is None or not context._buffer_stack:
        return None  # Of a render that is over, or of none.
    output = getattr(context._buffer_stack[0], "__dict__", None)
    if not isinstance(output, dict):
        output = vars(context.caller_stack)
    reads = output.get(_READS)
    if reads is None or reads.render() is not context.caller_stack:
        module = getattr(context._with_template, "module", None)
        page = getattr(module, "_template_uri", "")
        render = weakref.ref(context.caller_stack)
        ends = _tells_its_end(context._buffer_stack[0])
        reads = output[_READS] = RenderReads(
            str(page), render, ends=ends, budget=plan.call.budget
        )
    found: RenderReads = reads
    return found


class _Page(util.FastEncodingBuffer):  # type: ignore[misc]  # Mako is untyped
    """Mako's output of a render that knows when the page is taken from it."""

    def getvalue(self) -> object:
        reads = vars(self).get(_READS)
        if reads is not None:
            reads.end()
        return super().getvalue()


def _tells_its_end(output: object) -> bool:
    """Make *output* end what is at hand when the page is taken; if it can.

    Not one of the caller's, from which he may take it differently.
    """
    if type(output) is util.FastEncodingBuffer:
        output.__class__ = _Page
    return type(output) is _Page


def has_content(context: Any) -> bool:
    """Tell whether a fragment is called with content, as by ``<%call>``.

    Or nested in a def that was called so, whose content it can show.
    """
    if context is None:
        return False
    stack = context.caller_stack
    return stack.nextcaller is not None or bool(stack and stack[-1])


def top_template(context: Any) -> Template | None:
    """Return the template that a render calls ``self``: the last heir."""
    top = None if context is None else context._data.get("self")
    return None if top is None else top.template


def load_plugin(name: str, cache: Cache) -> PluginImpl:
    """Return the plugin that Mako's own group knows by that name.

    :raises OptionError: if there is none.
    """
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
    impl: PluginImpl = made(cache)
    return impl


def _plugin_names() -> set[str]:
    """Return the names that Mako's own group knows, but for ours."""
    points = importlib.metadata.entry_points(group="mako.cache")
    names = {point.name for point in points} | {
        *mako_cache._cache_plugins.impls
    }
    return {n for n in names if n.partition(".")[0] != "cacheplug"}


def self_of(context: Any, uri: str) -> Any:
    """Return what ``self`` is in an included template or a namespace."""
    return TemplateNamespace(
        f"self:{uri}",
        context._clean_inheritance_tokens(),
        templateuri=uri,
        calling_uri="",
    )


def namespaces_of(template: Template, context: Any) -> list[Template]:
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


def count_buffers(context: Any) -> int:
    return 0 if context is None else len(context._buffer_stack)


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
    module = template.module
    is_its_own = True
    try:
        source = info.template_source
        if source is None:
            # A file is read only now, and may be newer than what runs.
            source, changed = _read(info.template_filename)
            is_its_own = changed <= module._modified_time
        if isinstance(source, bytes):
            encoding = module._source_encoding or "utf-8"
            source = source.decode(encoding, "surrogateescape")
    except (AttributeError, OSError, TypeError):
        return "", True
    return str(source), is_its_own


def _read(path: str) -> tuple[bytes, float]:
    """Return what is in a file, and when that was changed.

    In a third of the time that ``open()`` and ``os.stat()`` take.
    """
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(file)
        return os.read(file, status.st_size), status.st_mtime
    finally:
        os.close(file)


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
