"""Rules about entries that are shown to somebody, or somewhere, else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.python import Name
from mako_cacheplug.check.rule import rule
from mako_cacheplug.check.template import Fragment
from mako_cacheplug.check.template import Loop
from mako_cacheplug.check.template import Piece
from mako_cacheplug.check.template import Reached
from mako_cacheplug.check.template import Template

__all__ = ["RULES"]

_SAME_FOR_ALL: Final = frozenset(
    {"asset_url", "resource_path", "resource_url", "route_path", "route_url"}
    | {"static_path", "static_url", "url_for"}
)
"""Methods of a request that show nothing of who asks."""


@rule("MC207", "reads-request", Severity.ERROR)
def reads_request(template: Template) -> Iterator[Problem]:
    """A cached fragment shows who asks, and its key does not say who.

    What is made for the first user is shown to all.  A fragment that reads
    ``request``, ``session``, ``user``, ``lang`` and so on from the context,
    by itself or through the defs of its template that it calls, has to name
    them in ``cache_vary`` or ``cache_key``.  Other names are set with
    ``--request-names``.  Methods such as ``request.static_url`` count as
    the same for all.  What a def shows that is called by ``hole(...)``, and
    what stands where ``nocache(context)`` is called, is not stored, so it
    may be anyone's.

    Bad::

        <%def name="greeting()" cached="True">Hello ${user.name}</%def>

    Good::

        <%def name="greeting()" cached="True"
          cache_vary="${user.name}">Hello ${user.name}</%def>
    """
    for fragment in template.cached:
        named = template.names_in_key(fragment)
        if "context" in named:
            continue
        said = set()
        for reached in template.reached(fragment):
            for name in reached.piece.python.names:
                read = _from_request(template, reached, name)
                if read is None or read in named or read in said:
                    continue
                said.add(read)
                place = template.source.python(reached.piece.python, name.node)
                message = f"{fragment.title} is cached and reads {read!r}"
                if reached.calls:
                    place = reached.calls[0][1]
                    names = (f"{call.name}()" for call, _ in reached.calls)
                    message += f" through {', '.join(names)}"
                advice = f"name in cache_vary what is shown of {read!r}"
                if name.attribute and not name.is_method_call:
                    shown = f"{read}.{name.attribute}"
                    advice = f'write cache_vary="${{{shown}}}"'
                yield Problem(
                    place,
                    f"{message}, which is not in its key",
                    f"{advice}, or show it in a hole",
                )


def _from_request(
    template: Template, reached: Reached, name: Name
) -> str | None:
    """Return which of the request's names is read, if one is."""
    _, piece, _ = reached
    if name.id == "context":
        read = _item_of_context(name)
        return read if read in template.settings.request_names else None
    if name.id not in template.settings.request_names:
        return None
    if name.is_method_call and name.attribute in _SAME_FOR_ALL:
        return None
    owner = reached.fragment
    if template.is_from_context(owner, name.id, piece.bound):
        return name.id
    return None


def _item_of_context(name: Name) -> str | None:
    """Return ``x`` of ``context["x"]`` and ``context.get("x")``."""
    key: ast.expr | None = None
    parent = name.around[0]
    if isinstance(parent, ast.Subscript):
        key = parent.slice
    elif name.is_method_call and name.attribute == "get":
        call = name.around[1]
        if isinstance(call, ast.Call) and call.args:
            key = call.args[0]
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    return None


@rule("MC208", "key-without-loop", Severity.ERROR)
def key_without_loop(template: Template) -> Iterator[Problem]:
    """One key for all turns of a loop, which show different things.

    Every turn then shows what the first one made.  Either a block with a
    ``cache_key`` of its own leaves the loop's variable out, or a def reads
    from the context what the loop assigns.

    Bad::

        % for name in names:
        <%block cached="True" cache_key="row">${name}</%block>
        % endfor

    Good::

        % for name in names:
        <%block cached="True" cache_key="row-${name}">${name}</%block>
        % endfor
    """
    for fragment in template.cached:
        yield from _in_a_loop(template, fragment)
    for fragment in template.fragments:
        for piece in fragment.pieces:
            if piece.loops:
                yield from _called_in_a_loop(template, fragment, piece)


def _in_a_loop(template: Template, fragment: Fragment) -> Iterator[Problem]:
    """Yield the problem of a fragment that stands in a loop."""
    option = fragment.options.get("key")
    if (
        option is None
        or not fragment.is_closure
        or template.arguments_join(fragment) is not False
    ):
        return
    varying = _varying(fragment.loops)
    named = template.names_in_key(fragment)
    if named & (varying | {"context"}):
        return
    shown = {
        name.id
        for part in fragment.own()
        for piece in part.pieces
        for name in piece.python.names
        if name.id in varying
        and part.owner(name.id, piece.bound)
        is (None if name.id == "loop" else fragment.parent)
        and not (name.id == "loop" and piece.loops)
    }
    if shown:
        names = ", ".join(map(repr, sorted(shown)))
        yield Problem(
            template.source.tag(option.tag, option.attribute),
            f"every turn of the loop shows what the first one made: the key"
            f" leaves out {names}",
            "name it in cache_key, or write no cache_key: then it joins by"
            " itself",
        )


def _called_in_a_loop(
    template: Template, fragment: Fragment, piece: Piece
) -> Iterator[Problem]:
    """Yield the problems of calls of defs that read what a loop assigns."""
    # A def at the top sees what <% %> assigns, not the loop's own variables.
    varying = frozenset().union(*(loop.assigned for loop in piece.loops))
    for name in piece.python.names if varying else ():
        called = template.called(fragment, name)
        if called is None or called.is_closure or not called.is_cached:
            continue
        if template.is_hole(fragment, piece, name):
            continue  # It sees nothing that is assigned here.
        shown = {
            other.id
            for reached in template.reached(called)
            for other in reached.piece.python.names
            if other.id in varying
            and template.is_from_context(
                reached.fragment, other.id, reached.piece.bound
            )
        } - template.names_in_key(called)
        if shown:
            names = ", ".join(map(repr, sorted(shown)))
            yield Problem(
                template.source.python(piece.python, name.node),
                f"{called.title} shows the same at every turn of the loop: it"
                f" reads {names} from the context, which is not in its key",
                "make it an argument, or name it in cache_vary",
            )


def _varying(loops: tuple[Loop, ...]) -> frozenset[str]:
    found = frozenset({"loop"} if loops else ())
    return found.union(*(loop.targets | loop.assigned for loop in loops))


RULES: Final = (reads_request, key_without_loop)
