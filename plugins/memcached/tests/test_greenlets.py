"""In a process that gevent has patched, and on both sides of its fork."""

from __future__ import annotations

from typing import Any

import pytest

from mako_cacheplug.testing.servers import MemcachedServer

_BEGIN = """
from gevent import monkey
monkey.patch_all()
import os
import gevent
import gevent.event
from mako_cacheplug import CacheRegion
url = f"memcached://127.0.0.1:{args[0]}?timeout=10s&pool_size=32"
"""


@pytest.fixture
def run(start: Any, server: MemcachedServer) -> Any:
    """Return what a patched process prints."""

    def run(script: str) -> str:
        process = start(_BEGIN + script, server.port)
        printed: str = process.communicate(timeout=60)[0]
        assert process.returncode == 0
        return printed

    return run


def test_the_client_that_lets_others_run_is_chosen(run: Any) -> None:
    assert run("print(CacheRegion(url).backend.client)") == "pymemcache\n"
    assert (
        run('print(CacheRegion(url + "&client=pylibmc").backend.client)')
        == "pylibmc\n"
    )


def test_of_many_greenlets_one_creates(run: Any) -> None:
    """Those who wait do not keep others from running."""
    assert (
        run("""
region = CacheRegion(url)
other, begun = gevent.event.Event(), gevent.event.Event()
made = []
def make():
    begun.set()
    other.wait()
    made.append(1)
    return "v"
waiting = [gevent.spawn(region.get_or_create, "k", make) for _ in range(50)]
begun.wait()
gevent.spawn(other.set)
gevent.joinall(waiting, timeout=30)
print(len(made), {one.value for one in waiting})
""")
        == "1 {'v'}\n"
    )


def test_greenlets_that_create_what_each_other_wants_do_not_wait(
    run: Any,
) -> None:
    """They are told apart as threads are."""
    assert (
        run("""
region = CacheRegion(url, wait="60s")
begun = [gevent.event.Event(), gevent.event.Event()]
def make(mine):
    begun[mine].set()
    begun[not mine].wait()
    return region.get_or_create(f"k{1 - mine}", lambda: "inner")
both = [
    gevent.spawn(region.get_or_create, f"k{n}", lambda n=n: make(n))
    for n in range(2)
]
gevent.joinall(both, timeout=30)
print({one.value for one in both})
""")
        == "{'inner'}\n"
    )


def test_a_call_on_its_way_is_not_answered_in_a_child(run: Any) -> None:
    """Greenlets go on in a child, with what they were waiting for.

    Over the parent's socket each would take what the other is to read.
    """
    assert (
        run("""
store = CacheRegion(url).backend
values = {f"k{n}": f"v{n};".encode() * 300 for n in range(20)}
for key, value in values.items():
    store.set(key, value, 60)
over, wrong, reads = False, [], 0
def read(key):
    global reads
    while not over:
        try:
            found = store.get(key)
        except Exception as error:
            wrong.append(error)
        else:
            reads += 1
            if found != values[key]:
                wrong.append(found)
readers = [gevent.spawn(read, key) for key in values]
def read_on(count):
    global over
    until = reads + count
    while reads < until and len(wrong) < 10_000:
        gevent.sleep(0.001)
    over = True
    gevent.joinall(readers, timeout=30)
while reads < 500:
    gevent.sleep(0.001)
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        read_on(2000)
        # Each that was on its way has failed once, and no other.
        ok = len(wrong) <= len(values) and not any(
            isinstance(one, bytes) for one in wrong)
        os._exit(0 if ok else 1)
    children.append(child)
read_on(4000)
ends = [os.waitpid(child, 0)[1] for child in children]
print(wrong[:3], ends)
""")
        == "[] [0, 0, 0]\n"
    )
