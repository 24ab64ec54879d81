"""From Mako's parse tree to the model that the rules look at."""

from __future__ import annotations

import ast
import re
from typing import Final
from typing import NamedTuple

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


class _Around(NamedTuple):
    """What is around a tag or a piece of Python, in its fragment."""

    loops: tuple[Loop, ...] = ()
    """The outermost first."""

    bound: frozenset[str] = frozenset()
    """What a ``<%call>`` binds."""

    branches: tuple[int, ...] = ()
    """The lines of the ``% if``, ``% else``, ``% for`` and so on, which
    may be rendered or not."""


class _Builder:
    def __init__(self, source: Source, settings: Settings):
        page = Fragment("page", "", None, None, False, True)
        self._template = Template(source, settings, page)
        # A template of which nothing is cached needs no more than this.
        self._looks_inside = "cache" in source.text

    def build(self, tree: parsetree.TemplateNode) -> Template:
        self._visit_all(tree.nodes, self._template.page, _Around())
        return self._template

    def _visit_all(
        self,
        nodes: list[parsetree.Node],
        fragment: Fragment,
        around: _Around,
    ) -> None:
        """Add what stands in a tag to a fragment."""
        opened: list[_Around] = []
        for node in nodes:
            if isinstance(node, ControlLine):
                around = self._visit_control(node, fragment, around, opened)
            elif isinstance(node, parsetree.Tag):
                self._visit_tag(node, fragment, around)
            elif not self._looks_inside:
                continue
            elif isinstance(node, Expression):
                self._add(fragment, node.python, around, filters=node.escapes)
                if node.filters is not None:
                    self._add(fragment, node.filters, around)
            elif isinstance(node, Code):
                self._add_imports(node.python)
                if node.ismodule:
                    self._template.module_names |= node.python.bound
                    continue
                self._add(fragment, node.python, around, is_statement=True)
                for loop in around.loops:
                    loop.assigned.update(node.python.bound)

    def _visit_control(
        self,
        node: ControlLine,
        fragment: Fragment,
        around: _Around,
        opened: list[_Around],
    ) -> _Around:
        """Return what is around what follows the line.

        :param opened: what is around each open control line.
        """
        if not self._looks_inside:
            return around
        if node.isend:
            return opened.pop() if opened else around
        if node.is_primary:
            opened.append(around)
        outside = opened[-1] if opened else around
        if node.python is not None:
            self._add(fragment, node.python, outside)
        loops = outside.loops
        if node.keyword in {"for", "while"} and node.python is not None:
            loops = (*loops, _loop(node.lineno, node.python))
        return outside._replace(
            loops=loops, branches=(*outside.branches, node.lineno)
        )

    def _visit_tag(
        self, tag: parsetree.Tag, fragment: Fragment, around: _Around
    ) -> None:
        if isinstance(tag, (parsetree.DefTag, parsetree.BlockTag)):
            child = self._child(tag, fragment, around)
            fragment.children.append(child)
            self._visit_all(tag.nodes, child, _Around())
            return
        if isinstance(tag, parsetree.PageTag):
            page = self._template.page
            page.tag = tag
            page.options = self._options(tag)
            page.arguments = _arguments(tag.body_decl)
        elif isinstance(tag, parsetree.NamespaceTag):
            self._add_namespace(tag)
        elif isinstance(tag, parsetree.InheritTag):
            self._depend(tag)
        elif isinstance(tag, parsetree.IncludeTag):
            fragment.includes.append(self._depend(tag))
            self._add_attribute(tag, "file", fragment, around)
            if self._looks_inside and "args" in tag.attributes:
                code = f"dict({tag.attributes['args']})"
                self._add_code(tag, code, fragment, around)
        elif isinstance(tag, _CALLS):
            code = tag.expression
            if isinstance(tag, parsetree.CallNamespaceTag):
                code = f"{code.partition('(')[0]}()"
                for name in tag.attributes:
                    self._add_attribute(tag, name, fragment, around)
            self._add_code(tag, code, fragment, around)
            bound = around.bound.union(tag.body_decl.allargnames)
            around = around._replace(bound=bound)
        self._visit_all(tag.nodes, fragment, around)

    def _child(
        self, tag: parsetree.Tag, parent: Fragment, around: _Around
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
                loops=around.loops,
                bound_around=around.bound,
                branches=around.branches,
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
            loops=around.loops,
            bound_around=around.bound,
            branches=around.branches,
            options=self._options(tag),
        )

    def _add_imports(self, python: Python) -> None:
        """Note what is imported from this package, and as what."""
        ours = self._template.imported_of_us
        for node in python.tree.body if "mako_" in python.code else ():
            if isinstance(node, ast.Import):
                for one in node.names:
                    if one.name == "mako_cacheplug":
                        ours[one.asname or one.name] = ""
            elif isinstance(node, ast.ImportFrom) and _is_ours(node.module):
                for one in node.names:
                    ours[one.asname or one.name] = one.name

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
        around: _Around,
    ) -> None:
        if self._looks_inside:
            for part in self._parts(tag, name):
                if isinstance(part, Python):
                    self._add(fragment, part, around)

    def _add_code(
        self,
        tag: parsetree.Tag,
        code: str,
        fragment: Fragment,
        around: _Around,
    ) -> None:
        if self._looks_inside:
            python = Python(code, tag.lineno, tag.pos, tag.lineno)
            self._add(fragment, python, around)

    def _add(
        self,
        fragment: Fragment,
        python: Python,
        around: _Around,
        is_statement: bool = False,
        filters: str = "",
    ) -> None:
        piece = Piece(python, *around, is_statement, filters)
        fragment.pieces.append(piece)

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


def _loop(line: int, python: Python) -> Loop:
    item = over = ""
    match python.tree.body:
        case [ast.For(target=ast.Name(id=target), iter=ast.Name(id=items))]:
            item, over = target, items
        case [
            ast.For(
                target=ast.Tuple(elts=[_, ast.Name(id=target)]),
                iter=ast.Call(
                    func=ast.Name(id="enumerate"), args=[ast.Name(id=items)]
                ),
            )
        ]:
            item, over = target, items
    return Loop(line, python.bound, set(), item, over)


def _is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "mako_cacheplug"


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
