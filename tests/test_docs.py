"""The documentation does what it says: its examples run, its pages build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "tools" / "run_readme.py"
AUTHORS_PAGE = ROOT / "docs" / "writing-a-store.rst"
PAGES = sorted(
    page
    for page in {ROOT / "README.rst", *ROOT.glob("docs/*.rst")}
    - {AUTHORS_PAGE}
    if "\n.. code-block:: python\n" in page.read_text(encoding="utf-8")
)


def run(
    *arguments: object, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python, in a process of its own: regions and stores are global."""
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def write_page(folder: Path, text: str) -> Path:
    page = folder / "page.rst"
    page.write_text(text, encoding="utf-8")
    return page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page: Path, tmp_path: Path) -> None:
    done = run(RUNNER, page, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 examples" not in done.stdout


def test_the_authors_page_makes_a_store_that_passes_the_kit(
    tmp_path: Path,
) -> None:
    done = run(RUNNER, "--into", tmp_path, AUTHORS_PAGE, folder=ROOT)
    assert done.returncode == 0, done.stderr
    # Enough for its entry points to be found, without pip's network.
    setup = "import setuptools; setuptools.setup()"
    done = run("-W", "default", "-c", setup, "egg_info", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(
        "-m",
        "pytest",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "tests",
        folder=tmp_path,
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 0, done.stdout
    assert "no tests ran" not in done.stdout


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.rst").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/*.rst"):
        if page.stem != "index":
            assert f"\n   {page.stem}\n" in index + "\n"


@pytest.mark.parametrize(
    "text",
    [
        ".. code-block:: python\n\n   assert False\n",
        ".. code-block:: python\n\n   print(1)\n\n"
        ".. code-block:: text\n   :class: output\n\n   2\n",
        ".. code-block:: ini\n   :caption: ../away.ini\n\n   [a]\n",
    ],
    ids=["raises", "prints something else", "file outside"],
)
def test_runner_fails(text: str, tmp_path: Path) -> None:
    done = run(RUNNER, write_page(tmp_path, text), folder=tmp_path)
    assert done.returncode != 0
    assert "Error" in done.stderr


def test_runner_names_the_line_of_the_page(tmp_path: Path) -> None:
    page = write_page(
        tmp_path, "Title\n=====\n\n.. code-block:: python\n\n   1 / 0\n"
    )
    done = run(RUNNER, page, folder=tmp_path)
    assert 'page.rst", line 6' in done.stderr


def test_runner_leaves_fragments_out(tmp_path: Path) -> None:
    page = write_page(
        tmp_path,
        ".. code-block:: python\n   :class: fragment\n\n   1 / 0\n\n"
        ".. code-block:: text\n   :name: a/b.txt\n\n   in\n     b\n\n"
        ".. code-block:: python\n\n   print(open('a/b.txt').read())\n\n"
        ".. code-block:: text\n   :class: output\n\n   in b\n",
    )
    done = run("-W", "default", RUNNER, page, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 examples" in done.stdout
