"""Labels, and what rises from the inside."""

from __future__ import annotations

import math
from typing import Any

from mako_cacheplug import labels
from mako_cacheplug import miss
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.miss import MissedCall
from mako_cacheplug.nesting import Creation
from mako_cacheplug.nesting import NOT_STORED
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.template import impl as seam
from mako_cacheplug.template import plan as plans
from taken_out.mechanism import mechanism
from taken_out.mechanism import replace

# -- labels -------------------------------------------------------------------


@mechanism(
    "variants have their def's label",
    "test_programmatic.py::test_invalidates_that_and_nothing_else"
    "[memory-cache.invalidate_def('card')-again2]",
    "traps/test_seam.py::test_invalidate_def_with_a_key[memory-k-${n}]",
)
def _no_labels() -> None:
    whole = plans.FragmentPlan.variant

    def variant(self: Any, *args: Any) -> Any:
        logical, found, fragment = whole(self, *args)
        kept = tuple(one for one in found if not one.startswith("8:variants"))
        return logical, kept, fragment

    replace(plans.FragmentPlan, "variant", variant)


@mechanism(
    "a label is that of all versions of a template",
    "traps/test_deploys.py::test_what_the_other_version_invalidates_is_gone"
    "_after_a_rollback[memory-a def]",
    "traps/test_deploys.py::test_what_the_other_version_invalidates_is_gone"
    "_after_a_rollback[memory-the page]",
    "traps/test_deploys.py::test_what_the_other_version_invalidates_is_gone"
    "_after_a_rollback[memory-a template]",
)
def _label_of_a_version() -> None:
    whole = seam.CachePlugImpl.__init__

    def init(self: Any, cache: Any) -> None:
        whole(self, cache)
        own = seam.own_part(self._template).identity
        for one in (self._places, self._planner):
            replace(one, "_family", own)

    replace(seam.CachePlugImpl, "__init__", init)


@mechanism(
    "a key has a label",
    "traps/test_deploys.py::test_what_the_other_version_invalidates_is_gone"
    "_after_a_rollback[memory-a key]",
)
def _no_label_of_a_key() -> None:
    whole = plans.FragmentPlan.variant

    def variant(self: Any, *args: Any) -> Any:
        logical, found, fragment = whole(self, *args)
        if self.label in found:
            found = found[found.index(self.label) :]
        return logical, found, fragment

    replace(plans.FragmentPlan, "variant", variant)


@mechanism(
    "the second line is read once a second",
    "traps/test_deploys.py::test_what_the_other_version_invalidates_is_gone"
    "_in_a_second[memory-a def]",
    "traps/test_deploys.py::test_what_the_other_version_invalidates_is_gone"
    "_in_a_second[memory-the page]",
)
def _trusted_for_ever() -> None:
    replace(labels, "TRUST_SECONDS", math.inf)


@mechanism(
    "whoever invalidates the first line removes the entry",
    "test_programmatic.py::test_invalidates_that_and_nothing_else"
    "[memory-cache.invalidate_def('plain')-again0]",
    "test_programmatic.py::test_invalidates_that_and_nothing_else"
    "[memory-cache.invalidate('news-de')-again4]",
    "traps/test_rises.py::test_an_invalidation[file-file-key-created]",
)
def _not_removed() -> None:
    replace(CacheRegion, "discard", lambda self, key: None)


@mechanism(
    "labels are as they were before the creation",
    "traps/test_invalidated_meanwhile.py"
    "::test_by_its_own_thread[memory-a def-by tag]",
    "traps/test_invalidated_meanwhile.py"
    "::test_by_its_own_thread[memory-with arguments-by def]",
    "traps/test_invalidated_meanwhile.py"
    "::test_by_its_own_thread[memory-with arguments-all of the template]",
)
def _labels_after() -> None:
    whole = CacheRegion._entry
    waiting: list[tuple[str, ...]] = []

    def later(self: MissedCall) -> tuple[()]:
        waiting.append(self.labels)
        return ()

    def entry(
        self: CacheRegion, stored: Any, call: Any, known: Any, *rest: Any
    ) -> CacheEntry:
        now = self._labels.current(waiting.pop())
        return whole(self, stored, call, (*now, *known), *rest)

    replace(MissedCall, "_label_versions", later)
    replace(CacheRegion, "_entry", entry)


@mechanism(
    "what was overtaken is not stored",
    "traps/test_invalidated_meanwhile.py::test_a_value_of_ones_own[memory]",
    "test_conformance_memory.py"
    "::TestMemory::test_invalidation_overtakes_a_creation",
)
def _no_claims() -> None:
    whole = CacheRegion._write

    def write(
        self: CacheRegion, key: str, entry: Any, call: Any, *_: Any
    ) -> Any:
        return whole(self, key, entry, call)

    replace(CacheRegion, "_write", write)


@mechanism(
    "an entry without a label that it must have is none",
    "traps/test_options_per_call.py"
    "::test_an_entry_with_other_tags_than_the_call_is_made_anew[memory]",
)
def _any_labels() -> None:
    replace(labels, "_have", lambda pairs, expected: True)


# -- what rises ---------------------------------------------------------------


@mechanism(
    "labels rise",
    *(
        f"traps/test_rises.py::test_an_invalidation[{stores}-{way}-{how}]"
        for way in ("tag", "def", "key", "template")
        for how in ("created", "hit")
        for stores in ("memory-memory", "memory-file")
    ),
)
def _labels_stay() -> None:
    whole = Creation.note

    def note(self: Creation, entry: Any, *rest: Any, **given: Any) -> bool:
        return whole(self, entry._replace(labels=()), *rest, **given)

    replace(Creation, "hold", lambda self, names, labels: None)
    replace(Creation, "note", note)


@mechanism(
    "labels are held before what has them is read",
    "traps/test_rises.py"
    "::test_what_cannot_be_stored_inside_is_made_once[memory-null]",
    "traps/test_rises.py"
    "::test_what_cannot_be_stored_inside_is_made_once[memory-file]",
)
def _not_held() -> None:
    replace(Creation, "hold", lambda self, names, labels: None)


@mechanism(
    "a nearer expiry rises",
    "traps/test_rises.py::test_a_nearer_expiry[memory-memory-created]",
    "traps/test_rises.py::test_a_nearer_expiry[memory-memory-hit]",
    "traps/test_rises.py::test_a_nearer_expiry[memory-file-hit]",
)
def _expiry_stays() -> None:
    whole = Creation.note

    def note(self: Creation, entry: Any, labels: Any, **_: Any) -> bool:
        return whole(self, entry, labels, False)

    replace(Creation, "note", note)


@mechanism(
    "nocache rises",
    "traps/test_rises.py::test_not_to_be_cached[memory-memory]",
    "test_nesting.py::test_what_is_switched_off_inside_is_not_cached_around"
    "[memory]",
)
def _nocache_stays() -> None:
    def forbid(self: Creation) -> None:
        self.fresh_until = NOT_STORED

    def note(self: Creation, entry: Any, labels: Any, expires: bool) -> bool:
        if entry.fresh_until == NOT_STORED:
            return False
        return whole(self, entry, labels, expires)

    whole = Creation.note
    replace(Creation, "forbid", forbid)
    replace(Creation, "note", note)
    replace(seam, "_uncached", lambda creator: creator())


@mechanism(
    "what must not be stored is not shared with those who wait",
    "test_nesting.py::test_those_who_wait_are_not_shown_what_must_not_be"
    "_cached",
)
def _shared() -> None:
    replace(miss, "_is_shareable", lambda entry: True)
