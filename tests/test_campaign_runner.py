"""The campaigns' runner: what is missed, dies or hangs is told."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path

import pytest

from campaigns import command
from campaigns import planted_entries
from campaigns import report
from campaigns.findings import Campaign
from campaigns.findings import Finding
from campaigns.findings import Scale
from campaigns.running import campaigns
from campaigns.running import CONTENDERS
from campaigns.running import run_apart

ROOT = Path(__file__).resolve().parent.parent
MODULES = campaigns()

GOOD = Finding("cacheplug", "wrong pages", 0, most=0)
BAD = Finding("cacheplug", "hits", 59.0, "%", least=60.0, note="of 100")
PEER = Finding("beaker", "wrong pages", 7, most=0)


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where modules can be put that a campaign's process imports."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
def test_each_campaign_has_the_agreed_shape(name: str) -> None:
    module = MODULES[name]
    about = (module.__doc__ or "").strip()
    assert about.partition("\n")[0].endswith((".", "?"))
    assert list(inspect.signature(module.run).parameters) == [
        "contender",
        "scale",
    ]
    assert module.CONTENDERS[0] == CONTENDERS[0]
    assert set(module.CONTENDERS) <= set(CONTENDERS)


def test_findings_come_back_from_their_process(other: Path) -> None:
    (other / "fine.py").write_text(
        "from campaigns.findings import Finding\n"
        "def run(contender, scale):\n"
        "    return [Finding(contender, scale.value, float('inf'), 's')]\n"
    )
    (found,) = run_apart("fine", "beaker", Scale.LONG, 60.0)
    assert found == Finding("beaker", "long", math.inf, "s")


def test_a_campaign_that_hangs_is_a_finding(other: Path) -> None:
    """And what it has started ends with it."""
    alive = other / "alive"
    (other / "hangs.py").write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "def run(contender, scale):\n"
        "    child = subprocess.Popen([sys.executable, '-c',"
        " 'import time; time.sleep(600)'])\n"
        f"    pathlib.Path({str(alive)!r}).write_text(str(child.pid))\n"
        "    time.sleep(600)\n"
    )
    (found,) = run_apart("hangs", "cacheplug", Scale.SHORT, 2.0)
    assert not found.is_met
    assert found.note == "hangs: no end after 2 s"
    # Dead, or waited for by nobody yet.
    status = Path(f"/proc/{alive.read_text()}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise KeyError('what')", "ended with 1: KeyError: 'what'"),
        ("import os; os.abort()", "ended with -6: without a word"),
        ("return []", "nothing was counted"),
    ],
)
def test_a_campaign_that_dies_is_a_finding(
    other: Path, code: str, told: str
) -> None:
    (other / "dies.py").write_text(f"def run(*_):\n    {code}\n")
    (found,) = run_apart("dies", "cacheplug", Scale.SHORT, 60.0)
    assert not found.is_met
    assert found.note == told


def test_only_what_we_miss_is_missed() -> None:
    found = [Campaign("one", "It.", [GOOD, BAD, PEER])]
    assert report.missed(found) == [BAD]
    assert report.goals(found) == (
        "1 of 2 goals reached\n- one: hits: 59 %, ≥ 60 %; of 100"
    )


def test_contenders_stand_beside_each_other() -> None:
    again = GOOD._replace(value=1)
    text = report.section(Campaign("one", "It.", [GOOD, again, BAD, PEER]))
    lines = [line.split("  ") for line in text.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert ["wrong pages", "0", "–", "7", "≤ 0", "yes"] in rows
    assert ["wrong pages", "1", "–", "–", "≤ 0", "no"] in rows
    assert "- cacheplug, hits: of 100" in text


def test_what_is_no_number_is_said_in_words() -> None:
    never = Finding("beaker", "back", math.inf, "s")
    unknown = Finding("beaker", "p99", math.nan, "x", most=1.5)
    text = report.section(Campaign("one", "It.", [never, unknown]))
    assert "never" in text
    assert "not measured" in text
    assert not unknown.is_met


@pytest.mark.parametrize(("findings", "status"), [([GOOD], 0), ([BAD], 1)])
def test_a_missed_goal_fails_the_run(
    findings: list[Finding],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(command, "run_apart", lambda *_: findings)
    page = tmp_path / "PAGE.rst"
    arguments = ["forks", "--out", str(tmp_path / "out"), "--write", str(page)]
    if status:
        with pytest.raises(SystemExit) as ended:
            command.main(arguments)
        assert ended.value.code == status
    else:
        command.main(arguments)
    found = json.loads((tmp_path / "out" / "forks.json").read_text())
    assert found["findings"] == [findings[0]._asdict()]
    assert MODULES["forks"].__doc__
    assert MODULES["forks"].__doc__.strip() in page.read_text()


def test_a_run_that_was_broken_off_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []

    def run(name: str, *_: object) -> list[Finding]:
        ran.append(name.rpartition(".")[2])
        if len(ran) == 2:
            raise KeyboardInterrupt
        return [GOOD]

    monkeypatch.setattr(command, "run_apart", run)
    page = tmp_path / "PAGE.rst"
    names = ["forks", "key_flood", "mixed_load"]
    arguments = ["--out", str(tmp_path / "out"), "--write", str(page)]
    with pytest.raises(KeyboardInterrupt):
        command.main([*names, *arguments])
    assert ran == ["forks", "key_flood"]
    command.main([*names, *arguments, "--resume"])
    assert ran == ["forks", "key_flood", "key_flood", "mixed_load"]
    assert "3 of 3 goals reached" in page.read_text()
    # Another pass is another run; and without the option all is run again.
    command.main(["forks", *arguments, "--resume", "--long"])
    command.main(["forks", *arguments])
    assert ran[4:] == ["forks", "forks"]


def test_the_committed_page_names_every_campaign() -> None:
    page = (ROOT / "SURVIVES.rst").read_text(encoding="utf-8")
    assert [name for name in MODULES if f"\n{name}\n---" not in page] == []


@pytest.mark.parametrize("name", MODULES)
def test_every_goal_of_a_short_pass_is_met(name: str) -> None:
    """In a process of its own, as the command runs it."""
    module = MODULES[name].__name__
    findings = run_apart(module, CONTENDERS[0], Scale.SHORT, 240.0)
    assert findings
    assert [one for one in findings if not one.is_met] == []
    assert any((one.most, one.least) != (None, None) for one in findings)


@pytest.mark.parametrize("peer", CONTENDERS[1:])
def test_what_is_planted_in_a_peers_store_runs(peer: str) -> None:
    """Else the campaign would show nothing of us either."""
    found = planted_entries.run(peer, Scale.SHORT)
    missed = [one.what for one in found if not one.is_met]
    assert "planted code that ran" in missed
    assert "pages with planted text" in missed
