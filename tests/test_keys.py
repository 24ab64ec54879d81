"""No two things that can be told apart have one key."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from markupsafe import Markup

from mako_cacheplug import keys
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.labels import tag_label


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Size(enum.IntEnum):
    RED = 1


class Bits(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    y: int


class Pair(NamedTuple):
    x: int
    y: int


_any_text = st.text(st.characters(), max_size=6)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 3),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    _any_text,
    st.sampled_from(["", "1", "n", "T", "i1;", "s1:a", ")", "(", "0:"]),
    _any_text.map(Markup),
    st.binary(max_size=4),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc)),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.sampled_from([*Colour, *Size, *Bits, Bits.A | Bits.B]),
    st.builds(range, st.integers(-3, 3), st.integers(-3, 3)),
    st.builds(Point, st.integers(0, 2), st.integers(0, 2)),
    st.builds(Pair, st.integers(0, 2), st.integers(0, 2)),
)
_hashable = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
    ),
    max_leaves=4,
)
_values = st.recursive(
    _hashable,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(_hashable, inner, max_size=3)
        | st.sets(_hashable, max_size=3)
    ),
    max_leaves=6,
)


def told_apart(value: object) -> object:
    """Return *value* so that ``==`` compares types, and bits, too."""
    kind = type(value)
    if isinstance(value, (list, tuple)):
        return kind, tuple(told_apart(one) for one in value)
    if isinstance(value, dict):
        items = value.items()
        return kind, tuple((told_apart(k), told_apart(v)) for k, v in items)
    if isinstance(value, (set, frozenset)):
        return kind, frozenset(told_apart(one) for one in value)
    if isinstance(value, (float, complex, decimal.Decimal, range)):
        return kind, repr(value)  # -0.0, 1.0 and 1.00
    return kind, value


@settings(max_examples=200)
@given(_values, _values)
def test_tokens_differ_if_and_only_if_the_values_do(
    one: object, other: object
) -> None:
    same = told_apart(one) == told_apart(other)
    assert (keys.token(one) == keys.token(other)) is same


@settings(max_examples=150)
@given(st.lists(_values, max_size=3), st.lists(_values, max_size=3))
def test_a_list_of_tokens_can_be_read_in_one_way_only(
    one: list[object], other: list[object]
) -> None:
    def joined(values: list[object]) -> str:
        return "".join(map(keys.token, values))

    same = told_apart(one) == told_apart(other)
    assert (joined(one) == joined(other)) is same


_part = st.one_of(st.text(max_size=4), st.sampled_from(["", "1:", "0:", "1"]))


@settings(max_examples=200)
@given(st.lists(_part, max_size=4), st.lists(_part, max_size=4))
def test_joined_parts_differ_if_and_only_if_the_parts_do(
    one: list[str], other: list[str]
) -> None:
    assert (keys.join(*one) == keys.join(*other)) is (one == other)


@given(st.lists(_part, max_size=3), _part, st.lists(_part, max_size=3), _part)
def test_what_is_appended_is_one_last_part(
    one: list[str], tail: str, other: list[str], end: str
) -> None:
    if len(one) == len(other):
        same = keys.join(*one) + tail == keys.join(*other) + end
        assert same is ((one, tail) == (other, end))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, "1"),
        (1, 1.0),
        (0.0, -0.0),
        (None, "None"),
        ("a", Markup("a")),
        ("a", b"a"),
        ([1], (1,)),
        ({1}, frozenset({1})),
        ((1, 2), (12,)),
        (("a", "b"), ("ab",)),
        (((1,), 2), (1, (2,))),
        ({"a": 1}, [("a", 1)]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Colour.RED, Size.RED),
        (Size.RED, 1),
        (Bits.A, Bits.A | Bits.B),
        (Point(1, 2), (1, 2)),
        (Point(1, 2), Pair(1, 2)),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        (datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1)),
        (
            datetime.datetime(2020, 1, 1, fold=0),
            datetime.datetime(2020, 1, 1, fold=1),
        ),
        ("\ud800", "\ud801"),
        (range(3), range(0, 3, 2)),
    ],
)
def test_near_misses_are_told_apart(one: object, other: object) -> None:
    assert keys.token(one) != keys.token(other)
    assert keys.storage_key(keys.token(one)) != keys.storage_key(
        keys.token(other)
    )


def test_the_order_of_a_set_does_not_count() -> None:
    names = [f"name {i}" for i in range(50)]
    assert keys.token(set(names)) == keys.token({*names[::-1]})


def test_huge_numbers_have_tokens() -> None:
    huge = 10**5000  # more digits than str() prints
    assert keys.token(huge) != keys.token(huge + 1)
    assert keys.token(range(huge)) != keys.token(range(huge + 1))


@pytest.mark.parametrize(
    "value",
    [
        object(),
        lambda: 1,
        str,
        collections.OrderedDict(a=1),
        collections.deque([1]),
        bytearray(b"x"),
        iter([]),
        [[{"a": object()}]],
        {1: object()},
        type("Text", (str,), {})("x"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_by_its_type(
    value: object,
) -> None:
    with pytest.raises(KeyTypeError, match=r"type [\w.]+ cannot be in"):
        keys.token(value)


def test_a_type_that_pretends_to_be_a_librarys_is_refused() -> None:
    pretender = type("UUID", (), {"__module__": "uuid"})
    assert keys.token(uuid.UUID(int=1)) == keys.token(uuid.UUID(int=1))
    for _ in range(2):
        with pytest.raises(KeyTypeError):
            keys.token(pretender())


def test_the_refused_type_is_attached() -> None:
    with pytest.raises(KeyTypeError, match="OrderedDict") as caught:
        keys.token([collections.OrderedDict()])
    assert caught.value.value_type is collections.OrderedDict


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(KeyTypeError, match="nested too deep"):
        keys.token(loop)


@given(st.text(st.characters()))
def test_a_storage_key_is_plain_whatever_the_logical_key(text: str) -> None:
    name = keys.storage_key(text)
    assert len(name) == 45
    assert name.isascii()
    assert name.replace(":", "").isalnum()
    assert keys.storage_key(text) == name


def test_tokens_are_the_same_in_every_process() -> None:
    code = (
        "import uuid, datetime; from mako_cacheplug import keys;"
        "print(keys.storage_key(keys.token(({'a', 'b', 'c', 1}, {'k': None},"
        " uuid.UUID(int=5), datetime.date(2020, 1, 1)))))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    value = (
        {"a", "b", "c", 1},
        {"k": None},
        uuid.UUID(int=5),
        datetime.date(2020, 1, 1),
    )
    assert found == {keys.storage_key(keys.token(value))}


# -- objects that say what tells them apart ----------------------------------


class Record:
    """A row: its key and version as an attribute."""

    def __init__(self, number: int, version: object) -> None:
        self.__cache_key__ = (number, version)


class Asked:
    """As a method."""

    def __init__(self, key: object) -> None:
        self.key = key

    def __cache_key__(self) -> object:
        if isinstance(self.key, Exception):
            raise self.key
        return self.key


class OtherRecord(Record):
    pass


def test_an_objects_own_key_is_its_key_and_version() -> None:
    one = keys.token(Record(1, 1))
    assert one == keys.token(Record(1, 1))
    others = [Record(1, 2), Record(2, 1), Record(1, "1"), OtherRecord(1, 1)]
    tokens = {one, keys.token((1, 1)), *map(keys.token, others)}
    assert len(tokens) == len(others) + 2


def test_an_objects_own_key_can_be_a_method_or_hold_objects() -> None:
    assert keys.token(Asked(5)) == keys.token(Asked(5)) != keys.token(Asked(6))
    inner = [keys.token(Asked([Record(1, n)])) for n in (1, 1, 2)]
    assert inner[0] == inner[1] != inner[2]
    assert keys.token([Asked("a")]) != keys.token([Asked("b")])


def test_an_objects_own_key_and_its_type_do_not_run_together() -> None:
    class Recor(Asked):
        pass

    Recor.__qualname__ = "Recor"
    Recor.__module__ = Record.__module__
    assert keys.token(Recor("d")) != keys.token(Record("d", "d"))


class Itself:
    def __cache_key__(self) -> object:
        return self


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Asked(object()), r"Asked cannot be in.*object cannot be in"),
        (Asked(None), "Asked cannot be in"),
        (Asked(OSError("away")), "__cache_key__ raised OSError: away"),
        (Asked, "type builtins.type cannot be in"),
        (Itself(), "nested too deep"),
        (Asked([0] * keys.MOST_VALUES + [1]), "more than 131072 values"),
    ],
)
def test_an_objects_own_key_that_is_none_is_refused(
    value: object, told: str
) -> None:
    with pytest.raises(KeyTypeError, match=told):
        keys.token(value)


def _shared(depth: int) -> list[object]:
    found: list[object] = []
    for _ in range(depth):
        found = [found, found]
    return found


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: value,
        lambda value: {"a": (value,)},
        lambda value: Asked(value),
        lambda value: {frozenset({Asked(value)})},
    ],
)
def test_few_lists_do_not_stand_for_more_values_than_can_be_told(
    wrap: Callable[[object], object],
) -> None:
    """As from YAML, whose aliases make them in a few bytes."""
    assert keys.token(wrap(_shared(10))) == keys.token(wrap(_shared(10)))
    with pytest.raises(KeyTypeError, match="more than 131072 values"):
        keys.token(wrap(_shared(60)))


class Proxy:
    """As werkzeug's and Django's: it says that it is what it stands for."""

    def __init__(self, find: Callable[[], object]) -> None:
        vars(self)["find"] = find

    @property
    def __class__(self) -> Any:
        return type(vars(self)["find"]())

    def __getattr__(self, name: str) -> object:
        return getattr(vars(self)["find"](), name)


class Wine(enum.Enum):
    RED = 1


def _raise() -> object:
    raise RuntimeError("outside of a request")


@pytest.mark.parametrize(
    "value", [Colour.RED, Wine.RED, Point(1, 2), Pair(1, 2), str]
)
def test_a_proxy_is_not_what_it_says(value: object) -> None:
    """Two of them, for values of two types, would be one key."""
    with pytest.raises(KeyTypeError, match="Proxy cannot be in"):
        keys.token(Proxy(lambda: value))


def test_a_proxy_for_a_record_is_a_key() -> None:
    one = keys.token(Proxy(lambda: Record(1, 1)))
    assert one != keys.token(Proxy(lambda: Record(1, 2)))


class Zone(datetime.tzinfo):
    def __init__(self, offset: Callable[[], object]) -> None:
        self._offset = offset

    def utcoffset(self, moment: object) -> Any:
        return self._offset()


class NamedZone(Zone):
    def __repr__(self) -> str:
        return "named"


_NOON = datetime.datetime(2024, 7, 1, 12)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Proxy(_raise), "outside of a request"),
        (
            lambda: _NOON.replace(tzinfo=NamedZone(_raise)),
            "outside of a request",
        ),
        (
            lambda: [_NOON.replace(tzinfo=NamedZone(_raise))],
            "outside of a request",
        ),
        (lambda: _NOON.replace(tzinfo=Zone(lambda: None)), "needs a __repr__"),
    ],
)
def test_what_is_asked_of_a_value_and_raises_is_no_key(
    make: Callable[[], object], told: str
) -> None:
    value = make()
    with pytest.raises(KeyTypeError, match=told):
        keys.token(value)


def test_a_time_zone_is_its_kind_and_its_name() -> None:
    """A fixed offset can be called like a place with summer time."""
    offset = datetime.timedelta(hours=2)
    zones = (
        datetime.timezone(offset, "named"),
        datetime.timezone(offset),
        NamedZone(lambda: offset),
    )
    found = {keys.token(_NOON.replace(tzinfo=zone)) for zone in zones}
    assert len(found) == len(zones)


def test_an_enums_value_counts() -> None:
    """Not what its author calls name: two members can have one."""
    made = [
        enum.Enum("Made", {"A": value}, module=__name__)["A"]  # type: ignore[misc]  # made as a program makes them
        for value in ("a", "b", 1, True)
    ]
    assert len({*map(keys.token, made)}) == len(made)

    class Country(enum.Enum):
        FRANCE = b"fr", object()
        SPAIN = b"es", object()

        @property
        def name(self) -> str:
            return "Europe"

    assert keys.token(Country.FRANCE) == keys.token(Country.FRANCE)
    assert keys.token(Country.FRANCE) != keys.token(Country.SPAIN)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: text,
        lambda text: [text, 1],
        lambda text: text.encode(),
        lambda text: {"k": Markup(text)},
        lambda text: (*text[-100_000:], len(text)),
    ],
)
def test_a_long_value_is_told_by_a_digest(
    make: Callable[[str], object],
) -> None:
    """A megabyte from a request is not remembered with each thing known."""
    texts = ["x" * length for length in (500, 1015, 1020, 1025, 10**6)]
    texts += ["x" * 10**6 + end for end in ("y", "z")]
    found = [keys.token(make(text)) for text in texts]
    assert len({*found}) == len(texts)
    assert max(map(len, found)) <= keys.LONGEST_TOKEN
    assert found == [keys.token(make(text)) for text in texts]


def test_no_value_can_pass_for_a_long_ones_digest() -> None:
    long = keys.token("x" * 10**6)
    assert keys.token(long) != long
    assert keys.tokens((long[1:],)) != long
    # What follows it stays apart from it.
    assert keys.token("x" * 10**6) + keys.token("1") != long + keys.token(1)


def test_values_in_a_row_are_bounded_together() -> None:
    found = keys.tokens(map(str, range(10_000)))
    assert len(found) <= keys.LONGEST_TOKEN
    assert found != keys.tokens(map(str, range(10_001)))


def test_a_tag_is_bounded_as_a_key_is() -> None:
    labels = [tag_label("shop", tag) for tag in ("x" * 10**6, "x" * 10**5)]
    assert labels[0] != labels[1]
    assert max(map(len, labels)) < 2 * keys.LONGEST_TOKEN
    # Nor can one be written that passes for another.
    token = keys.token("x" * 10**6)
    assert tag_label("shop", token) not in labels
