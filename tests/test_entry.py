"""Fresh, stale, dead: functions of the entry, the clock and the grace."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import fresh_until
from mako_cacheplug.entry import is_due_early

_seconds = st.floats(0, 1e9)


def test_an_entry_is_fresh_then_usable_then_dead() -> None:
    entry = CacheEntry("v", 100.0, fresh_until=110.0)
    assert entry.is_fresh(109.9)
    assert not entry.is_fresh(110.0)
    assert entry.is_usable(114.9, 5.0)
    assert not entry.is_usable(115.0, 5.0)
    assert not entry.is_usable(110.0, 0.0)


def test_an_entry_without_end_is_fresh_for_ever() -> None:
    entry = CacheEntry("v", 0.0)
    assert entry.is_fresh(1e300)
    assert entry.is_usable(1e300, 0.0)


def test_an_entry_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        CacheEntry("v", 0.0).value = "w"  # type: ignore[misc]  # must fail


@given(_seconds, _seconds, st.floats(0, 1), st.floats(0, 1))
def test_jitter_shortens_and_never_beyond_its_fraction(
    now: float, timeout: float, jitter: float, chance: float
) -> None:
    until = fresh_until(now, timeout, jitter, chance)
    assert until <= now + timeout
    assert until >= now + timeout * (1 - jitter) - 1e-6
    assert fresh_until(now, math.inf, jitter, chance) == math.inf
    assert fresh_until(now, timeout, 0.0, chance) == now + timeout


def test_xfetch_never_without_beta_or_without_end() -> None:
    ending = CacheEntry("v", 0.0, 10.0, cost=1e9)
    assert not is_due_early(ending, 9.9, 0.0, 1e-9)
    assert not is_due_early(CacheEntry("v", 0.0, cost=1e9), 9.9, 1.0, 1e-9)


def test_xfetch_follows_the_paper() -> None:
    # now - cost * beta * ln(chance) >= expiry
    entry = CacheEntry("v", 0.0, fresh_until=10.0, cost=2.0)
    chance = math.exp(-1.0)
    assert not is_due_early(entry, 7.9, 1.0, chance)
    assert is_due_early(entry, 8.1, 1.0, chance)
    assert is_due_early(entry, 6.1, 2.0, chance)
    assert not is_due_early(entry, 9.9, 1.0, 1.0)


def test_xfetch_is_likelier_near_the_end() -> None:
    entry = CacheEntry("v", 0.0, fresh_until=100.0, cost=5.0)
    dice = random.Random(1)

    def share(now: float) -> float:
        due = [
            is_due_early(entry, now, 1.0, 1.0 - dice.random())
            for _ in range(2000)
        ]
        return sum(due) / len(due)

    # P(due) is exp(-remaining / cost).
    assert share(95.0) == pytest.approx(math.exp(-1), abs=0.06)
    assert share(85.0) == pytest.approx(math.exp(-3), abs=0.03)
    assert share(10.0) == 0.0


@given(st.floats(), st.floats(), st.floats(0, 10))
def test_odd_numbers_of_a_stored_entry_raise_nothing(
    until: float, cost: float, beta: float
) -> None:
    entry = CacheEntry("v", 0.0, until, cost)
    assert is_due_early(entry, 5.0, beta, 0.5) in (True, False)
    assert entry.is_usable(5.0, math.inf) in (True, False)
