"""The cached fragments of a template, read from the module Mako generated.

For those who want to know them without rendering: an invalidation in a
process that has never called the def.
"""

from __future__ import annotations

import ast
import dataclasses
import time
from collections.abc import Collection
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from typing import NamedTuple

from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.template.heirs import CallerUse
from mako_cacheplug.template.heirs import HeirUse

__all__ = [
    "DEFNAME",
    "Around",
    "Fragment",
    "Function",
    "Scan",
    "fragment_name",
    "parse",
    "scan",
]

_CALL: Final = "_ctx_get_or_create"
DEFNAME: Final = "__M_defname"

_parsing: Final = ForkSafeLock()
_PARENT: Final = "context._data['parent']"
_LOCAL_DEF: Final = "return render_{}(context"
_CONTEXT_GETTERS: Final = frozenset({"context", "_import_ns"})


@dataclasses.dataclass(frozen=True)
class Fragment:
    """A cached def, block or page body."""

    name: str
    """The functions around it and its own, joined by dots.  With a number,
    if an earlier fragment has the same: ``<%call>`` may define one twice."""

    line: int
    """Where the generated module asks for it."""

    defname: str
    """Its own function: ``render_x``, or ``x`` if it is nested."""

    options: dict[str, object]
    """The options on its tag and on the page tag that are constants."""

    dynamic: frozenset[str]
    """Names of the options that are expressions."""

    key: object
    """Its ``cache_key``, if that is a constant; else ``None``."""

    has_key: bool
    """Whether a ``cache_key`` is given."""

    is_reshaped: bool
    """Whether a filter or a decorator works on what it shows."""

    is_buffered: bool
    """Whether its caller gets what it shows, and may do anything to it."""


class Function(NamedTuple):
    """One that is defined in a function of the generated module."""

    name: str
    line: int
    """Its first, with decorators, as in its code."""

    is_authors: bool
    """Whether it stands in a Python block; else Mako made it of a tag."""

    has_defaults: bool
    """Whether an argument has a default that is no constant."""


class Around(NamedTuple):
    """What a nested fragment can see of the functions around it."""

    variables: frozenset[str] = frozenset()
    """Their arguments and what they assign."""

    functions: Mapping[tuple[str, int], Function] = MappingProxyType({})
    """What they define, by name and line."""

    given_by_mako: frozenset[str] = frozenset({"context", "pageargs"})
    """What a function has as arguments that its author did not write."""


class Scan(NamedTuple):
    """What a generated module holds."""

    fragments: list[Fragment]
    """The cached ones."""

    functions: frozenset[str]
    """The names of all defs, blocks and bodies, as in ``defname``."""

    variables: dict[str, frozenset[str]]
    """For each function, by its name with those around it, its arguments
    and what it assigns; not what it takes from the context."""

    defined: dict[str, list[Function]]
    """For each function, by its name with those around it, which it
    defines."""

    blocks: frozenset[str]
    """The names of the blocks that have one."""

    is_heirs: HeirUse
    """Tells of a function, by its name with those around it, whether what it
    shows can be an inheriting template's."""

    is_callers: CallerUse
    """Tells the same of what its caller has put into it."""

    def is_reshaped(self, name: str) -> bool:
        """Tell whether something works on what the fragment *name* shows."""
        return not any(
            one.name == name and not one.is_reshaped for one in self.fragments
        )

    def is_buffered(self, name: str) -> bool:
        """Tell whether a fragment's caller gets what it shows."""
        return not any(
            one.name == name and not one.is_buffered for one in self.fragments
        )

    def has_key(self, name: str) -> bool:
        """Tell whether the fragment *name* has a ``cache_key``."""
        return any(one.name == name and one.has_key for one in self.fragments)

    def name_at(self, name: str, line: int) -> str:
        """Return what the fragment that is asked for in *line* is called.

        :param name: its name without a number.
        """
        for fragment in self.fragments:
            if fragment.line == line and fragment.name.startswith(name):
                return fragment.name
        return name

    def around(self, name: str) -> Around:
        """Return what all functions around the fragment *name* hold."""
        path = name.split(".")[:-1]
        paths = [".".join(path[: n + 1]) for n in range(len(path))]
        none: frozenset[str] = frozenset()
        return Around(
            none.union(*(self.variables.get(p, ()) for p in paths)),
            {
                (function.name, function.line): function
                for p in paths
                for function in self.defined.get(p, ())
            },
            _given_by_mako(name, self.blocks),
        )


def fragment_name(qualname: str) -> str:
    """Return a fragment's name from its creator's ``__qualname__``."""
    return qualname.removesuffix(".<lambda>").replace(".<locals>", "")


def scan(code: str) -> Scan:
    """Return the defs and blocks in a generated module.

    :param code: the module's text.
    """
    scanner = _Scanner()
    module = parse(code)
    scanner.visit(module)
    variables = {
        name: frozenset(v for v in found if not v.startswith("__M_"))
        - _given_by_mako(name, scanner.blocks)
        for name, found in scanner.variables.items()
    }
    return Scan(
        scanner.found,
        frozenset(scanner.functions),
        variables,
        scanner.defined,
        frozenset(scanner.blocks),
        HeirUse(module),
        CallerUse(module),
    )


