"""How one fragment is cached: its region, its policy, its key.

Made once per fragment and set of tag options, then used at every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType
from types import FunctionType
from types import ModuleType
from typing import Final

from mako_cacheplug import keys
from mako_cacheplug.options import CallOptions
from mako_cacheplug.region import CacheRegion

__all__ = ["FragmentPlan", "argument_cells", "child_token"]

_NOT_ARGUMENTS: Final = frozenset({"context", "pageargs"})
_VARARGS: Final = 0x04
_VARKEYWORDS: Final = 0x08

Cell = tuple[int, int | None]
"""Where an argument is: a cell of the creator's closure, or a cell of the
closure of the function in it."""


class FragmentPlan:
    """A fragment's region, policy and the constant part of its key.

    :param kw: the tag's options that this plan was made for.
    :param region: where it is cached.
    :param call: with which policy.
    :param identity: what its template is.
    :param name: which fragment of the template.
    :param default_key: what Mako passes as key if the author gave none.
    :param cells: the arguments, from :func:`argument_cells`.
    :param vary_args: the option; ``None`` if not given.
    :param where: the fragment in words.
    """

    __slots__ = (
        "call",
        "cells",
        "default_key",
        "kw",
        "label",
        "name",
        "prefix",
        "region",
        "vary_args",
        "where",
    )

    def __init__(
        self,
        kw: dict[str, object],
        region: CacheRegion,
        call: CallOptions,
        identity: str,
        name: str,
        default_key: str,
        cells: tuple[Cell, ...],
        vary_args: bool | None,
        where: str,
    ):
        self.kw = kw
        self.name = name
        self.region = region
        self.call = call
        self.prefix = fragment_prefix(region, identity, name)
        self.label = variants_label(region, identity, name)
        self.default_key = default_key
        self.cells = cells
        self.vary_args = vary_args
        self.where = where

    def variant(
        self,
        key: object,
        vary: object,
        creator: FunctionType,
        child: str,
    ) -> tuple[str, tuple[str, ...]]:
        """Return one call's logical key and the labels beside its tags.

        An author's own ``cache_key`` stands for the arguments too, unless
        ``vary_args`` asks for them.

        :param key: what Mako passes as key.
        :param vary: the option; ``None`` if not given.
        :param child: from :func:`child_token`, or "".
        :raises KeyTypeError: if an argument, the key or the vary option
            cannot be in a key.
        """
        base = "" if key == self.default_key else "k" + keys.token(key)
        rest = ""
        vary_args = not base if self.vary_args is None else self.vary_args
        if self.cells and vary_args:
            rest = "a" + keys.token(tuple(_contents(creator, self.cells)))
        if vary is not None:
            rest += "v" + keys.token(vary)
        rest += child
        labels: tuple[str, ...]
        if rest:
            labels = (self.label, self.label + base) if base else (self.label,)
        else:
            labels = (self.label,) if base else ()
        return self.prefix + base + rest, labels


def fragment_prefix(region: CacheRegion, identity: str, name: str) -> str:
    """Return the start of all of a fragment's logical keys."""
    return keys.join("fragment", region.namespace, identity, name)


def variants_label(region: CacheRegion, identity: str, name: str) -> str:
    """Return the label of all of a fragment's variants.

    With ``"k"`` and a key's token appended: of all variants with that key.
    """
    return keys.join("variants", region.namespace, identity, name)


def child_token(identity: str) -> str:
    """Return what tells a base template's fragment for one child apart."""
    return "c" + keys.join(identity)


def _contents(
    creator: FunctionType, cells: tuple[Cell, ...]
) -> Iterator[object]:
    closure = creator.__closure__ or ()
    for cell, inner in cells:
        value = closure[cell].cell_contents
        if inner is not None:
            value = value.__closure__[inner].cell_contents
        yield value


def argument_cells(
    creator: FunctionType, module: ModuleType, name: str
) -> tuple[Cell, ...]:
    """Return where the arguments of a fragment are found at each call.

    Its own are what Mako's lambda closes over.  A nested def also sees the
    arguments of the defs around it, which its function closes over.

    :param creator: the lambda that Mako passes.
    :param module: the template's module.
    :param name: the fragment's, with the names of the functions around it.
    """
    code: CodeType = creator.__code__
    cells: list[Cell] = []
    for index, variable in enumerate(code.co_freevars):
        if not variable.startswith("__M_"):
            if variable not in _NOT_ARGUMENTS:
                cells.append((index, None))
            continue
        function = (creator.__closure__ or ())[index].cell_contents
        if isinstance(function, FunctionType):
            around = _arguments_around(module, name)
            cells.extend(
                (index, inner)
                for inner, seen in enumerate(function.__code__.co_freevars)
                if seen in around
            )
    return tuple(cells)


def _arguments_around(module: ModuleType, name: str) -> frozenset[str]:
    """Return the names of the arguments of all functions around *name*."""
    top, *path = name.split(".")
    # A cached function has been replaced under its own name.
    function = getattr(module, f"__M_{top}", getattr(module, top, None))
    code: CodeType | None = getattr(function, "__code__", None)
    names: set[str] = set()
    for inner in path:
        if code is None:
            break
        count = code.co_argcount + code.co_kwonlyargcount
        count += bool(code.co_flags & _VARARGS)
        count += bool(code.co_flags & _VARKEYWORDS)
        names.update(code.co_varnames[:count])
        code = next(
            (
                constant
                for constant in code.co_consts
                if isinstance(constant, CodeType) and constant.co_name == inner
            ),
            None,
        )
    return frozenset(names - _NOT_ARGUMENTS)
