"""What touches a private name of Mako's is in ``template/private.py`` alone.

A private name is one with an underscore in front that Mako's own source or
the modules that it generates define or use.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mako
import pytest

import mako_cacheplug

PACKAGE = Path(mako_cacheplug.__file__).parent
PLUGINS = PACKAGE.parent / "plugins"
SEAM = "mako_cacheplug/template/private.py"

MODULES = {
    str(path.relative_to(root)): path
    for root, found in (
        (PACKAGE.parent, PACKAGE.rglob("*.py")),
        (PACKAGE.parent, PLUGINS.glob("*/mako_cacheplug_*/**/*.py")),
    )
    for path in found
}

GENERATED = {
    "mako_cacheplug/template/heirs.py": {
        "_ctx_get_or_create",
        "_import_ns",
        "_include_file",
        "_locals",
        "_mako_generate_namespaces",
        "_mako_get_namespace",
        "_pop_buffer",
        "_pop_buffer_and_writer",
        "_push_buffer",
        "_push_writer",
    },
    "mako_cacheplug/template/holes.py": {"_template_uri"},
    "mako_cacheplug/template/needs.py": {"_include_file", "_inherit_from"},
    "mako_cacheplug/template/scan.py": {
        "_ctx_get_or_create",
        "_import_ns",
        "_mako_get_namespace",
    },
}
"""Names that are read, as text, in the modules that Mako generates."""

PUBLIC = {"_asdict", "_fields", "_replace"}
"""Of every named tuple."""

_NAME = re.compile(r"\b_[a-zA-Z]\w+\b")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@cache
def private_names() -> frozenset[str]:
    """Return the private names of Mako and of what it generates."""
    found = set()
    for path in Path(mako.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Constant) and isinstance(
                node.value, str
            ):
                found.update(_NAME.findall(node.value))
    return frozenset(filter(is_private, found)) - PUBLIC


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the private names that are imported from Mako."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            path = node.module.split(".")
            if path[0] == "mako":
                names = [*path, *(alias.name for alias in node.names)]
                yield from filter(is_private, names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "mako":
                    yield from filter(is_private, alias.name.split("."))


def attributes(tree: ast.Module) -> Iterator[str]:
    """Yield Mako's private names that are taken of any object but self."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in private_names():
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            if not own:
                yield node.attr


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield Mako's private names that are whole texts, or parts by dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from private_names().intersection(node.value.split("."))


def test_there_is_something_to_look_for_and_at() -> None:
    assert private_names() >= {
        "_buffer_stack",
        "_cache_plugins",
        "_collection",
        "_ctx_get_or_create",
        "_data",
        "_get_cache_kw",
        "_include_file",
        "_mmarker",
        "_modified_time",
        "_template_uri",
        "_with_template",
    }
    assert SEAM in MODULES
    assert len(MODULES) > 50
    tree = ast.parse(MODULES[SEAM].read_text())
    assert {*attributes(tree)} >= {"_buffer_stack", "_collection", "_data"}
    assert {*texts(tree)} >= {"_mmarker", "_with_template"}


@pytest.mark.parametrize(
    "code",
    [
        "from mako.cache import _cache_plugins",
        "import mako._ast_util",
        "context._data",
        "self.template.lookup._collection",
        "getattr(template, '_mmarker')",
    ],
)
def test_it_is_found(code: str) -> None:
    tree = ast.parse(code)
    assert [*imports(tree), *attributes(tree), *texts(tree)]


@pytest.mark.parametrize("name", sorted({*MODULES} - {SEAM}))
def test_other_modules_touch_none(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    assert [*imports(tree)] == []
    assert [*attributes(tree)] == []
    assert {*texts(tree)} == GENERATED.get(name, set())
