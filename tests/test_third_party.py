"""A distribution that is not ours: found by its entry point, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "third_party" / "mako-cacheplug-dict"

RENDER = """
from mako.template import Template

from mako_cacheplug_dict import TABLES

calls = []
for options, tag in OPTIONS:
    template = Template(
        '<%def name="box(n)" cached="True"' + tag + '>box ${n}'
        '${calls.append(n) or ""}</%def>${box(1)} ${box(1)} ${box(2)}',
        cache_impl="cacheplug",
        cache_args=options,
    )
    del calls[:]
    for table in TABLES.values():
        table.clear()
    for _ in range(2):
        assert template.render(calls=calls) == "box 1 box 1 box 2"
    assert calls == [1, 2], calls
    assert sum(map(len, TABLES.values())) >= 2, "stored elsewhere"
print("rendered")
"""

OPTIONS = [
    ({"url": "dict://"}, ""),
    ({"url": "dict://shop", "timeout": "5m"}, ""),
    ({}, ' cache_impl="dict"'),
    ({"url": "memory://"}, ' cache_impl="dict" cache_tags="news"'),
    ({"regions": {"own": {"impl": "dict"}}}, ' cache_region="own"'),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which the distribution was installed.

    Built by the setuptools that is here, 70.1 or later: nothing is fetched.
    """
    folder = tmp_path_factory.mktemp("third-party")
    # A copy: building leaves files beside the source.
    source = shutil.copytree(SOURCE, folder / "source")
    target = folder / "installed"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--no-index"),
            *("--disable-pip-version-check", "--no-compile"),
            *("--target", str(target), str(source)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )


def test_it_is_not_installed_here() -> None:
    done = run(Path("/nowhere"), "-c", f"OPTIONS = {OPTIONS!r}\n{RENDER}")
    assert "No module named 'mako_cacheplug_dict'" in done.stderr


def test_templates_render_with_it(installed: Path) -> None:
    done = run(installed, "-c", f"OPTIONS = {OPTIONS!r}\n{RENDER}")
    assert (done.stdout, done.stderr) == ("rendered\n", "")


def test_misspelt_it_is_named(installed: Path) -> None:
    done = run(
        installed,
        "-c",
        "from mako_cacheplug import CacheRegion; CacheRegion('dikt://')",
    )
    assert "unknown backend 'dikt'; did you mean 'dict'?" in done.stderr


def test_it_conforms(installed: Path, tmp_path: Path) -> None:
    """Its author's own test module passes, and the kit ran in it."""
    source = installed.with_name("source")
    report = tmp_path / "report.xml"
    done = run(
        installed,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--import-mode=importlib", "-W", "error"),
        *("--rootdir", str(source), "--confcutdir", str(source)),
        f"--junitxml={report}",
        str(source / "tests"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    assert int(suite.get("tests", 0)) > 90
    # The two suites that it leaves out, with a reason each.
    assert suite.get("skipped") == "2"
