"""The servers that tests and benchmarks start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.servers import MemcachedSocketServer
from mako_cacheplug.testing.servers import RedisServer
from mako_cacheplug.testing.servers import Server
from mako_cacheplug.testing.servers import ServerNotInstalled


def ask(server: Server, command: bytes, timeout: float = 10.0) -> bytes:
    address = (server.host, server.port)
    with socket.create_connection(address, timeout) as wire:
        wire.sendall(command + b"\r\n")
        return wire.recv(4096)


@pytest.mark.parametrize(
    ("kind", "command", "answer"),
    [
        (MemcachedServer, b"version", b"VERSION"),
        (RedisServer, b"PING", b"+PONG"),
    ],
)
def test_a_server_starts_hangs_dies_and_returns(
    kind: type[Server], command: bytes, answer: bytes
) -> None:
    with kind() as server:
        port = server.port
        assert server.url == f"{kind.scheme}://127.0.0.1:{port}"
        assert ask(server, command).startswith(answer)
        server.pause()
        with pytest.raises(TimeoutError):
            ask(server, command, 0.1)
        server.resume()
        assert ask(server, command).startswith(answer)
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(server, command)
        server.restart()
        assert server.port == port
        assert ask(server, command).startswith(answer)
        server.stop()
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            ask(server, command)


def test_a_restart_ends_a_server_that_hangs() -> None:
    with MemcachedServer() as server:
        ask(server, b"set k 0 0 1\r\nv")
        server.pause()
        server.restart()
        assert ask(server, b"get k") == b"END\r\n"


def test_arguments() -> None:
    with MemcachedServer("-I", "2m") as server:
        assert b"item_size_max 2097152" in ask(server, b"stats settings")


def test_a_unix_socket() -> None:
    with MemcachedSocketServer() as server:
        assert server.url == f"memcached://{server.path}"
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(server.path)
            wire.sendall(b"version\r\n")
            assert wire.recv(4096).startswith(b"VERSION")
    assert not os.path.exists(server.path)


def test_a_program_that_is_not_there() -> None:
    class Missing(MemcachedServer):
        program = "memcached-of-nobody"

    with pytest.raises(ServerNotInstalled, match="apt install memcached"):
        Missing()


def test_a_forgotten_server_ends_with_its_process() -> None:
    script = """
import gc, os, sys
from mako_cacheplug.testing.servers import MemcachedServer
def forget():
    server = MemcachedServer()
    server.start()
    if os.fork() == 0:
        sys.exit(0)  # A child's end is not the owner's.
    os.wait()
    assert server._process.poll() is None
    print(server.port)
forget()
gc.collect()
"""
    said = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(said.stdout)), 10.0)
