"""How one fragment is cached: its region, its policy, its key.

Made once per fragment and set of tag options, then used at every call.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from types import BuiltinFunctionType
from types import CellType
from types import CodeType
from types import FunctionType
from types import ModuleType
from typing import Any
from typing import Final

from mako_cacheplug import keys
from mako_cacheplug import options
from mako_cacheplug.entry import MOST_LABELS
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.nesting import Creation
from mako_cacheplug.options import CallOptions
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.region import Fragment
from mako_cacheplug.template.scan import Around
from mako_cacheplug.template.scan import Function

__all__ = ["FragmentPlan", "argument_cells", "heirs_token", "uses_caller"]

Cell = tuple[int | Callable[[Any], object], ...]
"""Where an argument is: the way to it through closures, from the creator's,
by the numbers of their cells; and what is done with what is there."""


Variant = tuple[str, tuple[str, ...], Fragment]
"""What one call asks for: its logical key, its labels, what is special."""

_KNOWN_TAGS: Final = 256


class FragmentPlan:
    """A fragment's region, policy and the constant part of its key.

    :param kw: the tag's options that this plan was made for, but for those
        that are taken at each call.
    :param region: where it is cached.
    :param call: with which policy.
    :param identity: what its template is, in this version.
    :param family: what its template is, in all versions.
    :param name: which fragment of the template.
    :param default_key: what Mako passes as key if the author gave none.
    :param has_key: whether the author gave one, which can be the same.
    :param cells: the arguments, from :func:`argument_cells`.
    :param takes_content: from :func:`uses_caller`.
    :param given: the checked options of all levels.
    :param where: the fragment in words.
    :param run: runs its creator.
    :param is_removable: whether its version is one that an invalidation
        knows of.

    ``is_simple`` tells that a call's key is made of nothing but the author's
    and its arguments, unless it has a vary option or an heir of its own.
    ``constant`` is what :meth:`variant` then returns if there are neither, and
    no tags of its own; or ``None``.
    """

    __slots__ = (
        "_known_tags",
        "_plain",
        "_removed",
        "call",
        "cells",
        "constant",
        "default_key",
        "enabled",
        "has_key",
        "is_heirs",
        "is_simple",
        "is_timed",
        "kw",
        "label",
        "name",
        "prefix",
        "region",
        "tag_labels",
        "uses_caller",
        "vary",
        "vary_args",
        "where",
    )

    def __init__(
        self,
        kw: dict[str, object],
        region: CacheRegion,
        call: CallOptions,
        identity: str,
        family: str,
        name: str,
        default_key: str,
        has_key: bool,
        cells: tuple[Cell, ...],
        takes_content: bool,
        given: dict[str, Any],
        where: str,
        run: Callable[[Creation, Callable[[], object]], object],
        is_removable: bool,
    ):
        self.kw = kw
        self.name = name
        self.region = region
        self.tag_labels = tuple(map(region.tag_label, call.tags))
        self._known_tags: dict[str, tuple[str, ...]] = {}
        self.call = call.replace({"tags": ()}) if call.tags else call
        self.is_timed = region.is_timed
        self.prefix = fragment_prefix(region, identity, name)
        self.label = variants_label(region, family, name)
        self.is_heirs: bool | None = None
        self.default_key = default_key
        self.has_key = has_key
        self.cells = cells
        self.vary_args: bool | None = given.get("vary_args")
        self.vary: object = given.get("vary")
        self.enabled: bool = given.get("enabled", True)
        self.uses_caller = takes_content
        self.where = where
        self._plain = Fragment(run)
        self._removed = Fragment(run, is_removed=is_removable)
        self.is_simple = self.vary is None and (
            has_key
            or not (takes_content or (cells and self.vary_args is False))
        )
        self.constant = (
            None
            if has_key or cells or not self.is_simple
            else self.variant(
                default_key, None, None, "", False, self.tag_labels
            )
        )

    def labels_of(self, tags: object) -> tuple[str, ...]:
        """Return the labels for a call's own tags.

        :param tags: the option, as the user typed it.
        :raises OptionError: if it is no list of tags.
        """
        known = self._known_tags.get(tags) if type(tags) is str else None
        if known is None:
            # One more is enough to see that they are too many.
            names = options.tag_names(tags)[:MOST_LABELS]
            known = tuple(map(self.region.tag_label, names))
            if type(tags) is str and len(tags) <= keys.LONGEST_TOKEN:
                if len(self._known_tags) >= _KNOWN_TAGS:
                    self._known_tags.clear()
                self._known_tags[tags] = known
        return known

    def variant(
        self,
        key: object,
        vary: object,
        creator: FunctionType | None,
        heirs: str,
        has_content: bool,
        tag_labels: tuple[str, ...],
    ) -> Variant:
        """Return one call's logical key, its labels, and what is special.

        An author's own ``cache_key`` stands for the arguments too, unless
        ``vary_args`` asks for them.

        :param key: what Mako passes as key.
        :param vary: the option; ``None`` if not given.
        :param heirs: from :func:`heirs_token`, or "".
        :param has_content: whether what it shows is its caller's too.
        :param tag_labels: the labels of its tags.
        :raises KeyTypeError: if an argument, the key or the vary option
            cannot be in a key.
        """
        is_own = (
            self.has_key or type(key) is not str or key != self.default_key
        )
        base = "k" + keys.token(key) if is_own else ""
        if has_content and not base:
            raise KeyTypeError(
                "what it shows depends on the content that it is called with",
                value_type=type(creator),
            )
        rest = ""
        vary_args = not base if self.vary_args is None else self.vary_args
        if self.cells and vary_args and creator is not None:
            rest = "a" + _arguments_token(creator, self.cells)
        if vary is not None:
            rest += "v" + keys.token(vary)
        rest += heirs
        label = self.label
        labels = (label, *tag_labels)
        if base:
            labels = (label + base, *labels)
        # Whoever invalidates the first label removes the entry as well: in
        # his version of the template.
        fragment = self._plain if rest else self._removed
        return self.prefix + base + rest, labels, fragment

    def tags_among(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return those *labels* of a simple call that are its tags'."""
        return labels[2 if self.has_key else 1 :]

    def simple_key(self, key: object, creator: FunctionType) -> str:
        """Return the logical key that :meth:`variant` makes for a simple call.

        :raises KeyTypeError: if the key or an argument cannot be in a key.
        """
        made = self.prefix
        if self.has_key:
            made += "k" + keys.token(key)
        if self.cells and (self.vary_args or not self.has_key):
            made += "a" + _arguments_token(creator, self.cells)
        return made


