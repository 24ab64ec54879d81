"""The dogpile lock as its definition says: in threads, then over a mutex."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from mako_cacheplug import lock as lock_module
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.lock import FIRST_PAUSE
from mako_cacheplug.lock import LAST_PAUSE
from mako_cacheplug.lock import LOOK_EVERY
from mako_cacheplug.waiting import Flight

LONG = 30.0
"""Seconds that nobody waits for in a test that passes."""


class Table:
    """One value and how it came to be."""

    def __init__(self) -> None:
        self.value: object = NO_VALUE
        self.creations = itertools.count(1)
        self.count = 0

    def look(self) -> Any:
        return self.value

    def create(self) -> object:
        self.count = next(self.creations)
        self.value = f"value {self.count}"
        return self.value


class Mutexes:
    """Token-owned, leased mutexes of several make-believe processes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.owners: dict[str, tuple[str, float]] = {}
        self.guard = threading.Lock()
        self.tokens = itertools.count()

    def __call__(self, key: str, lease: float = 30.0) -> _Mutex:
        return _Mutex(self, key, lease, f"token {next(self.tokens)}")


class _Mutex:
    def __init__(
        self, space: Mutexes, key: str, lease: float, token: str
    ) -> None:
        self.space = space
        self.key = key
        self.lease = lease
        self.token = token

    def _holder(self) -> str | None:
        token, ends = self.space.owners.get(self.key, (None, 0.0))
        return token if self.space.now < ends else None

    def acquire(self) -> bool:
        with self.space.guard:
            if self._holder() is not None:
                return False
            ends = self.space.now + self.lease
            self.space.owners[self.key] = self.token, ends
            return True

    def release(self) -> bool:
        with self.space.guard:
            if self._holder() != self.token:
                return False
            del self.space.owners[self.key]
            return True

    def holder(self) -> str | None:
        with self.space.guard:
            return self._holder()


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    with concurrent.futures.ThreadPoolExecutor(40) as made:
        yield made


@pytest.fixture
def table() -> Table:
    return Table()


