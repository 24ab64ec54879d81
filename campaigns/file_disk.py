"""The disk of a file store is full, read-only, closed or gone.

Pages render by several threads before, while and after each accident, and
are compared with what they show uncached; some of what they need is stored
already, and some is new.  Whatever may not be done to a real disk here, is
done to the process: a limit on the size of files stands for a full disk
where nothing can be mounted.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from typing import NamedTuple

from mako.template import Template

from benchmarks.contenders import beaker
from benchmarks.contenders import Contender
from benchmarks.contenders import dogpile
from benchmarks.contenders import ours
from campaigns.findings import Finding
from campaigns.findings import Scale
from campaigns.mounts import make_read_only
from campaigns.mounts import may_mount
from campaigns.mounts import mount_memory
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import give_up_privileges
from mako_cacheplug.testing.running import in_threads

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")

_ROUNDS: Final = {Scale.SHORT: 20, Scale.LONG: 1000}
_PEERS_ROUNDS: Final = 100
_THREADS: Final = 2
_STORED: Final = 5
_BACK_SECONDS: Final = 8.0
"""Less than ``wait``, for which a lock that nobody gave back would hold."""
_LATE_SECONDS: Final = 600.0

_TMPFS: Final = "size=4m,nr_inodes=1500"

_PAGE: Final = """
<%def name="box(n)" cached="True" cache_key="${str(n)}">${made(n)}</%def>
% for n in numbers:
${box(n)}
% endfor
"""


class _Renders(NamedTuple):
    """What they were like, added up."""

    done: int = 0
    raised: int = 0
    wrong: int = 0
    errors: frozenset[str] = frozenset()
    """The kinds of those that raised."""

    def __add__(self, other: object) -> _Renders:
        assert isinstance(other, _Renders)
        return _Renders(
            self.done + other.done,
            self.raised + other.raised,
            self.wrong + other.wrong,
            self.errors | other.errors,
        )


class _Accident(NamedTuple):
    """What happens to a folder in which a store is."""

    begin: Callable[[Path], object]
    """Is called with the store's folder, as are the others."""

    end: Callable[[Path], object]
    again: Callable[[Path], object] = lambda store: None
    """Before each render."""

    prepare: Callable[[Path], bool] = lambda outer: True
    """Is called with the folder above before there is a store; tells whether
    it can be done here."""


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return how pages rendered during all of the accidents."""
    rounds = _ROUNDS[scale]
    if contender != "cacheplug":
        rounds = min(rounds, _PEERS_ROUNDS)
    total, lasting = _Renders(), []
    tried: list[str] = []
    raising: list[str] = []
    for name, accident in _ACCIDENTS.items():
        found = _suffer(contender, accident, rounds)
        if found is None:
            continue
        tried.append(name)
        renders, is_back = found
        total += renders
        if renders.raised:
            raising.append(f"{name}: {', '.join(sorted(renders.errors))}")
        if not is_back:
            lasting.append(name)
    missing = [name for name in _ACCIDENTS if name not in tried]
    note = f"{total.done} renders; " + ", ".join(tried)
    if missing:
        note += "; not tried, nothing can be mounted: " + ", ".join(missing)
    return [
        Finding(contender, "accidents", len(tried), least=7, note=note),
        Finding(
            contender,
            "renders that raised",
            total.raised,
            most=0,
            note="; ".join(raising),
        ),
        Finding(contender, "wrong pages", total.wrong, most=0),
        Finding(
            contender,
            "accidents after which nothing is cached",
            len(lasting),
            most=0,
            note=", ".join(lasting),
        ),
    ]


def _suffer(
    contender: str, accident: _Accident, rounds: int
) -> tuple[_Renders, bool] | None:
    """Return how pages rendered, and whether they are cached after it.

    In a process of its own, which may give away its rights.  ``None`` if the
    accident cannot be had here.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = functools.partial(
            _render_meanwhile, contender, accident, Path(folder), rounds
        )
        with children(work) as (child,):
            found: tuple[_Renders, bool] | None = child.result(_LATE_SECONDS)
            return found


def _render_meanwhile(
    contender: str, accident: _Accident, outer: Path, rounds: int
) -> tuple[_Renders, bool] | None:
    if not accident.prepare(outer):
        return None
    store = outer / "store"
    template = Template(  # no user's
        _PAGE, **_CONTENDERS[contender](store).template_args
    )
    new = itertools.count(_STORED)
    renders = _render(template, range(_STORED)) + _render(
        template, [*range(_STORED), next(new)]
    )

    def render() -> _Renders:
        found = _Renders()
        for _ in range(rounds):
            accident.again(store)
            found += _render(template, [*range(_STORED), next(new)])
        return found

    accident.begin(store)
    try:
        for found in in_threads([render] * _THREADS, _LATE_SECONDS):
            renders += found
    finally:
        accident.end(store)
    return renders, _is_cached_again(template)


