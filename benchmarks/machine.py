"""What the figures were measured on and with."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.servers import RedisServer
from mako_cacheplug.testing.servers import Server
from mako_cacheplug.testing.servers import ServerNotInstalled

__all__ = ["describe"]

DISTRIBUTIONS: Final = (
    "Mako",
    "mako-cacheplug",
    "Beaker",
    "dogpile.cache",
    "pylibmc",
    "pymemcache",
    "redis",
    "hiredis",
)


def describe() -> dict[str, str]:
    """Return the machine and the versions, by what they are of."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    release = platform.release().partition("-")[0]
    found = {
        "date": datetime.datetime.now(datetime.timezone.utc)
        .date()
        .isoformat(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {release}",
        "load": _load(),
        "Python": f"{platform.python_implementation()}"
        f" {platform.python_version()}" + ("" if gil else ", without the GIL"),
    }
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    for kind in (MemcachedServer, RedisServer):
        found[f"{kind.program} (server)"] = _server_version(kind)
    return found


def _load() -> str:
    """Return how many programs wanted to run in the minute before."""
    return f"{os.getloadavg()[0]:.1f} before the run"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return f"{named[1] if named else platform.processor()}, " + (
        platform.machine()
    )


def _server_version(kind: type[Server]) -> str:
    try:
        program = kind().command()[0]
    except ServerNotInstalled:
        return "not installed"
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout
    number = re.search(r"\d+\.\d+\.\d+", said)
    return number[0] if number else said.strip()
