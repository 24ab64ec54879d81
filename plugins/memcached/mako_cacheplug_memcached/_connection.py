"""What the backend needs of a client library: one connection, one server.

There is one small adapter module for each library.  Choosing a server,
pooling, time limits on a whole call and turning errors into
``BackendError`` are the same for all of them and lie above.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final
from typing import Protocol
from typing import TypeAlias

from mako_cacheplug.api import NoValue
from mako_cacheplug.exceptions import OptionError

__all__ = [
    "CLIENTS",
    "MARK_FLAGS",
    "Address",
    "Connect",
    "Connection",
    "TooLarge",
    "find_connect",
]

CLIENTS: Final = ("pylibmc", "pymemcache")
"""The client libraries, the preferred one first."""

MARK_FLAGS: Final = 0x6D00
"""Not a bit among them that a client library has a meaning for."""

Address: TypeAlias = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


class TooLarge(Exception):  # noqa: N818  # an answer, not a failure
    """The server refuses an item of this size; the connection is good."""


class Connection(Protocol):
    """A connection to one server, for one thread at a time.

    It connects at its first use.  Whatever a method raises, except
    :exc:`TooLarge`, means that the connection must not be used again.

    Keys are 1 to 250 bytes that the caller has checked.  Values are bytes,
    stored with flags 0, marks with :data:`MARK_FLAGS`; an item with other
    flags is some other program's and a miss.  *exptime* is memcached's.
    """

    def get(self, key: bytes) -> bytes | NoValue:
        """Return the value under *key*."""

    def get_many(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """Return the values that are there, in one trip."""

    def set(self, key: bytes, value: bytes, exptime: int) -> None:
        """Store *value*."""

    def set_many(self, values: dict[bytes, bytes], exptime: int) -> None:
        """Store all *values*, in one trip.

        One that the server has no room for may be gone without an error.
        After :exc:`TooLarge` it is not known which others were stored.
        """

    def add(self, key: bytes, value: bytes, exptime: int) -> bool:
        """Store *value* if nothing is there; tell whether it did.

        Raises :exc:`TooLarge` as :meth:`set`.
        """

    def mark(self, key: bytes, token: bytes, exptime: int) -> bool:
        """Store a mark if nothing is there; tell whether it did.

        It is a miss to all but :meth:`gets`.
        """

    def delete(self, key: bytes) -> None:
        """Remove *key*, if it is there."""

    def delete_many(self, keys: list[bytes]) -> None:
        """Remove all *keys* that are there, in one trip."""

    def gets(self, key: bytes) -> tuple[bytes, object] | None:
        """Return the value, or a mark's token, and its CAS number.

        ``None`` if there is neither.  Another program's item is empty; one
        that cannot be read is removed.
        """

    def cas(
        self, key: bytes, value: bytes, unique: object, exptime: int
    ) -> bool:
        """Store *value* if nobody wrote since; tell whether it did.

        Raises :exc:`TooLarge` as :meth:`set`.
        """

    def flush(self) -> None:
        """Remove everything from the server."""

    def usage(self) -> tuple[int, int]:
        """Return the number of items and of bytes."""

    def close(self) -> None:
        """Give the connection back."""

    def abandon(self) -> None:
        """Forget a connection that belongs to the parent process.

        Nothing may be sent on it nor read from it, now or at the end of this
        process, not even by a call that is on its way: a greenlet's goes on
        in the child, too.
        """


class Connect(Protocol):
    """Makes connections; an adapter module's ``connect``."""

    def __call__(
        self, address: Address, connect_timeout: float, timeout: float
    ) -> Connection:
        """Return a connection that is not connected yet.

        :param connect_timeout: seconds for connecting.
        :param timeout: seconds for sending, and for an answer.
        """


def find_connect(client: str) -> tuple[str, Connect]:
    """Return the name of the client to use and its ``connect``.

    :param client: one of :data:`CLIENTS`, or ``"auto"`` for the first that
        is installed.  Where gevent has patched the sockets, it is the last:
        pylibmc waits in C, and all greenlets with it.
    :raises OptionError: if it is not installed, naming what to install, or
        cannot be imported.
    """
    wanted = CLIENTS if client == "auto" else (client,)
    if _is_patched():
        wanted = wanted[::-1]
    reason = ""
    for name in wanted:
        try:
            adapter = importlib.import_module(
                f"mako_cacheplug_memcached._{name}"
            )
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            # As in an interpreter beside the main one.
            reason = f" ({name} cannot be imported: {error})"
            continue
        connect: Connect = adapter.connect
        return name, connect
    raise OptionError(
        f"option 'client': {client!r} is not installed: pip install"
        f" mako-cacheplug-memcached[{wanted[-1]}]{reason}",
        option="client",
        value=client,
    )


def _is_patched() -> bool:
    """Tell whether gevent has replaced the sockets of this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))
