"""One backend in many threads, and on both sides of a fork."""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from mako_cacheplug_memcached import MemcachedBackend

from mako_cacheplug.testing.servers import MemcachedServer


def in_threads(count: int, work: Callable[[int], None]) -> list[Exception]:
    errors: list[Exception] = []

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(number,)) for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def use(backend: MemcachedBackend, name: str, rounds: int = 50) -> None:
    for number in range(rounds):
        key, value = f"{name}-{number % 7}", f"{name} {number}".encode()
        backend.set(key, value, 60)
        assert backend.get(key) == value
        assert backend.get_many([key]) == {key: value}


def connections(backend: MemcachedBackend) -> int:
    return len(backend._servers[0]._idle)


def test_32_threads(backend: MemcachedBackend) -> None:
    assert in_threads(32, lambda n: use(backend, f"t{n}")) == []
    assert 1 <= connections(backend) <= 16


def test_more_callers_than_the_pool_keeps(
    make: Any, server: MemcachedServer
) -> None:
    backend = make(server, pool_size=2)
    together = threading.Barrier(8)

    def work(number: int) -> None:
        backend._servers[0].call(lambda _: together.wait(30))
        use(backend, f"t{number}", 5)

    assert in_threads(8, work) == []
    assert connections(backend) <= 2
    none_kept = make(server, pool_size=0)
    use(none_kept, "t")
    assert connections(none_kept) == 0


def test_a_read_gives_back_no_more_than_the_pool_keeps(
    make: Any, server: MemcachedServer
) -> None:
    backend = make(server, pool_size=1, timeout=60.0)
    backend.set("k", b"v", 60)
    server.pause()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        reading = threads.submit(backend.get, "k")
        while connections(backend):  # It takes the only one.
            time.sleep(0.001)
        backend._servers[0].call(lambda connection: None)
        assert connections(backend) == 1
        server.resume()
        assert reading.result(30) == b"v"
    assert connections(backend) == 1


def in_children(count: int, work: Callable[[int], None]) -> int:
    """Return how many forked children did their work."""
    children = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(number)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] == 0 for pid in children)


def test_children_and_parent_after_a_fork_with_a_warm_pool(
    backend: MemcachedBackend,
) -> None:
    in_threads(6, lambda n: use(backend, f"warm{n}"))
    warm = connections(backend)
    assert warm > 0

    def work(number: int) -> None:
        assert connections(backend) == 0
        use(backend, f"child{number}", 200)

    assert in_children(4, work) == 4
    assert connections(backend) == warm
    # Not one of the parent's connections was hurt.
    for _ in range(warm):
        use(backend, "parent", 5)
    assert connections(backend) == warm


def test_a_child_that_ends_in_the_ordinary_way(
    server: MemcachedServer, client: str, start: Any
) -> None:
    """The interpreter frees everything, the parent's connections included."""
    process = start(
        """
        import gc, os
        from mako_cacheplug_memcached import MemcachedBackend
        port, client = args
        store = MemcachedBackend([("127.0.0.1", int(port))], client=client)
        store.set("k", b"v", 60)
        warm = store._servers[0]._idle[0]
        del warm
        if os.fork() == 0:
            assert store.get("k") == b"v"
            store.close()
            del store
            gc.collect()
            sys.exit(0)
        assert os.wait()[1] == 0
        assert len(store._servers[0]._idle) == 1
        assert store.get("k") == b"v"
        print("unharmed")
        store.close()
        """,
        server.port,
        client,
    )
    assert process.communicate(timeout=60)[0] == "unharmed\n"
    assert process.returncode == 0
