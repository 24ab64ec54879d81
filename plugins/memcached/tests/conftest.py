"""What the tests of the memcached store share: servers, and both clients."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from collections.abc import Iterator

import pytest
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug import breaker
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.servers import MemcachedServer

Start = Callable[..., "subprocess.Popen[str]"]
Raw = Callable[[bytes], bytes]
Make = Callable[..., MemcachedBackend]


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call ask the server; its rest has tests of its own."""
    monkeypatch.setattr(breaker, "LONGEST_REST_SECONDS", 0.0)


@pytest.fixture(scope="session")
def shared() -> Iterator[MemcachedServer]:
    with MemcachedServer() as server:
        yield server


@pytest.fixture
def server(shared: MemcachedServer) -> MemcachedServer:
    """Return a server that runs, empty; it may be killed and stopped."""
    shared.restart()
    return shared


@pytest.fixture(params=["pylibmc", "pymemcache"])
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)


@pytest.fixture
def make(client: str, clock: ManualClock) -> Iterator[Make]:
    """Make backends with the client at hand, closed at the end."""
    made: list[MemcachedBackend] = []

    def make(*servers: MemcachedServer, **given: object) -> MemcachedBackend:
        addresses = [(server.host, server.port) for server in servers]
        given = {"client": client, "clock": clock, **given}
        made.append(MemcachedBackend(addresses, **given))  # type: ignore[arg-type]  # a test's own
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make: Make, server: MemcachedServer) -> MemcachedBackend:
    return make(server)


@pytest.fixture
def raw(server: MemcachedServer) -> Raw:
    """Send one command, beside the backend, and return the answer."""

    def ask(command: bytes) -> bytes:
        address = (server.host, server.port)
        with socket.create_connection(address, 5.0) as wire:
            wire.sendall(command + b"\r\nmn\r\n")
            answer = b""
            while not answer.endswith(b"MN\r\n"):
                answer += wire.recv(65536)
        return answer.removesuffix(b"MN\r\n").removesuffix(b"\r\n")

    return ask


@pytest.fixture
def start() -> Iterator[Start]:
    """Run a script in another process; its arguments are in ``args``."""
    running: list[subprocess.Popen[str]] = []

    def run(script: str, *args: object) -> subprocess.Popen[str]:
        text = "import sys\nargs = sys.argv[1:]\n" + textwrap.dedent(script)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", text, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()
