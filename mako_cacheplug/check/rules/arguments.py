"""The rule about arguments: whether each of them can be in a key."""

from __future__ import annotations

import ast
import datetime
import decimal
import uuid
from collections.abc import Iterator
from typing import Final

from markupsafe import Markup

from mako_cacheplug.check.finding import Place
from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.python import Name
from mako_cacheplug.check.rule import rule
from mako_cacheplug.check.template import Fragment
from mako_cacheplug.check.template import Loop
from mako_cacheplug.check.template import Piece
from mako_cacheplug.check.template import Template

__all__ = ["RULES", "is_object", "variables_read"]

_PLAIN: Final = (
    str,
    Markup,
    bytes,
    int,
    float,
    complex,
    tuple,
    list,
    dict,
    set,
    frozenset,
    range,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
)
"""The types that can be in a key, but for enums and named tuples, whose
attributes are any."""

_METHODS: Final = frozenset(
    name
    for kind in _PLAIN
    for name in dir(kind)
    if callable(getattr(kind, name))
)
_ATTRIBUTES: Final = frozenset(
    name
    for kind in _PLAIN
    for name in dir(kind)
    if not callable(getattr(kind, name))
)
_ENUM: Final = frozenset({"value"})
_OF_AN_ENUM: Final = frozenset({"name", "value"})
_PLAIN_CLASSES: Final = frozenset({"Decimal", "Markup", "UUID"})


def variables_read(
    fragment: Fragment,
) -> Iterator[tuple[Fragment, Piece, Name, Fragment]]:
    """Yield the variables that a fragment reads, its own and those around.

    Each with the fragment that reads it and the one that has it.
    """
    for part in fragment.own():
        for piece in part.pieces:
            for name in piece.python.names:
                owner = part.owner(name.id, piece.bound)
                if owner is not None:
                    yield part, piece, name, owner


def is_object(name: Name) -> bool:
    """Tell whether a name is used as nothing is that can be in a key."""
    attribute = name.attribute
    if not attribute or attribute in _ATTRIBUTES:
        return False
    return attribute not in _METHODS or not name.is_method_call


def _makes_object(default: ast.expr | None) -> bool:
    """Tell whether a default is nothing that can be in a key."""
    if isinstance(default, (ast.Lambda, ast.GeneratorExp)):
        return True
    if isinstance(default, ast.Call) and isinstance(default.func, ast.Name):
        made = default.func.id
        return made == "object" or (
            made[:1].isupper() and made not in _PLAIN_CLASSES
        )
    return False


@rule("MC201", "argument-not-in-key", Severity.WARNING)
def argument_not_in_key(template: Template) -> Iterator[Problem]:
    """An argument looks like an object that cannot be in a key.

    Without a ``cache_key`` a def's arguments are in its key, and so are the
    variables of the defs and loops around it.  Of an object, such as a
    database row, nobody can tell in every process whether it is the same:
    the def is rendered and not cached.  An object whose class has a
    ``__cache_key__``, which gives what it is and in which version, can be in
    a key; so can enums and named tuples.  Then this finding can be ignored.

    Bad::

        <%def name="card(user)" cached="True">${user.email}</%def>

    Good::

        <%def name="card(user)" cached="True"
          cache_key="${user.id}">${user.email}</%def>
    """
    for fragment in template.cached:
        if not template.arguments_join(fragment):
            continue
        said = set()
        for argument in fragment.arguments:
            if _makes_object(argument.default):
                said.add(argument.name)
                yield _not_in_key(
                    template,
                    fragment,
                    argument.name,
                    f"{argument.name!r} has a default that looks like an"
                    " object",
                )
        for (name, is_items), uses in _objects(fragment).items():
            if name not in said and not _ENUM <= {*uses} <= _OF_AN_ENUM:
                said.add(name)
                attribute, (piece, node) = next(iter(uses.items()))
                line = template.source.python(piece.python, node).line
                used = f"used for its .{attribute} in line {line}"
                yield _not_in_key(
                    template,
                    fragment,
                    name,
                    f"an item of {name!r} is {used}, so {name!r} looks like"
                    " a list of objects"
                    if is_items
                    else f"{name!r} is {used} and looks like an object",
                    is_items,
                )
        if fragment.loops and fragment.is_closure:
            yield from _reads_loop(template, fragment)


def _objects(
    fragment: Fragment,
) -> dict[tuple[str, bool], dict[str, tuple[Piece, ast.AST]]]:
    """Return the variables in a key that are used as objects.

    With whether it is their items that are, and by attribute where.
    """
    found: dict[tuple[str, bool], dict[str, tuple[Piece, ast.AST]]] = {}
    for part, piece, name, holder in variables_read(fragment):
        owner: Fragment | None = holder
        variable = name.id
        loops = piece.loops
        if part is not fragment and part.is_closure:
            loops = (*part.loops, *loops)
        over = _looped_over(loops, variable)
        if over:
            variable, owner = over, part.owner(over, piece.bound)
        if owner is None or variable in piece.bound or not is_object(name):
            continue
        if owner is fragment:
            if not _is_only_argument(fragment, variable):
                continue
        elif owner in fragment.own():
            continue
        uses = found.setdefault((variable, bool(over)), {})
        uses.setdefault(name.attribute, (piece, name.around[0]))
    return found


def _looped_over(loops: tuple[Loop, ...], name: str) -> str:
    """Return of what variable a name is an item; "" if it is of none."""
    for loop in reversed(loops):
        if name in loop.targets or name in loop.assigned:
            is_item = name == loop.item and name not in loop.assigned
            return loop.over if is_item else ""
    return ""


def _reads_loop(template: Template, fragment: Fragment) -> Iterator[Problem]:
    """Yield the problem of a fragment that reads ``loop`` from around it."""
    for part in fragment.own():
        for piece in part.pieces:
            for name in piece.python.names:
                if (
                    name.id == "loop"
                    and not piece.loops
                    and part.owner("loop", piece.bound) is None
                ):
                    yield Problem(
                        template.source.python(piece.python, name.node),
                        "'loop' cannot be in a key:"
                        f" {fragment.title} would not be cached",
                        'write a cache_key, such as "${loop.index}", or'
                        " assign what is shown of it outside",
                    )
                    return


def _is_only_argument(fragment: Fragment, name: str) -> bool:
    """Tell whether a name is an argument, and nothing assigned to it."""
    return name in fragment.argument_names and not any(
        name in piece.python.bound for piece in fragment.pieces
    )


def _not_in_key(
    template: Template,
    fragment: Fragment,
    name: str,
    what: str,
    is_items: bool = False,
) -> Problem:
    place = template.source.tag(fragment.tag) if fragment.tag else Place(1)
    for attribute in ("name", "args"):
        if fragment.tag and attribute in fragment.tag.attributes:
            place = template.source.tag(fragment.tag, attribute)
            break
    key = f"[one.id for one in {name}]" if is_items else f"{name}.id"
    advice = (
        f'write cache_key="${{{key}}}", or what else tells two calls apart'
    )
    if template.option(fragment, "vary"):
        advice = 'add cache_vary_args="false": cache_vary is enough'
    return Problem(
        place,
        f"{what}, which cannot be in a key: {fragment.title} would not be"
        " cached",
        f"{advice}; or give its class a __cache_key__",
    )


RULES: Final = (argument_not_in_key,)
