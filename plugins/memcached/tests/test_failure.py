"""Servers that are gone, hang, come back, or answer rubbish."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug import breaker
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.testing.servers import MemcachedServer

Call = Callable[[MemcachedBackend], object]

CALLS: dict[str, Call] = {
    "get": lambda b: b.get("k"),
    "get, a miss": lambda b: b.get("nothing"),
    "set": lambda b: b.set("k", b"v", 60),
    "set, large": lambda b: b.set("k", b"x" * 900_000, 60),
    "delete": lambda b: b.delete("k"),
    "get_many": lambda b: b.get_many(["k", "n"]),
    "set_many": lambda b: b.set_many({"k": b"v", "n": b"v"}, 60),
    "delete_many": lambda b: b.delete_many(["k", "n"]),
    "acquire": lambda b: b.mutex("k", 9).acquire(),
    "holder": lambda b: b.mutex("k", 9).holder(),
    "clear": lambda b: b.clear(),
    "usage": lambda b: b.usage(),
}

# Connecting and the operation together take 0.5 s at most.
LIMIT = 0.8

HURRIED = {"connect_timeout": 0.1, "timeout": 0.1}
"""Where the default limits are not what is tested."""


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> Call:
    return CALLS[request.param]


@contextlib.contextmanager
def fails_in_time(limit: float = LIMIT) -> Iterator[None]:
    begun = time.monotonic()
    with pytest.raises(BackendError, match="memcached 127") as caught:
        yield
    assert time.monotonic() - begun < limit
    assert caught.value.url.startswith("memcached://127.0.0.1:")


def test_a_server_that_was_never_there(
    make: Any, server: MemcachedServer, call: Call
) -> None:
    server.kill()
    backend = make(server, **HURRIED)
    for _ in range(2):
        with fails_in_time():
            call(backend)


def test_a_server_that_hangs_from_the_start(
    make: Any, server: MemcachedServer, call: Call
) -> None:
    backend = make(server, **HURRIED)
    server.pause()
    with fails_in_time():
        call(backend)


def test_a_server_that_begins_to_hang(
    backend: MemcachedBackend, server: MemcachedServer, call: Call
) -> None:
    backend.set("k", b"v", 60)
    server.pause()
    for _ in range(2):
        with fails_in_time():
            call(backend)
    server.resume()
    # A late answer to what failed must not be read as another key's.  (What
    # was sent takes effect late, too: clear() may remove it.)
    backend.set("other", b"other", 60)
    assert backend.get("other") in (b"other", NO_VALUE)
    assert backend.get("nothing") is NO_VALUE
    call(backend)


def test_a_server_that_hung_is_left_alone_for_a_while(
    backend: MemcachedBackend,
    server: MemcachedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a page of fifty fragments would pay the time-out for each."""
    _rest_for_an_hour(monkeypatch)
    backend.set("k", b"v", 60)
    server.pause()
    with fails_in_time():
        backend.get("k")
    server.resume()
    # One that is given back by who was answered makes no difference.
    hung = backend._servers[0]
    hung._idle.append(hung._connect())
    for _ in range(2):
        with pytest.raises(NotAskedError, match="failed just now"):
            backend.get("k")
    later = lambda: time.monotonic() + 7201.0  # noqa: E731
    monkeypatch.setattr(hung.breaker, "_clock", later)
    assert backend.get("k") == b"v"
    monkeypatch.undo()
    assert backend.get("k") == b"v"


