"""What is said about the rules, all of it from the rules themselves."""

from __future__ import annotations

from typing import Final

from mako_cacheplug.check.rule import Rule
from mako_cacheplug.check.rules import RULES

__all__ = ["explanation", "rules_page"]

_GROUPS: Final = {
    "MC0": "The file",
    "MC1": "Options",
    "MC2": "Keys",
    "MC3": "Other templates",
    "MC4": "Content",
}

_HEAD: Final = """\
Rules
=====

What :doc:`mako-cacheplug check <check>` looks for.  ``mako-cacheplug check
--explain CODE`` prints the same.

..
   Written from the rules' own texts by tools/write_rules.py.
"""


def explanation(rule: Rule) -> str:
    """Return a rule's text with its code and name."""
    title = f"{rule.code} {rule.name} ({rule.severity.value})"
    return f"{title}\n{'=' * len(title)}\n\n{rule.text}\n"


def rules_page() -> str:
    """Return the page of the documentation with all rules."""
    parts = [_HEAD]
    for group, title in _GROUPS.items():
        parts.append(f"{title}\n{'-' * len(title)}\n")
        for rule in RULES:
            if rule.code.startswith(group):
                head = f"{rule.code} {rule.name}"
                parts.append(
                    f".. _{rule.code}:\n\n{head}\n{'~' * len(head)}\n\n"
                    f"*{rule.severity.value.capitalize()}.*"
                    f"  {_with_mako(rule.text)}\n"
                )
    return "\n".join(parts)


def _with_mako(text: str) -> str:
    """Return a rule's text with its examples marked as templates."""
    for kind in ("Bad", "Good"):
        text = text.replace(
            f"\n{kind}::\n", f"\n{kind}:\n\n.. code-block:: mako\n"
        )
    return text
