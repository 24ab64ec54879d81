"""The memcached store, by the conformance kit, with each of its clients."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest
from mako_cacheplug_memcached._wire import lock_key
from mako_cacheplug_memcached._wire import value_key

from mako_cacheplug import api
from mako_cacheplug.testing import ConformanceSuite
from mako_cacheplug.testing import FailureSuite
from mako_cacheplug.testing import StoreHarness
from mako_cacheplug.testing.servers import MemcachedServer


@pytest.fixture(scope="module")
def server() -> Iterator[MemcachedServer]:
    with MemcachedServer() as server:
        yield server


class MemcachedHarness(StoreHarness):
    def __init__(self, server: MemcachedServer, client: str) -> None:
        self.server = server
        self.client = client

    def url(self) -> str:
        return f"{self.server.url}?client={self.client}"

    def raw_get(self, key: str) -> bytes | None:
        answer = self._ask(b"get %b\r\n" % value_key(key))
        if answer == b"END\r\n":
            return None
        head, _, rest = answer.partition(b"\r\n")
        return rest[: int(head.split()[3])]

    def raw_set(self, key: str, payload: bytes) -> None:
        head = b"set %b 0 0 %d\r\n" % (value_key(key), len(payload))
        assert self._ask(head + payload + b"\r\n") == b"STORED\r\n"

    def planted_locks(self, key: str) -> Iterator[str]:
        untils = ("inf", "nan", "1e308", "4102444800", "", "junk")
        for until, flags in (
            *((until, 0) for until in untils),
            *((f"{time.time() + 20.0}", flags) for flags in (1, 8, 9, 16)),
        ):
            value = f"{'f' * 32} {until}".encode()
            head = b"set %b %d 0 %d\r\n" % (lock_key(key), flags, len(value))
            assert self._ask(head + value + b"\r\n") == b"STORED\r\n"
            yield f"until {until!r}, flags {flags}"

    def _ask(self, request: bytes) -> bytes:
        place = (self.server.host, self.server.port)
        with (
            socket.create_connection(place, timeout=5.0) as connection,
            connection.makefile("rb") as answers,
        ):
            connection.sendall(request + b"quit\r\n")
            return answers.read()

    @contextlib.contextmanager
    def unavailable(self) -> Iterator[None]:
        """Kill the server; the port refuses."""
        self.server.kill()
        yield
        self.server.start()


class HangingHarness(MemcachedHarness):
    @contextlib.contextmanager
    def unavailable(self) -> Iterator[None]:
        """Stop the server; connections stay open and are not answered."""
        self.server.pause()
        yield
        self.server.resume()


class TestMemcached(ConformanceSuite):
    """With the client that it chooses by itself."""

    client: ClassVar[str] = "auto"
    supports = (
        api.SupportsAdd,
        api.SupportsBulk,
        api.SupportsCheckAndSet,
        api.SupportsClear,
        api.SupportsMutex,
        api.SupportsReleaseMany,
        api.SupportsUsage,
    )

    @pytest.fixture
    def harness(self, server: MemcachedServer) -> MemcachedHarness:
        return MemcachedHarness(server, self.client)


class TestPymemcache(TestMemcached):
    """With the client that needs no compiler."""

    client = "pymemcache"


class TestHangingMemcached(FailureSuite):
    @pytest.fixture(params=["auto", "pymemcache"])
    def harness(
        self, server: MemcachedServer, request: pytest.FixtureRequest
    ) -> HangingHarness:
        return HangingHarness(server, request.param)
