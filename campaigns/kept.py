"""What each campaign has found, in a file of its own.

A long pass takes hours.  What is done of it is not lost with the rest, and
campaigns can run at several times, or beside each other.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from campaigns.findings import Campaign
from campaigns.findings import Finding

__all__ = ["Kept"]


class Kept(NamedTuple):
    """The files in a folder, of runs that were alike."""

    folder: Path
    machine: dict[str, str]
    scale: str
    contenders: Sequence[str]

    def save(self, campaign: Campaign) -> None:
        """Keep what *campaign* has found."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self._place(campaign.name)
        whole = {
            **self._alike,
            "ran": campaign.ran,
            "findings": [one._asdict() for one in campaign.findings],
        }
        new = place.with_suffix(".new")
        new.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        os.replace(new, place)

    def load(self, name: str, about: str) -> Campaign | None:
        """Return what a campaign has found, if it ran as it would now.

        :param about: what it does.
        """
        with contextlib.suppress(FileNotFoundError):
            whole = json.loads(self._place(name).read_text(encoding="utf-8"))
            findings = [Finding(**each) for each in whole.pop("findings")]
            ran = whole.pop("ran")
            if whole == self._alike:
                return Campaign(name, about, findings, ran)
        return None

    def _place(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    @property
    def _alike(self) -> dict[str, object]:
        return {
            "machine": self.machine,
            "scale": self.scale,
            "contenders": list(self.contenders),
        }
