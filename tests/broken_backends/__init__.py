"""A store that is right, and variants of it with one defect each.

For ``test_kit.py``: what the conformance kit must let pass, and what it must
not.  Each variant is a store of its own, ``kit-<name>://``; the first line
of its docstring is the defect, ``caught_by`` the tests that find it.
"""

from __future__ import annotations

from collections.abc import Iterator

from broken_backends import claims as claims
from broken_backends import mutexes as mutexes
from broken_backends import powers as powers
from broken_backends import revalidation as revalidation
from broken_backends import sharing as sharing
from broken_backends import values as values
from broken_backends.healthy import Healthy
from broken_backends.healthy import opened

__all__ = ["Healthy", "opened", "variants"]


def variants(of: type[Healthy] = Healthy) -> Iterator[type[Healthy]]:
    """Yield the stores with a defect."""
    for variant in of.__subclasses__():
        if variant.caught_by:
            yield variant
        yield from variants(variant)
