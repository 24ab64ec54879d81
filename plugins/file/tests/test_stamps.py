"""Stamps: what is served without being read, and when it is read again."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import Protocol

import pytest
from mako.template import Template
from mako_cacheplug_file import FileBackend
from mako_cacheplug_file import stamps

from mako_cacheplug import BackendError
from mako_cacheplug import CacheRegion
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsRevalidation
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.options import StoreURL

Start = Callable[..., "subprocess.Popen[str]"]

SECOND = 10**9


class Clock(Protocol):
    """What the fixture gives: seconds that pass when told to."""

    now: float

    def __call__(self) -> float: ...


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was just written be old."""
    real = stamps.moment
    monkeypatch.setattr(stamps, "moment", lambda: real() + SECOND)


def entry(root: Path) -> Path:
    """Return the file of the only entry."""
    (path,) = (path for path in root.glob("??/*") if len(path.name) == 32)
    return path


def stamp_of(backend: FileBackend, key: str = "k") -> object:
    """Return the stamp of what is there."""
    answer = backend.get_if_changed(key, None)
    assert isinstance(answer, tuple)
    assert isinstance(answer[1], stamps.Stamp)
    return answer[1]


@pytest.mark.parametrize(
    ("ctime_ns", "moment", "over"),
    [
        (1_500_000_000, 1_499_999_999, False),
        (1_500_000_000, 1_500_000_000, False),
        (1_500_000_000, 1_500_000_001, True),
        # Perhaps of a file system that knows no more than seconds.
        (2_000_000_000, 2_000_000_001, False),
        (2_000_000_000, 2_999_999_999, False),
        (2_000_000_000, 3_000_000_000, True),
        # The clock was set back, or is not known.
        (1_500_000_000, 1, False),
        (1_500_000_000, 0, False),
    ],
)
def test_a_ctime_is_over_when_no_other_file_gets_it(
    ctime_ns: int, moment: int, over: bool
) -> None:
    assert stamps.is_over(ctime_ns, moment) is over


def test_new_files_are_not_older_than_the_moment(tmp_path: Path) -> None:
    """By the clock that the kernel takes for them."""
    for number in range(2000):
        moment = stamps.moment()
        path = tmp_path / str(number)
        path.touch()
        assert path.stat().st_ctime_ns >= moment
    # It is the present's, not a clock of its own.
    assert abs(time.time_ns() - stamps.moment()) < SECOND


