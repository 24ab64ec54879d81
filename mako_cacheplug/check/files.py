"""Which files are templates."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final
from typing import NamedTuple

__all__ = ["EXTENSIONS", "Search", "search"]

EXTENSIONS: Final = ("mako", "mak", "html", "htm", "xml", "tmpl")
"""What templates' names end with in a folder of templates."""

_NEVER: Final = frozenset({"__pycache__", "node_modules"})


class Search(NamedTuple):
    """What is in folders."""

    templates: list[str]
    """In the order in which they are checked, each once."""

    others: list[str]
    """The other files below the folders."""


def search(
    paths: Iterable[str], extensions: Iterable[str] = EXTENSIONS
) -> Search:
    """Return the templates among and below *paths*.

    A file that is named is one, whatever it is called.  Folders that begin
    with a dot are left out, and links to folders are not followed.

    :param paths: files and folders.
    :param extensions: the endings of the names of templates.
    """
    endings = tuple("." + one.lstrip(".").lower() for one in extensions)
    templates: dict[str, None] = {}
    others: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            templates[path] = None
            continue
        # A folder that cannot be read is handed on: reading it says why.
        walk = os.walk(
            path, onerror=lambda error: templates.setdefault(error.filename)
        )
        for folder, folders, names in walk:
            folders[:] = sorted(
                one
                for one in folders
                if not one.startswith(".") and one not in _NEVER
            )
            for name in sorted(names):
                file = os.path.normpath(os.path.join(folder, name))
                if name.lower().endswith(endings):
                    templates[file] = None
                else:
                    others.append(file)
    return Search(list(templates), others)
