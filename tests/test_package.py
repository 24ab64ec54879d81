"""The package's table of contents, and which way its imports run."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import mako_cacheplug

ROOT = Path(mako_cacheplug.__file__).parent
ABOVE = {"template", "check", "testing", "cli", "contrib"}
CORE = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] not in ABOVE
]

LAYERS = [
    {
        "exceptions",
        "entry",
        "forks",
        "digests",
        "learning",
        "seldom",
        "budget",
    },
    {"compression", "encryption", "breaker"},
    {
        "waiting",
        "lock",
        "events",
        "options",
        "spellings",
        "codec",
        "copies",
        "keys",
        "api",
        "changes",
        "write_behind",
    },
    {
        "storage",
        "coded",
        "storages",
        "registry",
        "backends",
        "standing",
        "tiers",
    },
    {"ahead"},
    {"labels"},
    {"nesting"},
    {"miss"},
    {"storing"},
    {"serving"},
    {"region"},
    {"regions"},
    {"decorators"},
    {"template"},
    {"__init__"},
]
"""From the bottom to the top; within one, imports do not go in a circle."""

ON_TOP = {
    "template": {"template"},
    "check": {"check"},
    "testing": {"testing"},
    "cli": {"check", "cli"},
}
"""What is above the core, and which of these each may import.  The checker
uses what is in the core, but not the template's side of the cache: it runs
nothing."""

CHECK_LAYERS = [
    {"finding", "python", "limits", "lookup"},
    {"lexer", "settings", "source"},
    {"template"},
    {"build", "suppress", "rule"},
    {"rules"},
    {"checker", "files", "report", "texts"},
    {"__init__"},
]
"""The checker's modules, from the bottom to the top."""

UPPER = [
    path for folder in ON_TOP for path in sorted((ROOT / folder).rglob("*.py"))
]


def test_the_table_of_contents_is_complete() -> None:
    for name in mako_cacheplug.__all__:
        assert hasattr(mako_cacheplug, name)
    public = {name for name in vars(mako_cacheplug) if name[0].isupper()}
    assert public <= set(mako_cacheplug.__all__)


def test_the_version_is_the_distributions() -> None:
    assert mako_cacheplug.__version__ == importlib.metadata.version(
        "mako-cacheplug"
    )
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mako_cacheplug.nonsense  # noqa: B018  # it is looked up


def test_the_logger_is_quiet_by_default() -> None:
    handlers = logging.getLogger("mako_cacheplug").handlers
    assert any(isinstance(h, logging.NullHandler) for h in handlers)


def test_nothing_is_imported_but_the_library_and_markupsafe() -> None:
    code = (
        "import sys; before = {*sys.modules}\n"
        "import mako_cacheplug, mako_cacheplug.backends.memory,"
        " mako_cacheplug.backends.null, mako_cacheplug.backends.tiered\n"
        "import json; print(json.dumps([*({*sys.modules} - before)]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
    )
    packages = {name.partition(".")[0] for name in json.loads(found.stdout)}
    foreign = packages - sys.stdlib_module_names
    assert foreign == {"mako_cacheplug", "markupsafe"}


@pytest.mark.parametrize(
    "name", ["_hashlib", "dataclasses", "decimal", "difflib", "uuid"]
)
def test_what_few_need_is_not_imported(name: str) -> None:
    """Each of them takes as long as a large module of this package.

    By its name here, as Mako can have imported it for something else.
    """
    code = (
        f"import sys, mako.template; sys.modules.pop({name!r}, None)\n"
        f"import mako_cacheplug; print({name!r} in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "False"


def imported(path: Path) -> set[str]:
    """Return what *path* imports when it runs, types aside."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return names


def test_there_is_a_core_to_check() -> None:
    assert {path.stem for path in CORE} >= {"region", "lock", "memory"}


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_knows_no_mako(path: Path) -> None:
    for name in imported(path):
        assert name.partition(".")[0] != "mako"
        parts = name.split(".")
        if parts[0] == "mako_cacheplug" and len(parts) > 1:
            # What templates call is in the table of contents too.
            known = name == "mako_cacheplug.template.holes.hole"
            assert (known and path.name == "__init__.py") or (
                parts[1] not in ABOVE
            ), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    layer_of = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    own = path.relative_to(ROOT).with_suffix("").parts[0]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "mako_cacheplug":
            continue
        other = parts[1]
        if path.parent == ROOT / "backends" and other == "backends":
            continue
        assert layer_of[other] <= layer_of[own], f"{own} imports {other}"


@pytest.mark.parametrize("path", UPPER, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_on_top_keeps_apart(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "mako_cacheplug" and parts[1] in ABOVE:
            assert parts[1] in ON_TOP[own], f"{path.name} imports {name}"
        assert parts[0] != "click" or own == "cli", f"{path.name}: {name}"


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "check").rglob("*.py")),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_the_checkers_imports_run_one_way(path: Path) -> None:
    layer_of = {n: i for i, layer in enumerate(CHECK_LAYERS) for n in layer}
    own = path.relative_to(ROOT / "check").with_suffix("").parts[0]
    for name in imported(path):
        if name.startswith("mako_cacheplug.check."):
            other = name.split(".")[2]
            assert layer_of[other] <= layer_of[own], f"{own} imports {other}"


def test_imports_do_not_go_in_a_circle() -> None:
    graph = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): {
            ".".join(name.split(".")[1:]) for name in imported(path)
        }
        for path in CORE
    }
    done: set[str] = set()

    def walk(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, f"circle: {(*chain, module)}"
        if module in done:
            return
        for name in graph[module]:
            for other in (name, name.rpartition(".")[0]):
                if other in graph:
                    walk(other, (*chain, module))
        done.add(module)

    for module in graph:
        walk(module, ())