def until(condition: Callable[[], object]) -> None:
    """Wait until another thread has got to somewhere."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waiters(flight: Flight[Any]) -> int:
    """Return how many threads wait for *flight*."""
    return len(flight.over._cond._waiters) if flight.over else 0  # type: ignore[attr-defined]  # CPython's


def never() -> Any:
    """Stand for a creator that must not run."""
    raise AssertionError("created")


def nothing() -> NoValue:
    """Stand for a look that finds nothing."""
    return NO_VALUE


@contextlib.contextmanager
def held(
    lock: DogpileLock[Any],
    pool: concurrent.futures.ThreadPoolExecutor,
    key: str = "k",
    outcome: object = "created by the leader",
) -> Iterator[concurrent.futures.Future[object]]:
    """Keep a creation of *key* under way in another thread."""
    begun, end = threading.Event(), threading.Event()

    def create() -> object:
        begun.set()
        assert end.wait(LONG)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    leader = pool.submit(
        lambda: lock.get_or_create(key, nothing, create, wait=LONG)
    )
    try:
        assert begun.wait(LONG)
        yield leader
    finally:
        end.set()
    concurrent.futures.wait([leader], LONG)


# -- in one process ----------------------------------------------------------


def test_a_lone_caller_looks_then_creates(table: Table) -> None:
    lock: DogpileLock[object] = DogpileLock()
    for _ in range(2):
        value = lock.get_or_create("k", table.look, table.create, wait=LONG)
        assert value == "value 1"
    assert table.count == 1
    assert lock._flights == {}


def test_of_32_threads_one_creates(
    table: Table, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    for trial in range(1, 21):
        table.value = NO_VALUE
        start = threading.Barrier(32)

        def call(start: threading.Barrier = start) -> object:
            start.wait(LONG)
            return lock.get_or_create("k", table.look, table.create, wait=LONG)

        futures = [pool.submit(call) for _ in range(32)]
        values = {future.result(LONG) for future in futures}
        assert values == {f"value {trial}"}
    assert table.count == 20


def test_the_waiters_get_a_value_that_was_not_stored(
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool):
        flight = lock._flights["k"]
        others = [
            pool.submit(lock.get_or_create, "k", nothing, never, wait=LONG)
            for _ in range(5)
        ]
        until(lambda: waiters(flight) == 5)
    assert {o.result(LONG) for o in others} == {"created by the leader"}


@pytest.mark.parametrize("key", ["k", None])
def test_who_comes_after_a_parting_does_not_join(
    pool: concurrent.futures.ThreadPoolExecutor, key: str | None
) -> None:
    """Who joined before it gets the value; the next flight has its own."""
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool) as leader:
        flight = lock._flights["k"]
        joined = pool.submit(
            lock.get_or_create, "k", nothing, never, wait=LONG
        )
        until(lambda: flight.over._cond._waiters)  # type: ignore[attr-defined]  # CPython's
        lock.part("other")
        assert lock._flights == {"k": flight}
        lock.part(key)
        with held(lock, pool, outcome="created later") as later:
            flight = lock._flights["k"]
            after = pool.submit(
                lock.get_or_create, "k", nothing, never, wait=LONG
            )
            until(lambda: flight.over._cond._waiters)  # type: ignore[attr-defined]  # CPython's
        assert {f.result(LONG) for f in (later, after)} == {"created later"}
    assert {f.result(LONG) for f in (leader, joined)} == {
        "created by the leader"
    }
    assert lock._flights == {}


def test_keys_do_not_wait_for_each_other(
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool):
        assert (
            lock.get_or_create("other", nothing, lambda: "mine", wait=LONG)
            == "mine"
        )


@pytest.mark.parametrize("stale", ["old", None, "", 0])
def test_the_others_return_a_stale_value_at_once(
    pool: concurrent.futures.ThreadPoolExecutor, stale: object
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool):
        assert (
            lock.get_or_create("k", nothing, never, wait=LONG, stale=stale)
            is stale
        )


def test_a_created_value_may_be_anything(
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool, outcome=None):
        flight = lock._flights["k"]
        other = pool.submit(lock.get_or_create, "k", nothing, never, wait=LONG)
        until(lambda: waiters(flight) == 1)
    assert other.result(LONG) is None


def test_a_leader_with_a_stale_value_creates() -> None:
    lock: DogpileLock[object] = DogpileLock()
    assert (
        lock.get_or_create("k", nothing, lambda: "new", wait=LONG, stale="old")
        == "new"
    )


def test_a_waiter_gives_up_and_creates(
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool) as leader:
        for wait in (0.0, 0.05):
            began = time.monotonic()
            assert (
                lock.get_or_create("k", nothing, lambda: "mine", wait=wait)
                == "mine"
            )
            assert time.monotonic() - began >= wait
        assert not leader.done()


def test_one_may_wait_for_ever(
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool):
        flight = lock._flights["k"]
        other = pool.submit(
            lock.get_or_create, "k", nothing, never, wait=float("inf")
        )
        until(lambda: waiters(flight) == 1)
    assert other.result(LONG) == "created by the leader"


def test_eight_callers_of_a_failing_creation_are_back_together(
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    start = threading.Barrier(8)
    under_way = set()
    together = []
    guard = threading.Lock()

    def fail() -> object:
        me = threading.get_ident()
        with guard:
            under_way.add(me)
            together.append(len(under_way))
        time.sleep(0.1)
        with guard:
            under_way.remove(me)
        raise ZeroDivisionError

    def call() -> float:
        start.wait(LONG)
        began = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            lock.get_or_create("k", nothing, fail, wait=LONG)
        return time.monotonic() - began

    def seconds() -> float:
        together.clear()
        futures = [pool.submit(call) for _ in range(8)]
        return max(future.result(LONG) for future in futures)

    # 0.2 s by the algorithm, 0.8 s one after the other; the best of some, for
    # a busy machine.
    slowest: list[float] = []
    most: list[int] = []
    while len(slowest) < 5 and min(slowest, default=1.0) >= 0.25:
        slowest.append(seconds())
        most.append(max(together))
        assert len(together) == 8
    assert min(slowest) < 0.25
    assert max(most) >= 6
    assert lock._flights == {}


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), GeneratorExit()]
)
def test_an_error_is_its_callers_alone(
    pool: concurrent.futures.ThreadPoolExecutor, error: BaseException
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool, outcome=error) as leader:
        flight = lock._flights["k"]
        other = pool.submit(
            lock.get_or_create, "k", nothing, lambda: "mine", wait=LONG
        )
        until(lambda: waiters(flight) == 1)
    assert other.result(LONG) == "mine"
    assert leader.exception(LONG) is error
    assert lock._flights == {}


def test_a_failing_look_releases_the_key() -> None:
    lock: DogpileLock[object] = DogpileLock()
    mutexes = Mutexes()

    def look() -> Any:
        raise ValueError("look")

    with pytest.raises(ValueError, match="look"):
        lock.get_or_create("k", look, never, wait=LONG, mutex=mutexes("k"))
    assert lock._flights == {}
    assert mutexes.owners == {}


@pytest.mark.parametrize("shared", [False, True])
def test_a_creator_that_wants_its_own_key_does_not_wait(shared: bool) -> None:
    lock: DogpileLock[object] = DogpileLock()
    mutexes = Mutexes()

    def mutex() -> CacheMutex | None:
        return mutexes("k") if shared else None

    def nest(depth: int) -> object:
        if depth == 0:
            return "inmost"
        # A stale value would stop the recursion: it must go on to create.
        return lock.get_or_create(
            "k",
            nothing,
            lambda: f"<{nest(depth - 1)}>",
            wait=LONG,
            stale="old",
            mutex=mutex(),
        )

    assert nest(3) == "<<<inmost>>>"
    assert lock._flights == {}
    assert mutexes.owners == {}


def test_a_lock_that_nobody_uses_is_collected() -> None:
    lock: DogpileLock[object] = DogpileLock()
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None


def test_a_child_does_not_wait_for_its_parents_creations(
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    lock: DogpileLock[object] = DogpileLock()
    with held(lock, pool):
        with lock._guard:  # as another thread may, at the fork
            child = os.fork()
            if child == 0:
                value = lock.get_or_create(
                    "k", nothing, lambda: "mine", wait=LONG
                )
                os._exit(0 if value == "mine" else 1)
        until(lambda: _ended(child))
    assert _ended.status == 0  # type: ignore[attr-defined]  # set when it ended
    # The parent's creation is still its own.
    assert lock._flights == {}


def _ended(child: int) -> bool:
    found, status = os.waitpid(child, os.WNOHANG)
    _ended.status = os.waitstatus_to_exitcode(status)  # type: ignore[attr-defined]  # see above
    return found == child


# -- over a mutex: several locks are several processes -----------------------


def test_of_8_processes_with_4_threads_one_creates(
    table: Table, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    mutexes = Mutexes()
    processes: list[DogpileLock[object]] = [DogpileLock() for _ in range(8)]
    for trial in range(1, 11):
        table.value = NO_VALUE
        start = threading.Barrier(32)

        def call(
            lock: DogpileLock[object], start: threading.Barrier = start
        ) -> object:
            start.wait(LONG)
            return lock.get_or_create(
                "k", table.look, table.create, wait=LONG, mutex=mutexes("k")
            )

        futures = [pool.submit(call, lock) for lock in processes * 4]
        values = {future.result(LONG) for future in futures}
        assert values == {f"value {trial}"}
    assert table.count == 10
    assert mutexes.owners == {}


class Steps:
    """A clock and a sleep in one: each sleep may let something happen."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        self.events = list(events)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        if self.events:
            self.events.pop(0)()


