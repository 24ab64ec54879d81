"""Nobody waits in a circle: not in a process, not across processes."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.circles import Mutex
from benchmarks.circles import Mutexes
from mako_cacheplug import lock as lock_module
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.lock import DogpileLock

LONG = 30.0
"""Seconds that nobody waits for in a test that passes."""

Lock = DogpileLock[Any]
Pool = concurrent.futures.ThreadPoolExecutor


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(16) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_left_in_the_graph() -> Iterator[None]:
    yield
    assert lock_module._graph._innermost == {}
    assert lock_module._graph._held == set()


def until(condition: Callable[[], object]) -> None:
    """Wait until another thread has got to somewhere."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def never() -> Any:
    """Stand for a creator that must not run."""
    raise AssertionError("created")


def nothing() -> NoValue:
    """Stand for a look that finds nothing."""
    return NO_VALUE


def ask(
    lock: Lock,
    key: str,
    create: Callable[[], object],
    mutex: CacheMutex | None = None,
    look: Callable[[], Any] = nothing,
    **given: Any,
) -> Any:
    return lock.get_or_create(
        key, look, create, **{"wait": LONG, "mutex": mutex, **given}
    )


def is_awaited(lock: Lock, key: str, by: int = 1) -> bool:
    """Tell whether that many threads have joined the flight of *key*."""
    flight = lock._flights.get(key)
    if flight is None or flight.over is None:
        return False
    return len(flight.over._cond._waiters) == by  # type: ignore[attr-defined]  # CPython's


# -- in one process ----------------------------------------------------------


def ring(pool: Pool, *members: tuple[Lock, str]) -> list[object]:
    """Let each member's creator want the next one's value, the last last.

    All create before one of them asks; each but the last waits before the
    next one asks.
    """
    size = len(members)
    all_create = threading.Barrier(size)

    def call(place: int) -> object:
        lock, key = members[place]
        wanted_lock, wanted = members[(place + 1) % size]
        last = place == size - 1

        def create() -> object:
            all_create.wait(LONG)
            ask(lock, f"{key} apart", lambda: None)  # and that is over
            if place > 0:
                until(lambda: is_awaited(lock, key))
            instead = (lambda: "alone") if last else never
            return key, ask(wanted_lock, wanted, instead)

        return ask(lock, key, create)

    began = time.monotonic()
    calls = [pool.submit(call, place) for place in range(size)]
    values = [call.result(LONG) for call in calls]
    assert time.monotonic() - began < LONG / 3
    return values


@pytest.mark.parametrize("keys", ["xy", "yx"])
def test_two_threads_want_each_others_key(pool: Pool, keys: str) -> None:
    lock: Lock = DogpileLock()
    first, last = keys
    values = ring(pool, (lock, first), (lock, last))
    assert values == [(first, (last, "alone")), (last, "alone")]


@pytest.mark.parametrize("keys", ["xy", "yx", "xx"])
def test_two_threads_want_each_others_key_of_two_stores(
    pool: Pool, keys: str
) -> None:
    locks: list[Lock] = [DogpileLock(), DogpileLock()]
    first, last = keys
    values = ring(pool, *zip(locks, keys, strict=True))
    assert values == [(first, (last, "alone")), (last, "alone")]


@pytest.mark.parametrize("keys", ["xyz", "zyx", "yxz"])
def test_three_threads_in_a_ring(pool: Pool, keys: str) -> None:
    lock: Lock = DogpileLock()
    a, b, c = keys
    values = ring(pool, *((lock, key) for key in keys))
    assert values == [(a, (b, (c, "alone"))), (b, (c, "alone")), (c, "alone")]


def test_of_many_that_need_one_value_it_is_created_once(pool: Pool) -> None:
    lock: Lock = DogpileLock()
    keys = "abcdwxyz"

    def call(key: str) -> object:
        return ask(lock, key, lambda: (key, ask(lock, "m", create)))

    def create() -> object:
        until(lambda: is_awaited(lock, "m", by=7))
        return "once"

    calls = [pool.submit(call, key) for key in keys]
    assert [call.result(LONG) for call in calls] == [(k, "once") for k in keys]


