"""Namespace, identity, fragment and arguments become one key.

A *logical key* is one ``str`` that nothing else can have: each part but the
last stands in it with its length in front, so that no two lists of parts
give the same string, whatever characters they hold.

A store of bytes gets a *storage key*: the BLAKE2b digest of the logical key,
160 bits, in hexadecimal.  It has one length, no character that a protocol or
a file system could take for something else, and finding two logical keys
with one digest on purpose costs about 2**80 trials.  The hash has no secret:
to compute the name of one's own entry is of no use to anybody.

What would be longer in a logical key than :data:`LONGEST_TOKEN` is in it by
a digest of 256 bits.  So what a process remembers by logical key is bounded
by how many they are, were each of them a megabyte in a request.

An object that is no plain value says what tells it apart: its
``__cache_key__``, an attribute or a method without arguments, is any value
that can be in a key, as a rule which record it is and which version of it::

    @property
    def __cache_key__(self):
        return self.id, self.updated_at
"""

from __future__ import annotations

import datetime
import enum
import sys
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from typing import Any
from typing import Final

from markupsafe import Markup

from mako_cacheplug.digests import blake2b
from mako_cacheplug.exceptions import KeyTypeError

__all__ = [
    "LONGEST_TOKEN",
    "MOST_VALUES",
    "join",
    "storage_key",
    "token",
    "tokens",
]

_PREFIX: Final = "mcp1:"

LONGEST_TOKEN: Final = 1024
"""Characters."""

MOST_VALUES: Final = 2**17
"""Are told of one key.  A list that is in a list twice is two of them, so few
lists can stand for more values than anybody can count."""

_SHORT_TEXT: Final = 1000
"""Characters of a text whose token is not too long, nor nearly."""

_LONG: Final = "#"
"""No other token begins like that."""

_Tokenizer = Callable[[Any], str]


def join(*parts: str) -> str:
    """Return *parts* as a string that no other parts give.

    What is appended to it behaves like one last part.
    """
    return "".join([f"{len(part)}:{part}" for part in parts])


def storage_key(logical: str) -> str:
    """Return the name that a store of bytes knows *logical* by.

    45 characters: ASCII letters, digits and a colon.
    """
    return _PREFIX + _digest(logical, 20)


def _digest(text: str, size: int) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=size).hexdigest()


def token(value: object) -> str:
    """Return a string that equals another value's only if both are alike.

    Alike is by type and value: 1, ``"1"``, ``True``, 1.0 and ``None`` all
    differ, and so do a ``str`` and the ``Markup`` of the same text.  Known
    are the simple types, containers of them, dates and times, ``Decimal``,
    ``UUID``, enums and named tuples, and objects that have a
    ``__cache_key__``.  The order of a dict counts, as a loop over it shows
    it; that of a set does not.

    :raises KeyTypeError: for a value of any other type: two of them could
        not be told apart in every process.  Also if ``__cache_key__`` is no
        such value, or raises, and for more than :data:`MOST_VALUES` values in
        one another.
    """
    if type(value) is str and len(value) <= _SHORT_TEXT:
        return f"s{len(value)}:{value}"  # Nearly every key is one.
    return tokens((value,))


def tokens(values: Iterable[object]) -> str:
    """Return the tokens of *values*, one after the other.

    No other values in a row give the same.

    :raises KeyTypeError: as :func:`token` does.
    """
    found = ""
    walk = None
    for value in values:
        tokenize = _TOKENS.get(type(value))
        try:
            if tokenize is not None:
                found += tokenize(value)
                continue
            walk = walk or _Walk()
            found += walk.token(value)
        except KeyTypeError:
            raise
        except RecursionError:
            raise _refused(value, "it is nested too deep") from None
        except Exception as error:  # as of an application's time zone
            why = f"it raised {type(error).__name__}: {error}"
            raise _refused(value, why) from error
    if len(found) > LONGEST_TOKEN:
        return _LONG + _digest(found, 32)
    return found


def _refused(value: object, why: str = "") -> KeyTypeError:
    kind = type(value)
    text = f"a value of type {_name(kind)} cannot be in a cache key"
    return KeyTypeError(f"{text}: {why}" if why else text, value_type=kind)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


