"""Rules about the ``cache_*`` attributes, each by itself."""

from __future__ import annotations

import ast
import difflib
import textwrap
from collections.abc import Iterator
from typing import Final

from mako_cacheplug import options
from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.python import Python
from mako_cacheplug.check.rule import rule
from mako_cacheplug.check.template import DEPENDS
from mako_cacheplug.check.template import Fragment
from mako_cacheplug.check.template import Option
from mako_cacheplug.check.template import Template
from mako_cacheplug.exceptions import OptionError

__all__ = ["RULES"]

_KNOWN: Final = options.ON_TAGS | frozenset(options.ALIASES)

_NOT_TEXT: Final = (
    ast.Tuple,
    ast.List,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.Compare,
    ast.Lambda,
)
_TIMEOUTS: Final = frozenset({"timeout", "ttl"})
_ARITHMETIC: Final = (
    ast.Expr,
    ast.BinOp,
    ast.Constant,
    ast.Add,
    ast.Sub,
    ast.Mult,
)
_NOT_TEXT_FROM: Final = frozenset(
    {"abs", "bool", "dict", "float", "frozenset", "hash", "id", "int", "len"}
    | {"list", "ord", "range", "round", "set", "sorted", "sum", "tuple"}
)
_METHODS_OF_TEXT: Final = frozenset(
    {"capitalize", "casefold", "format", "hex", "isoformat", "join", "lower"}
    | {"lstrip", "replace", "rstrip", "strftime", "strip", "title", "upper"}
)


def _is_foreign(template: Template, fragment: Fragment) -> bool:
    """Tell whether another plugin than ours gets the options."""
    impl = template.option(fragment, "impl")
    if impl is None or impl.literal is None:
        return impl is not None
    # Asked only if it is named: looking for entry points takes its time.
    from mako_cacheplug.registry import is_backend

    name = str(impl.literal).strip()
    return name.partition(".")[0] != "cacheplug" and not is_backend(name)


def _own_options(
    template: Template,
) -> Iterator[tuple[Fragment, Option]]:
    """Yield the options that are this plugin's."""
    for fragment in template.fragments:
        if fragment.options and not _is_foreign(template, fragment):
            for option in fragment.options.values():
                yield fragment, option


@rule("MC101", "unknown-option", Severity.ERROR)
def unknown_option(template: Template) -> Iterator[Problem]:
    """A ``cache_*`` attribute that is no option.

    At the first call it is an ``OptionError``, whatever the option was to
    do.

    Bad::

        <%def name="card()" cached="True" cache_tll="5m">…</%def>

    Good::

        <%def name="card()" cached="True" cache_ttl="5m">…</%def>
    """
    for _, option in _own_options(template):
        if option.name in _KNOWN:
            continue
        near = difflib.get_close_matches(option.name, _KNOWN, 1, 0.6)
        meant = f"; did you mean 'cache_{near[0]}'?" if near else ""
        yield Problem(
            template.source.tag(option.tag, option.attribute),
            f"unknown option {option.attribute!r}{meant}",
            "" if near else f"known are {', '.join(sorted(_KNOWN))}",
        )


@rule("MC102", "bad-value", Severity.ERROR)
def bad_value(template: Template) -> Iterator[Problem]:
    """An option has a value that it does not take.

    Durations are ``90``, ``90s``, ``5m``, ``2h``, ``1d`` or ``none``; sizes
    ``64k`` or ``64m``; booleans ``true`` or ``false``.  Only constants are
    checked, not expressions.

    Bad::

        <%def name="card()" cached="True" cache_ttl="soon">…</%def>

    Good::

        <%def name="card()" cached="True" cache_ttl="5m">…</%def>
    """
    for _, option in _own_options(template):
        value = option.literal
        if option.name == "timeout" and not _is_whole_number(value):
            continue
        name = options.ALIASES.get(option.name, option.name)
        if value is None or name not in options.EVERYWHERE:
            continue
        try:
            options.check_options({option.name: value})
            if name == "url" and "://" in str(value):
                options.StoreURL.parse(str(value))
        except OptionError as error:
            message = error.message.removeprefix(f"option {option.name!r}: ")
            yield Problem(
                template.source.tag(option.tag, option.attribute),
                f"{option.attribute}: {message}",
            )


