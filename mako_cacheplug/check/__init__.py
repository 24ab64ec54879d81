"""Finds in templates what will go wrong in the cache, without running them.

The library behind ``mako-cacheplug check``; it needs nothing but Mako.
"""

from __future__ import annotations

from mako_cacheplug.check.checker import check_file
from mako_cacheplug.check.checker import check_text
from mako_cacheplug.check.finding import Finding
from mako_cacheplug.check.finding import Severity
from mako_cacheplug.check.rule import Rule
from mako_cacheplug.check.rules import RULES
from mako_cacheplug.check.settings import Settings

__all__ = [
    "RULES",
    "Finding",
    "Rule",
    "Settings",
    "Severity",
    "check_file",
    "check_text",
]
