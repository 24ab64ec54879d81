"""What a hit that costs no look is still looked at for."""

from __future__ import annotations

import math
from typing import Any

from mako_cacheplug import labels
from mako_cacheplug import nesting
from mako_cacheplug.ahead import _AtHand
from mako_cacheplug.backends import memory
from mako_cacheplug.coded import CopyingStorage
from mako_cacheplug.copies import Copy
from mako_cacheplug.standing import StandingHit
from mako_cacheplug.template.private import Site
from mako_cacheplug.tiers import _Copies
from taken_out.mechanism import mechanism
from taken_out.mechanism import replace

# -- hits that stand ----------------------------------------------------------


@mechanism(
    "a hit stands while its entry is there",
    "test_standing.py::test_what_goes_is_gone_at_once[<lambda>0]",
    "test_standing.py::test_threads_see_no_hit_after_an_invalidation",
)
def _unwatched_entries() -> None:
    def watch(self: memory.MemoryBackend, key: str) -> Any:
        held = self._table.get(key)
        return None if held is None else memory._Watch(held)

    replace(memory.MemoryBackend, "watch", watch)


@mechanism(
    "a hit stands while its labels are there",
    "test_standing.py::test_what_goes_is_gone_at_once[<lambda>1]",
    "test_standing.py::test_what_goes_is_gone_at_once[<lambda>2]",
)
def _unwatched_labels() -> None:
    def stand(key: Any, expected: Any, watch: Any, _: Any, *rest: Any) -> Any:
        return StandingHit(key, expected, watch, (), *rest)

    replace(labels, "StandingHit", stand)


@mechanism(
    "a hit is looked up once a second",
    "test_standing.py::test_it_is_looked_up_once_a_second",
)
def _standing_for_ever() -> None:
    replace(labels, "TRUST_SECONDS", math.inf)


# -- the shortcut to them -----------------------------------------------------


class _Anything:
    """Equals whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # it equals all


@mechanism(
    "the shortcut is for calls with the same options",
    "test_standing.py::test_a_call_with_other_options_is_another"
    '[cache_tags="${tags}"-data0-other0]',
    "test_standing.py::test_an_entry_that_has_not_the_tags_of_a_call",
    "test_seam_options.py::test_a_region_is_chosen_at_every_call",
)
def _any_options() -> None:
    whole = Site.__init__

    def init(self: Site, *args: Any) -> None:
        whole(self, *args)
        self.kw = _Anything()  # type: ignore[assignment]  # no dict

    replace(Site, "__init__", init)


@mechanism(
    "the shortcut is not for heirs",
    "test_standing.py::test_for_an_heir_it_may_be_another",
)
def _for_heirs() -> None:
    whole = Site.__init__

    def init(self: Site, *args: Any) -> None:
        whole(self, *args)
        self.has_heirs = False

    replace(Site, "__init__", init)


@mechanism(
    "inside a creation there is no shortcut",
    "test_standing.py::test_inside_a_creation_it_is_noted",
)
def _in_creations() -> None:
    class NeverAny(set[nesting.Creation]):
        def add(self, creation: nesting.Creation) -> None:
            pass

    replace(nesting, "under_way", NeverAny())


# -- copies -------------------------------------------------------------------


@mechanism(
    "a store is asked whether a copy is right",
    "test_revalidation.py::test_a_change_is_read",
)
def _unasked_at_a_read() -> None:
    whole = CopyingStorage.read

    def read(self: Any, key: str) -> Any:
        copy = self._copies.get(key)
        return whole(self, key) if copy is None else copy.entry

    replace(CopyingStorage, "read", read)


@mechanism(
    "and so it is while a hit stands on one",
    "test_revalidation.py::test_a_hit_stands_while_the_store_says_so",
    "test_revalidation.py::test_a_hit_does_not_stand_without_its_store",
)
def _unasked_while_it_stands() -> None:
    replace(Copy, "held", property(lambda self: self.entry))


@mechanism(
    "a near copy lasts as long as its bound",
    "test_tiered.py::test_what_another_process_does_is_seen_after_the_bound"
    "[key]",
    "test_tiered.py::test_what_another_process_does_is_seen_after_the_bound"
    "[tag]",
)
def _unbounded_copies() -> None:
    replace(_Copies, "get_entry", memory.MemoryBackend.get_entry)


@mechanism(
    "what this process changed is at hand no longer",
    "test_ahead.py::test_an_invalidation_in_the_midst_of_a_render_is_seen"
    "[True-True-tags]",
    "test_ahead.py::test_an_invalidation_in_the_midst_of_a_render_is_seen"
    "[True-False-def]",
    "test_ahead.py::test_what_a_region_with_a_near_tier_clears_is_seen",
)
def _never_refreshed() -> None:
    replace(_AtHand, "refresh", lambda self: None)
