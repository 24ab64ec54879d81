"""One of three servers is gone: what the others hold is served."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator

import pytest
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug import BackendError
from mako_cacheplug import breaker
from mako_cacheplug import CacheRegion
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.testing.servers import MemcachedServer

Connect = Callable[[], MemcachedBackend]

TAGS = [f"t{number}" for number in range(48)]


@pytest.fixture(scope="module")
def trio() -> Iterator[list[MemcachedServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(MemcachedServer()) for _ in range(3)]


@pytest.fixture
def servers(
    trio: list[MemcachedServer], monkeypatch: pytest.MonkeyPatch
) -> list[MemcachedServer]:
    """Return three that run, empty.  One that fails rests for good."""
    monkeypatch.setattr(breaker, "FIRST_REST_SECONDS", 7200.0)
    monkeypatch.setattr(breaker, "LONGEST_REST_SECONDS", 7200.0)
    for server in trio:
        server.restart()
    return trio


@pytest.fixture
def connect(servers: list[MemcachedServer], client: str) -> Iterator[Connect]:
    made: list[MemcachedBackend] = []

    def connect() -> MemcachedBackend:
        places = [(server.host, server.port) for server in servers]
        made.append(MemcachedBackend(places, client=client, timeout=0.1))
        return made[-1]

    yield connect
    for backend in made:
        backend.close()


def lose(backend: MemcachedBackend, server: MemcachedServer) -> None:
    """Let *backend* find out that *server* is gone or hangs."""
    (own,) = (one for one in backend._servers if one.url == server.url)
    while not own.breaker.is_refusing():
        with contextlib.suppress(BackendError):
            own.call(lambda connection: connection.get(b"k"))


def find_again(backend: MemcachedBackend) -> None:
    """Let *backend* find out that all of its servers are there."""
    for server in backend._servers:
        server.insist(lambda connection: connection.get(b"k"))


def fill(region: CacheRegion, value: str) -> dict[str, object]:
    """Return what *region* has for each tag, or *value* where it has none."""
    return {
        tag: region.get_or_create(tag, lambda: value, tags=tag) for tag in TAGS
    }


def at_home(backend: MemcachedBackend, server: MemcachedServer) -> set[str]:
    """Return the tags whose labels *server* has."""
    region = CacheRegion(backend)
    found = set()
    for tag in TAGS:
        name = region.bulk_storage.name(region.tag_label(tag))  # type: ignore[union-attr]
        if backend._ring.find(name.encode()).url == server.url:
            found.add(tag)
    return found


def test_entries_keep_though_their_label_was_there(
    connect: Connect, servers: list[MemcachedServer]
) -> None:
    for victim in servers:
        backend = connect()
        region = CacheRegion(backend, namespace=victim.url)
        fill(region, "before")
        victim.kill()
        lose(backend, victim)
        fill(region, "made anew")
        hits = region.stats().hits
        found = fill(region, "and again")
        victim.start()
        kept = region.stats().hits - hits
        assert kept == len(TAGS) - [*found.values()].count("and again")
        entries = [
            region.bulk_storage.name(region._plain + f"s{len(tag)}:{tag}")  # type: ignore[union-attr]
            for tag in TAGS
        ]
        lost = [
            name
            for name in entries
            if backend._ring.find(name.encode()).url == victim.url
        ]
        assert kept == len(TAGS) - len(lost)


def test_what_is_invalidated_meanwhile_is_not_served_afterwards(
    connect: Connect, servers: list[MemcachedServer]
) -> None:
    """By one who reaches all, while another takes a label from elsewhere."""
    victim = servers[0]
    near, far = connect(), connect()
    region, other = CacheRegion(near), CacheRegion(far)
    labelled = at_home(near, victim)
    assert labelled
    fill(region, "old")
    victim.pause()
    lose(far, victim)
    victim.resume()
    fill(other, "elsewhere")
    fill(other, "elsewhere")
    region.invalidate_tags(*TAGS)
    after = fill(other, "new")
    assert "elsewhere" not in after.values()
    assert "old" not in after.values()
    # Where nobody was away, the label is that of its home again.
    find_again(far)
    assert not {"old", "elsewhere"} & {*fill(other, "newer").values()}
    assert not {"old", "elsewhere"} & {*fill(region, "newest").values()}


def test_an_invalidation_that_did_not_reach_both_is_loud(
    connect: Connect, servers: list[MemcachedServer]
) -> None:
    victim = servers[0]
    backend = connect()
    region = CacheRegion(backend)
    fill(region, "old")
    victim.pause()
    lose(backend, victim)
    loud = 0
    for tag in TAGS:
        with contextlib.suppress(BackendError):
            region.invalidate_tags(tag)
            continue
        loud += 1
    assert loud >= len(at_home(backend, victim)) > 0
    victim.resume()


def test_a_value_is_stored_at_its_own_server_alone(
    connect: Connect, servers: list[MemcachedServer]
) -> None:
    """One that was replaced there would come back from elsewhere."""
    victim = servers[0]
    backend = connect()
    names = [f"k{number}" for number in range(40)]
    own = [
        n for n in names if backend._ring.find(n.encode()).url == victim.url
    ]
    assert own
    victim.kill()
    lose(backend, victim)
    for name in own:
        with pytest.raises(BackendError):
            backend.set(name, b"v", 60.0)
        with pytest.raises(BackendError):
            backend.claim(name)
        assert backend.get(name) is NO_VALUE
        assert backend.add(name, b"added", 60.0)
        assert not backend.add(name, b"again", 60.0)
        assert backend.get(name) == b"added"
    assert backend.get_many(names) == dict.fromkeys(own, b"added")
    victim.start()
    find_again(backend)
    assert backend.get_many(names) == {}
    backend.delete_many(own)
    victim.kill()
    lose(backend, victim)
    assert backend.get_many(names) == {}
    victim.start()


@contextlib.contextmanager
def paused(servers: list[MemcachedServer]) -> Iterator[None]:
    for server in servers:
        server.pause()
    try:
        yield
    finally:
        for server in servers:
            server.resume()


def test_where_all_hang_a_trip_waits_for_one(
    servers: list[MemcachedServer], connect: Connect
) -> None:
    backend = connect()
    with paused(servers):
        for count in (1, 2, 3):
            with contextlib.suppress(BackendError):
                backend.get_many(TAGS)
            known = [breaker.is_well for breaker in backend.breakers]
            assert known.count(False) == count


def test_the_one_that_may_hang_is_asked_last(
    servers: list[MemcachedServer],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = connect()
    for tag in TAGS:
        backend.set(tag, b"v", None)
    monkeypatch.setattr(breaker, "LONGEST_REST_SECONDS", 0.0)
    for number, server in enumerate(servers):
        hung = backend._servers[number]
        with paused([server]):
            with pytest.raises(BackendError):
                hung.call(lambda connection: connection.get(b"k"))
            found = backend.get_many(TAGS)
        assert not hung.breaker.is_well
        assert 0 < len(found) < len(TAGS)
        find_again(backend)
        assert len(backend.get_many(TAGS)) == len(TAGS)
