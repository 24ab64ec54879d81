"""A template's parse tree, by Mako's lexer, which runs nothing of it.

What Mako evaluates of a template (``cached``, ``buffered``, ``cache_timeout``
and so on) it does when it generates a module, and that is not done here.

The lexer's methods are public but not documented; they are the same from
Mako 1.2.0 on.
"""

from __future__ import annotations

import re
from typing import Any
from typing import Final

from mako import parsetree
from mako.exceptions import SyntaxException
from mako.lexer import Lexer

from mako_cacheplug.check.python import Python
from mako_cacheplug.check.python import syntax_tree

__all__ = ["Code", "ControlLine", "Expression", "TemplateLexer"]

_SIMPLE_FILTERS: Final = re.compile(r"[\w.]+(?:\s*,\s*[\w.]+)*")
_AROUND_CONTROL: Final = {
    "for": ("", "pass"),
    "if": ("", "pass"),
    "while": ("", "pass"),
    "with": ("", "pass"),
    "try": ("", "pass\nexcept:pass"),
    "elif": ("if False:pass\n", "pass"),
    "else": ("if False:pass\n", "pass"),
    "except": ("try:pass\n", "pass"),
}
"""What makes a statement of a control line."""


def _python(node: parsetree.Node, code: str, above: int = 0) -> Python:
    """Return a node's code, parsed once.

    :param above: how many lines are in front that the template does not have.
    :raises SyntaxException: if it cannot be parsed, with the line.
    """
    python = Python(code, node.lineno - above, node.pos, node.lineno)
    try:
        syntax_tree(python.code)
    except Exception as error:
        line = getattr(error, "lineno", None) or 1
        raise SyntaxException(
            error.msg if isinstance(error, SyntaxError) else str(error),
            node.source,
            # What is added to a control line is in no line of the template.
            min(python.line + line - 1, node.lineno + node.text.count("\n")),
            0,
            node.filename,
        ) from error
    return python


class Expression(parsetree.Expression):  # type: ignore[misc]  # untyped
    """``${...}``, its Python parsed once."""

    def __init__(self, text: str, escapes: str, **kwargs: Any):
        parsetree.Node.__init__(self, **kwargs)
        self.text = text
        self.escapes = escapes
        self.python = _python(self, text)
        body = self.python.tree.body
        if body and self.python.expression is None:
            raise SyntaxException(
                "it is not an expression", **self.exception_kwargs
            )
        self.filters: Python | None = None
        if escapes and not _SIMPLE_FILTERS.fullmatch(escapes):
            self.filters = _python(self, f"[{escapes}]")


class Code(parsetree.Code):  # type: ignore[misc]  # untyped
    """``<% ... %>``, its Python parsed once."""

    def __init__(self, text: str, ismodule: bool, **kwargs: Any):
        parsetree.Node.__init__(self, **kwargs)
        self.text = text
        self.ismodule = ismodule
        self.python = _python(self, text)


class ControlLine(parsetree.ControlLine):  # type: ignore[misc]  # untyped
    """``% for x in y:``, its Python parsed once."""

    def __init__(self, keyword: str, isend: bool, text: str, **kwargs: Any):
        parsetree.Node.__init__(self, **kwargs)
        self.text = text
        self.keyword = keyword
        self.isend = isend
        self.is_primary = keyword in {"for", "if", "while", "try", "with"}
        self.nodes: list[parsetree.Node] = []
        self.python: Python | None = None
        if not isend:
            self.python = self._parse()

    def _parse(self) -> Python:
        before, after = _AROUND_CONTROL.get(self.keyword, ("", ""))
        if not after:
            raise SyntaxException(
                f"no such control keyword: {self.keyword!r}",
                **self.exception_kwargs,
            )
        return _python(
            self, f"{before}{self.text.strip()}\n {after}", before.count("\n")
        )


_NODES: Final = {
    parsetree.Expression: Expression,
    parsetree.Code: Code,
    parsetree.ControlLine: ControlLine,
}


class TemplateLexer(Lexer):  # type: ignore[misc]  # untyped
    """Mako's lexer, whose nodes keep the trees of their Python."""

    # Mako's own takes very long for a long first line.
    _coding_re = re.compile(
        r"#[^\n]{0,200}coding[:=]\s{0,9}([-\w.]{1,99})(?![-\w.])[^\n]*\n"
    )

    def append_node(self, nodecls: type, *args: Any, **kwargs: Any) -> None:
        """Do what Mako's does, with the nodes of this module."""
        super().append_node(_NODES.get(nodecls, nodecls), *args, **kwargs)

    def match_reg(self, reg: re.Pattern[str]) -> re.Match[str] | None:
        """Do what Mako's does, without copying the text each time."""
        text: str = self.text
        before: int = self.match_position  # type: ignore[has-type]  # Mako's
        match = reg.match(text, before)
        if match:
            start, end = match.span()
            self.match_position = end + 1 if end == start else end
            self.matched_lineno = self.lineno
            newline = before - 1
            if 0 <= newline < self.textlength:
                newline = text.rfind("\n", 0, before)
            self.matched_charpos = before - newline
            self.lineno += text.count("\n", before, self.match_position)
        return match
