"""Functions whose results a region keeps."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from mako_cacheplug import BackendError
from mako_cacheplug import cached
from mako_cacheplug import CacheEvent
from mako_cacheplug import CacheRegion
from mako_cacheplug import CodecError
from mako_cacheplug import configure_regions
from mako_cacheplug import EventKind
from mako_cacheplug import KeyTypeError
from mako_cacheplug import OptionError
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.testing import ManualClock


@pytest.fixture
def region(clock: ManualClock) -> CacheRegion:
    return CacheRegion(MemoryBackend(clock=clock), clock=clock)


def test_a_call_is_made_once(region: CacheRegion) -> None:
    calls: list[object] = []

    @cached(region=region, namespace="somenamespace")
    def data(x: int, y: int, z: int = 3) -> list[int]:
        """What it says."""
        calls.append((x, y, z))
        return [x, y, z]

    assert data(1, 2) == data(x=1, y=2) == data(1, y=2, z=3) == [1, 2, 3]
    assert calls == [(1, 2, 3)]
    assert data(1, 2, 4) == [1, 2, 4]
    assert len(calls) == 2
    shown: Any = data
    assert (shown.__name__, shown.__doc__) == ("data", "What it says.")
    assert shown.__wrapped__(5, 6) == [5, 6, 3]
    assert list(inspect.signature(data).parameters) == ["x", "y", "z"]


def test_arguments_are_told_apart_by_type(region: CacheRegion) -> None:
    @cached(region)
    def shown(*args: object, **kwargs: object) -> str:
        return repr((args, kwargs))

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        ((1,), {}),
        (("1",), {}),
        ((True,), {}),
        ((1.0,), {}),
        ((None,), {}),
        ((1, 2), {}),
        (((1, 2),), {}),
        (([1, 2],), {}),
        ((), {"a": 1}),
        (({"a": 1},), {}),
    ]
    for args, kwargs in calls * 2:
        assert shown(*args, **kwargs) == repr((args, kwargs))
    assert region.stats().creations == len(calls)


def test_wrong_arguments_are_a_type_error(region: CacheRegion) -> None:
    @cached(region)
    def one(x: int) -> int:
        return x

    wrong: Any = one
    for call in (wrong, wrong.invalidate, wrong.refresh):
        with pytest.raises(TypeError, match="argument"):
            call()
        with pytest.raises(TypeError, match="argument"):
            call(1, 2)


def test_functions_are_told_apart_by_name_and_namespace(
    region: CacheRegion,
) -> None:
    def f() -> str:
        return "f"

    def g() -> str:
        return "g"

    def other_f() -> str:
        return "other f"

    other_f.__qualname__ = f.__qualname__
    functions = [
        cached(region)(f),
        cached(region)(g),
        cached(region, "other")(other_f),
    ]
    assert [call() for call in functions * 2] == ["f", "g", "other f"] * 2
    functions[0].invalidate()
    before = region.stats().creations
    assert [call() for call in functions] == ["f", "g", "other f"]
    assert region.stats().creations == before + 1


def counter() -> Callable[[], int]:
    numbers = itertools.count(1)
    return lambda: next(numbers)


def test_invalidate_and_refresh(region: CacheRegion) -> None:
    number = counter()

    @cached(region)
    def f(x: int, y: int = 0) -> int:
        return number()

    assert (f(1), f(2)) == (1, 2)
    f.invalidate(x=1, y=0)
    assert (f(1), f(2)) == (3, 2)
    assert f.refresh(1) == 4
    assert (f(1), f(2)) == (4, 2)
    f.invalidate(99)


def test_a_refresh_that_fails_keeps_the_old_value(
    region: CacheRegion,
) -> None:
    broken: list[Exception] = []

    @cached(region, stale_if_error="1h")
    def f() -> object:
        if broken:
            raise broken[0]
        return "good"

    assert f() == "good"
    broken.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        f.refresh()
    assert f() == "good"


def test_a_refresh_counts_as_a_creation(region: CacheRegion) -> None:
    events: list[CacheEvent] = []

    @cached(region)
    def f() -> int:
        return 1

    region.add_hook(events.append)
    f.refresh()
    assert [event.kind for event in events] == [EventKind.CREATE]
    assert region.stats() == (0, 0, 0, 1, 0, 0, 0)


@pytest.mark.parametrize("how", ["__call__", "refresh"])
def test_a_value_made_before_an_invalidation_is_not_served_after_it(
    region: CacheRegion, how: str
) -> None:
    source = ["old"]

    @cached(region, tags="news")
    def f() -> str:
        value = source[0]
        if value == "old":
            # Another process changes it meanwhile.
            source[0] = "new"
            region.invalidate_tags("news")
        return value

    assert getattr(f, how)() == "old"
    assert f() == "new"


def test_methods_take_a_key(region: CacheRegion) -> None:
    class User:
        def __init__(self, id_: int) -> None:
            self.id = id_
            self.number = counter()

        @cached(region, key=lambda self, greeting="hi": (self.id, greeting))
        def hello(self, greeting: str = "hi") -> str:
            return f"{greeting} {self.id} {self.number()}"

    ann, bob = User(1), User(2)
    assert ann.hello() == ann.hello("hi") == User(1).hello() == "hi 1 1"
    assert bob.hello() == "hi 2 1"
    assert ann.hello("ho") == "ho 1 2"
    User.hello.invalidate(ann)
    assert ann.hello() == "hi 1 3"
    assert bob.hello() == "hi 2 1"


def test_static_methods(region: CacheRegion) -> None:
    number = counter()

    class Shop:
        @staticmethod
        @cached(region)
        def prices(country: str) -> int:
            return number()

    assert Shop.prices("de") == Shop().prices("de") == 1


def test_what_cannot_be_in_a_key_says_what_to_write(
    region: CacheRegion,
) -> None:
    class User:
        @cached(region)
        def hello(self) -> str:
            return "hi"

    with pytest.raises(KeyTypeError, match=r"hello: .*User.*key=lambda") as c:
        User().hello()
    assert c.value.value_type is User

    @cached(region, key=lambda x: object())
    def f(x: int) -> int:
        return x

    with pytest.raises(KeyTypeError, match="object"):
        f(1)


def test_coroutines_are_refused(region: CacheRegion) -> None:
    async def fetch() -> str:
        return "x"

    with pytest.raises(OptionError, match="fetch: a coroutine cannot"):
        cached(region)(fetch)


def test_generators_cannot_be_kept(region: CacheRegion) -> None:
    @cached(region)
    def lines() -> Iterator[str]:
        yield "a"

    with pytest.raises(CodecError, match="generator"):
        lines()


def test_what_is_returned_is_the_callers_own(region: CacheRegion) -> None:
    @cached(region)
    def rows() -> list[list[int]]:
        return [[1]]

    rows()[0].append(2)
    rows().append([3])
    rows.refresh()[0].append(4)
    assert rows() == [[1]]


def test_options_of_the_calls(region: CacheRegion, clock: ManualClock) -> None:
    number = counter()

    @cached(region, ttl="5m", grace=0, tags="news")
    def f() -> int:
        return number()

    assert f() == f() == 1
    clock.advance(300)
    assert f() == 2
    region.invalidate_tags("news")
    assert f() == 3


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"timout": 1}, r"^cached\(\): unknown option 'timout'"),
        ({"ttl": "x"}, r"^cached\(\): option 'ttl'"),
        ({"url": "memory://"}, r"unknown option 'url'"),
        ({"secret": "s"}, r"unknown option 'secret'"),
    ],
)
def test_wrong_options_at_decoration(given: Any, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        cached("any", **given)


def test_a_region_may_be_configured_later_and_again() -> None:
    number = counter()

    @cached("later")
    def f() -> int:
        return number()

    configure_regions({"lated": {}})
    for call in (f, f.invalidate, f.refresh):
        with pytest.raises(OptionError, match=r"f: unknown.*'lated'"):
            call()
    configure_regions({"later": {"url": "memory://?max_entries=9"}})
    assert f() == f() == 1
    configure_regions({"later": {"url": "memory://?max_entries=8"}})
    assert f() == f() == 2


def test_an_invalidation_that_cannot_reach_the_store_raises() -> None:
    class Away(MemoryBackend):
        def delete(self, key: str) -> None:
            raise OSError("away")

    @cached(CacheRegion(Away()))
    def f() -> int:
        return 1

    with pytest.raises(BackendError, match="away"):
        f.invalidate()


def test_the_order_of_keywords_is_the_callers_whim(
    region: CacheRegion,
) -> None:
    calls: list[object] = []

    @cached(region)
    def shown(**options: int) -> str:
        calls.append(options)
        return str(len(calls))

    assert shown(a=1, b=2) == shown(b=2, a=1) == "1"
    shown.invalidate(b=2, a=1)
    assert shown(a=1, b=2) == "2"


def test_what_has_no_name_of_its_own_needs_a_namespace(
    region: CacheRegion,
) -> None:
    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(OptionError, match="no name of its own"):
        cached(region)(functools.partial(double, 1))
    with pytest.raises(OptionError, match="or give a namespace"):
        cached(region)(lambda: 1)
    one = cached(region, namespace="one")(lambda: 1)
    two = cached(region, namespace="two")(lambda: 2)
    assert (one(), two()) == (1, 2)
