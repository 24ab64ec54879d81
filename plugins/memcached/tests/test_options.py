"""URLs, options and the choice of a client."""

from __future__ import annotations

from typing import Any

import pytest
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.testing.servers import MemcachedSocketServer


def from_url(text: str) -> MemcachedBackend:
    return MemcachedBackend.from_url(StoreURL.parse(text))


def names(backend: MemcachedBackend) -> list[str]:
    return [server.name for server in backend._servers]


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("memcached://", ["127.0.0.1:11211"]),
        ("memcached://cache", ["cache:11211"]),
        ("memcached://a:1,b/", ["a:1", "b:11211"]),
        ("memcached://a:1,a:1", ["a:1"]),
        ("memcached://[::1]:1", ["[::1]:1"]),
        ("memcached:///run/memcached.sock", ["/run/memcached.sock"]),
    ],
)
def test_servers(url: str, servers: list[str]) -> None:
    assert names(from_url(url)) == servers


def test_every_option_is_taken(client: str) -> None:
    backend = from_url(
        f"memcached://a?client={client}&connect_timeout=200ms&timeout=0.3"
        "&pool_size=4&max_value_bytes=2m"
    )
    assert backend.client == client
    assert backend.max_value_bytes == 2 * 2**20


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("timout=1", "did you mean 'timeout'"),
        ("timeout=soon", "'soon' is not a duration"),
        ("timeout=0", "is no time limit"),
        ("connect_timeout=none", "is no time limit"),
        ("client=pymemcached", "did you mean 'pymemcache'"),
        ("pool_size=-1", "pool_size"),
        ("max_value_bytes=big", "max_value_bytes"),
    ],
)
def test_a_wrong_option_is_named(query: str, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        from_url(f"memcached://a/?{query}")
    assert caught.value.option == query.partition("=")[0]


@pytest.mark.parametrize(
    "url", ["memcached://me:secret@a/", "memcached://a:1/run/x.sock"]
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(OptionError, match="option 'url'") as caught:
        from_url(url)
    assert "secret" not in str(caught.value)


def test_no_server() -> None:
    with pytest.raises(OptionError, match="no memcached server"):
        MemcachedBackend([])


def test_a_unix_socket(client: str) -> None:
    with MemcachedSocketServer() as server:
        backend = from_url(f"{server.url}?client={client}")
        backend.set("k", b"v", None)
        assert backend.get("k") == b"v"
        assert backend.get("nothing") is NO_VALUE
        server.kill()
        with pytest.raises(BackendError):
            backend.get("nothing")
        backend.close()


@pytest.mark.parametrize(
    ("missing", "wanted", "found"),
    [
        ("", "auto", "pylibmc"),
        ("pylibmc", "auto", "pymemcache"),
        ("pylibmc", "pymemcache", "pymemcache"),
        ("pylibmc", "pylibmc", "mako-cacheplug-memcached[pylibmc]"),
        ("pymemcache", "pymemcache", "mako-cacheplug-memcached[pymemcache]"),
        ("pylibmc pymemcache", "auto", "mako-cacheplug-memcached[pymemcache]"),
    ],
)
def test_the_client_is_what_is_installed(
    start: Any, missing: str, wanted: str, found: str
) -> None:
    process = start(
        """
        for name in args[0].split():
            sys.modules[name] = None  # As if it were not installed.
        from mako_cacheplug.exceptions import OptionError
        from mako_cacheplug_memcached import MemcachedBackend
        try:
            print(MemcachedBackend([("a", 1)], client=args[1]).client)
        except OptionError as error:
            print(error.option, error)
        """,
        missing,
        wanted,
    )
    said = process.communicate(timeout=60)[0]
    assert found in said
    assert ("pip install" in said) == ("[" in found)
