"""From Mako's parse tree to the model that the rules look at."""

from __future__ import annotations

import re
from typing import Final

from mako import parsetree

from mako_cacheplug.check.lexer import Code
from mako_cacheplug.check.lexer import ControlLine
from mako_cacheplug.check.lexer import Expression
from mako_cacheplug.check.lexer import TemplateLexer
from mako_cacheplug.check.python import Python
from mako_cacheplug.check.settings import Settings
from mako_cacheplug.check.source import Source
from mako_cacheplug.check.template import Argument
from mako_cacheplug.check.template import Dependency
from mako_cacheplug.check.template import Fragment
from mako_cacheplug.check.template import Loop
from mako_cacheplug.check.template import Option
from mako_cacheplug.check.template import Piece
from mako_cacheplug.check.template import Template

__all__ = ["parse"]

_CALLS: Final = (parsetree.CallTag, parsetree.CallNamespaceTag)

# The patterns with which Mako takes an attribute apart.
_PARTS: Final = re.compile(r"(\${(?:[^$]*?{.+|.+?)})", re.S)
_EXPRESSION: Final = re.compile(r"^\${(.+?)}$", re.S)


def parse(source: Source, settings: Settings) -> Template:
    """Return the model of a template.

    :raises mako.exceptions.MakoException: if it cannot be parsed.
    :raises Exception: whatever else Mako raises for it.
    """
    tree = TemplateLexer(source.text).parse()
    return _Builder(source, settings).build(tree)


