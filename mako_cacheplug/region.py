"""A region: a store plus a policy, as plain code and templates use it.

What is served, created and stored, and when, is :mod:`serving
<mako_cacheplug.serving>`'s matter; here is how it is called, and how what was
stored is taken away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from mako_cacheplug import codec as codecs
from mako_cacheplug import keys
from mako_cacheplug import nesting
from mako_cacheplug import options
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.entry import MOST_LABELS
from mako_cacheplug.events import EventHook
from mako_cacheplug.events import EventKind
from mako_cacheplug.events import RegionStats
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.miss import Fragment
from mako_cacheplug.miss import MissedCall
from mako_cacheplug.options import CallOptions
from mako_cacheplug.serving import ServingRegion

__all__ = ["CacheRegion", "Fragment"]


class CacheRegion(ServingRegion):
    """A named store with a policy, for templates and plain code alike.

    ::

        region = CacheRegion("memcached://127.0.0.1", timeout="5m")
        value = region.get_or_create("k", make)

    Safe in threads, and as far as its store is, after fork.

    :param url: the store; regions with the same URL share one open backend.
        A :class:`CacheBackend` object is taken as it is.
    :param name: the region's name in events, counters and errors.
    :param clock: seconds since the epoch.
    :param chance: random numbers from 0 to 1, 1 excluded.
    :param given: ``namespace``, ``secret``, ``encrypt``, ``max_share`` and the
        options of a call (``timeout``, ``grace``, ``tags``, …), as documented
        in "Options".
    :raises OptionError: for an option that is unknown or wrong.
    """

    def get(self, key: object, default: object = None) -> object:
        """Return the fresh value under *key*, or *default*.

        :param key: text, or any value that :func:`mako_cacheplug.keys.token`
            can tell apart.
        :raises KeyTypeError: for a key of another type.
        """
        found = self.peek(self._plain + keys.token(key))
        return default if found is NO_VALUE else found

    def set(self, key: object, value: object, **given: object) -> None:
        """Store *value* under *key*.  A store that is away is an event.

        :param given: options of this call.
        :raises CodecError: if *value* is of a type that is not stored.
        :raises KeyTypeError: for a key that cannot be told apart.
        :raises OptionError: for an option that is unknown or wrong.
        """
        self.store(
            self._plain + keys.token(key), value, self.call_options(given)
        )

    def get_or_create(
        self, key: object, creator: Callable[[], object], **given: object
    ) -> object:
        """Return the value under *key*; make it with *creator* if needed.

        *creator* runs in this thread, in one caller at a time per key, in
        all processes that share the store.

        :param given: options of this call.
        :raises CodecError: if the created value is of a type that is not
            stored.
        :raises KeyTypeError: for a key that cannot be told apart.
        :raises OptionError: for an option that is unknown or wrong.
        :raises Exception: whatever *creator* raises.
        """
        return self.fetch(
            self._plain + keys.token(key), creator, self.call_options(given)
        )

    def invalidate(self, key: object) -> None:
        """Remove the value under *key*.

        :raises BackendError: if the store could not be reached: what it
            holds would be served again.
        """
        self.discard(self._plain + keys.token(key))

    def invalidate_tags(self, *tags: str) -> None:
        """Make every entry with one of *tags* a miss: one write per tag.

        :raises BackendError: if the store could not be reached.
        """
        for tag in options.tag_names(list(tags)):
            self.discard_label(self.tag_label(tag))

    def clear(self) -> None:
        """Empty the region's store, whoever else uses it.

        :raises BackendError: if the store could not be reached, or cannot
            be emptied.
        """
        self._storage.clear()
        self._overtake(None)

    def stats(self) -> RegionStats:
        """Return the counters of this process."""
        return self._counters.snapshot()

    def add_hook(self, hook: EventHook) -> None:
        """Call *hook* with every :class:`CacheEvent` of this region."""
        self._counters.add_hook(hook)

    def remove_hook(self, hook: EventHook) -> None:
        """Stop calling *hook*."""
        self._counters.remove_hook(hook)

    # -- for the decorator and the Mako seam: logical keys, typed options --

    def recreate(
        self, key: str, creator: Callable[[], object], call: CallOptions
    ) -> object:
        """Create and store the value of *key* now, whatever is there."""
        labels = self._every_label(key, (), call)
        missed = MissedCall(self, key, creator, call, labels, NO_VALUE, True)
        entry = missed.create()
        if missed.overtaken:
            # By what may be older: neither stays.
            with contextlib.suppress(BackendError):
                self._storage.delete(key)
        return codecs.load_value(entry.value)

    def create_unkeyed(
        self,
        creator: Callable[[], object],
        call: CallOptions,
        labels: tuple[str, ...],
    ) -> object:
        """Return what *creator* makes for a call that cannot have a key.

        What is around it ends no later, and with the same labels.
        """
        around = nesting.current()
        if around is None:
            return creator()
        if len(labels) > MOST_LABELS:
            around.forbid()
        else:
            around.hold(labels, self._labels)
        entry = self._entry("", call, (), self._clock(), 0.0)
        around.note(entry, self._labels, expires=True)
        return creator()

    def peek(self, key: str) -> object:
        """Return the fresh value of the logical *key*, or ``NO_VALUE``."""
        creating = nesting.current() is not None
        entry, _ = self._read(key, (), creating=creating)
        if entry is NO_VALUE or not entry.is_fresh(self._clock()):
            self._counters.count("misses")
            self._counters.emit(EventKind.MISS, key)
            return NO_VALUE
        self._counters.count_hit()
        self._counters.emit(EventKind.HIT, key)
        return codecs.load_value(entry.value)

    def store(
        self,
        key: str,
        value: object,
        call: CallOptions,
        labels: tuple[str, ...] = (),
    ) -> None:
        """Store *value* under the logical *key*."""
        stored = codecs.dump_value(value)
        labels = self._every_label(key, labels, call)
        now = self._clock()
        try:
            versions = self._labels.current(labels)
        except BackendError as error:
            self._counters.store_failed(key, error)
            return
        self._write(key, self._entry(stored, call, versions, now, 0.0), call)

    def discard(self, key: str) -> None:
        """Remove the entry under the logical *key*.

        :raises BackendError: if it is not certain that it is gone.
        """
        if self._labels_keys:
            self._labels.invalidate(keys.join("key", key))
        self._storage.delete(key)
        self._overtake(key)
        self._counters.emit(EventKind.INVALIDATE, key)

    def refuse(self, key: str, error: Exception) -> None:
        """Remove what is under the logical *key*, as it cannot be used."""
        self._counters.count("errors")
        self._counters.emit(EventKind.UNREADABLE, key, error=error)
        with contextlib.suppress(BackendError):
            self.discard(key)

    def discard_label(self, label: str) -> None:
        """Make every entry made under *label* a miss.

        :raises BackendError: if the store could not be reached.
        """
        self._labels.invalidate(label)
        self._invalidation = object()
        self._counters.emit(EventKind.INVALIDATE, label)

    def _overtake(self, key: str | None) -> None:
        """Let later callers not wait for what is being created by now.

        Where the store has a mutex they have to: it is one of them who
        creates next, in all processes.
        """
        self._invalidation = object()
        if not isinstance(self.backend, SupportsMutex):
            self._lock.part(key)