def fragment_prefix(region: CacheRegion, identity: str, name: str) -> str:
    """Return the start of all of a fragment's logical keys."""
    return keys.join("fragment", region.scope, identity, name)


def variants_label(region: CacheRegion, family: str, name: str) -> str:
    """Return the label of all of a fragment's variants, in all versions.

    With ``"k"`` and a key's token appended: of all variants with that key.
    """
    return keys.join("variants", region.scope, family, name)


def heirs_token(identities: Iterable[str]) -> str:
    """Return what tells a base template's fragment for its heirs apart."""
    return "c" + keys.join(*identities)


def _arguments_token(creator: FunctionType, cells: tuple[Cell, ...]) -> str:
    found = [_content_at(creator, cell) for cell in cells]
    try:
        return keys.tokens(found)
    except KeyTypeError:
        named = [
            _by_name(value) if len(cell) > 1 else value
            for value, cell in zip(found, cells, strict=True)
        ]
        if all(map(operator.is_, named, found)):
            raise
    return keys.tokens(named)


def _by_name(value: object) -> object:
    """Return where *value* can be imported from, if it can; else itself."""
    found: Any
    if isinstance(value, ModuleType):
        found = sys.modules.get(value.__name__)
        return (..., value.__name__) if found is value else value
    if not isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return value
    found = sys.modules.get(str(value.__module__))
    qualname = value.__qualname__
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return (..., value.__module__, qualname) if found is value else value


def _content_at(creator: FunctionType, cell: Cell) -> object:
    found: Any = creator
    try:
        for step in cell:
            if step.__class__ is int:
                found = found.__closure__[step].cell_contents
            else:
                found = step(found)  # type: ignore[operator]  # no int
        return found
    except ValueError:
        return ...  # Not assigned, as in a branch that was not taken.


