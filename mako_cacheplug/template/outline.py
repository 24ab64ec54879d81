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


_CALLER: Final = re.compile(r"\bcaller\b")

_KNOWN_LINES: Final = 4096

_LONGEST: Final = 200
"""Characters: a longer line is the author's text, and not seen again."""


class Outline(NamedTuple):
    """What is known of a module that has not been parsed."""

    is_plain: bool = False
    """Whether it does nothing that wants a closer look: it hands the context
    to nobody, and has no decorators and no namespaces of Python's or its
    own."""

    asked_by_name: frozenset[str] = frozenset()
    """The functions of the fragments that are asked for by the key that Mako
    gives."""

    names_caller: bool = True
    """Whether ``caller`` stands in it, the content that is called with."""


class _Line(NamedTuple):
    """What one line tells."""

    is_plain: bool
    handed: tuple[str, ...] = ()
    """The functions that it hands the context to as if Mako had made them."""

    by_name: tuple[str, ...] = ()
    names_caller: bool = False


_NOTHING: Final = _Line(True)

_known: Final[dict[str, _Line]] = {}
"""Most lines of a module stand in every module."""


def outline(code: str) -> Outline:
    """Return what the text of a module tells.

    :param code: the text; "" if it cannot be had, which tells nothing.
    """
    if not code:
        return Outline()
    is_plain, names_caller = True, False
    handed: set[str] = set()
    by_name: list[str] = []
    for text in code.split("\n"):
        line = _known.get(text) or _read(text)
        if line is not _NOTHING:
            is_plain = is_plain and line.is_plain
            names_caller = names_caller or line.names_caller
            handed.update(line.handed)
            by_name += line.by_name
    if is_plain:
        is_plain = all(_is_made(code, function) for function in handed)
    return Outline(is_plain, frozenset(by_name), names_caller)


def _read(text: str) -> _Line:
    """Return what a line tells, and keep it in mind."""
    line = _NOTHING
    names_caller = "caller" in text and _CALLER.search(text) is not None
    if (
        "ModuleNamespace" in text
        or "make_namespace" in text
        or ("@" in text and _DECORATOR.search("\n" + text))
    ):
        line = _Line(False, names_caller=names_caller)
    elif "context" in text:
        line = _read_context(text, names_caller)
    elif names_caller:
        line = _Line(True, names_caller=True)
    if len(text) <= _LONGEST:
        if len(_known) >= _KNOWN_LINES:
            _known.clear()
        _known[text] = line
    return line


def _read_context(text: str, names_caller: bool) -> _Line:
    handed = []
    is_plain = True
    for use in _CONTEXT.finditer(text):
        before = _HANDED.fullmatch(text, 0, use.start())
        if before is None:
            is_plain = False
        elif before["function"]:
            handed.append(before["function"])
    by_name = _BY_NAME.findall(text)
    if is_plain and not (handed or by_name or names_caller):
        return _NOTHING
    return _Line(is_plain, tuple(handed), tuple(by_name), names_caller)


def _is_made(code: str, function: str) -> bool:
    """Tell whether *function* is what Mako made of a tag: so that begins."""
    start = code.find(f"def {function}(context")
    return start >= 0 and code.startswith(
        "    __M_", code.find("\n", start) + 1
    )