def follower(steps: Steps, chance: float = 0.0) -> DogpileLock[object]:
    return DogpileLock(steps.clock, steps.sleep, lambda: chance)


def idle() -> None:
    """Let a look of a follower pass by."""


def test_a_follower_gets_what_the_holder_stored(table: Table) -> None:
    mutexes = Mutexes()
    holder = mutexes("k")
    assert holder.acquire()

    def finish() -> None:
        table.create()
        assert holder.release()

    steps = Steps(idle, idle, finish)
    assert (
        follower(steps).get_or_create(
            "k", table.look, never, wait=LONG, mutex=mutexes("k")
        )
        == "value 1"
    )
    assert len(steps.sleeps) == 3


def test_a_follower_with_a_stale_value_does_not_wait() -> None:
    mutexes = Mutexes()
    assert mutexes("k").acquire()
    steps = Steps()
    assert (
        follower(steps).get_or_create(
            "k", nothing, never, wait=LONG, stale="old", mutex=mutexes("k")
        )
        == "old"
    )
    assert steps.sleeps == []


def test_a_process_that_lost_an_election_is_in_no_other_for_a_moment() -> None:
    mutexes = Mutexes()
    holder = mutexes("k")
    assert holder.acquire()
    elections: list[float] = []
    steps = Steps()

    class Standing(_Mutex):
        def acquire(self) -> bool:
            elections.append(steps.now)
            return super().acquire()

    lock = follower(steps)

    def call(key: str = "k") -> object:
        return lock.get_or_create(
            key,
            nothing,
            lambda: "new",
            wait=LONG,
            stale="old",
            mutex=Standing(mutexes, key, 30.0, f"token {key}"),
        )

    for _ in range(100):
        assert call() == "old"
        steps.now += 0.001
    assert len(elections) == 6
    assert all(b - a >= LAST_PAUSE for a, b in itertools.pairwise(elections))
    assert call("other") == "new"
    # Who has nothing to serve asks at once.
    assert holder.release()
    assert (
        lock.get_or_create(
            "k", nothing, lambda: "new", wait=LONG, mutex=mutexes("k")
        )
        == "new"
    )
    steps.now += LAST_PAUSE
    assert call() == "new"
    assert lock._elsewhere == {}


