"""Which other templates a template names: what it includes and inherits.

Found without rendering, in the module that Mako generated, wherever the
target is a literal; and in the source, what the author declares with
``cache_depends``, cached or not.
"""

from __future__ import annotations

import ast
import re
from typing import Final

from mako_cacheplug.template.scan import parse

__all__ = ["named_templates"]

_BY_POSITION: Final = {
    "_include_file": 1,
    "_inherit_from": 1,
    "get_namespace": 0,
    "get_template": 0,
    "include_file": 0,
}
"""Functions that take a template's uri, and as which argument."""

_BY_KEYWORD: Final = "templateuri"

_ANY: Final = re.compile(
    "|".join([*(rf"{name}\(" for name in _BY_POSITION), f"{_BY_KEYWORD}="])
)

_DECLARED: Final = re.compile(
    r"""\bcache_depends\s*=\s*(?:"([^"$]*)"|'([^'$]*)')"""
)


def named_templates(code: str, source: str) -> tuple[str, ...]:
    """Return the uris that a template names, as it names them.

    :param code: the module that Mako generated.
    :param source: what the author wrote.
    """
    found: dict[str, None] = {}
    if _ANY.search(code):
        for node in ast.walk(parse(code)):
            if isinstance(node, ast.Call):
                uri = _named_by(node)
                if uri:
                    found[uri] = None
    for match in _DECLARED.finditer(source):
        found.update(dict.fromkeys((match[1] or match[2] or "").split()))
    return tuple(found)


def _named_by(call: ast.Call) -> str:
    target: ast.expr | None = None
    if isinstance(call.func, ast.Attribute):
        place = _BY_POSITION.get(call.func.attr)
        if place is not None and place < len(call.args):
            target = call.args[place]
    for keyword in call.keywords:
        if keyword.arg == _BY_KEYWORD:
            target = keyword.value
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return target.value
    return ""
