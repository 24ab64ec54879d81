"""Which fragments of a template show what is their child's, or their caller's.

A page that inherits decides what ``next``, ``self`` and the base's blocks
are.  A fragment that uses one of these is cached for each child; one that
does not is one entry for all of them.

A fragment that is called with content shows its caller's if a function is
handed the context, in which it finds that content.

Read from the module that Mako generated.  What cannot be told counts as the
child's: that costs an entry for each child and is never wrong.  It counts as
the caller's as well.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Final

__all__ = ["CallerUse", "HeirUse"]

_NAMES: Final = frozenset({"self", "next", "parent", "local"})
"""What differs, or finds what differs, from child to child."""

_HARMLESS: Final = frozenset(
    {
        "_locals",
        "_pop_buffer",
        "_pop_buffer_and_writer",
        "_push_buffer",
        "_push_writer",
        "caller_stack",
        "namespaces",
        "write",
        "writer",
    }
)
"""Attributes of the context that tell nothing of the child."""

_NAMESPACES: Final = "_mako_generate_namespaces"
_IMPORTED: Final = "_import_ns"
_GET_NAMESPACE: Final = "_mako_get_namespace"
_RENDERS: Final = "render_"
"""What Mako makes of a tag begins so, and an author's function can."""

_CACHED: Final = "__M_"
"""What a cached function has been renamed to begins so."""


class HeirUse:
    """Knows of each function of a generated module if it is its child's.

    :param module: the parsed module.
    """

    names = _NAMES

    def __init__(self, module: ast.Module):
        # Functions of a Python module are handed the context.
        self._found_by = self.names | _from_python(module)
        self._functions: dict[str, list[ast.FunctionDef]] = {}
        self._collect(module, "")
        # These are handed the context, and are read too.
        self._handed = {_GET_NAMESPACE} | {
            function.name
            for function in module.body
            if isinstance(function, ast.FunctionDef)
            and function.name.startswith(_RENDERS)
            and [one.arg for one in function.args.args][:1] == ["context"]
        }

    def _collect(self, node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = path
            if isinstance(child, ast.FunctionDef):
                inner = f"{path}.{child.name}" if path else child.name
                # A cached function stands there twice: itself, and what
                # Mako puts in its place.
                self._functions.setdefault(inner, []).append(child)
            self._collect(child, inner)

    def __call__(self, name: str) -> bool:
        """Tell whether what the function *name* shows can be its child's.

        :param name: with the names of the functions around it, by dots.
        """
        if name not in self._functions:
            return True
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            for function in self._functions[path]:
                reader = _Reader(self._found_by, self._handed)
                if function.decorator_list:
                    return True  # A decorator is handed the context.
                reader.visit(function)
                if reader.found:
                    return True
                waiting += self._reached(path, reader.names)
        return False

    def _reached(self, path: str, names: set[str]) -> list[str]:
        """Return the functions that *names*, used in *path*, stand for."""
        found = []
        if _GET_NAMESPACE in names:
            # Defs inside a namespace's tag see the context around it.
            found += [
                one
                for one in self._functions
                if one.startswith(f"{_NAMESPACES}.")
            ]
        names = names - {_GET_NAMESPACE}
        scopes = [path]
        while scopes[-1]:
            scopes.append(scopes[-1].rpartition(".")[0])
        for name in names:
            for scope in scopes:
                inner = f"{scope}.{name}" if scope else name
                if inner in self._functions:
                    found.append(inner)
        return found


class CallerUse(HeirUse):
    """Knows of each function if it may show what its caller has put in.

    :param module: the parsed module.
    """

    names = frozenset({"caller"})


def _from_python(module: ast.Module) -> set[str]:
    """Return the names of namespaces that are Python modules.

    And, if one of these is imported from, all that can be one of its names.
    """
    found = {
        str(node.args[0].value)
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "ModuleNamespace"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    if not found:
        return found
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and any(
            isinstance(inner, ast.Name) and inner.id == _IMPORTED
            for inner in ast.walk(node.value)
        ):
            found.update(
                target.id
                for target in node.targets
                if isinstance(target, ast.Name)
            )
    return found


class _Reader(ast.NodeVisitor):
    """Reads one function, with those inside it."""

    def __init__(
        self, found_by: Collection[str], handed: Collection[str]
    ) -> None:
        self.found = False
        self._found_by = found_by
        self._handed = handed
        self.names: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:  # ast's name
        if node.id in self._found_by or node.id == "context":
            self.found = True
        self.names.add(node.id.removeprefix(_CACHED))
        self.names.add(node.id)

    def visit_Constant(self, node: ast.Constant) -> None:  # ast's name
        # As in context['self'], by which Mako calls a block.
        if isinstance(node.value, str) and node.value in self._found_by:
            self.found = True

    def visit_Attribute(self, node: ast.Attribute) -> None:  # ast's name
        if _is_context(node.value) and node.attr in _HARMLESS:
            return
        if node.attr == "cache" and ast.unparse(node.value) == (
            "context.get('local')"
        ):
            return
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:  # ast's name
        if _is_context(node.value) and isinstance(node.slice, ast.Constant):
            self.visit(node.slice)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:  # ast's name
        function = node.func
        handed = False
        if isinstance(function, ast.Name):
            name = function.id
            handed = name.startswith(_CACHED) or name in self._handed
            self.visit(function)
        elif isinstance(function, ast.Attribute):
            called = ast.unparse(function)
            handed = function.attr == "_ctx_get_or_create" or called in (
                "runtime._include_file",
                "runtime.Namespace",
            )
            if called == "context.get" and node.args:
                handed = isinstance(node.args[0], ast.Constant)
                if not handed:
                    self.found = True
            else:
                self.visit(function)
        else:
            self.visit(function)
        for argument in node.args:
            if not (handed and _is_context(argument)):
                self.visit(argument)
        for keyword in node.keywords:
            self.visit(keyword)


def _is_context(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "context"