def test_what_others_create_is_remembered_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock_module, "_REMEMBERED", 10)
    mutexes = Mutexes()
    lock = follower(Steps())
    for number in range(95):
        key = f"key {number}"
        assert mutexes(key).acquire()
        value = lock.get_or_create(
            key, nothing, never, wait=LONG, stale="old", mutex=mutexes(key)
        )
        assert value == "old"
    assert len(lock._elsewhere) == 5


def test_a_follower_waits_no_longer_than_it_may(table: Table) -> None:
    mutexes = Mutexes()
    holder = mutexes("k")
    assert holder.acquire()
    steps = Steps()
    assert (
        follower(steps).get_or_create(
            "k", table.look, lambda: "mine", wait=2.0, mutex=mutexes("k")
        )
        == "mine"
    )
    assert steps.now == pytest.approx(2.0)
    assert max(steps.sleeps) <= LAST_PAUSE
    assert holder.release()


def test_a_follower_looks_once_more_at_the_end_of_its_wait(
    table: Table,
) -> None:
    mutexes = Mutexes()
    assert mutexes("k").acquire()
    steps = Steps(table.create)
    value = follower(steps).get_or_create(
        "k", table.look, never, wait=0.001, mutex=mutexes("k")
    )
    assert value == "value 1"


def test_a_holder_that_failed_is_not_waited_for(table: Table) -> None:
    mutexes = Mutexes()
    holder = mutexes("k")
    assert holder.acquire()
    steps = Steps(idle, holder.release)
    assert (
        follower(steps).get_or_create(
            "k", table.look, lambda: "mine", wait=LONG, mutex=mutexes("k")
        )
        == "mine"
    )
    assert len(steps.sleeps) == 2


def test_a_dead_holder_delays_by_its_lease(table: Table) -> None:
    mutexes = Mutexes()
    assert mutexes("k", lease=1.0).acquire()
    steps = Steps()

    class Asking(_Mutex):
        def holder(self) -> str | None:
            mutexes.now = steps.now
            return super().holder()

    mine = Asking(mutexes, "k", 1.0, "t")
    assert (
        follower(steps).get_or_create(
            "k", table.look, lambda: "mine", wait=LONG, mutex=mine
        )
        == "mine"
    )
    assert 1.0 <= steps.now < 1.05


class Counting(_Mutex):
    """A mutex that counts what is asked of it."""

    questions = 0

    def holder(self) -> str | None:
        self.questions += 1
        return super().holder()


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_a_follower_asks_less_than_60_times_a_second(chance: float) -> None:
    """From its first question on, whatever it asks for."""
    mutexes = Mutexes()
    assert mutexes("k").acquire()
    looks: list[float] = []
    steps = Steps()

    def look() -> Any:
        looks.append(steps.now)
        return NO_VALUE

    mine = Counting(mutexes, "k", 30.0, "t")
    lock = follower(steps, chance)
    lock.get_or_create("k", look, lambda: "mine", wait=2.0, mutex=mine)
    assert (mine.questions + len(looks)) / steps.now < 60.0
    # Nobody waits long for what was stored, nor for who has given up.
    assert max(steps.sleeps) <= LAST_PAUSE < 0.02
    assert max(b - a for a, b in itertools.pairwise([0.0, *looks])) < 0.08
    assert len(looks) < mine.questions


def test_a_short_creation_is_not_waited_for_long(table: Table) -> None:
    mutexes = Mutexes()
    holder = mutexes("k")
    assert holder.acquire()
    steps = Steps(lambda: (table.create(), holder.release()))
    mine = mutexes("k")
    lock = follower(steps, 0.999)
    lock.get_or_create("k", table.look, never, wait=LONG, mutex=mine)
    assert steps.now < 0.002


