"""A cached value with what was known when it was made, and its age.

Whether an entry is fresh, stale or dead is a pure function of the entry, the
clock and the caller's grace; nothing here reads a clock.
"""

from __future__ import annotations

import math
import sys
from typing import Final
from typing import NamedTuple

__all__ = [
    "MOST_LABELS",
    "CacheEntry",
    "entry_bytes",
    "fresh_until",
    "is_due_early",
]

MOST_LABELS: Final = 4096
"""Of an entry.  Each is looked up whenever it is read, and has to be made."""

_LABEL_BYTES: Final = 170
"""What each label of an entry costs beside its text: a pair in a tuple and
two objects.  Often they are other entries' too."""

_LONGEST_VERSION: Final = 64
"""Characters.  It becomes part of all that is made under it."""


class CacheEntry(NamedTuple):
    """A value and the circumstances of its creation.

    Times are seconds since the epoch, so that processes agree on them.
    """

    value: object
    """The value: str, Markup, bytes, or JSON text as a store keeps it."""

    created_at: float
    """When its creation began: what it shows is no younger than that."""

    fresh_until: float = math.inf
    """When it stops being a hit; ``math.inf`` is never."""

    cost: float = 0.0
    """Seconds that its creation took."""

    labels: tuple[tuple[str, str], ...] = ()
    """Each label it was made under, with the label's version then."""

    @property
    def version(self) -> str | None:
        """The version that it is, if it is a label's; else ``None``."""
        value = self.value
        if type(value) is str and len(value) <= _LONGEST_VERSION:
            return value
        return None

    def is_fresh(self, now: float) -> bool:
        """Tell whether it is a hit."""
        return now < self.fresh_until

    def is_usable(self, now: float, grace: float) -> bool:
        """Tell whether it is fresh or has expired less than *grace* ago."""
        return now < self.fresh_until + grace


def entry_bytes(entry: CacheEntry) -> int:
    """Return what *entry* takes, its place in the store aside."""
    size = sys.getsizeof(entry.value)
    for name, version in entry.labels:
        size += _LABEL_BYTES + len(name) + len(version)
    return size


def fresh_until(
    now: float, timeout: float, jitter: float, chance: float
) -> float:
    """Return when a value stored at *now* stops being fresh.

    :param timeout: seconds; ``math.inf`` for never.
    :param jitter: the fraction of *timeout* by which it may end earlier, so
        that what was made together does not expire together.
    :param chance: a random number from 0 to 1.
    """
    if timeout == math.inf:
        return math.inf
    return now + timeout * (1.0 - jitter * chance)


def is_due_early(
    entry: CacheEntry, now: float, beta: float, chance: float
) -> bool:
    """Tell whether this caller should regenerate *entry* before it expires.

    The closer the expiry and the dearer the creation, the likelier; over
    all callers about one does it.  XFetch: A. Vattani, F. Chierichetti,
    K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB
    2015.

    :param beta: above 1 is earlier, below 1 later, 0 never.
    :param chance: a random number, 0 excluded, to 1.
    """
    if beta <= 0.0 or entry.fresh_until == math.inf:
        return False
    return now - entry.cost * beta * math.log(chance) >= entry.fresh_until