class _Walk:
    """One way through values that hold others, of which it tells so many.

    What a value *is* is asked of its type: a proxy says that it is what it
    stands for, and is one of its own kind all the same.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def token(self, value: object) -> str:
        kind = type(value)
        tokenize = _TOKENS.get(kind)
        if tokenize is not None:
            return tokenize(value)
        holds = _HOLDERS.get(kind)
        if holds is not None:
            return holds(self, value)
        name = _name(kind)
        unloaded = _UNLOADED.get(name)
        if unloaded is not None and _is_there(kind):
            _TOKENS[kind] = unloaded
            return unloaded(value)
        if isinstance(value, enum.Enum) and issubclass(kind, enum.Enum):
            return "e" + join(name, value._name_ or "") + self._held(value)
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return "N" + join(name) + self.many("(", _fields(value))
        return "o" + join(name) + self._own_token(value)

    def many(self, kind: str, values: Collection[object]) -> str:
        self._count(values)
        token = self.token
        return kind + "".join([token(one) for one in values]) + ")"

    def items(self, value: dict[object, object]) -> str:
        self._count(value)
        token = self.token
        found = [token(key) + token(one) for key, one in value.items()]
        return "d" + "".join(found) + ")"

    def unordered(self, kind: str, values: Collection[object]) -> str:
        self._count(values)
        token = self.token
        return kind + "".join(sorted([token(one) for one in values])) + ")"

    def _count(self, values: Collection[object]) -> None:
        self._left -= len(values)
        if self._left < 0:
            raise KeyTypeError(
                f"more than {MOST_VALUES} values cannot be in a cache key",
                value_type=type(values),
            )

    def _held(self, member: enum.Enum) -> str:
        """Return the token of an enum's value: two enums can have one name.

        Not by ``name`` and ``value``, which can be an author's properties.
        """
        try:
            return self.token(member._value_)
        except KeyTypeError:
            if member._name_ is None or self._left < 0:
                raise
            return "n"

    def _own_token(self, value: object) -> str:
        """Return the token of what an object says that tells it apart."""
        try:
            # A class has its instances' method, and is no record itself.
            own = None if isinstance(value, type) else _own_key(value)
        except RecursionError:
            raise
        except Exception as error:  # whatever an application's code raises
            why = f"its __cache_key__ raised {type(error).__name__}: {error}"
            raise _refused(value, why) from error
        if own is None:
            raise _refused(value)
        try:
            return self.token(own)
        except KeyTypeError as error:
            why = f"in its __cache_key__ {error}"
            raise _refused(value, why) from None


def _is_there(kind: type) -> bool:
    """Tell whether *kind* is what is found by its name."""
    module = sys.modules.get(kind.__module__)
    return getattr(module, kind.__qualname__, None) is kind


def _fields(value: Any) -> tuple[object, ...]:
    """Return what is in a named tuple, whatever its class makes of it."""
    return (*tuple.__iter__(value),)


def _own_key(value: object) -> object:
    own = getattr(value, "__cache_key__", None)
    return own() if callable(own) else own


def _text(kind: str) -> _Tokenizer:
    return lambda text: f"{kind}{len(text)}:{text}"


def _printed(kind: str) -> _Tokenizer:
    return lambda value: f"{kind}{value};"


def _moment(kind: str) -> _Tokenizer:
    def tokenize(value: Any) -> str:
        zone = getattr(value, "tzinfo", None)
        fold = getattr(value, "fold", 0)
        return kind + join(value.isoformat(), _zone(zone), str(fold))

    return tokenize


def _zone(zone: datetime.tzinfo | None) -> str:
    if zone is None:
        return ""
    kind = type(zone)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        # All that it tells is where it is in memory.
        raise _refused(zone, "a time zone needs a __repr__")
    return f"{_name(kind)} {zone}"


_TOKENS: Final[dict[type, _Tokenizer]] = {
    type(None): lambda _: "n",
    type(...): lambda _: ".",
    bool: lambda value: "T" if value else "F",
    int: lambda value: f"i{value:x};",  # decimal has a limit of digits
    float: lambda value: f"f{value!r};",
    complex: lambda value: f"c{value!r};",
    str: _text("s"),
    Markup: _text("m"),
    bytes: lambda value: f"b{value.hex()};",
    range: lambda value: f"r{value.start:x};{value.stop:x};{value.step:x};",
    datetime.date: _moment("D"),
    datetime.datetime: _moment("M"),
    datetime.time: _moment("C"),
    datetime.timedelta: lambda value: f"P{value!r};",
}

_HOLDERS: Final[dict[type, Callable[[_Walk, Any], str]]] = {
    tuple: lambda walk, value: walk.many("(", value),
    list: lambda walk, value: walk.many("[", value),
    dict: _Walk.items,
    set: lambda walk, value: walk.unordered("{", value),
    frozenset: lambda walk, value: walk.unordered("<", value),
}

_UNLOADED: Final[dict[str, _Tokenizer]] = {
    "decimal.Decimal": _printed("x"),
    "uuid.UUID": _printed("u"),
}
"""Types of modules that most programs do without: they are entered above with
the first value."""