def parse(code: str) -> ast.Module:
    """Return a generated module parsed, from any thread."""
    # CPython 3.11 counts how deep the trees of all threads are in one place
    # and can take another thread's parsing for an error.
    with _parsing:
        for _ in range(100):
            try:
                return ast.parse(code)
            except SystemError:
                time.sleep(0.001)
        return ast.parse(code)


class _Scanner(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[Fragment] = []
        self.functions: set[str] = set()
        self.blocks: set[str] = set()
        self._times: dict[str, int] = {}
        self.variables: dict[str, set[str]] = {}
        self.defined: dict[str, list[Function]] = {}
        self._path: list[str] = []
        # A cached function is followed by what Mako puts in its place.
        self._pairs: dict[str, list[ast.FunctionDef]] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # ast's name
        self.functions.add(node.name)
        self.defined.setdefault(".".join(self._path), []).append(
            _described(node)
        )
        self._path.append(node.name)
        self._pairs.setdefault(".".join(self._path), []).append(node)
        self.generic_visit(node)
        self._path.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._note(node.name)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # ast's name
        self._note(node.name)
        # Its methods do not see what is assigned in it.
        self._path.append(node.name)
        self.generic_visit(node)
        self._path.pop()

    def visit_alias(self, node: ast.alias) -> None:  # ast's name
        self._note(node.asname or node.name.partition(".")[0])

    def visit_MatchAs(self, node: ast.MatchAs) -> None:  # ast's name
        self._note_match(node, node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:  # ast's name
        self._note_match(node, node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:  # ast's
        self._note_match(node, node.rest)

    def _note_match(self, node: ast.pattern, name: str | None) -> None:
        if name:
            self._note(name)
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self._note(node.arg)

    def visit_Lambda(self, node: ast.Lambda) -> None:  # ast's name
        self.visit(node.body)

    def visit_Assign(self, node: ast.Assign) -> None:  # ast's name
        if not _is_from_context(node.value):
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:  # ast's name
        if isinstance(node.ctx, ast.Store):
            self._note(node.id)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:  # ast's
        if node.name:
            self._note(node.name)
        self.generic_visit(node)

    def _note(self, variable: str) -> None:
        self.variables.setdefault(".".join(self._path), set()).add(variable)

    def visit_Call(self, node: ast.Call) -> None:  # ast's name
        if isinstance(node.func, ast.Attribute) and node.func.attr == _CALL:
            self._add(node)
        if isinstance(node.func, ast.Name) and node.func.id == "hasattr":
            # So Mako asks, where a block stands, if an heir has its own.
            match node.args:
                case [of, ast.Constant(str(name))]:
                    if ast.unparse(of) == _PARENT:
                        self.blocks.add(name)
        self.generic_visit(node)

    def _add(self, node: ast.Call) -> None:
        options: dict[str, object] = {}
        dynamic = set()
        for keyword in node.keywords:
            try:
                options[str(keyword.arg)] = ast.literal_eval(keyword.value)
            except ValueError:
                dynamic.add(str(keyword.arg))
        defname = str(options.pop(DEFNAME, ""))
        key: object = None
        try:
            key = ast.literal_eval(node.args[0])
        except ValueError:
            has_key = True
        else:
            has_key = key != defname
        name = ".".join(self._path)
        earlier = self._times.get(name, 0)
        self._times[name] = earlier + 1
        body, place = ([None, None, *self._pairs.get(name, ())])[-2:]
        self.found.append(
            Fragment(
                f"{name}#{earlier}" if earlier else name,
                node.lineno,
                defname,
                options,
                frozenset(dynamic),
                key if has_key else None,
                has_key,
                _is_reshaped(body),
                place is None or ast.unparse(place.body[-1]) != "return ''",
            )
        )


def _given_by_mako(name: str, blocks: Collection[str]) -> frozenset[str]:
    """Return what is in a function that its author did not write."""
    given = frozenset({"_import_ns", "context"})
    if name == "render_body" or name.removeprefix("render_") in blocks:
        return given | {"pageargs"}
    return given


def _described(node: ast.FunctionDef) -> Function:
    args = node.args
    defaults = [*args.defaults, *filter(None, args.kw_defaults)]
    first = node.decorator_list[0] if node.decorator_list else node
    # All that Mako makes of a tag writes, or calls the tag's own function.
    is_makos = ast.unparse(node.body[-1]).startswith(
        _LOCAL_DEF.format(node.name)
    ) or any(
        isinstance(inner, ast.Name) and inner.id.startswith("__M_")
        for inner in ast.walk(node)
    )
    return Function(
        node.name,
        first.lineno,
        not is_makos,
        not all(isinstance(one, ast.Constant) for one in defaults),
    )


def _is_reshaped(function: ast.FunctionDef | None) -> bool:
    if function is None or function.decorator_list:
        return True
    last = ast.unparse(function.body[-1])
    return last != "return __M_buf.getvalue()"


def _is_from_context(value: ast.expr) -> bool:
    """Tell whether Mako takes a name from the context, or a namespace."""
    if isinstance(value, ast.Subscript):  # with strict_undefined
        return _is_getter(value.value)
    if not isinstance(value, ast.Call):
        return False
    function = value.func
    if isinstance(function, ast.Name):
        return function.id == "_mako_get_namespace"
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "get"
        and _is_getter(function.value)
    )


def _is_getter(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in _CONTEXT_GETTERS
