"""A region's policy: what is served, created and stored, and when.

The one place where keys, entries, the lock and a store come together.  What
is written here holds for every store: a fresh entry is a hit; otherwise the
dogpile lock elects who creates; what a store cannot do costs a miss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Final

from mako_cacheplug import codec as codecs
from mako_cacheplug import entry as entries
from mako_cacheplug import nesting
from mako_cacheplug.ahead import RenderReads
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.budget import Budget
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import MOST_LABELS
from mako_cacheplug.events import EventKind
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.miss import Fragment
from mako_cacheplug.miss import MissedCall
from mako_cacheplug.options import CallOptions
from mako_cacheplug.standing import StandingHit
from mako_cacheplug.standing import TRUST_SECONDS
from mako_cacheplug.storing import StoringRegion

__all__ = ["ServingRegion"]

_MOST_STANDING: Final = 2048
"""They take about 1 KB each, beside what the store's bound counts."""


class ServingRegion(StoringRegion):
    """A store plus a policy: the half of a region that serves.

    Keys are logical ones here, and options typed: the Mako seam and the
    decorator make and check them.

    :param url: and what follows, as for
        :class:`~mako_cacheplug.region.CacheRegion`.
    """

    def fetch(
        self,
        key: str,
        creator: Callable[[], object],
        call: CallOptions,
        labels: tuple[str, ...] = (),
        fragment: Fragment | None = None,
        origin: object = None,
        reads: Callable[[Any], RenderReads | None] | None = None,
    ) -> object:
        """Return the value of the logical *key*, creating it if needed.

        What is noted of it rises to the creation that it is called in.

        :param labels: labels beside the call's tags.
        :param fragment: if it is a template's, what is special about it.
        :param origin: what the creation is to know of this call.
        :param reads: returns what the render that *origin* belongs to has at
            hand; ``None`` where there is no render.
        """
        if call.tags or self._labels_keys:
            labels = self._every_label(key, labels, call)
        if len(labels) > MOST_LABELS:
            self._say_once(
                "labels",
                "region %r: not stored: it has more than %d labels (said"
                " once)",
                self.name,
                MOST_LABELS,
            )
            return self._without(key, creator)
        around = nesting.current()
        if around is None:
            standing = self._standing.get(key)
            if (
                standing is not None
                and standing.expected == labels
                and not call.early
            ):
                found = standing.take()
                if found is not None:
                    return found.value
        output = ahead = budget = None
        render = None if reads is None else reads(origin)
        if render is not None:
            budget = render.budget
            if call.read_ahead and self.bulk_storage is not None:
                output = render.of(self.bulk_storage)
                if around is None and not output.is_off:
                    ahead = output
            # What is at hand is served, whatever was spent.
            if ahead is None and budget.is_spent:
                return self._over_budget(key, creator, budget)
        if around is not None:
            # Held before anything is read, so not read ahead: see there.
            around.hold(labels, self._labels)
        counters = self._counters
        # Where labels are read from copies, that is delay enough.
        trusting = (
            fragment is not None
            and fragment.is_removed
            and not self._storage.staleness
        )
        failure: BackendError | None = None
        again = is_first = True
        while again:
            now = self._clock()
            reachable = True
            entry: CacheEntry | NoValue
            try:
                entry = self._labels.read_valid(
                    key,
                    labels,
                    now,
                    trusting=trusting,
                    creating=around is not None,
                    ahead=ahead,
                )
            except BackendError as error:
                if ahead is not None:
                    # A trip for many asks servers that one can do without.
                    if ahead.budget.is_spent:
                        return self._over_budget(key, creator, ahead.budget)
                    ahead, failure = None, error
                    continue
                is_left_alone = isinstance(error, NotAskedError)
                if is_left_alone and failure is not None:
                    error = failure
                counters.store_failed(key, error)
                if is_left_alone and fragment is not None and around is None:
                    return self._without(key, creator)
                entry, reachable = NO_VALUE, False
            if (
                entry is not NO_VALUE
                and now < entry.fresh_until
                and not (call.early and self._is_early(entry, call, now))
            ):
                if is_first:
                    counters.count_hit()
                    counters.emit(EventKind.HIT, key)
                if (
                    self._storage.watched is not None
                    and not counters.hooks
                    and not call.early
                    and type(entry.value) is not codecs.JSONText
                ):
                    self._stand(key, labels, entry, now, trusting)
            elif around is not None and around.depth >= nesting.DEEPEST:
                value = creator()
                entry = self._entry("", call, (), now, 0.0)
                around.note(entry, self._labels, expires=fragment is not None)
                return value
            else:
                entry = MissedCall(
                    self,
                    key,
                    creator,
                    call,
                    labels,
                    entry,
                    reachable,
                    fragment,
                    origin,
                    budget,
                    output,
                ).run(now)
            is_first = False
            again = around is not None and around.note(
                entry, self._labels, expires=fragment is not None
            )
        value = entry.value
        if type(value) is codecs.JSONText:
            return codecs.load_value(value)
        return value

    def _over_budget(
        self, key: str, creator: Callable[[], object], budget: Budget
    ) -> object:
        """Return what *creator* makes, and tell once that time is up."""
        if not budget.is_said:
            budget.is_said = True
            self._counters.emit(EventKind.OVER_BUDGET, key)
        return self._without(key, creator)

    def _without(self, key: str, creator: Callable[[], object]) -> object:
        """Return what *creator* makes, without asking the store.

        What is around could not be told what is true of it.
        """
        self._counters.count("misses")
        self._counters.emit(EventKind.MISS, key)
        nesting.nocache()
        return creator()

    def goes_without(self, key: str | None = None) -> bool:
        """Tell whether the store is left alone, as it failed just now.

        That is counted as a miss.  The caller then creates by itself, which
        costs what it would cost without a cache.

        :param key: for the hooks; if they are to be told, and it is
            ``None``, the answer is no.
        """
        counters = self._counters
        if not self._storage.is_away or (key is None and counters.hooks):
            return False
        counters.count("misses")
        if key is not None:
            counters.emit(EventKind.MISS, key)
        return True

    @property
    def can_stand(self) -> bool:
        """Whether the store is one in which hits stand."""
        return self._storage.watched is not None

    def standing(self, key: str) -> StandingHit | None:
        """Return the latest hit of the logical *key*, if it may stand.

        What its entry holds is the value itself.
        """
        return self._standing.get(key)

    def _stand(
        self,
        key: str,
        labels: tuple[str, ...],
        entry: CacheEntry,
        now: float,
        trusting: bool,
    ) -> None:
        standing = self._labels.stand(
            key, labels, entry, now, trusting, self._counters
        )
        if standing is None:
            return
        if len(self._standing) >= _MOST_STANDING:
            # All of them end within a second.  Where more keys than these
            # are hit in one, to note each of them would be wasted.
            if 0.0 <= now - self._standing_since < TRUST_SECONDS:
                return
            self._standing = {}
            self._standing_since = now
        self._standing[key] = standing

    def _is_early(
        self, entry: CacheEntry, call: CallOptions, now: float
    ) -> bool:
        chance = 1.0 - self._chance()
        return entries.is_due_early(entry, now, call.early, chance)
