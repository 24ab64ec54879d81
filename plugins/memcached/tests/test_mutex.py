"""One holder, its lease, and who may release what."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Any

import pytest
from mako_cacheplug_memcached import _server
from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug import breaker
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire


def test_one_holder(backend: MemcachedBackend, raw: Any) -> None:
    one, other = backend.mutex("k", 2.0), backend.mutex("k", 2.0)
    assert one.holder() is None
    assert one.acquire()
    assert not other.acquire()
    token = one.holder()
    assert token
    assert other.holder() == token
    assert not other.release()
    assert one.release()
    assert not one.release()
    assert other.holder() is None
    assert other.acquire()
    assert other.holder() not in (None, token)


def test_the_server_forgets_a_lock_soon_after_its_lease(
    make: Any, server: MemcachedServer, raw: Any
) -> None:
    assert make(server).mutex("k", 1.2).acquire()
    left = int(raw(b"mg mcp~l:k t").removeprefix(b"HD t"))
    assert 1 <= left <= 3
    lock = make(server).mutex("k2", 1.2)
    assert lock.acquire()
    assert lock.release()
    assert raw(b"mg mcp~l:k2 t") == b"EN"


def test_a_lock_is_no_value(backend: MemcachedBackend) -> None:
    assert backend.mutex("k", 2.0).acquire()
    assert backend.get("k") is NO_VALUE
    assert backend.get("mcp~l:k") is NO_VALUE
    backend.set("mcp~l:k", b"value", 60)
    backend.delete("mcp~l:k")
    assert not backend.mutex("k", 2.0).acquire()
    assert backend.mutex("mcp~l:k", 2.0).acquire()


def test_a_lease_ends_to_the_fraction_of_a_second(
    backend: MemcachedBackend, clock: ManualClock
) -> None:
    dead, heir, late = (backend.mutex("k", 1.5) for _ in range(3))
    assert dead.acquire()
    clock.advance(1.49)
    assert not heir.acquire()
    assert heir.holder() is not None
    clock.advance(0.02)
    assert heir.holder() is None
    assert heir.acquire()
    assert not late.acquire()


@pytest.mark.parametrize(
    "until",
    [b"inf", b"nan", b"-inf", b"1e308", b"1e9", b"9" * 10**6, b"", b"\xff"],
)
def test_a_planted_lock_is_nobodys(
    backend: MemcachedBackend, raw: Any, until: bytes
) -> None:
    """It would keep everybody from creating, for ever."""
    value = b"f" * 32 + b" " + until
    raw(b"set mcp~l:k 0 0 %d\r\n%b" % (len(value), value))
    lock, other = backend.mutex("k", 30.0), backend.mutex("k", 30.0)
    assert lock.holder() is None
    assert lock.acquire()
    assert not other.acquire()
    assert lock.release()


def test_a_lease_that_another_version_of_the_site_takes_is_believed(
    backend: MemcachedBackend,
) -> None:
    assert backend.mutex("k", 30.0).acquire()
    assert not backend.mutex("k", 15.5).acquire()


def test_a_slow_holder_does_not_release_its_heirs_lock(
    backend: MemcachedBackend, clock: ManualClock
) -> None:
    slow, heir = backend.mutex("k", 1.0), backend.mutex("k", 9.0)
    assert slow.acquire()
    clock.advance(1.1)
    assert heir.acquire()
    token = heir.holder()
    assert not slow.release()
    assert heir.holder() == token
    assert heir.release()


def test_an_heir_between_look_and_release(
    backend: MemcachedBackend, clock: ManualClock
) -> None:
    """The compare-and-delete is one step, not two."""
    slow, heir = backend.mutex("k", 1.0), backend.mutex("k", 9.0)
    assert slow.acquire()
    server = backend._servers[0]
    found = server.call(lambda c: c.gets(b"mcp~l:k"))
    assert found is not None
    clock.advance(1.1)
    assert heir.acquire()
    assert not server.call(lambda c: c.cas(b"mcp~l:k", b"", found[1], 1))
    assert heir.release()
    assert not server.call(lambda c: c.cas(b"mcp~l:k", b"", found[1], 1))


@pytest.mark.parametrize("many", [False, True])
def test_a_lock_that_could_not_be_given_back_holds_up_nobody_here(
    make: Any, many: bool
) -> None:
    """It would until its lease ends: the server was away for a moment."""
    with MemcachedServer() as server:
        backend = make(server, timeout=0.1)
        mutex = backend.mutex("k", 30.0)
        assert mutex.acquire()
        server.pause()
        with pytest.raises(BackendError):
            if many:
                backend.release_many([mutex])
            else:
                mutex.release()
        server.resume()
        heir = make(server).mutex("k", 30.0)
        assert heir.holder() is None
        assert heir.acquire()
        assert heir.holder() is not None
        assert not mutex.release()
        assert heir.release()


def test_a_lock_whose_answer_was_lost_holds_up_nobody_here(make: Any) -> None:
    """The server has stored it all the same."""
    with MemcachedServer() as server:
        backend = make(server, timeout=0.1)
        assert backend.get("warm") is NO_VALUE
        server.pause()
        with pytest.raises(BackendError):
            backend.mutex("k", 30.0).acquire()
        server.resume()
        heir = make(server).mutex("k", 30.0)
        assert heir.acquire()
        assert heir.release()


class Interrupted(BaseException):
    """As gevent's time limits, and a signal's handler, raise."""


def _interrupt(*_: object) -> None:
    raise Interrupted


@pytest.mark.parametrize("way", ["acquire", "release", "release_many"])
def test_a_lock_whose_call_was_interrupted_holds_up_nobody_here(
    make: Any, way: str
) -> None:
    with MemcachedServer() as server:
        backend = make(server, client="pymemcache", timeout=60.0)
        mutex = backend.mutex("k", 30.0)
        if way == "acquire":
            assert backend.get("warm") is NO_VALUE
        else:
            assert mutex.acquire()
        server.pause()
        before = signal.signal(signal.SIGALRM, _interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                if way == "release_many":
                    backend.release_many([mutex])
                else:
                    getattr(mutex, way)()
        finally:
            signal.signal(signal.SIGALRM, before)
            server.resume()
        item = lambda: backend._servers[0].call(  # noqa: E731
            lambda c: c.gets(b"mcp~l:k")
        )
        deadline = time.monotonic() + 10
        while item() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        heir = backend.mutex("k", 30.0)
        assert heir.holder() is None
        assert heir.acquire()
        assert heir.release()


@pytest.mark.parametrize("many", [False, True])
def test_a_lock_that_could_not_be_released_is_when_the_server_is_back(
    make: Any, raw: Any, server: MemcachedServer, many: bool
) -> None:
    """So other processes need not wait for the end of its lease."""
    backend = make(server, timeout=0.1)
    mutexes = [backend.mutex(name, 30.0) for name in "abc"]
    for mutex in mutexes:
        assert mutex.acquire()
    server.pause()
    with pytest.raises(BackendError):
        if many:
            backend.release_many(mutexes)
        else:
            mutexes[0].release()
    # What is asked of it next is lost as well.
    for mutex in mutexes[1:]:
        with contextlib.suppress(BackendError):
            mutex.release()
    server.resume()
    assert backend.get("other") is NO_VALUE
    for name in "abc":
        assert raw(b"mg mcp~l:%s t" % name.encode()) == b"EN"


def test_a_lock_that_the_server_was_not_asked_for_is_not_given_back(
    make: Any, server: MemcachedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that it has are, however many were wanted meanwhile."""
    for name in ("FIRST_REST_SECONDS", "LONGEST_REST_SECONDS"):
        monkeypatch.setattr(breaker, name, 7200.0)
    with Wire(server) as wire:
        backend = make(wire, timeout=0.1)
        held = backend.mutex("held", 30.0)
        assert held.acquire()
        server.pause()
        with pytest.raises(BackendError):
            held.release()
        for number in range(100):
            mutex = backend.mutex(str(number), 30.0)
            with pytest.raises(NotAskedError):
                mutex.acquire()
            assert not mutex.release()
        server.resume()
        later = lambda: time.monotonic() + 7201.0  # noqa: E731
        monkeypatch.setattr(backend.breakers[0], "_clock", later)
        wire.trips()
        assert backend.get("other") is NO_VALUE
        assert len(wire.trips()) == 3
        assert held.holder() is None