def test_a_server_that_is_gone_is_left_alone_after_a_few_refusals(
    backend: MemcachedBackend,
    server: MemcachedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _rest_for_an_hour(monkeypatch)
    server.kill()
    for _ in range(2):
        with fails_in_time():
            backend.get("k")
    server.start()
    assert backend.get("k") is NO_VALUE
    server.kill()
    for _ in range(3):
        with pytest.raises(BackendError) as caught:
            backend.get("k")
        assert not isinstance(caught.value, NotAskedError)
    with pytest.raises(NotAskedError):
        backend.get("k")


@pytest.mark.parametrize(
    "remove",
    [
        lambda b: b.delete("k"),
        lambda b: b.delete_many(["k", "n"]),
        lambda b: b.clear(),
    ],
)
def test_what_is_to_be_removed_is_tried_at_a_server_left_alone(
    backend: MemcachedBackend,
    server: MemcachedServer,
    monkeypatch: pytest.MonkeyPatch,
    remove: Call,
) -> None:
    _rest_for_an_hour(monkeypatch)
    backend.set("k", b"v", 60)
    server.pause()
    with fails_in_time():
        backend.get("k")
    with fails_in_time():
        remove(backend)
    server.resume()
    with pytest.raises(NotAskedError):
        backend.get("k")
    remove(backend)
    # It was answered, which is all that a probe could tell.
    assert backend.get("k") is NO_VALUE


def _rest_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_REST_SECONDS", "LONGEST_REST_SECONDS"):
        monkeypatch.setattr(breaker, name, 7200.0)


def test_a_server_that_dies(
    backend: MemcachedBackend, server: MemcachedServer, call: Call
) -> None:
    backend.set("k", b"v", 60)
    server.kill()
    for _ in range(2):
        with fails_in_time():
            call(backend)
    server.start()
    call(backend)
    backend.set("k", b"v", 60)
    assert backend.get("k") == b"v"


def test_one_error_for_a_restart_however_many_connections(
    backend: MemcachedBackend, server: MemcachedServer
) -> None:
    barrier = threading.Barrier(8)

    def warm_up(_: object) -> None:
        barrier.wait()

    threads = [
        threading.Thread(target=backend._servers[0].call, args=(warm_up,))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connections = list(backend._servers[0]._idle)
    assert len(connections) == 8
    for connection in connections:
        connection.set(b"k", b"v", 0)
    server.restart()
    with pytest.raises(BackendError):
        backend.get("k")
    assert backend.get("k") is NO_VALUE
    backend.set("k", b"v", 60)
    assert backend.get("k") == b"v"


def test_a_host_that_does_not_answer(make: Any, call: Call) -> None:
    """A full queue of connections: further ones are dropped unanswered."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        silent = MemcachedServer()
        silent.port = listener.getsockname()[1]
        with fails_in_time():
            call(make(silent, **HURRIED))


def test_a_dead_server_among_others(
    make: Any, server: MemcachedServer
) -> None:
    keys = [f"k{n}" for n in range(40)]
    with MemcachedServer() as second:
        backend = make(server, second, **HURRIED)
        backend.set_many(dict.fromkeys(keys, b"old"), 60)
        survivors = set(make(server).get_many(keys))
        assert 5 < len(survivors) < 35
        second.kill()
        # What it holds is not there; what the other one holds is.
        assert backend.get_many(keys) == dict.fromkeys(survivors, b"old")
        with fails_in_time():
            backend.get_many([k for k in keys if k not in survivors])
        with fails_in_time():
            backend.set_many(dict.fromkeys(keys, b"new"), 60)
        # The rest was stored, each key where it always is.
        assert make(server).get_many(keys) == dict.fromkeys(survivors, b"new")
        with fails_in_time():
            backend.delete_many(keys)
        assert make(server).get_many(keys) == {}


class Impostor:
    """A server that answers the first request with *answer*, then well.

    A ``#`` stands for the CAS number, where one is asked for.
    """

    host = "127.0.0.1"
    good = b"VALUE k 0 4#\r\ngood\r\nEND\r\n"

    def __init__(self, answer: bytes | None) -> None:
        self.answers = [answer]
        self.listener = socket.create_server((self.host, 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            with contextlib.closing(self.listener.accept()[0]) as wire:
                while request := wire.recv(65536):
                    if request == b"over":
                        return
                    if request.startswith(b"quit"):
                        break
                    answer = self.answers.pop() if self.answers else self.good
                    if answer is None:
                        break
                    unique = b" 1" if request.startswith(b"gets") else b""
                    wire.sendall(answer.replace(b"#", unique))

    def close(self) -> None:
        with socket.create_connection((self.host, self.port)) as wire:
            wire.sendall(b"over")
            self.thread.join()
        self.listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"\r\n",
        b"RUBBISH\r\n",
        b"\0" * 5000,
        b"HTTP/1.1 400 Bad Request\r\n\r\n<html>",
        b"SERVER_ERROR out of memory\r\n",
        b"VALUE k 0 100#\r\nshort\r\nEND\r\n",
        b"VALUE k 0 3#\r\n",
        b"VALUE k 0 99999999999999#\r\nabc\r\nEND\r\n",
    ],
)
def test_rubbish_is_an_error_and_the_connection_is_dropped(
    make: Any, answer: bytes | None
) -> None:
    impostor = Impostor(answer)
    try:
        backend = make(impostor, **HURRIED)
        with fails_in_time():
            backend.get("k")
        assert not backend._servers[0]._idle
        assert backend.get("k") == b"good"
        impostor.answers.append(answer)
        with fails_in_time():
            backend.get_many(["k"])
        assert backend.get("k") == b"good"
        impostor.answers.append(answer)
        with fails_in_time():
            backend.mutex("k", 9).holder()
        assert backend.get("k") == b"good"
        backend.close()
    finally:
        impostor.close()


def test_an_interrupted_call_loses_its_connection(
    backend: MemcachedBackend,
) -> None:
    def interrupted(connection: object) -> None:
        raise KeyboardInterrupt

    backend.set("k", b"v", 60)
    with pytest.raises(KeyboardInterrupt):
        backend._servers[0].call(interrupted)
    assert not backend._servers[0]._idle
    assert backend.get("k") == b"v"
