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
from types import TracebackType
from typing import ClassVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "MemcachedServer",
    "MemcachedSocketServer",
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
            _running.add(self)
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
                self._connect()
                # Another program may have taken the port meanwhile.
                return self._process.poll() is None
            time.sleep(0.01)
        return False

    def _connect(self) -> None:
        """Connect once; raise ``OSError`` if nothing listens."""
        socket.create_connection((self.host, self.port), 1.0).close()

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
        """Let it hang: connections stay open, nothing is answered.

        It hangs when this returns.
        """
        process = self._signal(signal.SIGSTOP)
        # Without WNOHANG: all of its threads have stopped.  WNOWAIT: an end
        # is left for Popen to see.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.program} does not run")
        self._process.send_signal(number)
        return self._process

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        _running.discard(self)
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


class MemcachedSocketServer(MemcachedServer):
    """A memcached that listens on a Unix socket, in a folder of its own.

    :param arguments: more command-line arguments.
    """

    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments)
        self._folder = tempfile.TemporaryDirectory(prefix="memcached-")
        self.path = f"{self._folder.name}/socket"
        """Where the socket is."""

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"memcached://{self.path}"

    def command(self) -> list[str]:
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return [self._program, "-s", self.path, *user, *self._arguments]

    def _connect(self) -> None:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(self.path)

    def _end(self, number: int) -> None:
        super()._end(number)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._folder.cleanup()


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


# Not weak: a forgotten server must not outlive this process.
_running: set[Server] = set()


@atexit.register
def _kill_all() -> None:
    for server in list(_running):
        if server._owner == os.getpid():
            server.kill()