def test_what_is_owed_to_a_slow_server_does_not_keep_a_page(
    make: Any, server: MemcachedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "_SETTLING_SECONDS", 0.0)
    with Wire(server) as wire:
        backend = make(wire, timeout=0.1)
        mutexes = [backend.mutex(name, 30.0) for name in "abc"]
        for mutex in mutexes:
            assert mutex.acquire()
        server.pause()
        with pytest.raises(BackendError):
            backend.release_many(mutexes)
        server.resume()
        wire.trips()
        assert backend.get("other") is NO_VALUE
        assert len(wire.trips()) == 1


@pytest.mark.parametrize("many", [False, True])
def test_what_was_given_back_holds_nothing_whatever_the_server_has(
    backend: MemcachedBackend, raw: Any, many: bool
) -> None:
    """As when garbage on the wire read as if the lock were gone."""
    mutex = backend.mutex("k", 30.0)
    assert mutex.acquire()
    item = raw(b"mg mcp~l:k v").partition(b"\r\n")[2]
    raw(b"delete mcp~l:k")
    if many:
        backend.release_many([mutex])
    else:
        assert not mutex.release()
    raw(b"set mcp~l:k 0 0 %d\r\n%s" % (len(item), item))
    heir = backend.mutex("k", 30.0)
    assert heir.holder() is None
    assert heir.acquire()
    assert heir.holder()