def _defaults(function: FunctionType) -> object:
    return function.__defaults__, function.__kwdefaults__


class _SameCode:
    """Finds out if a function is still the one that was searched.

    Another one, as from the other branch of an ``if``, may close over
    something else.
    """

    __slots__ = ("_wanted",)

    def __init__(self, function: FunctionType):
        self._wanted = function.__code__

    def __call__(self, found: Any) -> None:
        if getattr(found, "__code__", None) is not self._wanted:
            raise KeyTypeError(
                "a function that it uses is not always the same one",
                value_type=type(found),
            )


def argument_cells(creator: FunctionType, around: Around) -> tuple[Cell, ...]:
    """Return where the arguments of a fragment are found at each call.

    Its own are what Mako's lambda closes over.  A nested fragment also sees
    the arguments and variables of the functions around it: its function
    closes over them, or over other functions that are defined there and do,
    or have them as defaults.  What a decorator made of one of these is no
    function of the template's: all that it holds counts.

    :param creator: the lambda that Mako passes.
    :param around: what the functions around the fragment hold.
    """
    if not around.functions:
        return tuple(
            [
                (index,)
                for index, name in enumerate(creator.__code__.co_freevars)
                if not (
                    name in around.given_by_mako or name.startswith("__M_")
                )
            ]
        )
    cells: list[Cell] = []
    seen: set[int] = set()
    names = {name for name, _ in around.functions}

    def search(function: FunctionType, path: Cell, name: str) -> None:
        if id(function) in seen:
            return
        seen.add(id(function))
        known = described(function)
        if known is None or known.is_authors:
            cells.append((*path, _SameCode(function)))
        if (
            # Where Mako calls it so, it passes all arguments.
            not name.startswith("__M_")
            and (known is None or known.has_defaults)
            and (function.__defaults__ or function.__kwdefaults__)
        ):
            cells.append((*path, _defaults))
        for name, content, place in _cells(function, path):
            if name == "context":
                continue
            if name.startswith("__M_"):
                follow_cached(content, place, name)
            elif known is not None and name in around.variables:
                cells.append(place)
            elif known is None or name in names:
                if isinstance(content, FunctionType):
                    search(content, place, name)
                else:
                    cells.append(place)

    def follow_cached(content: object, place: Cell, name: str) -> None:
        if isinstance(content, FunctionType) and (
            name in names or name.removeprefix("__M_") in names
        ):
            search(content, place, name)

    def described(function: FunctionType) -> Function | None:
        code = function.__code__
        if code.co_filename != creator.__code__.co_filename:
            return None
        return around.functions.get((code.co_name, code.co_firstlineno))

    for name, content, place in _cells(creator, ()):
        if name.startswith("__M_"):
            follow_cached(content, place, name)
        elif name not in around.given_by_mako:
            cells.append(place)
    return tuple(cells)


def _cells(
    function: FunctionType, path: Cell
) -> Iterator[tuple[str, object, Cell]]:
    names = function.__code__.co_freevars
    closure = function.__closure__ or ()
    for index, (name, cell) in enumerate(zip(names, closure, strict=True)):
        yield name, _content(cell), (*path, index)


def uses_caller(creator: FunctionType) -> bool:
    """Tell whether a fragment may show the content it is called with.

    :param creator: the lambda that Mako passes.
    """
    seen: set[CodeType] = set()
    waiting = [creator]
    while waiting:
        function = waiting.pop()
        code = function.__code__
        if code in seen:
            continue
        seen.add(code)
        if _mentions(code, "caller"):
            return True
        reached = [_content(cell) for cell in function.__closure__ or ()]
        # A cached function has been renamed, and Mako's lambda calls it so.
        reached += [
            function.__globals__.get(name)
            for name in code.co_names
            if name.startswith("__M_")
        ]
        waiting += [f for f in reached if isinstance(f, FunctionType)]
    return False


def _mentions(code: CodeType, name: str) -> bool:
    if (
        name in code.co_names
        or name in code.co_varnames
        or name in code.co_freevars
        or name in code.co_consts
    ):
        return True
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and _mentions(constant, name):
            return True
    return False


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None
