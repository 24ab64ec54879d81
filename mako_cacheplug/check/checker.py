"""From a file to its findings."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Final

from mako.exceptions import MakoException

from mako_cacheplug.check.build import parse
from mako_cacheplug.check.finding import Finding
from mako_cacheplug.check.finding import Place
from mako_cacheplug.check.finding import Problem
from mako_cacheplug.check.limits import time_limit
from mako_cacheplug.check.limits import TooLongError
from mako_cacheplug.check.rule import Rule
from mako_cacheplug.check.rules import find
from mako_cacheplug.check.rules import RULES
from mako_cacheplug.check.rules.files import SYNTAX_ERROR
from mako_cacheplug.check.rules.files import UNREADABLE
from mako_cacheplug.check.rules.files import UNUSED_SUPPRESSION
from mako_cacheplug.check.settings import Settings
from mako_cacheplug.check.source import decode
from mako_cacheplug.check.source import read
from mako_cacheplug.check.source import Source
from mako_cacheplug.check.source import UnreadableError
from mako_cacheplug.check.suppress import Suppression
from mako_cacheplug.check.suppress import Suppressions

__all__ = ["check_bytes", "check_file", "check_text", "selected"]

_Found = tuple[Rule, Problem]
_START: Final = Place(1, 0, 1, 1)


def check_file(path: str, settings: Settings | None = None) -> list[Finding]:
    """Return what is wrong with the template in a file.

    Nothing in it is run.  Only in the main thread of a process is the time
    that it may take limited.

    :param path: the file.
    :param settings: what the checker is told; the defaults without.
    """
    settings = settings or Settings()
    try:
        data = read(path, settings.max_bytes)
    except UnreadableError as error:
        return [_unreadable(path, error)]
    return check_bytes(data, path, settings)


def check_bytes(
    data: bytes, path: str = "<template>", settings: Settings | None = None
) -> list[Finding]:
    """Return what is wrong with a template that is not decoded yet.

    :param data: the template.
    :param path: what findings call it, and from where it names others.
    :param settings: what the checker is told; the defaults without.
    """
    settings = settings or Settings()
    try:
        text = decode(data, settings.encoding, settings.max_bytes)
    except UnreadableError as error:
        return [_unreadable(path, error)]
    return check_text(text, path, settings)


def check_text(
    text: str,
    path: str = "<template>",
    settings: Settings | None = None,
) -> list[Finding]:
    """Return what is wrong with a template.

    :param text: the template.
    :param path: what findings call it, and from where it names others.
    :param settings: what the checker is told; the defaults without.
    """
    source = Source(path, text)
    settings = settings or Settings()
    with warnings.catch_warnings():
        # Of escapes in a string that Python will refuse one day.
        warnings.simplefilter("ignore")
        try:
            with time_limit(settings.seconds):
                found = _problems(source, settings)
        except TooLongError:
            message = f"it took more than {settings.seconds:g} seconds"
            found = [(UNREADABLE, Problem(_START, message))]
    kept = list(_without_suppressed(source, found))
    kept.sort(key=lambda one: (one[1].place, one[0].code))
    return [_finding(source, rule, problem) for rule, problem in kept]


def _problems(source: Source, settings: Settings) -> list[_Found]:
    try:
        template = parse(source, settings)
        return [
            (rule, problem)
            for rule in RULES
            if rule.check is not None
            for problem in rule.check(template)
        ]
    except MakoException as error:
        return [(SYNTAX_ERROR, _syntax_error(source, error))]
    except (RecursionError, MemoryError):
        message = "it is nested too deep"
    except Exception as error:
        # Whatever else Mako and Python raise for what is no template.
        message = f"Mako cannot read it: {type(error).__name__}: {error}"
    return [(UNREADABLE, Problem(_START, message))]


def _syntax_error(source: Source, error: MakoException) -> Problem:
    line = max(getattr(error, "lineno", 1) or 1, 1)
    line = min(line, len(source.lines))
    cause = error.__cause__
    if isinstance(cause, (MemoryError, RecursionError)):
        message = "it is nested too deep"
    elif isinstance(cause, SyntaxError):
        message = cause.msg
    else:
        message = str(error).rpartition(" at line: ")[0] or str(error)
    column = getattr(error, "pos", 0) or 0
    return Problem(Place(line, column, 1, line), message)


def _without_suppressed(
    source: Source, found: list[_Found]
) -> Iterator[_Found]:
    comments = Suppressions(source.lines)
    unread = any(rule in (SYNTAX_ERROR, UNREADABLE) for rule, _ in found)
    yield from _uncovered(found, comments)
    unused = [
        (UNUSED_SUPPRESSION, problem)
        for comment in comments.all
        if (problem := _unused(comment, unread))
    ]
    yield from _uncovered(unused, comments)


def _uncovered(
    found: list[_Found], comments: Suppressions
) -> Iterator[_Found]:
    """Yield what no comment suppresses."""
    for rule, problem in found:
        if not comments.cover((rule.code, rule.name), problem.place):
            yield rule, problem


def _unused(comment: Suppression, unread: bool) -> Problem | None:
    """Return what is wrong with a comment, if something is.

    :param unread: whether the rules have not seen the template.
    """
    known = find(comment.name)
    if not comment.name:
        message = "the comment names no rule: write ignore[MC101]"
    elif known is None:
        message = f"no rule is called {comment.name!r}"
    elif comment.is_used or unread or known is UNUSED_SUPPRESSION:
        return None
    else:
        message = f"there is no {known.code} {known.name} to suppress"
    place = Place(comment.line, 0, 1, comment.line)
    return Problem(place, message, "remove the comment")


def _unreadable(path: str, error: UnreadableError) -> Finding:
    problem = Problem(Place(error.line, 0, 1, error.line), str(error))
    return _finding(Source(path, ""), UNREADABLE, problem)


def _finding(source: Source, rule: Rule, problem: Problem) -> Finding:
    place = problem.place
    return Finding(
        rule.code,
        rule.name,
        rule.severity,
        source.path,
        place.line,
        place.column,
        place.length,
        problem.message,
        problem.help,
        source.line(place.line),
    )


def selected(
    findings: Iterable[Finding],
    select: frozenset[str],
    ignore: frozenset[str],
) -> list[Finding]:
    """Return the findings of some rules.

    What says that a file was not checked is among them in any case, unless
    it is in *ignore*.

    :param select: codes; a short one stands for all that begin with it, and
        none at all for all of them.
    :param ignore: the same for those to leave out.
    """
    unread = (SYNTAX_ERROR.code, UNREADABLE.code)
    wanted = (*select, *unread) if select else ("",)
    return [
        one
        for one in findings
        if one.code.startswith(wanted)
        and not one.code.startswith(tuple(ignore))
    ]
