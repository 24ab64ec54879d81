"""Which other templates a template names: what it includes and inherits.

Found without rendering, in the module that Mako generated, wherever the
target is a literal; and in the source, what the author declares with
``cache_depends``, cached or not.
"""

from __future__ import annotations

import ast
import re
from typing import Final
from typing import NamedTuple

from mako_cacheplug.template.scan import parse

__all__ = ["Needs", "read_needs"]

_BY_POSITION: Final = {
    "_include_file": 1,
    "_inherit_from": 1,
    "get_namespace": 0,
    "get_template": 0,
    "include_file": 0,
}
"""Functions that take a template's uri, and as which argument."""

_BY_KEYWORD: Final = "templateuri"
"""The argument for a namespace's."""

_OWN: Final = ("local", "runtime")
"""What takes a uri as relative to the template itself."""

_INHERITS: Final = "_inherit_from"

# The shorter ones are found in the longer ones too.
_ANY: Final = (
    "include_file",
    "_inherit_from",
    "get_namespace",
    "get_template",
    _BY_KEYWORD,
)
_MENTION: Final = re.compile("|".join(_ANY))

_MAKOS_OWN: Final = "def _mako_get_namespace("
"""A line that is none of the author's calls, in modules with namespaces."""

_DEPENDS: Final = "cache_depends"
_DECLARED: Final = re.compile(
    rf"""\b{_DEPENDS}\s*=\s*(?:"([^"$]*)"|'([^'$]*)')"""
)


class Needs(NamedTuple):
    """The other templates that a template needs."""

    named: tuple[str, ...]
    """Their uris, as it names them."""

    is_open: bool
    """Whether an expression says what it inherits, or what one of its
    namespaces is."""

    of_others: tuple[str, ...] = ()
    """Those of the uris that it names to another namespace than its own,
    such as ``self``: they can be relative to the page that inherits it."""


def read_needs(code: str, source: str) -> Needs:
    """Return what a template needs.

    :param code: the module that Mako generated.
    :param source: what the author wrote.
    """
    found: dict[str, None] = {}
    of_others: dict[str, None] = {}
    is_open = False
    for call in _calls(code):
        target = _target(call)
        if target is None:
            continue
        uri = _literal(target)
        if uri:
            found[uri] = None
            if not _is_own(call):
                of_others[uri] = None
        elif uri is None and _is_for_all(call):
            is_open = True
    if _DEPENDS in source:
        for match in _DECLARED.finditer(source):
            found.update(dict.fromkeys((match[1] or match[2] or "").split()))
    return Needs(tuple(found), is_open, tuple(of_others))


def _calls(code: str) -> list[ast.Call]:
    """Return the calls in a module, at least all that can name a template.

    To parse it takes as long as Mako took to make it.  Most name none, and in
    most others each call stands in a line that can be parsed by itself.
    """
    if not any(map(code.__contains__, _ANY)):
        return []
    found: list[ast.Call] = []
    for line in code.split("\n"):
        mentions = len(_MENTION.findall(line))
        if not mentions or line.startswith(_MAKOS_OWN):
            continue
        try:
            calls = _calls_in(parse(line.strip()))
        except SyntaxError:
            return _calls_in(parse(code))
        if sum(map(_mentions, calls)) != mentions:
            # One is in a text, or in a part of a call of several lines.
            return _calls_in(parse(code))
        found += calls
    return found


def _calls_in(module: ast.Module) -> list[ast.Call]:
    return [one for one in ast.walk(module) if isinstance(one, ast.Call)]


def _mentions(call: ast.Call) -> int:
    """Return how often its text, but for its arguments', is looked for."""
    function = call.func
    name = ""
    if isinstance(function, ast.Attribute):
        name = function.attr
    elif isinstance(function, ast.Name):
        name = function.id
    keywords = [one for one in call.keywords if one.arg == _BY_KEYWORD]
    return name.endswith(tuple(_BY_POSITION)) + len(keywords)


def _target(call: ast.Call) -> ast.expr | None:
    """Return what gives the template that *call* takes, if it takes one."""
    for keyword in call.keywords:
        if keyword.arg == _BY_KEYWORD:
            return keyword.value
    if isinstance(call.func, ast.Attribute):
        place = _BY_POSITION.get(call.func.attr)
        if place is not None and place < len(call.args):
            return call.args[place]
    return None


def _literal(target: ast.expr) -> str | None:
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return target.value
    return None


def _is_for_all(call: ast.Call) -> bool:
    """Tell whether what *call* takes is known before anything is shown."""
    function = call.func
    return any(k.arg == _BY_KEYWORD for k in call.keywords) or (
        isinstance(function, ast.Attribute) and function.attr == _INHERITS
    )


def _is_own(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id in _OWN