def _is_whole_number(value: object) -> bool:
    """Tell whether Mako's ``int()`` takes a ``cache_timeout``."""
    try:
        int(value)  # type: ignore[call-overload]  # what it does not take, it says
    except (TypeError, ValueError, OverflowError):
        return False
    return True


@rule("MC103", "timeout-not-constant", Severity.ERROR)
def timeout_not_constant(template: Template) -> Iterator[Problem]:
    """``cache_timeout`` is not a whole number.

    Mako itself makes a number of this attribute when it compiles the
    template: an expression with a variable or a duration such as ``5m``
    cannot be compiled.  ``cache_ttl`` is the same option and takes both.

    Bad::

        <%def name="card()" cached="True" cache_timeout="5m">…</%def>

    Good::

        <%def name="card()" cached="True" cache_ttl="5m">…</%def>
    """
    for fragment in template.fragments:
        option = fragment.options.get("timeout")
        if option is None or _is_whole_number(option.literal):
            continue
        if not option.is_literal and all(
            isinstance(node, _ARITHMETIC)
            for part in option.python
            for node in ast.walk(part.tree)
            if node is not part.tree
        ):
            continue  # Such as ${60 * 60}.
        yield Problem(
            template.source.tag(option.tag, option.attribute),
            "Mako takes only a whole number of seconds for cache_timeout,"
            " and at compile time",
            "write cache_ttl, which takes '5m' and ${...}",
        )


@rule("MC104", "cached-not-constant", Severity.ERROR)
def cached_not_constant(template: Template) -> Iterator[Problem]:
    """``cached`` is neither ``True`` nor ``False``.

    Mako evaluates this attribute as Python when it compiles the template:
    ``true`` is a name that Python does not know, ``${...}`` is no Python,
    and ``'False'`` with quotes inside is text, which is true.  What is to be
    decided at every call belongs in ``cache_enabled``.

    Bad::

        <%def name="card()" cached="true">…</%def>
        <%block name="news" cached="${not preview}">…</%block>

    Good::

        <%def name="card()" cached="True">…</%def>
        <%block name="news" cached="True"
          cache_enabled="${not preview}">…</%block>
    """
    for fragment in template.fragments:
        cached = fragment.cached
        if fragment.tag is None or cached is None:
            continue
        try:
            value = ast.literal_eval(cached)
        except (ValueError, TypeError, SyntaxError):
            value = None
        if isinstance(value, (bool, int)):
            continue
        place = template.source.tag(fragment.tag, "cached")
        right = 'write cached="True" or cached="False"'
        if "${" in cached:
            yield Problem(
                place,
                "cached takes no expression: Mako evaluates it at compile"
                " time",
                'write cached="True" cache_enabled="${...}"',
            )
        elif isinstance(value, str):
            yield Problem(place, "cached is text, which is true", right)
        else:
            shown = textwrap.shorten(cached, 40, placeholder="...")
            message = f"cached={shown!r} is neither True nor False"
            yield Problem(place, message, right)


@rule("MC105", "options-without-cached", Severity.WARNING)
def options_without_cached(template: Template) -> Iterator[Problem]:
    """Options of a def or block that is not cached.

    They have no effect.  Those of a ``<%page>`` are the defaults of all that
    is cached in the template, so there they are only reported if that is
    nothing; but for ``cache_key``, which is the page's alone.
    ``cached="False"`` says that it is meant.

    Bad::

        <%def name="card()" cache_ttl="5m">…</%def>

    Good::

        <%def name="card()" cached="True" cache_ttl="5m">…</%def>
    """
    for fragment in template.fragments:
        if fragment.cached is not None or not fragment.options:
            continue
        names = list(fragment.options)
        if fragment is template.page and template.cached:
            names = [name for name in names if name == "key"]
        for name in names[:1]:
            option = fragment.options[name]
            yield Problem(
                template.source.tag(option.tag, option.attribute),
                f"{option.attribute} has no effect: {fragment.title} is not"
                " cached",
                'add cached="True", or cached="False" if that is meant',
            )


