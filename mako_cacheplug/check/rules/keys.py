"""Rules about keys: whether two calls that differ get two entries."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.rule import rule
from mako_cacheplug.check.rules.arguments import is_object
from mako_cacheplug.check.rules.arguments import variables_read
from mako_cacheplug.check.template import Fragment
from mako_cacheplug.check.template import Option
from mako_cacheplug.check.template import Template

__all__ = ["RULES", "literal_key"]

_FORGOTTEN: Final = re.compile(
    r"(?<!\$)\{ *[A-Za-z_][\w.]* *\}|\$[A-Za-z_]\w*|%\([A-Za-z_]\w*\)"
    r"|(?<![\w%])%[ds](?!\w)"
)
_PATH: Final = re.compile(r"([A-Za-z_]\w*)(\.[A-Za-z_]\w*)*")
_RANDOM: Final = frozenset(
    {"id", "hash", "uuid1", "uuid4", "random", "randint", "randrange"}
    | {"token_bytes", "token_hex", "token_urlsafe"}
)
_CLOCKS: Final = frozenset(
    {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.now"}
    | {"datetime.utcnow", "time.monotonic", "time.perf_counter", "time.time"}
    | {"time.time_ns"}
)


def literal_key(fragment: Fragment) -> Option | None:
    """Return a fragment's ``cache_key`` if it is the same at every call."""
    option = fragment.options.get("key")
    return option if option is not None and option.is_literal else None


@rule("MC202", "same-key", Severity.WARNING)
def same_key(template: Template) -> Iterator[Problem]:
    """Two fragments of a template have one ``cache_key``.

    Here they are two entries, but ``cache.invalidate(key)`` removes both,
    and ``cache.get(key)`` returns the first; other plugins for Mako would
    show one for the other.

    Bad::

        <%block name="news" cached="True" cache_key="box">News</%block>
        <%block name="mail" cached="True" cache_key="box">Mail</%block>

    Good::

        <%block name="news" cached="True" cache_key="news">News</%block>
        <%block name="mail" cached="True" cache_key="mail">Mail</%block>
    """
    first: dict[str, Fragment] = {}
    for fragment in template.cached:
        option = literal_key(fragment)
        if option is None:
            continue
        other = first.setdefault(repr(option.literal), fragment)
        if other is not fragment:
            yield Problem(
                template.source.tag(option.tag, option.attribute),
                f"{fragment.title} has the cache_key of {other.title}:"
                f" {option.literal!r}",
            )


@rule("MC203", "key-without-argument", Severity.ERROR)
def key_without_argument(template: Template) -> Iterator[Problem]:
    """A ``cache_key`` leaves an argument out.

    A key stands for the arguments too: a call with another value of the
    argument shows what the first one made.  With
    ``cache_vary_args="true"`` the arguments join the key; with ``"false"``
    they do not, and then the same is true without a ``cache_key``.

    Bad::

        <%def name="card(user_id)" cached="True"
          cache_key="card">${user_id}</%def>

    Good::

        <%def name="card(user_id)" cached="True"
          cache_key="card-${str(user_id)}">${user_id}</%def>
    """
    for fragment in template.cached:
        if template.arguments_join(fragment) is not False:
            continue
        key = fragment.options.get("key")
        option = key or template.option(fragment, "vary_args")
        if option is None or _forgotten(template, fragment, option):
            continue
        named = template.names_in_key(fragment)
        if {"context", "pageargs"} & named:
            continue
        left_out = {
            name.id: owner
            for _, _, name, owner in variables_read(fragment)
            if name.id in owner.argument_names
            and name.id not in named
            and (owner is fragment or key is None or key.is_literal)
            and (owner is fragment or owner not in fragment.own())
        }
        if left_out:
            names = ", ".join(map(repr, sorted(left_out)))
            yield Problem(
                template.source.tag(option.tag, option.attribute),
                f"the key of {fragment.title} leaves out {names}: every value"
                " shows what the first one made",
                'name it in cache_key, or add cache_vary_args="true"'
                if key
                else "name in cache_vary what tells two calls apart",
            )


@rule("MC204", "forgotten-expression", Severity.ERROR)
def forgotten_expression(template: Template) -> Iterator[Problem]:
    """A text that looks as if it was meant to be an expression.

    Only ``${...}`` is evaluated: ``cache_vary="lang"`` is the same four
    letters at every call, and tells nothing apart.

    Bad::

        <%def name="menu()" cached="True" cache_vary="theme">…</%def>
        <%def name="card(user_id)" cached="True"
          cache_key="card-{user_id}">${user_id}</%def>

    Good::

        <%def name="menu()" cached="True" cache_vary="${theme}">…</%def>
        <%def name="card(user_id)" cached="True"
          cache_key="card-${str(user_id)}">${user_id}</%def>
    """
    for fragment in template.fragments:
        if not fragment.is_cached and fragment is not template.page:
            continue
        for option in fragment.options.values():
            if _forgotten(template, fragment, option):
                value = option.literal
                yield Problem(
                    template.source.tag(option.tag, option.attribute),
                    f"{option.attribute} is the constant {value!r}",
                    "write ${...} for what is to be evaluated",
                )


