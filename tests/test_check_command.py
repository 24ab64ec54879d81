"""``mako-cacheplug check``, as it is called."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from click.testing import Result

from mako_cacheplug.check import RULES
from mako_cacheplug.cli.main import command

BAD = '<%def name="f()" cached="True" cache_tll="5m">${user}</%def>\n'
GOOD = '<%def name="f()" cached="True" cache_ttl="5m">x</%def>\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(command, ["check", *arguments], input=given)


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def codes(result: Result) -> list[str]:
    return [one["code"] for one in json.loads(result.stdout)]


# -- what is printed, and how it exits -------------------------------------


def test_nothing_found() -> None:
    write("t/a.mako", GOOD)
    result = run("t")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == "1 template checked, nothing found\n"


def test_findings() -> None:
    write("t/a.mako", BAD)
    write("t/b.txt", BAD)
    result = run("t")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "t/a.mako:1:32: error MC101 unknown-option: unknown option"
        " 'cache_tll'; did you mean 'cache_ttl'?",
        "t/a.mako:1:49: error MC207 reads-request: def 'f' is cached and"
        " reads 'user', which is not in its key",
    ]
    assert result.stderr == "1 template checked: 2 errors, 0 warnings\n"
    assert run("t", "--exit-zero").exit_code == 0
    assert run("t/b.txt", "t").stdout.count("MC101") == 2
    assert "b.txt" in run("t", "--extension", "txt,mak").stdout
    nothing = run("t", "--extension", "html")
    assert nothing.exit_code == 2
    assert "nothing there ends with html" in nothing.stderr


def test_json() -> None:
    write("a.mako", BAD)
    assert codes(run("a.mako", "--format", "json")) == ["MC101", "MC207"]
    write("a.mako", GOOD)
    assert codes(run("a.mako", "--format", "json")) == []


def test_github() -> None:
    write("a.mako", BAD)
    lines = run("a.mako", "--format", "github").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error title=MC101 unknown-option,file=a.m")


def test_standard_input() -> None:
    result = run("-", given=BAD)
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:1:32: error MC101")
    assert run("-", given=GOOD).exit_code == 0
    assert "MC002" in run("-", given=b"\xff").stdout


def test_choosing_rules() -> None:
    write("a.mako", BAD)
    write("b.mako", "${a b}")

    def found(*options: str) -> list[str]:
        return codes(run(".", "--format", "json", *options))

    assert found() == ["MC101", "MC207", "MC001"]
    assert found("--select", "MC1") == ["MC101", "MC001"]
    assert found("--select", "reads-request,mc101") == [
        "MC101",
        "MC207",
        "MC001",
    ]
    assert found("--ignore", "MC001", "--ignore", "MC2") == ["MC101"]
    assert found("--select", "MC2", "--ignore", "MC") == []


def test_names_of_the_request() -> None:
    write("a.mako", '<%block cached="True">${user} ${tenant}</%block>')

    def found(*names: str) -> int:
        options = [
            part for name in names for part in ("--request-names", name)
        ]
        return len(codes(run("a.mako", "--format", "json", *options)))

    assert found() == 1
    assert found("tenant, theme") == 2
    assert found("-user") == 0
    assert found("tenant", "-user") == 1


def test_directories() -> None:
    write("t/pages/a.mako", '<%include file="b.mako"/>')
    write("t/parts/b.mako", "x")
    # Which folder is which, nobody has said.
    assert run("t").exit_code == 0
    assert run("t/pages/a.mako").exit_code == 0
    assert run("t/pages").exit_code == 1
    assert run("t", "-d", "t").exit_code == 1
    assert run("t", "-d", "t/pages", "-d", "t/parts").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["away.mako"],
        [".", "--nonsense"],
        [".", "--select", "MC9"],
        [".", "--ignore", "nonsense"],
        [".", "--format", "xml"],
        [".", "-d", "away"],
        [".", "--config", "away.toml"],
        ["--explain", "nonsense"],
    ],
)
def test_wrong_calls(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_explain() -> None:
    for name in ("MC101", "mc101", "unknown-option"):
        result = run("--explain", name)
        assert result.exit_code == 0
        assert result.stdout.startswith("MC101 unknown-option (error)\n====")
    lines = run("--explain", "all").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [rule.code for rule in RULES]


# -- pyproject.toml --------------------------------------------------------


def configure(text: str, path: str = "pyproject.toml") -> None:
    write(path, f"[tool.mako-cacheplug.check]\n{text}\n")


def test_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    write("site/templates/a.html", BAD)
    write("site/templates/b.html", '<%include file="/c.html"/>')
    configure(
        'paths = ["templates"]\nextension = "html"\nformat = "json"\n'
        'ignore = ["MC207"]\ndirectory = ["templates"]\n',
        "site/pyproject.toml",
    )
    monkeypatch.chdir("site/templates")
    result = run()
    assert codes(result) == ["MC101", "MC302"]
    # What is typed is stronger.
    assert codes(run("--ignore", "MC1,MC3")) == ["MC207"]
    monkeypatch.chdir("../..")
    assert codes(run("--config", "site/pyproject.toml")) == ["MC101", "MC302"]
    configure("exit-zero = true\nrequest-names = ['-user']")
    assert run("site/templates/a.html").exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        "nonsense = 1",
        "config = 'x'",
        "format = 'xml'",
        "select = 5",
        "select = ['MC9']",
        "exit-zero = 'perhaps'",
        "[",
    ],
)
def test_wrong_configuration(text: str) -> None:
    configure(text)
    result = run(".")
    assert result.exit_code == 2
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    "text",
    ["tool = 1 # mako-cacheplug", "tool.mako-cacheplug = 1", "\xff\0"],
)
def test_other_wrong_files(text: str) -> None:
    Path("pyproject.toml").write_bytes(text.encode("latin-1"))
    assert run(".").exit_code == 2
    # But the rules can still be looked up.
    assert run("--explain", "MC101").exit_code == 0


def test_a_pyproject_of_others() -> None:
    write("a.mako", GOOD)
    Path("pyproject.toml").write_text("[tool.other]\nx = [")
    assert run(".").exit_code == 0


# -- in a process of its own -----------------------------------------------


def test_the_command_is_installed() -> None:
    write("a.mako", BAD)
    program = Path(sys.executable).parent / "mako-cacheplug"
    done = subprocess.run(
        [program, "check", "a.mako"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "MC101" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "mako_cacheplug.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("mako-cacheplug, version ")


@pytest.mark.parametrize(
    ("arguments", "expected", "said"),
    [
        ("a.mako >&-", 1, "1 template checked"),
        ("a.mako 2>&-", 1, ""),
        ("a.mako >/dev/full", 2, "No space left"),
        ("a.mako --format json >/dev/full", 2, "No space left"),
        ("- <&-", 2, "no standard input"),
        (". 2>&- | head -n 1 | grep -q MC101", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full(
    arguments: str, expected: int, said: str
) -> None:
    for number in range(50):
        write(f"{number}.mako", BAD * 20)
    write("a.mako", BAD)
    program = f"{sys.executable} -m mako_cacheplug.cli check"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{program} {arguments}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expected
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("t/a.mako", GOOD)
    write("t/locked/b.mako", GOOD)

    # Not by its mode, which does not keep root out.
    def refusing(function: Callable[[str], object]) -> object:
        def call(path: str) -> object:
            if str(path).endswith("locked"):
                raise PermissionError(13, "Permission denied", path)
            return function(path)

        return call

    monkeypatch.setattr("os.scandir", refusing(os.scandir))
    monkeypatch.setattr("os.listdir", refusing(os.listdir))
    result = run("t")
    assert result.exit_code == 1
    assert result.stdout == (
        "t/locked:1: error MC002 unreadable-file: it cannot be read:"
        " Permission denied\n"
    )


def test_without_click_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['click'] = None\n"
        "from mako_cacheplug.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "mako-cacheplug[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_checker_needs_no_click() -> None:
    code = (
        "import sys; sys.modules['click'] = None\n"
        "from mako_cacheplug.check import check_text\n"
        "assert [f.code for f in check_text('${a b}')] == ['MC001']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def on_terminal(**environment: str) -> str:
    """Return what the command writes to a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "mako_cacheplug.cli", "check", "a.mako"],
        stdout=slave,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    ) as process:
        os.close(slave)
        parts = []
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # The other side is closed.
                break
            if not part:
                break
            parts.append(part)
    os.close(master)
    assert process.returncode == 1
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_a_terminal_gets_the_line_and_colours() -> None:
    write("a.mako", BAD)
    marks = " " * 31 + "^" * 9
    coloured = on_terminal(NO_COLOR="", TERM="xterm")
    assert "\x1b[31m" in coloured
    assert marks in coloured
    plain = on_terminal(NO_COLOR="1", TERM="xterm")
    assert "\x1b" not in plain
    assert f"\n1 | {BAD.rstrip()}\n  | {marks}\n" in plain
