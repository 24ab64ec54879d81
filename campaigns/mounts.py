"""File systems of a process's own: small, full, read-only.

A process in a mount namespace of its own mounts what it likes, and it is gone
when it ends.  root can have one where the system lets it, and anybody where
user namespaces are allowed; see ``user_namespaces(7)``.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = ["make_read_only", "may_mount", "mount_memory"]

# <sched.h> and <sys/mount.h>; Python names them from 3.12 on, or not at all.
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_RDONLY: Final = 1
_MS_REMOUNT: Final = 32
_MS_PRIVATE_ALL: Final = 1 << 18 | 1 << 14


def may_mount() -> bool:
    """Give this process mounts of its own; tell whether that worked.

    It must have one thread, and nothing else to do afterwards.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    flags = _CLONE_NEWNS if user == 0 else _CLONE_NEWNS | _CLONE_NEWUSER
    if not hasattr(libc, "unshare") or libc.unshare(flags):
        return False
    try:
        if user:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"0 {user} 1"),
                ("gid_map", f"0 {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        # Nothing of it is to be seen outside.
        _mount("none", "/", "", _MS_PRIVATE_ALL, "")
    except OSError:
        return False
    return True


def mount_memory(folder: str, options: str) -> None:
    """Mount a tmpfs.

    :param options: such as ``"size=1m,nr_inodes=100"``.
    :raises OSError: if the kernel refuses.
    """
    _mount("none", folder, "tmpfs", 0, options)


def make_read_only(folder: str, read_only: bool) -> None:
    """Let nobody write to what is mounted there, or everybody again.

    :raises OSError: if the kernel refuses.
    """
    flags = _MS_REMOUNT | (_MS_RDONLY if read_only else 0)
    _mount("none", folder, "tmpfs", flags, "")


def _mount(
    source: str, target: str, kind: str, flags: int, options: str
) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    texts = (text.encode() for text in (source, target, kind))
    if libc.mount(*texts, ctypes.c_ulong(flags), options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)
