"""How processes with connections begin and end."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from mako_cacheplug_memcached import _connection
from mako_cacheplug_memcached import _server
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug import breaker
from mako_cacheplug.api import NoValue
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire

_WARM = """
import os, sys
from mako_cacheplug_memcached import MemcachedBackend
port, client = sys.argv[1:]
store = MemcachedBackend([("127.0.0.1", int(port))], client=client)
store.set("k", b"v", 60)
store.get("k")
"""

_ENDS = {
    "at once": "os._exit(0)",
    "in the ordinary way": "sys.exit(0)",
    "after it has closed": "store.close(); del store; sys.exit(0)",
    "out of memory's way": "store._servers.clear(); import gc; gc.collect()",
}


@pytest.mark.parametrize("end", _ENDS)
def test_a_child_says_nothing_to_its_parents_server(
    server: MemcachedServer, client: str, start: Any, end: str
) -> None:
    """A client that is freed says goodbye, on whatever connection it has."""
    script = f"""
before = os.fork()
if before == 0:
    {_ENDS[end]}
    sys.exit(0)
os.waitpid(before, 0)
print("forked", flush=True)
sys.stdin.readline()
assert store.get("k") == b"v"
os._exit(0)
"""
    with Wire(server) as wire:
        process = start(_WARM + script, wire.port, client)
        assert process.stdout.readline() == "forked\n"
        sent = b"".join(wire.trips())
        assert b"quit" not in sent
        assert b"get" in sent
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
        # On the connection that was there before the fork.
        assert [trip[:3] for trip in wire.trips()] == [b"get"]


@pytest.mark.parametrize(
    "last",
    [
        "",
        "import atexit; atexit.register(store.get, 'k')",
        """
class Last:
    def __del__(self):
        store.get('k')
last = Last()
""",
    ],
)
def test_no_connection_is_left_to_the_end(
    server: MemcachedServer, client: str, last: str
) -> None:
    """The interpreter would complain of each."""
    where = [str(server.port), client]
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", _WARM + last, *where],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_a_child_of_the_holder_does_not_release(
    backend: MemcachedBackend,
) -> None:
    """The parent holds it, until the end of what it creates."""
    mutex, other = backend.mutex("k", 30.0), backend.mutex("other", 30.0)
    assert mutex.acquire()
    assert other.acquire()

    def release() -> tuple[bool, bool]:
        backend.release_many([mutex, other])
        return mutex.release(), other.release()

    with children(release) as (child,):
        assert child.result() == (False, False)
    assert not backend.mutex("k", 30.0).acquire()
    assert not backend.mutex("other", 30.0).acquire()
    assert mutex.release()
    backend.release_many([other])
    assert backend.mutex("other", 30.0).acquire()


def test_a_connection_in_use_is_the_parents(
    make: Any, server: MemcachedServer
) -> None:
    """A call that forks goes on in the child, too: without an answer."""
    backend = make(server)
    backend.set("k", b"v", 60)
    pool = backend._servers[0]

    def fork_and_read(connection: Any) -> int:
        connection.get(b"k")
        child = os.fork()
        if child:
            return child
        # pylibmc's connection is out of reach: no thread is there for it.
        if backend.client == "pymemcache":
            with pytest.raises(OSError, match="socket"):
                connection.get(b"k")
        os._exit(0 if backend.get("k") == b"v" else 1)

    child = pool.call(fork_and_read)
    assert os.waitpid(child, 0)[1] == 0
    assert backend.get("k") == b"v"


def test_a_parents_connection_says_nothing_of_the_server(
    backend: MemcachedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that fails with it, however late, asks on at once."""
    monkeypatch.setattr(breaker, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(breaker, "FIRST_REST_SECONDS", 600.0)
    monkeypatch.setattr(breaker, "LONGEST_REST_SECONDS", 600.0)
    backend.set("k", b"v", 60)
    pool = backend._servers[0]

    def fork_and_fail() -> bytes | NoValue:
        def fail(connection: Any) -> None:
            _server._after_fork()  # as if it was one
            raise OSError("not a socket any more")

        with pytest.raises(BackendError, match="not a socket"):
            pool.call(fail)
        return backend.get("k")

    with children(fork_and_fail) as (child,):
        assert child.result() == b"v"


def test_what_cannot_be_imported_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As pylibmc cannot in an interpreter beside the main one."""

    def refuse(name: str) -> None:
        raise ImportError("module _pylibmc does not support loading")

    monkeypatch.setattr(_connection.importlib, "import_module", refuse)
    with pytest.raises(OptionError, match="does not support loading"):
        MemcachedBackend([("127.0.0.1", 1)], client="pylibmc")
