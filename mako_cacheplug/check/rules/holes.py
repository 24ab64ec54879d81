"""Rules about holes, which are rendered anew at each request."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final
from typing import NamedTuple

from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.python import Name
from mako_cacheplug.check.rule import rule
from mako_cacheplug.check.template import Fragment
from mako_cacheplug.check.template import Piece
from mako_cacheplug.check.template import Reached
from mako_cacheplug.check.template import Template

__all__ = ["RULES"]

_NO_JSON: Final = (
    ast.GeneratorExp,
    ast.Lambda,
    ast.Set,
    ast.SetComp,
    ast.Tuple,
)
_NO_FILTERS: Final = frozenset({"", "n", "str", "unicode"})


class _Hole(NamedTuple):
    """A call of ``hole``."""

    name: Name
    call: ast.Call
    is_captured: bool
    """Whether it is ``capture(hole, f)``."""

    @property
    def function(self) -> ast.expr | None:
        """What is to be called at each request."""
        return next(iter(self.given), None)

    @property
    def given(self) -> list[ast.expr]:
        """The function and its arguments."""
        keywords = [one.value for one in self.call.keywords]
        return [*self.call.args[self.is_captured :], *keywords]

    @property
    def around(self) -> ast.AST:
        """What the call stands in."""
        return self.name.around[self.name.around.index(self.call) + 1]


def _holes(
    template: Template, fragment: Fragment, piece: Piece
) -> Iterator[_Hole]:
    for name in piece.python.names:
        function: ast.AST = name.node
        for node in name.around[:2]:
            if isinstance(node, ast.Call):
                is_captured = node.args[:1] == [function] and (
                    isinstance(node.func, ast.Name)
                    and node.func.id == "capture"
                )
                if (node.func is function or is_captured) and (
                    template.function_of_ours(fragment, function, piece.bound)
                    == "hole"
                ):
                    yield _Hole(name, node, is_captured)
                break
            function = node


@rule("MC403", "not-a-hole", Severity.WARNING)
def not_a_hole(template: Template) -> Iterator[Problem]:
    """A ``hole`` that cannot be one: nothing around it is ever stored.

    A hole is stored as the name of a def and its arguments.  A nested def, a
    function or a ``lambda`` cannot be found again by its name, nor can the
    content that a def is called with; and arguments have to be plain JSON.
    The place of a hole can only be kept in text on which nothing works any
    more: not in a ``capture``, nor inside a def or block that is filtered or
    buffered, unless the buffered one is what is cached.  Then the page is
    right, but made anew at each request.

    Bad::

        <%! from mako_cacheplug import hole %>
        <%page cached="True"/>
        <%def name="head()" filter="trim">${hole(greeting)}</%def>
        <%def name="greeting()">Hello ${user.name}</%def>
        ${head()} ${hole(lambda: basket.count())}

    Good::

        <%! from mako_cacheplug import hole %>
        <%page cached="True"/>
        <%def name="head()">${hole(greeting)}</%def>
        <%def name="greeting()" filter="trim">Hello ${user.name}</%def>
        <%def name="count()">${basket.count()}</%def>
        ${head()} ${hole(count)}
    """
    if "hole" not in template.source.text:
        return
    said: set[ast.AST] = set()
    for fragment in template.fragments:
        for piece in fragment.pieces:
            for one in _holes(template, fragment, piece):
                why = _why_not(template, fragment, piece, one)
                if why:
                    said.add(one.call)
                    yield _never_stored(template, piece, one, *why)
    for cached in template.cached:
        for reached in template.reached(cached):
            for one in _holes(template, reached.fragment, reached.piece):
                between = _works_on_text(cached, reached)
                if between and one.call not in said:
                    said.add(one.call)
                    yield _never_stored(
                        template,
                        reached.piece,
                        one,
                        f"{between.title} works on the text around it",
                        "filter what is in the hole, in its own def",
                    )


def _never_stored(
    template: Template, piece: Piece, hole: _Hole, why: str, advice: str
) -> Problem:
    return Problem(
        template.source.python(piece.python, hole.name.node),
        f"this cannot be a hole, and nothing around it is stored: {why}",
        advice,
    )


def _why_not(
    template: Template, fragment: Fragment, piece: Piece, hole: _Hole
) -> tuple[str, str] | None:
    """Return why a call cannot be a hole, and what to write instead."""
    if hole.is_captured:
        return "capture() waits for its text", "write ${hole(...)}"
    function = hole.function
    top = "write a def at the top of the template"
    if isinstance(function, ast.Lambda):
        return "a lambda cannot be found again", top
    if isinstance(function, ast.Call):
        code = ast.unparse(function.func)
        more = "".join(
            f", {ast.unparse(one)}"
            for one in (*function.args, *function.keywords)
        )
        return "its def is called already", f"write hole({code}{more})"
    if isinstance(function, (ast.Constant, ast.JoinedStr)):
        return "it needs the def itself", "write hole(name), without quotes"
    for name in piece.python.names:
        if not template.is_hole(fragment, piece, name):
            continue
        if name.node is function or name.around[0] is function:
            called = template.called(fragment, name)
            if called is not None and called.is_closure:
                return "a nested def cannot be found again", top
            if name.id == "caller" and not fragment.owner(
                name.id, piece.bound
            ):
                return "content cannot be found again", top
            if called is None and name.id in template.module_names:
                return "a function cannot be found again", top
    if any(isinstance(one, _NO_JSON) for one in hole.given[1:]):
        return (
            "its arguments are not plain JSON",
            "hand over numbers, text, lists or dicts",
        )
    return None


def _works_on_text(cached: Fragment, reached: Reached) -> Fragment | None:
    """Return the def or block that works on the text around a hole."""
    between: list[Fragment] = [call for call, _ in reached.calls]
    around: Fragment | None = reached.fragment
    while around is not None and around is not cached:
        between.append(around)
        around = around.parent if around.is_inline else None
    for one in between:
        if _has_filter(one) or _is_buffered(one):
            return one
    return cached if _has_filter(cached) else None


def _has_filter(fragment: Fragment) -> bool:
    text = fragment.tag.attributes.get("filter", "") if fragment.tag else ""
    return bool(_filters(text))


def _is_buffered(fragment: Fragment) -> bool:
    text = fragment.tag.attributes.get("buffered", "") if fragment.tag else ""
    return text.strip() not in {"", "False", "0"}


def _filters(text: str) -> list[str]:
    """Return those of some filters that change a text."""
    names = [one.strip() for one in text.split(",")]
    return [one for one in names if one not in _NO_FILTERS]


@rule("MC404", "hole-as-value", Severity.WARNING)
def hole_as_value(template: Template) -> Iterator[Problem]:
    """A hole is used as a value, and that is an empty text.

    ``hole`` writes where it is called, and returns nothing.  What is added
    to it comes out behind it, a function gets nothing of it, and a filter
    has nothing to work on: ``${hole(greeting) | h}`` escapes nothing of what
    ``greeting`` shows.

    Bad::

        <%! from mako_cacheplug import hole %>
        <%def name="greeting()">${user.name}</%def>
        ${"Hello " + hole(greeting)} ${hole(greeting) | h}

    Good::

        <%! from mako_cacheplug import hole %>
        <%def name="greeting()">${user.name | h}</%def>
        Hello ${hole(greeting)}
    """
    if "hole" not in template.source.text:
        return
    for fragment in template.fragments:
        for piece in fragment.pieces:
            for one in _holes(template, fragment, piece):
                what = _used(piece, one)
                if what and not one.is_captured:
                    yield Problem(
                        template.source.python(piece.python, one.name.node),
                        f"a hole writes by itself and returns nothing: {what}",
                        "write ${hole(...)} by itself, and filter in its def",
                    )


def _used(piece: Piece, hole: _Hole) -> str:
    """Return in words how the value of a hole is used; "" if it is not."""
    around = hole.around
    if isinstance(around, (ast.BinOp, ast.FormattedValue)):
        return "what is added to it comes out behind it"
    if isinstance(around, ast.Call):
        return f"{ast.unparse(around.func)}() gets an empty text"
    filters = _filters(piece.filters)
    if filters:
        return f"the filter {filters[0]!r} has nothing to work on"
    return ""


RULES: Final = (not_a_hole, hole_as_value)
