"""Consistent hashing: which of several servers a key lives on."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final
from typing import Generic
from typing import TypeVar

__all__ = ["Ring"]

_N = TypeVar("_N")

_POINTS: Final = 160
"""Points of each server on the ring, as ketama has them."""


class Ring(Generic[_N]):
    """The ring of D. Karger et al. (1997), as in Last.fm's ketama (2007).

    Each server has many points on a ring of hashes; a key belongs to the
    server whose point comes next.  With one server more or less out of *n*,
    one key in *n* moves.  Where a key lives depends on the servers' names
    alone: not on their order, the client library or the process.

    :param nodes: what stands for each server, by its name.
    """

    def __init__(self, nodes: Mapping[str, _N]) -> None:
        placed = sorted(
            (_hash(f"{name}-{number}".encode()), name)
            for name in nodes
            for number in range(_POINTS)
        )
        self._points = [point for point, _ in placed]
        self._nodes = [nodes[name] for _, name in placed]

    def find(self, key: bytes) -> _N:
        """Return the node that *key* lives on."""
        return self._nodes[self._place(key)]

    def second(self, key: bytes) -> _N:
        """Return the node that *key* would live on without its own.

        Its own if there is no other.
        """
        place = self._place(key)
        own = self._nodes[place]
        for node in itertools.chain(self._nodes[place:], self._nodes[:place]):
            if node is not own:
                return node
        return own

    def _place(self, key: bytes) -> int:
        place = bisect.bisect(self._points, _hash(key))
        return place % len(self._nodes)


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()
