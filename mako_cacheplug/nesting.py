"""What is true inside a creation is true of the creations around it.

A page that is cached whole shows what its cached fragments show.  So it
depends on their labels, is fresh no longer than they are, and is not stored
if one of them must not be.  All that rises from the inside out, whether the
inner value was created or was a hit.

The creations of a thread are a chain, kept in a context variable: a creator
runs where it was called.  Labels keep the order that makes them safe: an
outer creation holds a label's version from before the inner value was read
or made, so whatever invalidates the label later invalidates the outer one.
"""

from __future__ import annotations

import contextvars
import math
import os
from collections.abc import Iterable
from typing import Final

from mako_cacheplug.budget import Budget
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.labels import LabelVersions

__all__ = [
    "DEEPEST",
    "NOT_STORED",
    "Creation",
    "current",
    "is_creating",
    "nocache",
    "under_way",
]

DEEPEST: Final = 16
"""How deep creations are nested at the most.  What is called deeper than that
and is not stored is created as a part of what is around, as each creation
takes of Python's recursion limit."""

NOT_STORED: Final = -math.inf
"""The ``fresh_until`` of an entry that must be neither stored nor shared."""

_current: Final[contextvars.ContextVar[Creation | None]] = (
    contextvars.ContextVar("mako_cacheplug_creation", default=None)
)

current: Final = _current.get
"""Return the innermost creation under way in this thread, or ``None``."""


under_way: Final[set[Creation]] = set()
"""All creations of this process: while there are none, no thread has one."""


class Creation:
    """A creation under way.  Of one thread.

    :param labels: the labels of the store that its value goes to.
    :param key: the key of that value.
    :param origin: what the caller wants to find here again.
    :param budget: of the render that it is part of.
    """

    __slots__ = (
        "_budget",
        "_held",
        "_token",
        "around",
        "depth",
        "fresh_until",
        "key",
        "labels",
        "origin",
        "pairs",
    )

    def __init__(
        self,
        labels: LabelVersions,
        key: str,
        origin: object = None,
        budget: Budget | None = None,
    ):
        self._budget = budget
        self.labels = labels
        self.key = key
        self.origin = origin
        self.around = around = current()
        self.depth: int = 1 if around is None else around.depth + 1
        self.fresh_until = math.inf
        self.pairs: dict[tuple[str, str], None] = {}
        self._held: set[str] = set()

    def __enter__(self) -> Creation:
        under_way.add(self)
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        under_way.discard(self)

    @property
    def is_storable(self) -> bool:
        """Whether its value may be stored and shared with other callers."""
        return self.fresh_until != NOT_STORED

    def hold(self, names: Iterable[str], labels: LabelVersions) -> None:
        """Depend on labels as they are now, here and all around.

        To be called before what has these labels is read or made.

        :param labels: those of the store that it is in.
        """
        names = list(names)
        creation: Creation | None = self
        while creation is not None:
            creation._take(names, labels)
            creation = creation.around

    def _take(self, names: list[str], labels: LabelVersions) -> bool:
        """Hold *names* in the own store; tell whether one is new to it."""
        if names and not self.labels.are_those_of(labels):
            labels.are_also_in(self.labels)
        missing = [name for name in names if name not in self._held]
        if not missing:
            return False
        try:
            pairs = self.labels.current(missing, budget=self._budget)
        except BackendError:
            # Unable to tell later whether it is still valid.
            self.fresh_until = NOT_STORED
            return False
        self._held.update(missing)
        self.pairs.update(dict.fromkeys(pairs))
        return True

    def note(
        self, entry: CacheEntry, labels: LabelVersions, expires: bool
    ) -> bool:
        """Note that *entry* has become part of this, and of all around.

        :param labels: those of the store that it is in.
        :param expires: whether what is around expires with it.
        :return: whether labels of another store were not held when it was
            read: it has to be read again.
        """
        again = False
        creation: Creation | None = self
        while creation is not None:
            if expires and entry.fresh_until < creation.fresh_until:
                creation.fresh_until = entry.fresh_until
            if entry.labels:
                names = [name for name, _ in entry.labels]
                if creation.labels.are_those_of(labels):
                    # As they were when the entry was made, so no later.
                    creation._held.update(names)
                    creation.pairs.update(dict.fromkeys(entry.labels))
                else:
                    again |= creation._take(names, labels)
            creation = creation.around
        return again

    def forbid(self) -> None:
        """Store neither this nor what is around it."""
        creation: Creation | None = self
        while creation is not None:
            creation.fresh_until = NOT_STORED
            creation = creation.around


def is_creating(key: str, labels: LabelVersions) -> bool:
    """Tell whether this thread is creating the value of *key* already.

    :param labels: those of the store that the key is of.
    """
    creation = current()
    while creation is not None:
        if creation.key == key and creation.labels.are_those_of(labels):
            return True
        creation = creation.around
    return False


def nocache(context: object = None) -> str:
    """Keep the fragment that is being created, and all around it, uncached.

    For what one visitor alone may see: a preview, an error box, a personal
    line.  To be called while it is rendered, from a template or from Python
    code beneath it, in the thread that renders:

    .. code-block:: mako

        <%! from mako_cacheplug import nocache %>
        % if preview:
        ${nocache(context)}
        % endif

    The page is rendered as ever; what is created is shown to this caller
    only.  Where nothing is being created it does nothing.

    :param context: Mako's; not needed.
    :return: an empty text, so that it can stand in ``${}``.
    """
    creation = current()
    if creation is not None:
        creation.forbid()
    return ""


def _after_fork() -> None:
    # What other threads create is the parent's, and is not over here ever.
    under_way.clear()
    creation = current()
    while creation is not None:
        under_way.add(creation)
        creation = creation.around


os.register_at_fork(after_in_child=_after_fork)
