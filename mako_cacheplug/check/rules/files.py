"""What is wrong with a file before any rule can look at it."""

from __future__ import annotations

from typing import Final

from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.rule import describe

__all__ = ["RULES", "SYNTAX_ERROR", "UNREADABLE", "UNUSED_SUPPRESSION"]

SYNTAX_ERROR: Final = describe(
    "MC001",
    "syntax-error",
    Severity.ERROR,
    """The template, or the Python in it, cannot be parsed.

    Mako would raise the same when it compiles the template.  Nothing else
    of the file is checked.

    Bad::

        % if articles
        <h2>News</h2>
        % endif

    Good::

        % if articles:
        <h2>News</h2>
        % endif
    """,
)

UNREADABLE: Final = describe(
    "MC002",
    "unreadable-file",
    Severity.ERROR,
    """The file is not checked: it cannot be read, or not in reasonable time.

    It may be away, forbidden, no text in its encoding, larger than a
    mebibyte, nested too deep, or made so that Mako's own patterns take for
    ever.  A template in another encoding than UTF-8 says so in its first
    line, ``## coding: latin-1``, or ``--encoding`` says it for all.
    """,
)

UNUSED_SUPPRESSION: Final = describe(
    "MC003",
    "unused-suppression",
    Severity.WARNING,
    """A comment suppresses a finding that is not there.

    What it was for has been put right or has moved; or it names no rule.

    Bad::

        ## cacheplug: ignore[MC105]
        <%def name="card()" cached="True" cache_ttl="5m">…</%def>

    Good::

        <%def name="card()" cached="True" cache_ttl="5m">…</%def>
    """,
)

RULES: Final = (SYNTAX_ERROR, UNREADABLE, UNUSED_SUPPRESSION)
