"""Keeping a store within its bound without ever looking at all of it.

How many bytes each of the 256 folders holds is written in one small file
that every process reads and updates at each write: so each of them knows
how full the store is, also just after a restart.  Two that update one figure
at the same instant may lose one of the two changes.  That does no harm:
the figures only say when to make room, and a folder that gives some is
counted anew.

Room is made by the writer that finds none, one process at a time, a little
at a time: it lists folder after folder in turn until it has seen a fair
number of entries, and removes the oldest of those.  A small store is seen as
a whole; in a large one an entry leaves when it is among the oldest quarter
of some folders, which comes close to the order of age.  The order of use
would need a write at every read.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
from collections.abc import Iterator
from typing import Final
from typing import NamedTuple

from mako_cacheplug.exceptions import BackendError
from mako_cacheplug_file.folders import Folder
from mako_cacheplug_file.folders import Folders
from mako_cacheplug_file.folders import LEFT_OVER_SECONDS
from mako_cacheplug_file.folders import MARK
from mako_cacheplug_file.folders import open_plain
from mako_cacheplug_file.folders import remove
from mako_cacheplug_file.folders import SHARDS
from mako_cacheplug_file.folders import TEMPORARY
from mako_cacheplug_file.locks import FileMutex

__all__ = ["File", "Ledger", "files_in", "make_room"]

_NAME_LENGTH: Final = 32
_OWN: Final = re.compile(
    rf"(?:{MARK})?[0-9a-f]{{32}}|{TEMPORARY}[0-9a-f]{{16}}-[0-9]+"
)
"""Names of entries, of marks, and of files that are being written."""

_AHEAD_NS: Final = 60 * 10**9
"""How much younger than now a file can be without a clock that was wrong."""

_FEW: Final = 512
"""Entries that are seen, where there are so many, before one is removed."""

_CELLS: Final = struct.Struct(f"<{len(SHARDS)}Q")
_CELL: Final = struct.Struct("<Q")
_NUMBER: Final = {shard: number for number, shard in enumerate(SHARDS)}


class File(NamedTuple):
    """A file of the store; the oldest sorts first."""

    mtime_ns: int
    name: str
    shard: str
    size: int

    @property
    def is_entry(self) -> bool:
        """Whether it is an entry, not a mark or being written."""
        return len(self.name) == _NAME_LENGTH

    def is_left_over(self, now: float) -> bool:
        """Tell whether it is no entry, and nobody will make it one.

        :param now: seconds since 1970.
        """
        if self.is_entry:
            return False
        # One of the future is as lost: the clock was set back since.
        return abs(now - self.mtime_ns / 1e9) > LEFT_OVER_SECONDS


def files_in(names: list[str], shard: str, folder: int) -> Iterator[File]:
    """Give those of *names* that are the store's own.

    :param names: the names in the folder.
    :param folder: its open descriptor.
    :raises OSError: if they cannot be looked at.
    """
    for name in names:
        if not _OWN.fullmatch(name):
            continue  # Somebody else's.
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue  # Removed since.
        if not stat.S_ISDIR(status.st_mode):
            yield File(status.st_mtime_ns, name, shard, status.st_size)


class Ledger:
    """How many bytes of entries are in each folder, as far as is known.

    Zero means empty or not counted yet.  A context, opened for one use, as
    the file may be removed with its root at any time.

    :param path: the file.
    :raises OSError: if it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._fd = open_plain(path)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._fd)

    def read(self) -> tuple[int, ...]:
        """Return the bytes in each folder."""
        data = os.pread(self._fd, _CELLS.size, 0)
        return _CELLS.unpack(data.ljust(_CELLS.size, b"\0"))

    def turn(self) -> int:
        """Return the number of the folder that gives room next."""
        data = os.pread(self._fd, 1, _CELLS.size)
        return data[0] if data else 0

    def take_turn(self, shard: str) -> None:
        """Note which folder gives room next."""
        os.pwrite(self._fd, bytes([_NUMBER[shard]]), _CELLS.size)

    def put(self, shard: str, size: int) -> None:
        """Note that a folder holds *size* bytes."""
        # Within what a cell can hold, whatever stood there: a file that is
        # all holes may say that it is as large as it likes.
        data = _CELL.pack(min(max(size, 0), 2**62))
        os.pwrite(self._fd, data, _NUMBER[shard] * _CELL.size)

    def add(self, shard: str, change: int) -> None:
        """Note that *change* bytes came to a folder, or left it."""
        place = _NUMBER[shard] * _CELL.size
        data = os.pread(self._fd, _CELL.size, place)
        (size,) = _CELL.unpack(data.ljust(_CELL.size, b"\0"))
        self.put(shard, size + change)


