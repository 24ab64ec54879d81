"""Going through the whole store, to remove what is over.

Nothing stops half way: what cannot be read or removed, as after a change of
permissions, is left where it is, and told when everything else is done.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from mako_cacheplug_file import culling
from mako_cacheplug_file import record
from mako_cacheplug_file.culling import File
from mako_cacheplug_file.culling import Ledger
from mako_cacheplug_file.folders import Folders
from mako_cacheplug_file.folders import NO_FILE
from mako_cacheplug_file.folders import READ
from mako_cacheplug_file.folders import remove
from mako_cacheplug_file.folders import SHARDS

__all__ = ["is_over", "sweep"]

IsOver = Callable[[File, int], bool]


def is_over(file: File, folder: int, now: float) -> bool:
    """Tell whether an entry has expired, or what is none has lost its maker.

    :param folder: an open descriptor.
    :param now: seconds since 1970.
    :raises OSError: if it cannot be read.
    """
    if not file.is_entry:
        return file.is_left_over(now)
    try:
        fd = os.open(file.name, READ, dir_fd=folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in NO_FILE:
            return True
        raise
    try:
        return now >= record.expiry(fd)
    except BlockingIOError:
        return True  # A pipe to which somebody might write.
    finally:
        os.close(fd)


def sweep(folders: Folders, ledger: str, *turns: IsOver) -> int:
    """Remove the files that are over; return how many.

    :param ledger: its path.
    :param turns: each goes through a folder before the next one does, and
        tells of a file in an open folder whether it is over.
    :raises OSError: the first one, when everything has been tried.
    """
    removed = 0
    errors: list[OSError] = []
    for shard in SHARDS:
        for turn in turns:
            try:
                removed += _sweep_one(folders, ledger, shard, turn, errors)
            except OSError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return removed


def _sweep_one(
    folders: Folders,
    ledger: str,
    shard: str,
    turn: IsOver,
    errors: list[OSError],
) -> int:
    removed = left = 0
    with folders.listing(shard) as (names, fd):
        for file in list(culling.files_in(names, shard, fd)):
            try:
                if turn(file, fd):
                    removed += remove(file.name, fd)
                    continue
            except OSError as error:
                errors.append(error)
            if file.is_entry:
                left += file.size
    if removed:
        # They are gone, also where nothing can be noted.
        with contextlib.suppress(OSError), Ledger(ledger) as noted:
            noted.put(shard, left)
    return removed