def _forgotten(template: Template, fragment: Fragment, option: Option) -> bool:
    value = option.literal
    if option.name == "vary":
        return value is not None
    if option.name not in {"key", "tags"} or not isinstance(value, str):
        return False
    if _FORGOTTEN.search(value):
        return True
    if option.name == "tags":
        ends = (tag.partition(":")[2] for tag in value.split())
        return any(end in fragment.argument_names for end in ends)
    path = _PATH.fullmatch(value.strip())
    if path is None:
        return False
    return path[1] in fragment.argument_names or (
        bool(path[2]) and path[1] in template.settings.request_names
    )


@rule("MC205", "unstable-key", Severity.ERROR)
def unstable_key(template: Template) -> Iterator[Problem]:
    """A key that is another one in every process, or at every call.

    ``id()`` is an address in memory, which another object can have later,
    and ``hash()`` of text differs from process to process; random values
    and the time in microseconds are never found again.

    Bad::

        <%def name="card(user)" cached="True"
          cache_key="${id(user)}">${user.email}</%def>

    Good::

        <%def name="card(user)" cached="True"
          cache_key="${user.id}">${user.email}</%def>
    """
    for fragment in template.fragments:
        for option in fragment.options.values():
            if option.name not in {"key", "vary"}:
                continue
            called = sorted(
                _called(node)
                for part in option.python
                for node in ast.walk(part.tree)
                if _called(node) in _RANDOM
            )
            place = template.source.tag(option.tag, option.attribute)
            if called:
                yield Problem(
                    place,
                    f"{called[0]}() in a key is not the same in every process",
                    "write what tells two calls apart, such as an id of the"
                    " database",
                )
            times = [
                ast.unparse(node)
                for part in option.python
                for node in _in_key(part.expression)
                if _reads_clock(node)
            ]
            if times:
                yield Problem(
                    place,
                    f"{times[0]} in a key is another one at every call",
                    'write cache_ttl="5m" for how long it is fresh',
                )


def _reads_clock(node: ast.expr) -> bool:
    """Tell whether it is the time, or ``str()`` of it, not part of it."""
    if not isinstance(node, ast.Call):
        return False
    if _called(node) == "str":
        return any(map(_reads_clock, node.args))
    return ast.unparse(node.func) in _CLOCKS


def _called(node: ast.AST) -> str:
    """Return the name of the function that is called; "" if none is."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id
    # A method of that name is somebody's own, but for these modules'.
    if (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id in {"random", "secrets", "uuid"}
    ):
        return function.attr
    return ""


@rule("MC206", "object-in-key", Severity.WARNING)
def object_in_key(template: Template) -> Iterator[Problem]:
    """A ``cache_key`` or ``cache_vary`` is an object.

    An object cannot be in a key: the def is rendered and not cached.  Name
    what is shown of it, or what it is found by.  If its class has a
    ``__cache_key__``, this finding can be ignored.

    Bad::

        <%def name="greeting()" cached="True"
          cache_vary="${user}">Hello ${user.name}</%def>

    Good::

        <%def name="greeting()" cached="True"
          cache_vary="${user.name}">Hello ${user.name}</%def>
    """
    for fragment in template.cached:
        named = {
            one.id: option
            for name in ("key", "vary")
            if (option := template.option(fragment, name))
            for part in option.python
            for one in _in_key(part.expression)
            if isinstance(one, ast.Name)
        }
        if not named:
            continue
        objects = {
            name.id: name.attribute
            for reached in template.reached(fragment)
            for name in reached.piece.python.names
            if name.id in named and is_object(name)
        }
        for name, attribute in sorted(objects.items()):
            option = named[name]
            yield Problem(
                template.source.tag(option.tag, option.attribute),
                f"{name!r} is used for its .{attribute} and looks like an"
                f" object that cannot be in a key: {fragment.title} would not"
                " be cached",
                f"write what is shown of it, such as {name}.{attribute}; or"
                " give its class a __cache_key__",
            )


def _in_key(node: ast.expr | None) -> Iterator[ast.expr]:
    """Yield what is itself in a key: the parts of tuples and lists."""
    if isinstance(node, (ast.Tuple, ast.List)):
        for element in node.elts:
            yield from _in_key(element)
    elif node is not None:
        yield node


RULES: Final = (
    same_key,
    key_without_argument,
    forgotten_expression,
    unstable_key,
    object_in_key,
)