def test_a_file_as_young_as_the_moment_gets_no_stamp(
    backend: FileBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one could have the same number and the same ctime."""
    backend.set("k", b"v", None)
    ctime = entry(root).stat().st_ctime_ns
    monkeypatch.setattr(stamps, "moment", lambda: ctime)
    assert backend.get_if_changed("k", None) == (b"v", None)
    monkeypatch.setattr(stamps, "moment", lambda: ctime + SECOND)
    assert backend.get_if_changed("k", stamp_of(backend)) is UNCHANGED


def test_the_moment_is_before_the_file_is_opened(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What replaces it after the moment is what is read."""
    backend.set("k", b"old", None)
    real = stamps.moment

    def moment() -> int:
        now = real()
        backend.set("k", b"new", None)
        return now

    monkeypatch.setattr(stamps, "moment", moment)
    assert backend.get_if_changed("k", None) == (b"new", None)


@pytest.mark.usefixtures("over")
def test_the_status_is_of_before_the_bytes_are_read(
    backend: FileBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens to the file while it is read is a change."""
    backend.set("k", b"v", None)
    real = os.read

    def read(fd: int, size: int) -> bytes:
        data = real(fd, size)
        entry(root).chmod(0o640)
        return data

    monkeypatch.setattr(os, "read", read)
    stamp = stamp_of(backend)
    monkeypatch.undo()
    assert backend.get_if_changed("k", stamp) is not UNCHANGED


def test_local_file_systems_are_known_by_name(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        assert stamps.is_local(file.fileno())
    with open("/proc/self/status", "rb") as file:
        assert not stamps.is_local(file.fileno())
    assert not stamps.is_local(-1)


@pytest.mark.usefixtures("over")
def test_files_of_other_file_systems_get_no_stamp(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.set("k", b"v", None)
    asked: list[int] = []

    def is_local(fd: int) -> bool:
        asked.append(fd)
        return False

    monkeypatch.setattr(stamps, "is_local", is_local)
    for _ in range(100):
        assert backend.get_if_changed("k", None) == (b"v", None)
    # To find out is dear.
    assert len(asked) < 100


@pytest.mark.usefixtures("over")
def test_a_stamp_ends_with_the_entrys_time(
    backend: FileBackend, clock: Clock
) -> None:
    backend.set("k", b"v", 10.0)
    stamp = stamp_of(backend)
    clock.now += 9.0
    assert backend.get_if_changed("k", stamp) is UNCHANGED
    clock.now += 1.0
    assert backend.get_if_changed("k", stamp) is NO_VALUE
    clock.now -= 1.0
    assert backend.get_if_changed("k", stamp) is UNCHANGED


def _link(file: Path) -> None:
    os.link(file, file.with_name("another"))


@pytest.mark.usefixtures("over")
@pytest.mark.parametrize(
    "touch",
    [
        lambda file: os.utime(file),
        lambda file: file.chmod(0o640),
        lambda file: _link(file),
        lambda file: file.write_bytes(file.read_bytes()),
    ],
    ids=["utime", "chmod", "link", "write"],
)
def test_a_touched_file_is_read_again(
    backend: FileBackend, root: Path, touch: Callable[[Path], None]
) -> None:
    backend.set("k", b"v", None)
    stamp = stamp_of(backend)
    touch(entry(root))
    answer = backend.get_if_changed("k", stamp)
    assert isinstance(answer, tuple)
    assert answer[0] == b"v"


def _replace(file: Path, make: Callable[[Path], object]) -> None:
    file.rename(file.with_name("away"))
    make(file)


@pytest.mark.usefixtures("over")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: os.truncate(file, 10),
        lambda file: file.write_bytes(b"x" * file.stat().st_size),
        lambda file: _replace(file, lambda f: f.symlink_to("away")),
        lambda file: _replace(file, os.mkdir),
        lambda file: _replace(file, os.mkfifo),
        lambda file: file.unlink(),
        lambda file: shutil.rmtree(file.parent),
    ],
    ids=["empty", "cut", "over", "link", "folder", "fifo", "gone", "all"],
)
def test_a_spoilt_file_is_a_miss_for_who_has_a_copy(
    backend: FileBackend, root: Path, spoil: Callable[[Path], None]
) -> None:
    backend.set("k", b"value" * 10, None)
    stamp = stamp_of(backend)
    spoil(entry(root))
    assert backend.get_if_changed("k", stamp) is NO_VALUE


@pytest.mark.usefixtures("over")
def test_a_link_to_what_was_read_is_not_followed(
    backend: FileBackend, root: Path
) -> None:
    backend.set("k", b"v", None)
    stamp = stamp_of(backend)
    file = entry(root)
    away = file.parent.rename(root / "away")
    file.parent.mkdir()
    file.symlink_to(away / file.name)
    backend.close()
    assert backend.get_if_changed("k", stamp) is NO_VALUE


@pytest.mark.usefixtures("over")
def test_a_moved_root_is_noticed_when_it_is_opened_again(
    backend: FileBackend, root: Path
) -> None:
    backend.set("k", b"v", None)
    stamp = stamp_of(backend)
    root.rename(root.with_name("away"))
    # Within the second for which a read goes through it, too.
    assert backend.get_if_changed("k", stamp) is UNCHANGED
    assert backend.get("k") == b"v"
    backend.close()
    assert backend.get_if_changed("k", stamp) is NO_VALUE
    root.touch()
    with pytest.raises(BackendError):
        backend.get_if_changed("k", stamp)


@pytest.mark.usefixtures("over")
def test_a_folder_is_not_closed_while_it_is_looked_into(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number could by then be that of another one."""
    backend.set("k", b"v", None)
    stamp = stamp_of(backend)
    real = os.stat

    def stat(*args: Any, **kw: Any) -> os.stat_result:
        backend.close()  # As another thread may.
        return real(*args, **kw)

    monkeypatch.setattr(os, "stat", stat)
    assert backend.get_if_changed("k", stamp) is UNCHANGED


@pytest.mark.usefixtures("over")
def test_a_stamp_of_no_store_of_files_means_nothing(
    backend: FileBackend,
) -> None:
    backend.set("k", b"v", None)
    answer = backend.get_if_changed("k", ("k", 1, 2))
    assert isinstance(answer, tuple)
    assert answer[0] == b"v"


@pytest.mark.usefixtures("over")
def test_a_hit_opens_no_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    real = os.open

    def counting(path: Any, *args: Any, **kw: Any) -> int:
        opened.append(path)
        return real(path, *args, **kw)

    def hit(query: str) -> list[Any]:
        region = CacheRegion(f"file://{root}?{query}")
        region.set("k", "v")
        assert region.get("k") == "v"
        del opened[:]
        for _ in range(10):
            assert region.get("k") == "v"
        return [path for path in opened if len(path) == 32]

    monkeypatch.setattr(os, "open", counting)
    assert hit("max_bytes=1g") == []
    assert len(hit("max_copied_bytes=0")) >= 10


@pytest.mark.usefixtures("over")
def test_a_page_shows_what_another_process_did(
    root: Path, start: Start
) -> None:
    """Served from copies until then, and at once after it."""
    process = start(
        """
        from mako_cacheplug import CacheRegion
        region = CacheRegion(f"file://{args[0]}")
        for line in sys.stdin:
            region.invalidate_tags("news")
            print("done", flush=True)
        """,
        root,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    shown = [0]
    template = Template(
        """<%def name="news()" cached="True" cache_tags="news">\\
${shown[0]}</%def>${news()}""",
        cache_impl="cacheplug",
        cache_args={"url": f"file://{root}"},
    )
    for number in range(1, 10):
        assert template.render(shown=shown) == str(number - 1)
        shown[0] = number
        assert template.render(shown=shown) == str(number - 1)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        assert template.render(shown=shown) == str(number)


def test_the_bound_of_copies_is_an_option(backend: FileBackend) -> None:
    def bound(query: str) -> int | None:
        url = StoreURL.parse(f"file:///srv/c{query}")
        return FileBackend.from_url(url).max_copied_bytes

    assert isinstance(backend, SupportsRevalidation)
    assert bound("") == 2**24
    assert bound("?max_copied_bytes=64m") == 2**26
    assert bound("?max_copied_bytes=0") == 0
    assert bound("?max_copied_bytes=none") is None
