"""Not collected with ours: ``test_third_party.py`` installs and runs it."""

from __future__ import annotations

collect_ignore_glob = ["*"]
