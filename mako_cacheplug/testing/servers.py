"""Real servers for tests and benchmarks, on free ports of the loopback.

::

    with MemcachedServer() as server:
        region = CacheRegion(server.url)
        server.kill()

They can be killed, stopped (as a hanging server is) and started again on the
same port, and end with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from types import TracebackType
from typing import ClassVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "MemcachedServer",
    "RedisServer",
    "Server",
    "ServerNotInstalled",
    "free_port",
]

_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin")

START_SECONDS = 20.0
"""Longest that a server may take to answer after its start."""


class ServerNotInstalled(RuntimeError):  # noqa: N818  # it reads as a fact
    """The server's program is not on this machine.

    The message names the Debian package.
    """


def free_port() -> int:
    """Return a port of the loopback that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server program on a port of its own.

    :param arguments: more command-line arguments.
    :raises ServerNotInstalled: if the program cannot be found.
    """

    program: ClassVar[str]
    package: ClassVar[str]
    scheme: ClassVar[str]
    host = "127.0.0.1"

    def __init__(self, *arguments: str) -> None:
        path = os.pathsep.join((os.environ.get("PATH", ""), *_PLACES))
        found = shutil.which(self.program, path=path)
        if found is None:
            raise ServerNotInstalled(
                f"{self.program} is not installed; on Debian:"
                f" apt install {self.package}"
            )
        self._program = found
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self.port = 0
        _running.add(self)

    def command(self) -> list[str]:
        """Return the command line for :attr:`port`."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers.

        The port stays the same over its restarts.

        :raises RuntimeError: if it does not answer in time.
        """
        first = not self.port
        for _ in range(5):
            if first:
                self.port = free_port()
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._answers():
                return
            self._end(signal.SIGKILL)
        raise RuntimeError(f"{self.program} does not start: {self.command()}")

    def _answers(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            with contextlib.suppress(OSError):
                address = (self.host, self.port)
                with socket.create_connection(address, 1.0):
                    return True
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        """End it; nothing happens if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End it, if it runs, and start it on the same port, empty."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise RuntimeError(f"{self.program} does not run")
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


class MemcachedServer(Server):
    """A memcached: ``MemcachedServer("-I", "2m")``."""

    program = "memcached"
    package = "memcached"
    scheme = "memcached"

    def command(self) -> list[str]:
        user = ["-u", "root"] if os.geteuid() == 0 else []
        place = ["-l", self.host, "-p", str(self.port), "-U", "0"]
        return [self._program, *place, *user, *self._arguments]


class RedisServer(Server):
    """A Redis that keeps nothing on disk."""

    program = "redis-server"
    package = "redis-server"
    scheme = "redis"

    def command(self) -> list[str]:
        place = ["--bind", self.host, "--port", str(self.port)]
        volatile = ["--save", "", "--appendonly", "no"]
        folder = ["--dir", tempfile.gettempdir()]
        return [self._program, *place, *volatile, *folder, *self._arguments]


_running: weakref.WeakSet[Server] = weakref.WeakSet()


@atexit.register
def _kill_all() -> None:
    for server in list(_running):
        if server._owner == os.getpid():
            server.kill()