def test_who_began_to_wait_together_does_not_ask_together() -> None:
    mutexes = Mutexes()
    assert mutexes("k").acquire()
    first: list[float] = []
    for chance in (0.0, 0.25, 0.5):
        steps = Steps()
        follower(steps, chance).get_or_create(
            "k", nothing, lambda: "mine", wait=0.1, mutex=mutexes("k")
        )
        first.append(steps.sleeps[0])
    assert first == [FIRST_PAUSE, 1.25 * FIRST_PAUSE, 1.5 * FIRST_PAUSE]


def test_a_value_that_another_than_the_holder_made_is_found(
    table: Table,
) -> None:
    mutexes = Mutexes()
    assert mutexes("k").acquire()
    steps = Steps(table.create)
    assert (
        follower(steps).get_or_create(
            "k", table.look, never, wait=LONG, mutex=mutexes("k")
        )
        == "value 1"
    )
    assert len(steps.sleeps) == LOOK_EVERY


def test_of_the_threads_of_a_process_one_asks(
    table: Table, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    mutexes = Mutexes()
    holder = mutexes("k")
    assert holder.acquire()
    asking: set[int] = set()
    may_go_on = threading.Semaphore(0)
    asleep = threading.Semaphore(0)

    def sleep(seconds: float) -> None:
        asking.add(threading.get_ident())
        asleep.release()
        assert may_go_on.acquire(timeout=LONG)

    lock: DogpileLock[object] = DogpileLock(sleep=sleep)
    calls = [
        pool.submit(
            lock.get_or_create,
            "k",
            table.look,
            never,
            wait=LONG,
            mutex=mutexes("k"),
        )
        for _ in range(8)
    ]
    until(lambda: "k" in lock._flights)
    flight = lock._flights["k"]
    until(lambda: waiters(flight) == 7)
    for _ in range(10):
        assert asleep.acquire(timeout=LONG)
        may_go_on.release()
    table.create()
    assert holder.release()
    may_go_on.release()
    assert {call.result(LONG) for call in calls} == {"value 1"}
    assert len(asking) == 1


def test_another_holder_is_not_waited_for_in_turn(table: Table) -> None:
    # Failing one after the other is what this lock is there to avoid.
    mutexes = Mutexes()
    holder = mutexes("k")
    assert holder.acquire()
    steps = Steps(lambda: (holder.release(), mutexes("k").acquire()))
    assert (
        follower(steps).get_or_create(
            "k", table.look, lambda: "mine", wait=LONG, mutex=mutexes("k")
        )
        == "mine"
    )
    assert len(steps.sleeps) == 1


def test_the_holder_may_finish_between_the_election_and_the_question(
    table: Table,
) -> None:
    class Gone(_Mutex):
        def acquire(self) -> bool:
            table.create()
            return False

    steps = Steps()
    gone = Gone(Mutexes(), "k", 30.0, "t")
    assert (
        follower(steps).get_or_create(
            "k", table.look, never, wait=LONG, mutex=gone
        )
        == "value 1"
    )
    assert steps.sleeps == []


def test_a_slow_holder_cannot_release_another_ones_lock() -> None:
    mutexes = Mutexes()
    second = mutexes("k")

    def slow() -> object:
        mutexes.now = 31.0
        assert second.acquire()
        return "slow"

    lock: DogpileLock[object] = DogpileLock()
    assert (
        lock.get_or_create("k", nothing, slow, wait=LONG, mutex=mutexes("k"))
        == "slow"
    )
    assert second.holder() == second.token


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_a_failed_creator_releases_the_mutex(error: BaseException) -> None:
    mutexes = Mutexes()

    def fail() -> object:
        raise error

    lock: DogpileLock[object] = DogpileLock()
    with pytest.raises(type(error)):
        lock.get_or_create("k", nothing, fail, wait=LONG, mutex=mutexes("k"))
    assert mutexes.owners == {}


def test_threads_that_joined_a_follower_are_let_go_with_it(
    table: Table, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    mutexes = Mutexes()
    holder = mutexes("k")
    assert holder.acquire()
    lock: DogpileLock[object] = DogpileLock()
    calls = [
        pool.submit(
            lock.get_or_create,
            "k",
            table.look,
            lambda: "mine",
            wait=LONG,
            mutex=mutexes("k"),
        )
        for _ in range(4)
    ]
    until(lambda: "k" in lock._flights)
    flight = lock._flights["k"]
    until(lambda: waiters(flight) == 3)
    assert not any(call.done() for call in calls)
    assert holder.release()
    assert [call.result(LONG) for call in calls] == ["mine"] * 4
