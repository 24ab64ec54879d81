"""Short passes of what a process, its keys and their number can do."""

from __future__ import annotations

from types import ModuleType

import pytest

from campaigns import forks
from campaigns import hostile_keys
from campaigns import key_flood
from campaigns.findings import Scale


@pytest.mark.parametrize(
    "campaign",
    [forks, hostile_keys, key_flood],
    ids=lambda campaign: campaign.__name__.rpartition(".")[2],
)
def test_every_goal_is_met(campaign: ModuleType) -> None:
    findings = campaign.run("cacheplug", Scale.SHORT)
    assert findings
    assert [f for f in findings if not f.is_met] == []
    assert all(f.most is not None for f in findings)
