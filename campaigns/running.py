"""Each campaign in a process of its own, which may die or hang."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

import campaigns as package
from campaigns.findings import Finding
from campaigns.findings import Scale

__all__ = ["CONTENDERS", "campaigns", "main", "run_apart"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")
"""Ours first."""

Run = Callable[[str, Scale], list[Finding]]


def campaigns() -> Mapping[str, ModuleType]:
    """Return the campaigns by name: the modules that have a ``run``."""
    found = {}
    for module in sorted(
        m.name for m in pkgutil.iter_modules(package.__path__)
    ):
        if module.startswith("_"):
            continue
        one = importlib.import_module(f"{package.__name__}.{module}")
        if callable(getattr(one, "run", None)):
            found[module] = one
    return found


def run_apart(
    name: str, contender: str, scale: Scale, limit: float
) -> list[Finding]:
    """Return what a campaign finds; that it died or hung is a finding, too.

    :param name: of its module.
    :param limit: seconds after which it hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "findings.json"
        with subprocess.Popen(
            [
                *(sys.executable, "-m", __name__),
                *(name, contender, scale.value, str(answer)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                _, said = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                return [_broken(contender, f"hangs: no end after {limit:g} s")]
            finally:
                # What it started ends with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            sys.stderr.write(said)
            last = (said.strip().splitlines() or ["without a word"])[-1]
            return [
                _broken(contender, f"ended with {process.returncode}: {last}")
            ]
        found = json.loads(answer.read_text(encoding="utf-8"))
        if not found:
            return [_broken(contender, "nothing was counted")]
        return [Finding(*fields) for fields in found]


def _broken(contender: str, note: str) -> Finding:
    return Finding(contender, "campaigns broken off", 1, most=0, note=note)


def main(name: str, contender: str, scale: str, answer: str) -> None:
    """Run one campaign here; write its findings to the file *answer*."""
    # What goes wrong on purpose would be a line each.
    logging.getLogger("mako_cacheplug").setLevel(logging.CRITICAL)
    module = importlib.import_module(name)
    run: Run = module.run
    found = run(contender, Scale(scale))
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
