"""The proxy that writes down what passes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire


@pytest.fixture
def server() -> Iterator[MemcachedServer]:
    with MemcachedServer() as server:
        yield server


def ask(client: socket.socket, commands: bytes, end: bytes) -> bytes:
    client.sendall(commands)
    answer = b""
    while not answer.endswith(end):
        received = client.recv(65536)
        assert received
        answer += received
    return answer


def test_a_trip_ends_with_an_answer(server: MemcachedServer) -> None:
    with Wire(server) as wire:
        assert wire.url == f"memcached://127.0.0.1:{wire.port}"
        address = (wire.host, wire.port)
        with (
            socket.create_connection(address, 10.0) as one,
            socket.create_connection(address, 10.0) as other,
        ):
            ask(one, b"set k 0 0 1 noreply\r\nv\r\nget k\r\n", b"END\r\n")
            ask(other, b"get k\r\n", b"END\r\n")
            ask(one, b"mn\r\n", b"MN\r\n")
            assert wire.trips() == [
                b"set k 0 0 1 noreply\r\nv\r\nget k\r\n",
                b"get k\r\n",
                b"mn\r\n",
            ]
            assert wire.trips() == []


def test_what_is_large_is_one_trip(server: MemcachedServer) -> None:
    size = 900_000
    with Wire(server) as wire:
        address = (wire.host, wire.port)
        with socket.create_connection(address, 10.0) as client:
            value = bytes(size)
            item = b"set k 0 0 %d\r\n%s\r\n" % (size, value)
            assert ask(client, item, b"\r\n") == b"STORED\r\n"
            assert value in ask(client, b"get k\r\n", b"END\r\n")
        assert wire.trips() == [item, b"get k\r\n"]


def test_who_hangs_up_is_hung_up_on(server: MemcachedServer) -> None:
    with Wire(server) as wire:
        address = (wire.host, wire.port)
        with socket.create_connection(address, 10.0) as client:
            ask(client, b"mn\r\n", b"MN\r\n")
            server.kill()
            assert client.recv(1) == b""
        with socket.create_connection(address, 10.0) as client:
            assert client.recv(1) == b""
        server.start()
        with socket.create_connection(address, 10.0) as client:
            ask(client, b"mn\r\n", b"MN\r\n")
            wire.close()
            assert client.recv(1) == b""
