"""What a render will ask a store for, learned from earlier renders.

Of each render a *leader* is remembered, the first name that it asks for, and
the *followers* that it asks for afterwards.  Whoever asks for a leader again
is told what to bring along.  A name that was not brought leads a trip of its
own, with followers of its own: so a page's fragments come in a first trip,
those of its user in a second one, led by the first that depends on the user,
and nobody has to know what a key depends on.

Nothing here is an answer, only a guess at the next question: a wrong one
costs bytes or a trip.  Guesses correct themselves: what is brought along
twice in a row and not asked for is dropped; what is asked for twice in a row
and was not brought is added.  Not at once, as one user's names would gather
at a leader that all users share.

Names are storage keys, all of one length.  No store is known here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from typing import Final
from typing import NamedTuple

from mako_cacheplug.forks import ForkSafeLock

__all__ = ["HELD_SECONDS", "MOST_BYTES", "MOST_NAMES", "Course", "Learner"]

HELD_SECONDS: Final = 1.0
"""How long what was read ahead may be served."""

MOST_NAMES: Final = 256
"""So many followers has a leader at the most."""

MOST_BYTES: Final = 2**20
"""So large are they together, by the sizes that were seen last."""

KEPT_NAMES: Final = 2**15
"""So many names are remembered of one store: with their labels 9 MB in lists
of fifty, 17 MB in lists of four, 33 MB where each is alone."""

CHECK_SECONDS: Final = HELD_SECONDS / 2
"""How often what is rarely needed is brought along."""

_DROPPED: Final = 2
"""So many times in a row a follower was not asked for."""


class _Trip(NamedTuple):
    """What a leader's followers did in one render."""

    thread: int
    began: float
    brought: frozenset[str] = frozenset()
    used: Set[str] = frozenset()

    def is_over(self, now: float) -> bool:
        """Tell whether that render has asked for all that it will.

        A thread that renders again has ended its render; what is older than
        it may be served is of no more use.
        """
        return self.thread == threading.get_ident() or self.is_old(now)

    def is_old(self, now: float) -> bool:
        """Tell whether what it brought may not be served any more."""
        return not 0.0 <= now - self.began <= HELD_SECONDS


class _Followers:
    """What is known of one leader; guarded by its learner's lock."""

    __slots__ = (
        "author",
        "candidates",
        "checked_at",
        "is_kept",
        "labels",
        "most",
        "names",
        "number",
        "trip",
        "vain",
    )

    def __init__(self, author: _Trip | None = None) -> None:
        self.names: dict[str, None] = {}
        """In the order of the first render."""

        self.vain: dict[str, int] = {}
        """How many times in a row a name was brought in vain by now."""

        self.labels: dict[str, str] = {}
        """What is rarely needed of a name, the leader's too."""

        self.candidates: dict[str, int] = {}
        """Names that followed unasked, and in which trip they did last."""

        self.number = 0
        """Of the latest trip."""

        self.most = MOST_NAMES
        self.checked_at = -CHECK_SECONDS
        self.author = author
        """The render that is finding out what follows."""

        self.trip: _Trip | None = None
        """The one that is watched: what it does not ask for was brought in
        vain."""

        self.is_kept = True

    def __len__(self) -> int:
        return 1 + len(self.names)


