"""Rules about the templates that a template names."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from typing import Final

from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.python import Name
from mako_cacheplug.check.rule import rule
from mako_cacheplug.check.template import DEPENDS
from mako_cacheplug.check.template import Fragment
from mako_cacheplug.check.template import Template

__all__ = ["RULES"]

_ANYWHERE: Final = frozenset({"get_namespace", "include_file"})
_OF_THESE: Final = frozenset({"local", "lookup", "next", "parent", "self"})
_HELP: Final = (
    'name what it can be: cache_depends="a.mako b.mako", on the <%page> or'
    " where it is cached"
)


def _undeclared(template: Template) -> list[Fragment]:
    """Return the cached fragments that declare no dependencies."""
    return [
        one for one in template.cached if template.option(one, DEPENDS) is None
    ]


@rule("MC301", "dynamic-dependency", Severity.WARNING)
def dynamic_dependency(template: Template) -> Iterator[Problem]:
    """What is cached depends on a template whose name is an expression.

    A fragment's key holds the source of the templates that it includes, so
    that an edited one shows at once.  It is read from the tags: one whose
    name is only known when it runs has to be declared with
    ``cache_depends``, or what is cached stays as it was until it expires.
    What an expression in ``<%inherit>`` or ``<%namespace>`` names is in the
    key, as it is known before anything is shown.

    Bad::

        <%page cached="True"/>
        <%include file="${kind}.mako"/>

    Good::

        <%page cached="True" cache_depends="card.mako row.mako"/>
        <%include file="${kind}.mako"/>
    """
    undeclared = _undeclared(template)
    if not undeclared:
        return
    said: set[object] = set()
    for fragment in undeclared:
        message = (
            f"{fragment.title} is cached and depends on a template that is"
            " only known when it runs"
        )
        for reached in template.reached(fragment):
            for include in reached.fragment.includes:
                if include.file is None and include.tag not in said:
                    said.add(include.tag)
                    place = template.source.tag(include.tag, "file")
                    yield Problem(place, message, _HELP)
            for name in reached.piece.python.names:
                if _gets_template(name) and name.node not in said:
                    said.add(name.node)
                    place = template.source.python(
                        reached.piece.python, name.node
                    )
                    yield Problem(place, message, _HELP)


def _gets_template(name: Name) -> bool:
    """Tell whether a template is fetched whose name is an expression."""
    owner = name.id
    for parent, call in itertools.pairwise(name.around):
        if not isinstance(parent, ast.Attribute):
            break
        method = parent.attr
        if method in _ANYWHERE or (
            method == "get_template" and owner in _OF_THESE
        ):
            return (
                isinstance(call, ast.Call)
                and call.func is parent
                and not _is_literal(call)
            )
        owner = method
    return False


def _is_literal(call: ast.Call) -> bool:
    given = [*call.args[:1], *(k.value for k in call.keywords)]
    return bool(given) and isinstance(given[0], ast.Constant)


@rule("MC302", "missing-dependency", Severity.ERROR)
def missing_dependency(template: Template) -> Iterator[Problem]:
    """A template that is named is not there.

    It is looked for as Mako does: a name with a slash in front below the
    folders of ``--directory``, another one beside the template that names
    it.  Without ``--directory`` it is only reported if no file below the
    folders that are checked has this name.  Names with a colon
    (``package:templates/a.mako``) are left to the framework that knows
    them.

    Bad::

        <%include file="crad.mako"/>

    Good::

        <%include file="card.mako"/>
    """
    for dependency in template.dependencies:
        file = dependency.file
        if file and not _exists(template, file):
            yield Problem(
                template.source.tag(dependency.tag, "file"),
                f"there is no template {file!r}",
            )
    for fragment in template.fragments:
        option = fragment.options.get(DEPENDS)
        if option is None:
            continue
        named = option.literal
        names = named.split() if isinstance(named, str) else named
        for file in names if isinstance(names, (list, tuple)) else ():
            if isinstance(file, str) and not _exists(
                template, file.strip(",;")
            ):
                yield Problem(
                    template.source.tag(option.tag, option.attribute),
                    f"there is no template {file!r}",
                )


def _exists(template: Template, uri: str) -> bool:
    lookup = template.settings.lookup
    # package:folder/name is a framework's business.
    return (
        lookup is None or ":" in uri or lookup.has(uri, template.source.path)
    )


RULES: Final = (dynamic_dependency, missing_dependency)
