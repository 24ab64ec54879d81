"""The pieces of Python in a template: parsed, never run."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Final
from typing import NamedTuple

__all__ = ["Name", "Python", "root_of", "syntax_tree"]

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS: Final = (
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


@functools.lru_cache(maxsize=8192)
def syntax_tree(code: str) -> ast.Module:
    """Return the tree of *code*, which is shared: leave it as it is.

    :raises Exception: whatever Python makes of code that it cannot parse:
        SyntaxError, ValueError, MemoryError, RecursionError, ...
    """
    return ast.parse(code, "<template>")


class Name(NamedTuple):
    """A name that a piece of Python takes from outside itself."""

    id: str
    node: ast.Name
    around: tuple[ast.AST, ...]
    """What it stands in, the innermost first."""

    @property
    def attribute(self) -> str:
        """``b`` in ``a.b``; "" if there is none."""
        parent = self.around[0]
        return parent.attr if isinstance(parent, ast.Attribute) else ""

    @property
    def call(self) -> ast.Call | None:
        """``a(...)`` or ``a.b(...)``; ``None`` if it is no such thing."""
        function: ast.AST = self.node
        for node in self.around[:2]:
            if isinstance(node, ast.Call):
                return node if node.func is function else None
            if not isinstance(node, ast.Attribute):
                return None
            function = node
        return None

    @property
    def is_method_call(self) -> bool:
        """Whether it is the ``a`` in ``a.b()``."""
        return bool(self.attribute) and self.call is not None


class Python:
    """A piece of Python in a template.

    :param code: its text, as it is parsed.
    :param line: the line of the template where it begins.
    :param column: the column of that line, from 1, at which it begins, or
        before that.
    :param start: the line where the tag or ``${`` begins that it is in.
    """

    def __init__(self, code: str, line: int, column: int, start: int):
        stripped = code.lstrip()
        above = code[: len(code) - len(stripped)].count("\n")
        self.code = stripped
        self.line = line + above
        self.column = 1 if above else column
        self.start = start

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return syntax_tree(self.code)

    @functools.cached_property
    def names(self) -> list[Name]:
        """The names that it reads and does not bind in an inner scope."""
        return self._found[0]

    @functools.cached_property
    def bound(self) -> frozenset[str]:
        """The names that it assigns, imports or defines."""
        return self._found[1]

    @functools.cached_property
    def _found(self) -> tuple[list[Name], frozenset[str]]:
        finder = _Finder()
        finder.visit(self.tree)
        return finder.names, frozenset(finder.bound)

    @property
    def expression(self) -> ast.expr | None:
        """The tree of its only expression; ``None`` if it is not one."""
        body = self.tree.body
        if len(body) == 1 and isinstance(body[0], ast.Expr):
            return body[0].value
        return None


class _Finder:
    """Finds the names that a module takes from outside and that it binds."""

    def __init__(self) -> None:
        self.names: list[Name] = []
        self.bound: set[str] = set()
        self._around: list[ast.AST] = []
        self._inner: frozenset[str] = frozenset()
        self._depth = 0

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                self._bind(node.id)
            elif node.id not in self._inner:
                around = tuple(reversed(self._around))
                self.names.append(Name(node.id, node, around))
            return
        self._around.append(node)
        if isinstance(node, _FUNCTIONS):
            self._visit_function(node)
        elif isinstance(node, _COMPREHENSIONS):
            self._visit_comprehension(node)
        else:
            for name in _names_bound_by(node):
                self._bind(name)
            children = ast.iter_child_nodes(node)
            if isinstance(node, ast.ClassDef):
                self._visit_inside(children, _bound_in(node.body))
            else:
                for child in children:
                    self.visit(child)
        self._around.pop()

    def _bind(self, name: str) -> None:
        if not self._depth:
            self.bound.add(name)

    def _visit_inside(
        self, nodes: Iterable[ast.AST], own: Iterable[str]
    ) -> None:
        """Visit the inside of a scope that binds its *own* names."""
        before, self._inner = self._inner, self._inner.union(own)
        self._depth += 1
        for node in nodes:
            self.visit(node)
        self._depth -= 1
        self._inner = before

    def _visit_function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    ) -> None:
        own = {
            arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)
        }
        outside: list[ast.AST | None]
        outside = [*node.args.defaults, *node.args.kw_defaults]
        body: list[ast.AST]
        if isinstance(node, ast.Lambda):
            body = [node.body]
        else:
            self._bind(node.name)
            own |= _bound_in(node.body)
            outside += node.decorator_list
            body = [*node.body]
        for one in outside:
            if one is not None:
                self.visit(one)
        self._visit_inside(body, own)

    def _visit_comprehension(
        self,
        node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp,
    ) -> None:
        # The first iterable is evaluated outside.
        first = node.generators[0]
        self.visit(first.iter)
        inside: list[ast.AST] = [*first.ifs, *node.generators[1:]]
        if isinstance(node, ast.DictComp):
            inside += [node.key, node.value]
        else:
            inside.append(node.elt)
        own = {
            name.id
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        }
        self._visit_inside(inside, own)


def _names_bound_by(node: ast.AST) -> Iterator[str]:
    """Yield what a statement binds without a ``Name`` that says so."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.ClassDef):
        yield node.name
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        if node.name:
            yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def _bound_in(body: list[ast.stmt]) -> frozenset[str]:
    """Return what the body of a function or class binds for itself."""
    finder = _Finder()
    declared: set[str] = set()
    for statement in body:
        finder.visit(statement)
        for node in ast.walk(statement):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                declared.update(node.names)
    return frozenset(finder.bound - declared)


def root_of(node: ast.AST) -> ast.AST:
    """Return the ``a`` of ``a.b["c"].d``."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node
