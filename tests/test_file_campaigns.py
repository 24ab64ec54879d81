"""Short passes of what is done to files, their disk and their writers."""

from __future__ import annotations

from types import ModuleType

import pytest

from campaigns import creator_killed
from campaigns import file_disk
from campaigns import file_writer_killed
from campaigns.findings import Scale


@pytest.mark.parametrize(
    "campaign",
    [creator_killed, file_disk, file_writer_killed],
    ids=lambda campaign: campaign.__name__.rpartition(".")[2],
)
def test_every_goal_is_met(campaign: ModuleType) -> None:
    findings = campaign.run("cacheplug", Scale.SHORT)
    assert findings
    assert [f for f in findings if not f.is_met] == []
