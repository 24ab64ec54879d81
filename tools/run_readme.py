"""Run the examples of a reStructuredText page: ``run_readme.py PAGE``.

The code blocks are one program, in their order:

* a block with a ``:caption:`` (or, where only docutils reads the page, a
  ``:name:``) is a file of that path, below a temporary folder;
* a ``python`` block without one is run there, all in one namespace;
* a block with ``:class: output`` is what the block before it must print;
* a block with ``:class: fragment`` is neither.

An example that fails ends it with a traceback that tells the page's line.
Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_DIRECTIVE = re.compile(r"( *)\.\. code-block::(.*)")
_OPTION = re.compile(r" +:([a-z-]+):(.*)")


class Block(NamedTuple):
    """A code block of a page."""

    line: int
    """The line of its directive, from 1."""

    language: str
    options: dict[str, str]
    first: int
    """The line where its code begins, from 1."""

    code: str


class ExampleError(Exception):
    """An example that does not do what its page says."""


def blocks(text: str) -> Iterator[Block]:
    """Yield the code blocks of a page in their order."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        directive = _DIRECTIVE.fullmatch(lines[at])
        at += 1
        if not directive:
            continue
        start, indent = at, len(directive[1])
        options: dict[str, str] = {}
        while at < len(lines) and (option := _OPTION.match(lines[at])):
            options[option[1]] = option[2].strip()
            at += 1
        first = at
        while at < len(lines) and (
            not lines[at].strip()
            or len(lines[at]) - len(lines[at].lstrip()) > indent
        ):
            at += 1
        code = textwrap.dedent("\n".join(lines[first:at])) + "\n"
        skipped = len(code) - len(code.lstrip("\n"))
        yield Block(
            start,
            directive[2].strip(),
            options,
            first + skipped + 1,
            code.strip("\n") + "\n",
        )


def run(text: str, page: str) -> int:
    """Run a page's examples in the current folder; return how many ran.

    :raises ExampleError: if one prints something else than the page says.
    :raises Exception: whatever an example raises.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed: str | None = None
    count = 0
    for block in blocks(text):
        classes = block.options.get("class", "").split()
        path = block.options.get("caption") or block.options.get("name")
        if "fragment" in classes:
            continue
        if "output" in classes:
            _check_printed(block, printed, page)
        elif path is not None:
            _write(path, block.code)
        elif block.language == "python":
            printed = _execute(block, page, namespace)
            count += 1
    return count


def _write(path: str, code: str) -> None:
    file = Path(path)
    if file.is_absolute() or ".." in file.parts:
        raise ExampleError(f"{path} is not below the folder of the examples")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code, encoding="utf-8")


def _execute(block: Block, page: str, namespace: dict[str, object]) -> str:
    # Lines in front, so that a traceback tells the line of the page.
    code = "\n" * (block.first - 1) + block.code
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, page, "exec"), namespace)  # its job
    return out.getvalue()


def _check_printed(block: Block, printed: str | None, page: str) -> None:
    # A page folds long lines: white space does not count.
    if printed is None or printed.split() != block.code.split():
        raise ExampleError(
            f"{page}:{block.line}: the page says\n{block.code}"
            f"and the example prints\n{printed}"
        )


def main() -> None:
    """Run the page that is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="keep the files there, not in a temporary folder",
    )
    arguments = parser.parse_args()
    text = arguments.page.read_text(encoding="utf-8")
    home = os.getcwd()
    with contextlib.ExitStack() as stack:
        folder = arguments.into or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="run_readme-")
        )
        stack.callback(os.chdir, home)
        os.chdir(folder)
        sys.path.insert(0, os.getcwd())
        count = run(text, str(arguments.page))
    print(f"{arguments.page}: {count} examples run")


if __name__ == "__main__":
    main()
