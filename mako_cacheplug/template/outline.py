"""What the text of a generated module tells without being parsed.

Most modules need no more, and to parse one costs as much as Mako takes to
make it.
"""

from __future__ import annotations

import re
from typing import Final
from typing import NamedTuple

__all__ = ["Outline", "outline"]

_DECORATOR: Final = re.compile(r"[\r\n][ \t\f]*@")

# A word to begin with: the search goes from one to the next.
_CONTEXT: Final = re.compile(
    r"context(?<!\wcontext)(?!\w|\.get\('"
    r"|\.namespaces\[\(__name__, (?:name|'\w+')\)\]"
    r"|\.(?:_locals|_pop_buffer|_pop_buffer_and_writer|_push_buffer"
    r"|_push_writer|caller_stack|write|writer)\b)"
)
"""The context, but for what Mako's own code does with it everywhere."""

_HANDED: Final = re.compile(
    r"(?:.*\W)?(?:"
    r"(?:(?<!\.)|__M_)(?P<function>render_\w+)\("
    r"|_mako_(?:get_namespace|generate_namespaces)\("
    r"|runtime\._(?:include_file|inherit_from)\("
    r"|def _mako_inherit\(template, "
    r"|runtime\.(?:Namespace\('caller'|TemplateNamespace\('\w+'), "
    r"|lambda:__M_\w+\([^()]*\),  ?"
    r")"
)
"""What stands in a line before it where Mako's own code hands it on."""

_BY_NAME: Final = re.compile(r"_ctx_get_or_create\('(\w+)', lambda:__M_\1\(")
"""A key that is the name of what is asked for, not of another def."""


class Outline(NamedTuple):
    """What is known of a module that has not been parsed."""

    is_plain: bool = False
    """Whether it does nothing that wants a closer look: it hands the context
    to nobody, and has no decorators and no namespaces of Python's or its
    own."""

    asked_by_name: frozenset[str] = frozenset()
    """The functions of the fragments that are asked for by the key that Mako
    gives."""


def outline(code: str) -> Outline:
    """Return what the text of a module tells.

    :param code: the text; "" if it cannot be had, which tells nothing.
    """
    if not code:
        return Outline()
    return Outline(_is_plain(code), frozenset(_BY_NAME.findall(code)))


def _is_plain(code: str) -> bool:
    if "ModuleNamespace" in code or "make_namespace" in code:
        return False
    if "@" in code and _DECORATOR.search(code):
        return False
    for use in _CONTEXT.finditer(code):
        start = use.start()
        before = _HANDED.fullmatch(code, code.rfind("\n", 0, start) + 1, start)
        if before is None:
            return False
        if before["function"] and not _is_made(code, before["function"]):
            return False
    return True


def _is_made(code: str, function: str) -> bool:
    """Tell whether *function* is what Mako made of a tag: so that begins."""
    start = code.find(f"def {function}(context")
    return start >= 0 and code.startswith(
        "    __M_", code.find("\n", start) + 1
    )
