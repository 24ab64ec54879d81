"""Whether a template that another one names is there."""

from __future__ import annotations

import functools
import os
import posixpath
from collections.abc import Iterable
from typing import Protocol

__all__ = ["Directories", "Lookup", "SeenFiles"]


class Lookup(Protocol):
    """Knows which templates there are."""

    def has(self, uri: str, named_by: str) -> bool:
        """Tell whether there is a template.

        :param uri: the name that is used.
        :param named_by: the file that uses it.
        """


class Directories:
    """Looks as a ``TemplateLookup`` does.

    :param directories: its folders.
    """

    def __init__(self, directories: Iterable[str]):
        self._directories = [os.path.abspath(one) for one in directories]
        self._is_file = functools.cache(os.path.isfile)

    def has(self, uri: str, named_by: str) -> bool:
        """Tell whether one of the folders has a template.

        A name without a slash in front is one beside the template that uses
        it, in whichever folder.
        """
        beside = os.path.dirname(os.path.abspath(named_by))
        names = {uri.lstrip("/")}
        if not uri.startswith("/"):
            names = {
                posixpath.join(os.path.relpath(beside, folder), uri)
                for folder in self._directories
                if os.path.commonpath((beside, folder)) == folder
            } or names
        return any(
            self._is_file(os.path.normpath(os.path.join(folder, name)))
            for folder in self._directories
            for name in names
        )


class SeenFiles:
    """Knows files, but not in which folders a ``TemplateLookup`` looks.

    A template is there if one of them has its name, or that is the end of
    its path: which folder is which, nobody has said.

    :param paths: the files.
    """

    def __init__(self, paths: Iterable[str]):
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            name = os.path.basename(path)
            self._by_name.setdefault(name, []).append(os.path.abspath(path))

    def has(self, uri: str, named_by: str) -> bool:
        """Tell whether one of the files can be meant."""
        parts = posixpath.normpath(uri).split("/")
        while parts and parts[0] in {"", ".", ".."}:
            del parts[0]
        end = "/" + "/".join(parts)
        return (
            any(
                path.endswith(end) for path in self._by_name.get(parts[-1], ())
            )
            if parts
            else False
        )
