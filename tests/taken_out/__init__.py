"""Each mechanism of the core, how to take it out, and what must then fail.

``python -m taken_out REPORT`` runs these tests with their mechanism taken out,
each in a process of its own, and writes as JSON how they ended;
``python -m taken_out REPORT all`` runs them as they are.  Run by
``test_taken_out.py``.
"""

from __future__ import annotations

from taken_out import creations
from taken_out import edits
from taken_out import fragments
from taken_out import hits
from taken_out import invalidation
from taken_out import templates
from taken_out.mechanism import MECHANISMS

__all__ = [
    "MECHANISMS",
    "creations",
    "edits",
    "fragments",
    "hits",
    "invalidation",
    "templates",
]
