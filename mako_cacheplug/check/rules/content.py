"""Rules about what a cached fragment does beside showing something."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.python import Name
from mako_cacheplug.check.rule import rule
from mako_cacheplug.check.rules.keys import literal_key
from mako_cacheplug.check.template import Fragment
from mako_cacheplug.check.template import Piece
from mako_cacheplug.check.template import Template

__all__ = ["RULES"]

_CHANGES: Final = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert"}
    | {"pop", "popitem", "remove", "setdefault", "update"}
)
"""Methods of Python's containers that change them."""

_ON_RESPONSES: Final = frozenset({"delete_cookie", "set_cookie"})


@rule("MC401", "shows-caller", Severity.WARNING)
def shows_caller(template: Template) -> Iterator[Problem]:
    """A cached def shows the content that it is called with.

    Nobody can tell two contents apart.  Without a ``cache_key`` such a call
    is not cached at all; with one that is a constant, every caller gets the
    content of the first.  Leave the frame uncached and cache what it
    frames, or write a key that says what the content is.

    Bad::

        <%def name="panel()" cached="True">
        <section>${caller.body()}</section>
        </%def>

    Good::

        <%def name="panel()">
        <section>${caller.body()}</section>
        </%def>
    """
    for fragment in template.cached:
        key = fragment.options.get("key")
        if key is not None and literal_key(fragment) is None:
            continue
        found = next(_reads_caller(fragment), None)
        if found is None:
            continue
        piece, name = found
        if key is None:
            what = "is not cached when it is called with content"
        else:
            what = "shows every caller the content of the first"
        yield Problem(
            template.source.python(piece.python, name.node),
            f"{fragment.title} {what}",
            "cache what is handed to it, or write a cache_key that tells"
            " contents apart",
        )


def _reads_caller(fragment: Fragment) -> Iterator[tuple[Piece, Name]]:
    for part in fragment.own():
        for piece in part.pieces:
            for name in piece.python.names:
                if name.id == "caller" and not part.owner(
                    "caller", piece.bound
                ):
                    yield piece, name


@rule("MC402", "writes-outside", Severity.WARNING)
def writes_outside(template: Template) -> Iterator[Problem]:
    """A cached fragment changes something outside itself.

    It does so only when it is rendered; when it is found in the cache, the
    change is missing.  Reported are assignments to attributes and items of
    what comes from outside, ``global``, and calls for their own sake of
    methods that change a container or set a cookie.

    Bad::

        <%def name="chart()" cached="True">
        <% scripts.append("chart.js") %>
        <div class="chart"></div>
        </%def>

    Good::

        <% scripts.append("chart.js") %>
        <%def name="chart()" cached="True">
        <div class="chart"></div>
        </%def>
    """
    for fragment in template.cached:
        own = set(fragment.own())
        for part in own:
            if part.is_cached and part is not fragment:
                continue  # It is told by itself.
            for piece in part.pieces:
                for name in piece.python.names:
                    what = _change(name, piece)
                    owner = part.owner(name.id, piece.bound)
                    if what and (
                        owner not in own or _is_given(owner, name.id)
                    ):
                        yield _outside(template, fragment, piece, name, what)
                yield from _declarations(template, fragment, piece)


def _outside(
    template: Template,
    fragment: Fragment,
    piece: Piece,
    name: Name,
    what: str,
) -> Problem:
    return Problem(
        template.source.python(piece.python, name.node),
        f"{fragment.title} is cached and {what}, which does not happen when"
        " it is found in the cache",
        "do it outside of what is cached",
    )


def _is_given(owner: Fragment | None, name: str) -> bool:
    """Tell whether a variable is an argument and still what was handed in."""
    return (
        owner is not None
        and name in owner.argument_names
        and not any(name in piece.python.bound for piece in owner.pieces)
    )


def _change(name: Name, piece: Piece) -> str:
    """Return in words how what a name stands for is changed; "" if not."""
    node: ast.AST = name.node
    around = [*name.around]
    while _is_part(around[0], node):
        node = around.pop(0)
    call = around.pop(0)
    if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(
        node.ctx, (ast.Store, ast.Del)
    ):
        return f"assigns to a part of {name.id!r}"
    if (
        isinstance(node, ast.Attribute)
        and node.attr in _CHANGES | _ON_RESPONSES
        and isinstance(call, ast.Call)
        and call.func is node
        and _is_for_its_own_sake(call, around, piece)
    ):
        return f"changes {name.id!r} by .{node.attr}()"
    return ""


def _is_part(node: ast.AST, whole: ast.AST) -> bool:
    """Tell whether *node* is an attribute or an item of *whole*."""
    return (
        isinstance(node, (ast.Attribute, ast.Subscript))
        and node.value is whole
    )


def _is_for_its_own_sake(
    call: ast.Call, around: list[ast.AST], piece: Piece
) -> bool:
    """Tell whether nobody uses what a call returns."""
    if piece.is_statement:
        return isinstance(around[0], ast.Expr)
    # As in ${scripts.append("a.js") or ""}.
    return (
        isinstance(around[0], ast.BoolOp)
        and isinstance(around[0].op, ast.Or)
        and around[0].values[0] is call
        and isinstance(around[0].values[-1], ast.Constant)
    )


def _declarations(
    template: Template, fragment: Fragment, piece: Piece
) -> Iterator[Problem]:
    if not piece.is_statement:
        return
    for node in ast.walk(piece.python.tree):
        if isinstance(node, ast.Global):
            yield Problem(
                template.source.python(piece.python, node),
                f"{fragment.title} is cached and assigns to the global"
                f" {', '.join(map(repr, node.names))}, which does not happen"
                " when it is found in the cache",
                "do it outside of what is cached",
            )


RULES: Final = (shows_caller, writes_outside)