def test_a_flight_that_is_over_is_waited_for_by_nobody(pool: Pool) -> None:
    """Though the thread that waited for it has not yet been awake."""
    lock: Lock = DogpileLock()
    awake = threading.Event()
    create_inner = threading.Event()

    class Slow(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            over = super().wait(timeout)
            assert awake.wait(LONG)
            return over

    def first() -> object:
        """Create "inner", then want what the other one creates."""

        def create() -> object:
            lock._flights["inner"].over = Slow()
            create_inner.set()
            until(lambda: is_awaited(lock, "inner"))
            return "inner"

        ask(lock, "own", lambda: ask(lock, "inner", create))
        return ask(lock, "own", lambda: ask(lock, "outer", never))

    def other() -> object:
        def create() -> object:
            assert create_inner.wait(LONG)
            return "outer", ask(lock, "inner", never)

        return ask(lock, "outer", create)

    calls = [pool.submit(first), pool.submit(other)]
    until(lambda: is_awaited(lock, "outer") or calls[0].done())
    awake.set()
    for call in calls:
        assert call.result(LONG) == ("outer", "inner")


@pytest.mark.parametrize("depth", [1, 3])
def test_who_creates_unelected_does_not_wait_for_the_same_key(
    pool: Pool, depth: int
) -> None:
    lock: Lock = DogpileLock()
    end = threading.Event()
    elected = pool.submit(ask, lock, "k", lambda: end.wait(LONG))
    until(lambda: "k" in lock._flights)

    def create(left: int = depth) -> object:
        if not left:
            return "inmost"
        return "k", ask(lock, "k", lambda: create(left - 1))

    began = time.monotonic()
    expected: object = "inmost"
    for _ in range(depth):
        expected = ("k", expected)
    assert ask(lock, "k", create, wait=0.0) == expected
    assert time.monotonic() - began < LONG / 3
    end.set()
    assert elected.result(LONG) is True


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("elected", [True, False])
def test_an_error_leaves_nothing_behind(
    pool: Pool, error: type[BaseException], elected: bool
) -> None:
    lock: Lock = DogpileLock()
    end = threading.Event()
    if not elected:
        for key in "xy":
            pool.submit(ask, lock, key, lambda: end.wait(LONG))
            until(lambda key=key: key in lock._flights)

    def fail() -> object:
        raise error

    with pytest.raises(error):
        ask(lock, "x", lambda: ask(lock, "y", fail, wait=0.0), wait=0.0)
    mine = threading.get_ident()
    assert mine not in lock_module._graph._innermost
    end.set()
    until(lambda: not lock._flights)


def test_who_gave_up_waiting_is_waited_for_again(pool: Pool) -> None:
    lock: Lock = DogpileLock()
    go_on = threading.Event()
    asked = threading.Event()

    def impatient() -> object:
        ask(lock, "y", lambda: "mine", wait=0.0)
        asked.set()
        assert go_on.wait(LONG)
        return "x"

    def other() -> object:
        assert asked.wait(LONG)
        return "y", ask(lock, "x", never)

    leader = pool.submit(ask, lock, "y", other)
    until(lambda: "y" in lock._flights)
    creator = pool.submit(ask, lock, "x", impatient)
    until(lambda: is_awaited(lock, "x"))
    go_on.set()
    assert leader.result(LONG) == ("y", "x")
    assert creator.result(LONG) == "x"


# -- across processes: several locks are several processes -------------------


class Naps:
    """A clock and a sleep in one; the first sleep lets *event* happen."""

    def __init__(self, event: Callable[[], object]) -> None:
        self.now = 0.0
        self.event = event

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.event()


@pytest.mark.parametrize(
    ("held", "wanted", "follows"),
    [
        ("", "m", True),
        ("a", "m", True),
        ("z", "m", False),
        ("m", "m", False),  # of two stores
        ("ab", "m", True),
        ("az", "m", False),
        ("za", "m", False),
        ("Z", "m", True),
        ("aZ", "b", True),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_a_creator_follows_what_sorts_after_all_it_holds(
    held: str, wanted: str, follows: bool, shared: bool
) -> None:
    here, there = Mutexes(), Mutexes()
    theirs = there(wanted)
    assert theirs.acquire()
    values = {}

    def finish() -> None:
        values[wanted] = "theirs"
        assert theirs.release()

    naps = Naps(finish)
    outer: Lock = DogpileLock()
    inner: Lock = DogpileLock(naps.clock, naps.sleep)

    def create(left: str = held) -> object:
        if left:
            mutex = here(left[0]) if shared else None
            return ask(outer, left[0], lambda: create(left[1:]), mutex)
        return ask(
            inner,
            wanted,
            lambda: "mine",
            there(wanted),
            lambda: values.get(wanted, NO_VALUE),
        )

    # What no other process can wait for is no part of a circle with them.
    follows = follows or not shared
    assert create() == ("theirs" if follows else "mine")
    assert (naps.now > 0.0) == follows


def test_a_value_that_has_come_is_taken_whatever_the_order() -> None:
    lock: Lock = DogpileLock()
    mutexes = Mutexes()
    found: list[object] = []

    class Late(Mutex):
        def acquire(self) -> bool:
            found.append("theirs")
            return False

        def holder(self) -> str:
            return "another process"

    late = Late(threading.Lock(), {}, "a")

    def look() -> object:
        return found[0] if found else NO_VALUE

    value = ask(
        lock, "z", lambda: ask(lock, "a", never, late, look), mutexes("z")
    )
    assert value == "theirs"


def test_a_leaf_is_followed_in_any_order() -> None:
    mutexes = Mutexes()
    theirs = mutexes("a")
    assert theirs.acquire()
    values = {}

    def finish() -> None:
        values["a"] = "theirs"
        assert theirs.release()

    naps = Naps(finish)
    lock: Lock = DogpileLock(naps.clock, naps.sleep)

    def create() -> object:
        return ask(
            lock,
            "a",
            never,
            mutexes("a"),
            lambda: values.get("a", NO_VALUE),
            leaf=True,
        )

    assert ask(lock, "z", create, mutexes("z")) == "theirs"


class Follower:
    """A process in which a thread follows another one's creation of "m"."""

    def __init__(self, pool: Pool) -> None:
        self.mutexes = Mutexes()
        self.lock: Lock = DogpileLock(sleep=self._sleep)
        self.value: object = NO_VALUE
        self.slept = 0
        self.holder = self.mutexes("m")
        assert self.holder.acquire()
        self.result = pool.submit(
            ask,
            self.lock,
            "m",
            lambda: "created by the leader",
            self.mutexes("m"),
            lambda: self.value,
        )
        self.looks_on()

    def _sleep(self, seconds: float) -> None:
        self.slept += 1
        time.sleep(seconds)

    def looks_on(self) -> None:
        """Wait until the leader has looked a few times more."""
        enough = self.slept + 3
        until(lambda: self.slept >= enough or self.result.done())

    def finish(self) -> None:
        """Let the other process have created its value."""
        self.value = "theirs"
        assert self.holder.release()


@pytest.mark.parametrize(
    ("held", "follows"), [("a", True), ("l", True), ("m", False), ("z", False)]
)
def test_a_leader_follows_no_longer_once_it_is_waited_for(
    pool: Pool, held: str, follows: bool
) -> None:
    process = Follower(pool)
    other_store: Lock = DogpileLock()
    joined = pool.submit(
        ask,
        other_store,
        held,
        lambda: ask(process.lock, "m", never),
        Mutexes()(held),
    )
    until(lambda: is_awaited(process.lock, "m") or process.result.done())
    process.looks_on()
    assert process.result.done() == (not follows)
    process.finish()
    expected = "theirs" if follows else "created by the leader"
    assert process.result.result(LONG) == expected
    assert joined.result(LONG) == expected


@pytest.mark.parametrize("order", ["near first", "far first"])
@pytest.mark.parametrize(("held", "follows"), [("a", True), ("z", False)])
def test_nor_once_it_is_waited_for_through_others(
    pool: Pool, order: str, held: str, follows: bool
) -> None:
    process = Follower(pool)
    lock = process.lock

    def near() -> object:
        """Hold "b" and wait for "m"."""

        def create() -> object:
            if order == "far first":
                until(lambda: is_awaited(lock, "b"))
            return "b", ask(lock, "m", never)

        return ask(lock, "b", create, process.mutexes("b"))

    def far() -> object:
        """Hold a key and wait for "b"."""

        def create() -> object:
            return ask(lock, "b", never)

        return ask(lock, held, create, process.mutexes(held))

    calls = [pool.submit(near)]
    until(lambda: "b" in lock._flights)
    if order == "near first":
        until(lambda: is_awaited(lock, "m"))
        process.looks_on()
        assert not process.result.done()
    calls.append(pool.submit(far))
    until(lambda: is_awaited(lock, "m") or process.result.done())
    process.looks_on()
    process.looks_on()
    assert process.result.done() == (not follows)
    process.finish()
    expected = "theirs" if follows else "created by the leader"
    assert process.result.result(LONG) == expected
    for call in calls:
        assert call.result(LONG) == ("b", expected)


@pytest.mark.parametrize("keys", ["amz", "zma", "maz", "mza", "azm", "zam"])
def test_a_circle_through_threads_and_processes(pool: Pool, keys: str) -> None:
    """One creates x and joins a thread that follows who wants x."""
    x, y, _ = keys
    mutexes = Mutexes()
    values: dict[str, object] = {}
    here: Lock = DogpileLock()
    there: Lock = DogpileLock()
    both = threading.Barrier(2)

    def get(lock: Lock, key: str, create: Callable[[], object]) -> object:
        def store() -> object:
            made = create()
            values.setdefault(key, made)
            return made

        return ask(
            lock,
            key,
            store,
            mutexes(key),
            lambda: values.get(key, NO_VALUE),
        )

    def outer() -> object:
        both.wait(LONG)
        until(lambda: y in here._flights or y in values)
        return x, get(here, y, lambda: "outer's")

    def other() -> object:
        both.wait(LONG)
        return y, get(there, x, lambda: "other's")

    began = time.monotonic()
    calls = [
        pool.submit(get, here, x, outer),
        pool.submit(get, there, y, other),
    ]
    until(lambda: len(mutexes._holders) == 2 or values)
    calls.append(pool.submit(get, here, y, lambda: "follower's"))
    for call in calls:
        assert call.result(LONG)
    assert time.monotonic() - began < LONG / 3
    assert mutexes._holders == {}


def test_over_two_processes_each_creates_at_most_once(pool: Pool) -> None:
    """Eight outer values that need one: never more than one per process."""
    for _ in range(5):
        mutexes = Mutexes()
        values: dict[str, object] = {}
        created: list[Lock] = []
        start = threading.Barrier(16)

        def call(
            lock: Lock,
            key: str,
            start: threading.Barrier = start,
            mutexes: Mutexes = mutexes,
            values: dict[str, object] = values,
            created: list[Lock] = created,
        ) -> object:
            def create() -> object:
                created.append(lock)
                time.sleep(0.05)
                values["m"] = "inner"
                return "inner"

            start.wait(LONG)
            return ask(
                lock,
                key,
                lambda: ask(
                    lock,
                    "m",
                    create,
                    mutexes("m"),
                    lambda: values.get("m", NO_VALUE),
                ),
                mutexes(key),
            )

        calls = [
            pool.submit(call, lock, f"{key}{number}")
            for number, lock in enumerate((DogpileLock(), DogpileLock()))
            for key in "abcdwxyz"
        ]
        assert {call.result(LONG) for call in calls} == {"inner"}
        assert len(created) == len(set(created))


# -- after fork --------------------------------------------------------------


class Brief:
    """A mutex that another process holds until it was asked after once."""

    def __init__(self, mutex: Mutex) -> None:
        assert mutex.acquire()
        self.theirs = mutex

    def acquire(self) -> bool:
        return False

    def release(self) -> bool:
        return False

    def holder(self) -> str | None:
        holder = self.theirs.holder()
        self.theirs.release()
        return holder


def test_a_child_finishes_the_creation_that_it_was_forked_in(
    pool: Pool,
) -> None:
    lock: Lock = DogpileLock()
    elsewhere, end = threading.Event(), threading.Event()
    mutexes = Mutexes()
    other = pool.submit(
        ask,
        lock,
        "other",
        lambda: (elsewhere.set(), end.wait(LONG)),
        mutexes("other"),
    )
    assert elsewhere.wait(LONG)
    assert mutexes("a").acquire()
    joined: list[concurrent.futures.Future[object]] = []
    child = -1

    def create() -> object:
        nonlocal child
        joined.append(pool.submit(ask, lock, "k", never))
        until(lambda: is_awaited(lock, "k"))
        over = lock._flights["k"].over
        assert over is not None
        # As other threads may hold them at that moment.
        locks = lock._guard, over._cond  # type: ignore[attr-defined]  # CPython's
        for each in locks:
            each.acquire()
        child = os.fork()
        if child == 0:
            # Its copy of the mutex is held: it would wait for the parent.
            recursive = ask(lock, "k", again, mutexes("k"))
            # It still holds "k", and no longer "other".
            before = ask(lock, "a", again, mutexes("a"))
            after = ask(lock, "n", again, Brief(mutexes("n")))
            assert before == after == again()
            return recursive, ask(lock, "other", mine)
        for each in locks:
            each.release()
        return "the parent's"

    def again() -> object:
        return "not waited for"

    def mine() -> object:
        return "nor is what another thread of the parent creates"

    began = time.monotonic()
    value: object = None
    try:
        value = ask(lock, "k", create, mutexes("k"))
    finally:
        if child == 0:
            right = value == (again(), mine())
            empty = not lock._flights and not lock_module._graph._innermost
            at_once = time.monotonic() - began < LONG / 3
            os._exit(0 if right and empty and at_once else 1)
    end.set()
    assert_ends_well(child)
    assert value == joined[0].result(LONG) == "the parent's"
    assert other.result(LONG) == (None, True)


def assert_ends_well(child: int) -> None:
    """Wait for *child*, which tells by its status that it found all well."""
    found = status = 0

    def has_ended() -> bool:
        nonlocal found, status
        found, status = os.waitpid(child, os.WNOHANG)
        return found == child

    try:
        until(has_ended)
    finally:
        if not found:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert status == 0