def test_of_many_released_together_an_heirs_is_left_alone(
    backend: MemcachedBackend,
) -> None:
    """Long before the lease was over: the server had lost the first."""
    mutexes = [backend.mutex(name, 30.0) for name in "abc"]
    for mutex in mutexes:
        assert mutex.acquire()
    backend.clear()
    heir = backend.mutex("b", 30.0)
    assert heir.acquire()
    backend.release_many(mutexes)
    assert [mutex.holder() for mutex in mutexes] == [
        None,
        heir.holder(),
        None,
    ]
    assert heir.release()


def test_many_are_released_together_in_two_trips(
    server: MemcachedServer, make: Any
) -> None:
    with Wire(server) as wire:
        backend = make(wire)
        mutexes = [backend.mutex(str(number), 30.0) for number in range(20)]
        for mutex in mutexes:
            assert mutex.acquire()
        wire.trips()
        backend.release_many(mutexes)
        assert len(wire.trips()) == 2
        assert {mutex.holder() for mutex in mutexes} == {None}


def test_of_many_heirs_one_wins(
    backend: MemcachedBackend, clock: ManualClock
) -> None:
    assert backend.mutex("k", 1.0).acquire()
    clock.advance(1.1)
    heirs = [backend.mutex("k", 1.0) for _ in range(5)]
    assert sum(heir.acquire() for heir in heirs) == 1


@pytest.mark.parametrize("value", [b"", b"x", b"t soon", b"t nan", b"\xff "])
def test_an_unreadable_lock_is_taken_over(
    backend: MemcachedBackend, raw: Any, value: bytes
) -> None:
    raw(b"set mcp~l:k 0 0 %d\r\n%s" % (len(value), value))
    assert backend.mutex("k", 1.0).holder() is None
    assert backend.mutex("k", 1.0).acquire()
    assert not backend.mutex("k", 1.0).acquire()


def test_a_lock_whose_answer_got_lost_can_be_released(
    backend: MemcachedBackend, server: MemcachedServer, raw: Any
) -> None:
    assert backend.get("k") is NO_VALUE
    lock = backend.mutex("k", 9.0)
    server.pause()
    with pytest.raises(BackendError):
        lock.acquire()
    server.resume()
    deadline = time.monotonic() + 10
    while raw(b"mg mcp~l:k t") == b"EN" and time.monotonic() < deadline:
        time.sleep(0.01)
    lock.release()
    assert raw(b"mg mcp~l:k t") == b"EN"


CONTENDER = """
import time
from mako_cacheplug_memcached import MemcachedBackend
backend = MemcachedBackend([("127.0.0.1", int(args[0]))], client=args[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(25):
    lock = backend.mutex("k", 30.0)
    while not lock.acquire():
        time.sleep(0.001)
    count = backend.get("count")
    time.sleep(0.0005)
    backend.set("count", b"%d" % (int(count) + 1), None)
    assert lock.release()
backend.close()
"""


def test_eight_processes(
    backend: MemcachedBackend,
    server: MemcachedServer,
    client: str,
    start: Any,
) -> None:
    backend.set("count", b"0", None)
    running = [start(CONTENDER, server.port, client) for _ in range(8)]
    for process in running:
        process.stdout.readline()
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert backend.get("count") == b"200"


def test_a_killed_holder_delays_by_its_lease(
    make: Any, server: MemcachedServer, client: str, start: Any
) -> None:
    holder = start(
        """
        import time
        from mako_cacheplug_memcached import MemcachedBackend
        port, client = args
        store = MemcachedBackend([("127.0.0.1", int(port))], client=client)
        began = time.time()
        assert store.mutex("k", 1.0).acquire()
        print(began, flush=True)
        time.sleep(100)
        """,
        server.port,
        client,
    )
    acquired_at = float(holder.stdout.readline())
    holder.kill()
    heir = make(server, clock=time.time).mutex("k", 1.0)
    with contextlib.suppress(BackendError):
        while not heir.acquire() and time.time() < acquired_at + 30:
            time.sleep(0.01)
    assert 0.9 < time.time() - acquired_at < 2.0
