"""What the rules look at: a template as fragments, options and names.

A *fragment* is here what Mako makes a function of: the page, a def, a block,
cached or not.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Final
from typing import NamedTuple

from mako import parsetree

from mako_cacheplug import options
from mako_cacheplug.check.finding import Place
from mako_cacheplug.check.python import Name
from mako_cacheplug.check.python import Python
from mako_cacheplug.check.settings import Settings
from mako_cacheplug.check.source import Source
from mako_cacheplug.exceptions import OptionError

__all__ = [
    "DEPENDS",
    "Argument",
    "Dependency",
    "Fragment",
    "Loop",
    "Option",
    "Piece",
    "Reached",
    "Template",
]

DEPENDS: Final = "depends"
"""The option that names dependencies which no tag names."""

_OFF: Final = frozenset({"false", "no", "off", "0", "none", ""})
_BY_TEMPLATE: Final = frozenset({"self", "local"})
"""The namespaces through which a template reaches its own defs."""

_OURS: Final = frozenset({"hole", "nocache"})
"""The functions of this package that templates call."""

_MAYBE: Final = (
    ast.If,
    ast.IfExp,
    ast.BoolOp,
    ast.For,
    ast.While,
    ast.Try,
    ast.Match,
    ast.FunctionDef,
    ast.Lambda,
)
"""What does not always run what stands in it."""

_JOINING_KEYS: Final = frozenset(
    {"key", "vary", "enabled", "region", "namespace", "impl", "url", "dir"}
)
"""The options whose value tells two entries apart, or two calls."""


class Option(NamedTuple):
    """A ``cache_*`` attribute of a tag."""

    name: str
    """Without ``cache_``, as it is typed."""

    tag: parsetree.Tag
    parts: tuple[str | Python, ...]
    """Text and expressions, which Mako joins with ``+``."""

    @property
    def attribute(self) -> str:
        """The attribute's name."""
        return f"cache_{self.name}"

    @property
    def is_literal(self) -> bool:
        """Whether its value is the same at every call, whatever runs."""
        return self.literal is not None

    @property
    def literal(self) -> object:
        """Its value; ``None`` if that is an expression."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Python):
            expression = self.parts[0].expression
            try:
                return ast.literal_eval(expression) if expression else None
            except (ValueError, TypeError, SyntaxError):
                return None
        if all(isinstance(part, str) for part in self.parts):
            return "".join(str(part) for part in self.parts)
        return None

    @property
    def python(self) -> list[Python]:
        """Its expressions."""
        return [part for part in self.parts if isinstance(part, Python)]

    @property
    def reads(self) -> set[str]:
        """The names that it reads."""
        return {name.id for one in self.python for name in one.names}


class Loop(NamedTuple):
    """A ``% for`` or ``% while``."""

    line: int
    targets: frozenset[str]
    """The variables in its head."""

    assigned: set[str]
    """The variables that ``<% %>`` assigns in its body."""

    item: str
    """The variable that is each item of *over*; "" if that is not plain."""

    over: str
    """The variable that is looped over."""


class Piece(NamedTuple):
    """A piece of Python that runs when a fragment is rendered."""

    python: Python
    loops: tuple[Loop, ...]
    """The loops of the fragment around it, the outermost first."""

    bound: frozenset[str]
    """What the ``<%call>`` around it binds."""

    branches: tuple[int, ...]
    """The lines of the control lines around it, the outermost first."""

    is_statement: bool
    """Whether it is ``<% %>``: its value is not shown."""

    filters: str
    """What stands behind it, as in ``${x | h}``."""


class Argument(NamedTuple):
    """An argument of a def, a named block or the page."""

    name: str
    default: ast.expr | None
    is_starred: bool


class Dependency(NamedTuple):
    """Another template that a tag names."""

    tag: parsetree.Tag
    file: str | None
    """Its name; ``None`` if that is an expression."""


@dataclasses.dataclass(eq=False)
class Fragment:
    """The page, a def or a block."""

    kind: str
    """``page``, ``def`` or ``block``."""

    name: str
    """"" for the page and a block without a name."""

    tag: parsetree.Tag | None
    """``None`` for a page without a ``<%page>``."""

    parent: Fragment | None
    is_closure: bool
    """Whether it sees the variables of its parent: a def in a def does, a
    named block does not."""

    is_inline: bool
    """Whether it is rendered where it stands: a block, or a def that is
    handed to another one by ``<%call>``."""

    arguments: tuple[Argument, ...] = ()
    loops: tuple[Loop, ...] = ()
    """The loops of its parent in which it stands."""

    bound_around: frozenset[str] = frozenset()
    """What the ``<%call>`` in its parent in which it stands binds."""

    branches: tuple[int, ...] = ()
    """The lines of the control lines of its parent in which it stands."""

    options: dict[str, Option] = dataclasses.field(default_factory=dict)
    """Its own, in the order of its tag."""

    pieces: list[Piece] = dataclasses.field(default_factory=list)
    children: list[Fragment] = dataclasses.field(default_factory=list)
    includes: list[Dependency] = dataclasses.field(default_factory=list)

    @property
    def title(self) -> str:
        """What messages call it."""
        if self.kind == "page":
            return "the page"
        if self.name:
            return f"{self.kind} {self.name!r}"
        return f"the {self.kind} in line {self.tag.lineno}" if self.tag else ""

    @property
    def cached(self) -> str | None:
        """Its ``cached`` attribute; ``None`` without."""
        if self.tag is None:
            return None
        value: str | None = self.tag.attributes.get("cached")
        return value

    @functools.cached_property
    def is_cached(self) -> bool:
        """Whether its author wants it cached."""
        return (
            self.cached is not None and self.cached.strip().lower() not in _OFF
        )

    @functools.cached_property
    def argument_names(self) -> frozenset[str]:
        """The names of its arguments."""
        return frozenset(argument.name for argument in self.arguments)

    @functools.cached_property
    def variables(self) -> frozenset[str]:
        """Its arguments and what it assigns."""
        return self.argument_names.union(
            *(piece.python.bound for piece in self.pieces)
        )

    def inside(self) -> Iterator[Fragment]:
        """Yield it and all that stand in it."""
        yield self
        for child in self.children:
            yield from child.inside()

    def own(self) -> Iterator[Fragment]:
        """Yield it and what is a part of it: its blocks, and nested defs."""
        yield self
        for child in self.children:
            if child.is_inline or child.is_closure:
                yield from child.own()

    def owner(self, name: str, bound: frozenset[str]) -> Fragment | None:
        """Return the fragment that has a variable; ``None`` if none has.

        :param bound: what a ``<%call>`` around the name binds.
        """
        if name in bound or name in self.variables:
            return self
        if self.is_closure and self.parent is not None:
            return self.parent.owner(name, self.bound_around)
        return None


class Reached(NamedTuple):
    """A piece of Python that runs when a cached fragment is rendered.

    What it shows is stored with the fragment: it is not in a hole, and not
    where ``nocache(context)`` is called.
    """

    fragment: Fragment
    """The fragment whose piece it is."""

    piece: Piece
    calls: tuple[tuple[Fragment, Place], ...]
    """The defs that are called on the way, and from where."""


class Template:
    """A template, taken apart.

    :param source: its text.
    :param settings: what the checker is told.
    :param page: the fragment of all that stands in no other.
    """

    def __init__(self, source: Source, settings: Settings, page: Fragment):
        self.source = source
        self.settings = settings
        self.page = page
        self.module_names: set[str] = set()
        """What ``<%! %>`` binds."""
        self.namespaces: dict[str, Dependency] = {}
        """The namespaces by name; one of a module has no file."""
        self.imported: set[str] = set()
        """The names that namespaces import."""
        self.imported_of_us: dict[str, str] = {}
        """By what name it is used: what is imported from this package; ""
        stands for the package itself."""
        self.dependencies: list[Dependency] = []
        """What include, inherit and namespace tags name."""
        self._reached: dict[Fragment, list[Reached]] = {}

    @functools.cached_property
    def fragments(self) -> list[Fragment]:
        """All of them, the page first."""
        return list(self.page.inside())

    @functools.cached_property
    def cached(self) -> list[Fragment]:
        """The cached ones."""
        return [one for one in self.fragments if one.is_cached]

    @functools.cached_property
    def _callable(self) -> dict[str, Fragment]:
        return {
            one.name: one
            for one in self.fragments
            if one.name and not one.is_closure
        }

    def option(self, fragment: Fragment, name: str) -> Option | None:
        """Return the option that counts for a fragment, its own or the page's.

        :param name: not an alias.
        """
        levels = [fragment]
        if name != "key" and fragment is not self.page:
            levels.append(self.page)
        for level in levels:
            for typed in reversed(level.options):
                if options.ALIASES.get(typed, typed) == name:
                    return level.options[typed]
        return None

    def names_in_key(self, fragment: Fragment) -> set[str]:
        """Return the names by which the options tell calls apart."""
        found: set[str] = set()
        for name in _JOINING_KEYS:
            option = self.option(fragment, name)
            if option is not None:
                found |= option.reads
        return found

    def arguments_join(self, fragment: Fragment) -> bool | None:
        """Tell whether the arguments are in the key.

        ``None`` if that depends on what runs.
        """
        option = self.option(fragment, "vary_args")
        if option is None:
            return "key" not in fragment.options
        try:
            return options.boolean(option.literal, "vary_args")
        except OptionError:
            return None

    def is_from_context(
        self, fragment: Fragment, name: str, bound: frozenset[str]
    ) -> bool:
        """Tell whether a name in a fragment is a variable of the context."""
        return (
            fragment.owner(name, bound) is None
            and name not in self.module_names
            and name not in self.namespaces
            and name not in self.imported
            and name not in self._callable
        )

    def function_of_ours(
        self, fragment: Fragment, function: ast.AST, bound: frozenset[str]
    ) -> str:
        """Return which function of this package it is; "" if it is none.

        :param bound: what a ``<%call>`` around it binds.
        """
        attribute = ""
        if isinstance(function, ast.Attribute):
            attribute, function = function.attr, function.value
        if not isinstance(function, ast.Name):
            return ""
        name = function.id
        imported = self.imported_of_us.get(name)
        if imported is not None:
            return attribute if imported == "" else imported
        if name in _OURS and self.is_from_context(fragment, name, bound):
            # Imported for all templates, by the lookup's ``imports``.
            return name
        return ""

    def is_hole(self, fragment: Fragment, piece: Piece, name: Name) -> bool:
        """Tell whether a name is the ``f`` or ``self.f`` in ``hole(f)``."""
        node: ast.AST = name.node
        for parent in name.around[:2]:
            if isinstance(parent, ast.Call):
                # Or of capture(hole, f).
                called = [parent.func, *parent.args]
                return any(
                    given is node
                    and self.function_of_ours(fragment, function, piece.bound)
                    == "hole"
                    for function, given in itertools.pairwise(called[:3])
                )
            node = parent
        return False

    def called(self, fragment: Fragment, name: Name) -> Fragment | None:
        """Return the def of this template that a name stands for."""
        if name.id in _BY_TEMPLATE:
            return self._callable.get(name.attribute)
        around: Fragment | None = fragment
        while around is not None:
            for child in around.children:
                if child.kind == "def" and child.name == name.id:
                    return child
            if name.id in around.variables:
                return None
            around = around.parent if around.is_closure else None
        return self._callable.get(name.id)

    def reached(self, fragment: Fragment) -> list[Reached]:
        """Return all that runs when a fragment is rendered.

        That is what stands in it, and the defs of this template that it
        calls, and those that these call.
        """
        known = self._reached.get(fragment)
        if known is None:
            known = self._reached[fragment] = self._reach(fragment)
        return known

    def _reach(self, fragment: Fragment) -> list[Reached]:
        found: list[Reached] = []
        seen: set[Fragment] = set()
        waiting: list[tuple[Fragment, tuple[tuple[Fragment, Place], ...]]]
        waiting = [(fragment, ())]
        while waiting:
            current, calls = waiting.pop(0)
            if current in seen:
                continue
            seen.add(current)
            unstored = self._unstored(current)
            waiting += [
                (one, calls)
                for one in current.children
                if one.is_inline and not _is_within(one.branches, unstored)
            ]
            for piece in current.pieces:
                if _is_within(piece.branches, unstored):
                    continue
                found.append(Reached(current, piece, calls))
                for name in piece.python.names:
                    other = self.called(current, name)
                    if other is None or other in seen:
                        continue
                    if self.is_hole(current, piece, name):
                        continue
                    place = self.source.python(piece.python, name.node)
                    waiting.append((other, (*calls, (other, place))))
        return found

    def _unstored(self, fragment: Fragment) -> set[tuple[int, ...]]:
        """Return the branches of a fragment that call ``nocache``."""
        if "nocache" not in self.source.text:
            return set()
        return {
            piece.branches
            for piece in fragment.pieces
            for name in piece.python.names
            if (call := name.call) is not None
            and self.function_of_ours(fragment, call.func, piece.bound)
            == "nocache"
            and not any(isinstance(one, _MAYBE) for one in name.around)
        }


def _is_within(branches: tuple[int, ...], those: set[tuple[int, ...]]) -> bool:
    """Tell whether something stands in one of *those* branches."""
    return any(branches[: len(one)] == one for one in those)
