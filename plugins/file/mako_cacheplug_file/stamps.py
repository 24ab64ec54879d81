"""Whether a file is the one that was read before, told by its status alone.

An entry's file is not changed in place: another payload is another file that
is renamed to the name.  So the name still leads to what was read if it leads
to the same file.  Its inode number does not tell that alone, as the kernel
gives the number of a removed file to a new one, at once.  The ``ctime`` does,
the time of an inode's last change, which nobody can set:

    A file that is made after a moment has a ctime of that moment or later.
    If the one that is read had an earlier ctime when it was opened, and the
    moment was before that, whatever takes its place has another ctime.

A file that is as young as the clock's last tick gets no stamp and is read
again.  It is the rule by which git trusts its index ("racy git" in its
documentation), with a moment that makes it exact:

* it is told by the clock from which the kernel takes ctimes.  That one
  stands still between two ticks, for some milliseconds, longer where a
  virtual machine gets no time; a clock that runs ahead of it would call a
  file old into whose tick the next one still falls.  Ctimes that newer
  kernels take from a finer clock are never before it;
* a ctime in whole seconds may come from a file system that knows no less:
  its second must be over;
* it holds where this kernel alone changes files.  Others have clocks of
  their own, and the status of a file in a network may be a cached one, a
  minute old.  So file systems are trusted by name.

Where the clock is set back, time comes twice.  A stamp then rests on more
numbers that would have to come twice: the inode's, the ctime to the
nanosecond, the mtime, which the writer took from its own clock, and the size.

What damages a file in place without a change of its ctime, as a bad disk
does, goes unnoticed: the copy is what was stored.
"""

from __future__ import annotations

import operator
import os
import sys
import time
from collections.abc import Callable
from typing import Final
from typing import NamedTuple

__all__ = ["Identity", "Stamp", "identity", "is_local", "is_over", "moment"]

Identity = tuple[int, int, int, int, int]

identity: Final[Callable[[os.stat_result], Identity]] = operator.attrgetter(
    "st_ino", "st_ctime_ns", "st_mtime_ns", "st_size", "st_dev"
)
"""Returns what no other file has, given that :func:`is_over`."""

_LOCAL: Final = frozenset(
    {b"bcachefs", b"btrfs", b"ext2", b"ext3", b"ext4", b"f2fs", b"overlay"}
    | {b"ramfs", b"tmpfs", b"xfs", b"zfs"}
)
"""File systems that one kernel changes, and that keep no status for later."""

_LINUX: Final = sys.platform.startswith("linux")
_CLOCK_REALTIME_COARSE: Final = 5  # <linux/time.h>; Python does not name it.
_SECOND: Final = 10**9


class Stamp(NamedTuple):
    """What was read, for as long as its file is the same."""

    name: str
    """The file's."""

    identity: Identity

    expires: float
    """The entry's expiry, in seconds since 1970."""


def moment() -> int:
    """Return the time from which on new files have their ctimes.

    Nanoseconds since 1970; 0 on systems of which it is not known.
    """
    return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) if _LINUX else 0


def is_over(ctime_ns: int, moment: int) -> bool:
    """Tell whether no file gets this ctime any more, from *moment* on."""
    grain = 1 if ctime_ns % _SECOND else _SECOND
    return ctime_ns + grain <= moment


def is_local(fd: int) -> bool:
    """Tell whether an open file is on a file system of this kernel alone.

    One that cannot be found out about is not.
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as fields:
            mount = next(f.split()[1] for f in fields if f[:4] == b"mnt_")
        # proc(5): "36 35 98:0 /mnt1 /mnt2 rw shared:1 - ext4 /dev/sda rw"
        with open("/proc/self/mountinfo", "rb") as mounts:
            line = next(m for m in mounts if m.split(b" ", 1)[0] == mount)
        return line.partition(b" - ")[2].split()[0] in _LOCAL
    except (OSError, LookupError, StopIteration):
        return False