def _render(template: Template, numbers: Iterable[int]) -> _Renders:
    text = ""
    try:
        text = template.render(numbers=numbers, made=_text)
    except Exception as error:  # it is what is counted
        return _Renders(1, raised=1, errors=frozenset({type(error).__name__}))
    return _Renders(1, wrong=text.split() != [*map(_text, numbers)])


def _text(number: int) -> str:
    return f"box-{number}-".ljust(3000, ".")


def _is_cached_again(template: Template) -> bool:
    until = time.monotonic() + _BACK_SECONDS
    while time.monotonic() < until:
        made: list[int] = []

        def text(number: int, made: list[int] = made) -> str:
            made.append(number)
            return _text(number)

        with contextlib.suppress(Exception):
            template.render(numbers=range(_STORED), made=text)
            if not made:
                return True
        time.sleep(0.05)
    return False


def _limit(kind: int, soft: int) -> None:
    """Set a limit that can be lifted again; -1 is the highest there is."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (hard if soft < 0 else soft, hard))


def _take_descriptors(store: Path) -> None:
    fds = [os.open("/", os.O_RDONLY) for _ in range(300)]
    _limit(resource.RLIMIT_NOFILE, max(fds) + 1)


def _limit_files(store: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _limit(resource.RLIMIT_FSIZE, 0)


def _as_anybody(outer: Path) -> bool:
    give_up_privileges()
    return True


def _permit(mode: int, store: Path) -> None:
    store.chmod(0o700)
    for path in store.glob("*"):
        if path.is_dir():
            path.chmod(mode)
    store.chmod(mode)


def _put_file(store: Path) -> None:
    store.rename(store.with_name("away"))
    store.write_bytes(b"in the way")


def _put_links(store: Path) -> None:
    outside = store.with_name("outside")
    outside.mkdir()
    for number in range(256):
        shard = store / f"{number:02x}"
        shutil.rmtree(shard, ignore_errors=True)
        shard.symlink_to(outside)


def _take_links(store: Path) -> None:
    for path in store.glob("*"):
        if path.is_symlink():
            path.unlink()


def _own_disk(outer: Path) -> bool:
    if not may_mount():
        return False
    mount_memory(str(outer), _TMPFS)
    return True


def _fill(store: Path) -> None:
    with (
        open(store.parent / "large", "wb", buffering=0) as file,
        contextlib.suppress(OSError),
    ):
        while file.write(bytes(4096)):
            pass


def _take_inodes(store: Path) -> None:
    many = store.parent / "many"
    many.mkdir()
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (many / str(number)).touch()


_ACCIDENTS: Final[dict[str, _Accident]] = {
    "files may not grow": _Accident(
        _limit_files, lambda store: _limit(resource.RLIMIT_FSIZE, -1)
    ),
    "no descriptors": _Accident(
        _take_descriptors, lambda store: _limit(resource.RLIMIT_NOFILE, -1)
    ),
    "no permission": _Accident(
        functools.partial(_permit, 0),
        functools.partial(_permit, 0o700),
        prepare=_as_anybody,
    ),
    "read-only folders": _Accident(
        functools.partial(_permit, 0o500),
        functools.partial(_permit, 0o700),
        prepare=_as_anybody,
    ),
    "folder removed again and again": _Accident(
        lambda store: None,
        lambda store: None,
        again=lambda store: shutil.rmtree(store, ignore_errors=True),
    ),
    "a file in its place": _Accident(_put_file, lambda store: store.unlink()),
    "links in it": _Accident(_put_links, _take_links),
    "disk full": _Accident(
        _fill,
        lambda store: (store.parent / "large").unlink(),
        prepare=_own_disk,
    ),
    "no inodes": _Accident(
        _take_inodes,
        lambda store: shutil.rmtree(store.parent / "many"),
        prepare=_own_disk,
    ),
    "disk read-only": _Accident(
        lambda store: make_read_only(str(store.parent), read_only=True),
        lambda store: make_read_only(str(store.parent), read_only=False),
        prepare=_own_disk,
    ),
}


def _dogpile(store: Path) -> Contender:
    store.mkdir()
    return dogpile("dogpile.cache", "dbm", filename=str(store / "dbm"))


_CONTENDERS: Final[dict[str, Callable[[Path], Contender]]] = {
    "cacheplug": lambda store: ours("cacheplug", f"file://{store}"),
    "dogpile.cache": _dogpile,
    "beaker": lambda store: beaker("beaker", type="file", dir=str(store)),
}