@rule("MC106", "two-timeouts", Severity.WARNING)
def two_timeouts(template: Template) -> Iterator[Problem]:
    """Both ``cache_timeout`` and ``cache_ttl`` on one tag.

    They are two names of one option; the last one counts.

    Bad::

        <%def name="card()" cached="True" cache_timeout="60"
          cache_ttl="5m">…</%def>

    Good::

        <%def name="card()" cached="True" cache_ttl="5m">…</%def>
    """
    for fragment in template.fragments:
        both = [o for n, o in fragment.options.items() if n in _TIMEOUTS]
        if len(both) > 1:
            yield Problem(
                template.source.tag(both[-1].tag, both[-1].attribute),
                f"{both[0].attribute} and {both[1].attribute} are one option:"
                f" {both[1].attribute} counts",
            )


@rule("MC107", "joined-not-text", Severity.ERROR)
def joined_not_text(template: Template) -> Iterator[Problem]:
    """An attribute joins what is not text.

    Mako joins the text and the expressions of an attribute with ``+``.
    Text and a number cannot be added, which fails at the first call; two
    numbers can, and then 1 and 2 have the key of 2 and 1.

    Bad::

        <%def name="page(n, of)" cached="True"
          cache_key="page-${n + 1}-${str(of)}">${n}/${of}</%def>
        <%def name="cell(x, y)" cached="True"
          cache_key="${x}${y}">${x}/${y}</%def>

    Good::

        <%def name="page(n, of)" cached="True"
          cache_key="page-${str(n + 1)}-${str(of)}">${n}/${of}</%def>
        <%def name="cell(x, y)" cached="True"
          cache_key="${(x, y)}">${x}/${y}</%def>
    """
    for _, option in _own_options(template):
        if len(option.parts) < 2:
            continue
        place = template.source.tag(option.tag, option.attribute)
        others = [one for one in option.python if _is_not_text(one)]
        if others:
            code = others[0].code
            yield Problem(
                place,
                f"{option.attribute} adds text and {code!r}, which is not"
                " text",
                f"write ${{str({code})}}",
            )
        elif not any(isinstance(p, str) or _is_text(p) for p in option.parts):
            both = ", ".join(one.code for one in option.python)
            yield Problem(
                place,
                f"{option.attribute} adds its expressions, and numbers add up",
                f"write ${{({both})}}",
            )


def _is_not_text(part: Python) -> bool:
    """Tell whether an expression is certainly no text."""
    node = part.expression
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str)
    if isinstance(node, ast.UnaryOp):
        return True
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.Sub, ast.FloorDiv, ast.Pow)) or (
            isinstance(node.op, ast.Add)
            and any(
                isinstance(one, ast.Constant) and isinstance(one.value, int)
                for one in (node.left, node.right)
            )
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in _NOT_TEXT_FROM
    return isinstance(node, _NOT_TEXT)


def _is_text(part: str | Python) -> bool:
    """Tell whether a part of an attribute is certainly text."""
    if isinstance(part, str):
        return True
    node = part.expression
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            return node.func.attr in _METHODS_OF_TEXT
        return isinstance(node.func, ast.Name) and node.func.id in {
            "repr",
            "str",
        }
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@rule("MC108", "comma-in-names", Severity.WARNING)
def comma_in_names(template: Template) -> Iterator[Problem]:
    """Tags, or dependencies, with commas between them.

    White space is between them; a comma is part of a name.

    Bad::

        <%def name="card()" cached="True" cache_tags="news,sport">…</%def>

    Good::

        <%def name="card()" cached="True" cache_tags="news sport">…</%def>
    """
    for _, option in _own_options(template):
        value = option.literal
        if option.name not in {"tags", DEPENDS} or not isinstance(value, str):
            continue
        if any(mark in value for mark in ",;"):
            names = value.replace(",", " ").replace(";", " ").split()
            yield Problem(
                template.source.tag(option.tag, option.attribute),
                f"{option.attribute}: a comma is part of a name",
                f'write {option.attribute}="{" ".join(names)}"',
            )


RULES: Final = (
    unknown_option,
    bad_value,
    timeout_not_constant,
    cached_not_constant,
    options_without_cached,
    two_timeouts,
    joined_not_text,
    comma_in_names,
)