class Learner:
    """What is known of the renders that use one store.  Safe in threads.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.kept = 0
        """Names that are remembered."""

        self._lock = ForkSafeLock()
        self._known: OrderedDict[tuple[str, str], _Followers] = OrderedDict()
        self._watched: deque[tuple[str, _Followers, _Trip]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    # -- for a course, with the lock held ------------------------------------

    def _find(self, page: str, leader: str) -> _Followers | None:
        known = self._known.get((page, leader))
        if known is not None:
            self._known.move_to_end((page, leader))
        return known

    def _open(
        self, page: str, leader: str, author: _Trip | None
    ) -> _Followers:
        made = self._known[page, leader] = _Followers(author)
        self.kept += 1
        self._make_room()
        return made

    def _add(
        self, known: _Followers, name: str, label: str | None = None
    ) -> bool:
        """Let *name* follow; tell whether it does."""
        if name not in known.names:
            if len(known.names) >= known.most or not known.is_kept:
                return False
            known.names[name] = None
            self.kept += 1
        if label is not None:
            known.labels[name] = label
        self._make_room()
        return True

    def _make_room(self) -> None:
        while self.kept > KEPT_NAMES:
            _, oldest = self._known.popitem(last=False)
            oldest.is_kept = False
            self.kept -= len(oldest)

    def _remove(self, known: _Followers, names: Iterable[str]) -> None:
        for name in names:
            del known.names[name]
            known.labels.pop(name, None)
            if known.is_kept:
                self.kept -= 1

    def _watch(self, page: str, known: _Followers, trip: _Trip) -> None:
        known.trip = trip
        self._watched.append((page, known, trip))

    def _settle_old(self, now: float) -> None:
        """Settle what was watched too long ago.

        Whose leader is not asked for again would stay, with all the names
        that its render has used.
        """
        while self._watched and self._watched[0][-1].is_old(now):
            page, known, trip = self._watched.popleft()
            if known.trip is trip:
                self._settle(page, known, trip)

    def _settle(self, page: str, known: _Followers, trip: _Trip) -> None:
        """Drop what was brought in vain once too often.

        It is remembered by itself: it can be one user's, who comes again.
        """
        known.trip = None
        vain = {
            name: known.vain.get(name, 0) + 1
            for name in trip.brought - trip.used
            if name in known.names
        }
        known.vain = vain
        if _DROPPED not in vain.values():
            return
        gone = [name for name in known.names if vain.get(name) == _DROPPED]
        labels = {n: known.labels[n] for n in gone if n in known.labels}
        self._remove(known, gone)
        if len(gone) > 1 and (page, gone[0]) not in self._known:
            own = self._open(page, gone[0], None)
            own.labels = labels
            for name in gone[1:]:
                self._add(own, name)


class Course:
    """What one render asks for.  Of one thread.

    :param learner: where renders like it are known.
    :param page: what tells the page that is rendered.
    """

    def __init__(self, learner: Learner, page: str) -> None:
        self.used: set[str] = set()
        """What it has asked for, whoever brought it."""

        self.checks = False
        """Whether what is rarely needed was brought along."""

        self._learner = learner
        self._page = page
        self._leaders: list[_Followers] = []
        self._new: _Followers | None = None
        self._may_lead = True

    def depart(
        self, names: Sequence[str], label: str | None = None
    ) -> list[str]:
        """Return what to bring along on a trip for *names*.

        :param names: what is needed and not at hand; the first leads.  None
            if that is nothing to learn from.
        :param label: what is rarely needed of it.
        """
        if not names:
            return []
        learner = self._learner
        with learner._lock:
            now = learner.clock()
            learner._settle_old(now)
            leader = names[0]
            if leader in self.used:
                # Read again, as it has been overwritten: no news.
                return []
            known = learner._find(self._page, leader)
            if known is None:
                self._learn(names, label, now)
                return []
            if known is self._new:
                return []
            for earlier in self._leaders:
                if self._follows(earlier, leader, label):
                    for name in known.names:
                        learner._add(earlier, name, known.labels.get(name))
            if label is not None:
                known.labels[leader] = label
            along = self._take_along(known, leader, now)
            self._leaders.append(known)
            return [name for name in along if name not in names]

    def weigh(self, sizes: Mapping[str, int]) -> None:
        """Note how large that was which the latest leader has brought.

        Of too much the first followers stay; the next one leads the rest.

        :param sizes: bytes by name.
        """
        if sum(sizes.values()) <= MOST_BYTES or not self._leaders:
            return
        known = self._leaders[-1]
        with self._learner._lock:
            total = 0
            names = list(known.names)
            for number, name in enumerate(names):
                total += sizes.get(name, 0)
                if total > MOST_BYTES:
                    known.most = max(number, 1)
                    self._learner._remove(known, names[known.most :])
                    break

    def widen(self) -> None:
        """Note that the latest leader has brought little.

        Where too much was brought before, twice as many may follow now.
        """
        known = self._leaders[-1]
        if known.most < MOST_NAMES:
            with self._learner._lock:
                known.most = min(2 * known.most, MOST_NAMES)

    def expire(self) -> None:
        """Note that nothing is at hand any more: it was read too long ago.

        What comes now does not follow on what came before.
        """
        self.used = set()
        self._leaders = []

    # -- with the learner's lock held ----------------------------------------

    def _take_along(
        self, known: _Followers, leader: str, now: float
    ) -> list[str]:
        author = known.author
        if author is not None and author.is_over(now):
            author = known.author = None
        if author is not None:
            # Another thread is finding out; what follows here as well is
            # not news.
            self._may_lead = False
        if known.trip is not None and known.trip.is_over(now):
            self._learner._settle(self._page, known, known.trip)
        before = known.number
        known.number += 1
        known.candidates = {
            name: last
            for name, last in known.candidates.items()
            if last == before
        }
        along = list(known.names)
        if along and known.trip is None and author is None:
            ident = threading.get_ident()
            trip = _Trip(ident, now, frozenset(along), self.used)
            self._learner._watch(self._page, known, trip)
        if not 0.0 <= now - known.checked_at < CHECK_SECONDS:
            known.checked_at = now
            self.checks = True
            along += known.labels.values()
        return along

    def _learn(
        self, names: Sequence[str], label: str | None, now: float
    ) -> None:
        """Note *names*, which nobody has brought."""
        learner = self._learner
        for name in names:
            if any(name in earlier.names for earlier in self._leaders):
                continue  # Overwritten since it was brought.
            for earlier in self._leaders:
                self._follows(earlier, name, label)
            if self._new is not None and learner._add(self._new, name, label):
                label = None
                continue
            if name == names[0] and self._may_lead:
                # The first of its kind, or the one before has no room left.
                author = _Trip(threading.get_ident(), now)
                self._new = learner._open(self._page, name, author)
                if label is not None:
                    self._new.labels[name] = label
            label = None

    def _follows(
        self, known: _Followers, name: str, label: str | None
    ) -> bool:
        """Note that *name* follows; tell whether it is brought from now on."""
        last = known.candidates.get(name)
        if last == known.number - 1:
            del known.candidates[name]
            return self._learner._add(known, name, label)
        if last is None and len(known.candidates) < MOST_NAMES:
            known.candidates[name] = known.number
        return False
