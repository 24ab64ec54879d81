"""A template's file: its text, and where in it things stand."""

from __future__ import annotations

import ast
import codecs
import os
import re
import stat
from typing import Final

from mako import parsetree

from mako_cacheplug.check.finding import Place
from mako_cacheplug.check.python import Python

__all__ = ["Source", "UnreadableError", "read"]

_CODING: Final = re.compile(rb"#[^\n]{0,200}coding[:=]\s{0,9}([-\w.]{1,99})")


class UnreadableError(Exception):
    """A file that is not checked.

    :param message: why.
    :param line: where.
    """

    def __init__(self, message: str, line: int = 1):
        super().__init__(message)
        self.line = line


class Source:
    """The text of a template.

    :param path: what it is called in findings.
    :param text: what is in it.
    """

    def __init__(self, path: str, text: str):
        self.path = path
        self.text = text
        self.lines = text.split("\n")

    def line(self, number: int) -> str:
        """Return a line by its number, from 1; "" if there is none."""
        if 0 < number <= len(self.lines):
            return self.lines[number - 1].rstrip("\r")
        return ""

    def tag(self, tag: parsetree.Tag, attribute: str = "") -> Place:
        """Return the place of a tag, or of one of its attributes."""
        place = Place(tag.lineno, tag.pos, len(f"<%{tag.keyword}"), tag.lineno)
        if not attribute:
            return place
        pattern = re.compile(rf"(?<![\w]){re.escape(attribute)}\s*=")
        column = tag.pos - 1
        for number in range(tag.lineno, len(self.lines) + 1):
            found = pattern.search(self.line(number), column)
            if found:
                length = len(attribute)
                return Place(number, found.start() + 1, length, tag.lineno)
            column = 0
        return place

    def python(self, python: Python, node: ast.AST) -> Place:
        """Return the place of a part of the Python in a template.

        :param node: part of its tree.
        """
        number = getattr(node, "lineno", 1)
        code = _line(python.code, number)
        first = len(code) - len(code.lstrip())
        line = python.line + number - 1
        from_column = python.column - 1 if number == 1 else 0
        found = self.line(line).find(code.strip(), from_column)
        if found < 0 or not code.strip():
            column = python.column if number == 1 else 0
            return Place(line, column, 1, python.start)
        start = _characters(code, getattr(node, "col_offset", 0))
        end = start + 1
        if getattr(node, "end_lineno", None) == number:
            end = _characters(code, getattr(node, "end_col_offset", 0))
        return Place(
            line, found + start - first + 1, max(end - start, 1), python.start
        )


def _line(text: str, number: int) -> str:
    lines = text.split("\n")
    return lines[number - 1] if number <= len(lines) else ""


def _characters(line: str, count: int) -> int:
    """Return how many characters so many bytes of UTF-8 are."""
    return len(line.encode("utf-8", "replace")[:count].decode(errors="ignore"))


def read(path: str, max_bytes: int) -> bytes:
    """Return what is in a file, and not much more than *max_bytes* of it.

    :raises UnreadableError: if it is no file, or cannot be read.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(path)  # It says why it cannot be read.
        # A pipe without a writer is not to be waited for.
        if not stat.S_ISREG(mode):
            raise UnreadableError("it is not a regular file")
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(f"it cannot be read: {reason}") from error


def decode(data: bytes, encoding: str, max_bytes: int) -> str:
    """Return the text of a template's bytes.

    :param encoding: if they do not begin by saying another, as in
        ``## coding: latin-1``.
    :raises UnreadableError: if they are too many, or not text in their
        encoding.
    """
    if len(data) > max_bytes:
        raise UnreadableError(f"it has more than {max_bytes} bytes")
    if data.startswith(codecs.BOM_UTF8):
        data, encoding = data[len(codecs.BOM_UTF8) :], "utf-8"
    elif declared := _CODING.match(data):
        encoding = declared[1].decode("ascii", "replace")
    try:
        return data.decode(encoding)
    except LookupError:
        raise UnreadableError(f"no such encoding: {encoding!r}") from None
    except ValueError as error:
        line = data.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise UnreadableError(f"it is not {encoding}", line) from None
