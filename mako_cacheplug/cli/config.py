"""``[tool.mako-cacheplug.check]`` in ``pyproject.toml``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any
from typing import Final

import click

__all__ = ["find_config", "read_config"]

_PATHS: Final = frozenset({"paths", "directory"})
"""The settings that are paths, from where the file is."""


def find_config() -> str | None:
    """Return the nearest ``pyproject.toml``, of this folder or one around."""
    folder = os.getcwd()
    while True:
        path = os.path.join(folder, "pyproject.toml")
        if os.path.isfile(path):
            return path
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def read_config(
    path: str, parameters: Iterable[click.Parameter]
) -> dict[str, Any]:
    """Return the settings in a file, by the names of their parameters.

    :param parameters: what can be set; ``exit-zero`` sets ``--exit-zero``.
    :raises click.UsageError: if it cannot be read, or has other settings.
    """
    known = {str(one.name).rstrip("_"): one for one in parameters}
    found: dict[str, Any] = {}
    for typed, value in _table(path).items():
        name = typed.replace("-", "_")
        if name not in known:
            names = ", ".join(sorted(known)).replace("_", "-")
            raise click.UsageError(
                f"{path}: unknown setting {typed!r} in"
                f" [tool.mako-cacheplug.check]; known: {names}"
            )
        parameter = known[name]
        many = parameter.nargs == -1 or parameter.multiple
        if many and isinstance(value, str):
            value = [value]
        if name in _PATHS and isinstance(value, list):
            folder = os.path.relpath(os.path.dirname(os.path.abspath(path)))
            value = [os.path.normpath(os.path.join(folder, v)) for v in value]
        found[str(parameter.name)] = value
    return found


def _table(path: str) -> dict[str, Any]:
    """Return ``[tool.mako-cacheplug.check]``; empty if there is none."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path}: {error}") from None
    if "mako-cacheplug" not in text:
        return {}  # Mostly so, and then nothing has to be imported.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise click.UsageError(f"{path}: {error}") from None
    for name in ("tool", "mako-cacheplug", "check"):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise click.UsageError(f"{path}: {name!r} is no table")
    return dict(table)