def make_room(
    folders: Folders,
    ledger: Ledger,
    mutex: FileMutex,
    max_bytes: int,
    size: int,
    now_ns: int,
) -> None:
    """See to it that *size* more bytes fit, if they do not.

    While another process makes room, this one writes on, up to a sixteenth
    over the bound: what is noted can be a little less than what is there, and
    a tenth is never passed.

    :param mutex: the right to make room, not acquired.
    :param now_ns: nanoseconds since 1970.
    :raises BackendError: if there is no room and this process cannot make
        it.
    :raises OSError: if no folder can be read, or no file be removed.
    """
    total = sum(ledger.read())
    if total + size <= max_bytes:
        return
    if mutex.acquire():
        try:
            # A little more than is needed, or every write would list files.
            slack = max(min(max_bytes // 32, 2**20), max_bytes // 1024)
            goal = max(max_bytes - size - slack, 0)
            _cull(folders, ledger, goal, now_ns)
        finally:
            mutex.release()
    elif total + size > max_bytes + max_bytes // 16:
        raise BackendError(
            f"{folders.root} is full, and who makes room is not done yet"
        )


def _cull(folders: Folders, ledger: Ledger, goal: int, now_ns: int) -> None:
    """Remove the oldest entries until *goal* bytes are left.

    Those of the future first: since the clock was set back, all that is
    stored would be older, and leave at once.  What dead writers left goes,
    too: it takes room that is not noted.  A folder that cannot be read, or
    from which nothing can be removed, is left out: the others make room.

    :raises OSError: if that is so of all of them.
    """
    latest = now_ns + _AHEAD_NS
    cells = dict(zip(SHARDS, ledger.read(), strict=True))
    begin = ledger.turn()
    # The seemingly empty ones too: they may be not counted yet.
    turn = [*SHARDS[begin:], *SHARDS[:begin]]
    waiting: list[str] = []

    def leave_out(shard: str, error: OSError) -> None:
        turn.remove(shard)
        if not turn:
            raise error
        cells[shard] = 0
        # Counted again when something is written to it.
        ledger.put(shard, 0)

    while sum(cells.values()) > goal:
        if not waiting:
            waiting = turn[::-1]
        taken = 0
        seen: list[File] = []
        while waiting and len(seen) < _FEW:
            shard = waiting.pop()
            noted = ledger.read()[_NUMBER[shard]]
            try:
                found = _entries_in(folders, shard, now_ns / 1e9)
            except OSError as error:
                leave_out(shard, error)
                continue
            taken += 1
            cells[shard] = sum(file.size for file in found)
            if cells[shard] != noted:
                # Not put: what others write meanwhile would be forgotten.
                ledger.add(shard, cells[shard] - noted)
            seen += found
        if not seen and taken == len(turn):
            break  # Nothing is there: the figures are right by now.
        seen.sort(key=lambda file: (file.mtime_ns <= latest, file))
        if taken < len(turn):
            del seen[len(seen) // 4 + 1 :]
        refused = _remove_until(folders, ledger, cells, seen, goal)
        for shard, why in refused.items():
            leave_out(shard, why)
    if waiting:
        ledger.take_turn(waiting[-1])


def _entries_in(folders: Folders, shard: str, now: float) -> list[File]:
    """Return a folder's entries, and remove what is left over there."""
    found: list[File] = []
    with folders.listing(shard) as (names, fd):
        for file in files_in(names, shard, fd):
            if file.is_entry:
                found.append(file)
            elif file.is_left_over(now):
                with contextlib.suppress(OSError):
                    remove(file.name, fd)
    return found


def _remove_until(
    folders: Folders,
    ledger: Ledger,
    cells: dict[str, int],
    files: list[File],
    goal: int,
) -> dict[str, OSError]:
    """Return the folders from which something could not be removed."""
    total = sum(cells.values())
    # Opened now: who has moved a store away has its files there.
    opened: dict[str, Folder] = {}
    removed: dict[str, int] = {}
    refused: dict[str, OSError] = {}
    for file in files:
        if total <= goal:
            break
        shard = file.shard
        try:
            if shard not in opened:
                opened[shard] = folders.open(shard)
            is_ours = remove(file.name, opened[shard].fd)
        except OSError as error:
            refused[shard] = error
            continue
        total -= file.size
        cells[shard] -= file.size
        if is_ours:  # Who else removes one has noted it.
            removed[shard] = removed.get(shard, 0) + file.size
    for shard, size in removed.items():
        ledger.add(shard, -size)
    return refused
