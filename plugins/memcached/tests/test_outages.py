"""Short passes of the campaigns in which a memcached is away."""

from __future__ import annotations

import pytest

from campaigns import memcached_killed
from campaigns import memcached_stopped
from campaigns import one_of_three
from campaigns.findings import Scale
from mako_cacheplug import breaker


@pytest.fixture(autouse=True)
def _with_rests(_no_rest: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the breakers be as they are."""
    monkeypatch.undo()
    assert breaker.LONGEST_REST_SECONDS > 0.0


@pytest.mark.parametrize(
    "campaign",
    [memcached_killed, memcached_stopped, one_of_three],
    ids=lambda module: module.__name__,
)
def test_a_campaign_meets_its_goals(campaign: object) -> None:
    run = campaign.run  # type: ignore[attr-defined]
    missed = [f for f in run("cacheplug", Scale.SHORT) if not f.is_met]
    assert missed == []