class _Builder:
    def __init__(self, source: Source, settings: Settings):
        page = Fragment("page", "", None, None, False, True)
        self._template = Template(source, settings, page)
        # A template of which nothing is cached needs no more than this.
        self._looks_inside = "cache" in source.text

    def build(self, tree: parsetree.TemplateNode) -> Template:
        self._visit_all(tree.nodes, self._template.page, (), frozenset())
        return self._template

    def _visit_all(
        self,
        nodes: list[parsetree.Node],
        fragment: Fragment,
        loops: tuple[Loop, ...],
        bound: frozenset[str],
    ) -> None:
        """Add what stands in a tag to a fragment.

        :param loops: those around the tag.
        :param bound: what a ``<%call>`` around it binds.
        """
        opened: list[tuple[Loop, ...]] = []
        for node in nodes:
            if isinstance(node, ControlLine):
                loops = self._visit_control(
                    node, fragment, loops, bound, opened
                )
            elif isinstance(node, parsetree.Tag):
                self._visit_tag(node, fragment, loops, bound)
            elif not self._looks_inside:
                continue
            elif isinstance(node, Expression):
                self._add(fragment, node.python, loops, bound)
                if node.filters is not None:
                    self._add(fragment, node.filters, loops, bound)
            elif isinstance(node, Code) and node.ismodule:
                self._template.module_names |= node.python.bound
            elif isinstance(node, Code):
                self._add(fragment, node.python, loops, bound, True)
                for loop in loops:
                    loop.assigned.update(node.python.bound)

    def _visit_control(
        self,
        node: ControlLine,
        fragment: Fragment,
        loops: tuple[Loop, ...],
        bound: frozenset[str],
        opened: list[tuple[Loop, ...]],
    ) -> tuple[Loop, ...]:
        """Return the loops around what follows the line.

        :param opened: for each open control line the loops around it.
        """
        if not self._looks_inside:
            return loops
        if node.python is not None:
            self._add(fragment, node.python, loops, bound)
        if node.isend:
            return opened.pop() if opened else loops
        if node.is_primary:
            opened.append(loops)
            if node.keyword in {"for", "while"} and node.python is not None:
                targets = node.python.bound
                loops = (*loops, Loop(node.lineno, targets, set()))
        return loops

    def _visit_tag(
        self,
        tag: parsetree.Tag,
        fragment: Fragment,
        loops: tuple[Loop, ...],
        bound: frozenset[str],
    ) -> None:
        if isinstance(tag, (parsetree.DefTag, parsetree.BlockTag)):
            child = self._child(tag, fragment, loops, bound)
            fragment.children.append(child)
            self._visit_all(tag.nodes, child, (), frozenset())
            return
        if isinstance(tag, parsetree.PageTag):
            page = self._template.page
            page.tag = tag
            page.options = self._options(tag)
            page.arguments = _arguments(tag.body_decl)
        elif isinstance(tag, parsetree.NamespaceTag):
            self._add_namespace(tag)
        elif isinstance(tag, parsetree.InheritTag):
            self._template.inherits = self._depend(tag)
        elif isinstance(tag, parsetree.IncludeTag):
            fragment.includes.append(self._depend(tag))
            self._add_attribute(tag, "file", fragment, loops, bound)
            if self._looks_inside and "args" in tag.attributes:
                code = f"dict({tag.attributes['args']})"
                self._add_code(tag, code, fragment, loops, bound)
        elif isinstance(tag, _CALLS):
            code = tag.expression
            if isinstance(tag, parsetree.CallNamespaceTag):
                code = f"{code.partition('(')[0]}()"
                for name in tag.attributes:
                    self._add_attribute(tag, name, fragment, loops, bound)
            self._add_code(tag, code, fragment, loops, bound)
            bound = bound.union(tag.body_decl.allargnames)
        self._visit_all(tag.nodes, fragment, loops, bound)

    def _child(
        self,
        tag: parsetree.Tag,
        parent: Fragment,
        loops: tuple[Loop, ...],
        bound: frozenset[str],
    ) -> Fragment:
        if isinstance(tag, parsetree.DefTag):
            return Fragment(
                "def",
                tag.funcname,
                tag,
                parent,
                is_closure=not tag.is_root(),
                is_inline=isinstance(tag.parent, _CALLS),
                arguments=_arguments(tag.function_decl),
                loops=loops,
                bound_around=bound,
                options=self._options(tag),
            )
        return Fragment(
            "block",
            tag.name or "",
            tag,
            parent,
            is_closure=tag.is_anonymous,
            is_inline=True,
            arguments=_arguments(tag.body_decl),
            loops=loops,
            bound_around=bound,
            options=self._options(tag),
        )

    def _add_namespace(self, tag: parsetree.NamespaceTag) -> None:
        template = self._template
        if "file" in tag.attributes:
            found = self._depend(tag)
        else:
            found = Dependency(tag, "")
        template.namespaces[tag.name] = found
        names = tag.attributes.get("import", "")
        template.imported.update(re.split(r"\s*,\s*", names.strip()))

    def _depend(self, tag: parsetree.Tag) -> Dependency:
        parts = self._parts(tag, "file")
        file = Option("file", tag, parts).literal
        found = Dependency(tag, file if isinstance(file, str) else None)
        self._template.dependencies.append(found)
        return found

    def _add_attribute(
        self,
        tag: parsetree.Tag,
        name: str,
        fragment: Fragment,
        loops: tuple[Loop, ...],
        bound: frozenset[str],
    ) -> None:
        if self._looks_inside:
            for part in self._parts(tag, name):
                if isinstance(part, Python):
                    self._add(fragment, part, loops, bound)

    def _add_code(
        self,
        tag: parsetree.Tag,
        code: str,
        fragment: Fragment,
        loops: tuple[Loop, ...],
        bound: frozenset[str],
    ) -> None:
        if self._looks_inside:
            python = Python(code, tag.lineno, tag.pos, tag.lineno)
            self._add(fragment, python, loops, bound)

    def _add(
        self,
        fragment: Fragment,
        python: Python,
        loops: tuple[Loop, ...],
        bound: frozenset[str],
        is_statement: bool = False,
    ) -> None:
        fragment.pieces.append(Piece(python, loops, bound, is_statement))

    def _options(self, tag: parsetree.Tag) -> dict[str, Option]:
        return {
            name[6:]: Option(name[6:], tag, self._parts(tag, name))
            for name in tag.attributes
            if name.startswith("cache_")
        }

    def _parts(
        self, tag: parsetree.Tag, name: str
    ) -> tuple[str | Python, ...]:
        """Return text and expressions of an attribute, as Mako reads it."""
        text = tag.attributes[name]
        if "${" not in text:
            return (text,)
        found: list[str | Python] = []
        line, column, _, _ = self._template.source.tag(tag, name)
        for part in _PARTS.split(text):
            expression = _EXPRESSION.match(part)
            if expression:
                code = expression[1].rstrip()
                found.append(Python(code, line, column, tag.lineno))
            elif part:
                found.append(part)
            if "\n" in part:
                line, column = line + part.count("\n"), 1
        return tuple(found)


def _arguments(declared: object) -> tuple[Argument, ...]:
    """Return the arguments of what Mako calls a function's declaration."""
    positional = [*getattr(declared, "argnames", ())]
    keywords = [*getattr(declared, "kwargnames", ())]
    defaults = [*getattr(declared, "defaults", ())]
    only_keyword = [*getattr(declared, "kwdefaults", ())]
    starred: list[str] = []
    if getattr(declared, "varargs", False):
        starred.append(positional.pop())
    if getattr(declared, "kwargs", False):
        starred.append(keywords.pop())
    none = [None] * (len(positional) - len(defaults))
    found = [
        *zip(positional, [*none, *defaults], strict=False),
        *zip(keywords, only_keyword, strict=False),
    ]
    return (
        *(Argument(name, default, False) for name, default in found),
        *(Argument(name, None, True) for name in starred),
    )
