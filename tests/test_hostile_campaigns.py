"""Short passes of the campaigns with hostile bytes."""

from __future__ import annotations

import pytest

from campaigns import fuzzed_codec
from campaigns import mutated_entries
from campaigns import planted_entries
from campaigns.findings import Finding
from campaigns.findings import Scale


def missed(findings: list[Finding]) -> list[Finding]:
    assert findings
    return [one for one in findings if not one.is_met]


def test_mutated_entries_are_entries_or_misses() -> None:
    assert missed(mutated_entries.run("cacheplug", Scale.SHORT)) == []


def test_a_fuzzer_finds_entries_and_misses_only() -> None:
    assert missed(fuzzed_codec.run("cacheplug", Scale.SHORT)) == []


def test_planted_entries_are_misses() -> None:
    assert missed(planted_entries.run("cacheplug", Scale.SHORT)) == []


@pytest.mark.parametrize("peer", ["dogpile.cache", "beaker"])
def test_what_is_planted_in_a_peers_store_runs(peer: str) -> None:
    """Else the campaign would show nothing of us either."""
    ran = [one.what for one in missed(planted_entries.run(peer, Scale.SHORT))]
    assert "planted code that ran" in ran
    assert "pages with planted text" in ran
