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
from collections.abc import Iterable
from typing import Any
from typing import Final

from markupsafe import Markup

from mako_cacheplug.digests import blake2b
from mako_cacheplug.exceptions import KeyTypeError

__all__ = ["LONGEST_TOKEN", "join", "storage_key", "token", "tokens"]

_PREFIX: Final = "mcp1:"

LONGEST_TOKEN: Final = 1024
"""Characters."""

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
        such value, or raises.
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
    for value in values:
        tokenize = _TOKENS.get(type(value), _token)
        try:
            found += tokenize(value)
        except RecursionError:
            kind = type(value)
            raise KeyTypeError(
                f"a {kind.__name__} nested too deep cannot be in a cache key",
                value_type=kind,
            ) from None
    if len(found) > LONGEST_TOKEN:
        return _LONG + _digest(found, 32)
    return found


def _token(value: object) -> str:
    tokenize = _TOKENS.get(type(value))
    if tokenize is not None:
        return tokenize(value)
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    unloaded = _UNLOADED.get(name)
    if unloaded is not None and _is_there(kind):
        _TOKENS[kind] = unloaded
        return unloaded(value)
    if isinstance(value, enum.Enum):
        return "e" + join(name, value.name or _token(value.value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return "N" + join(name) + _many("(", value)
    return "o" + join(name) + _own_token(value, name)


def _is_there(kind: type) -> bool:
    """Tell whether *kind* is what is found by its name."""
    module = sys.modules.get(kind.__module__)
    return getattr(module, kind.__qualname__, None) is kind


def _own_token(value: object, name: str) -> str:
    """Return the token of what an object says that tells it apart."""
    kind = type(value)
    refused = f"a value of type {name} cannot be in a cache key"
    try:
        # A class has its instances' method, and is no record itself.
        own = None if isinstance(value, type) else _own_key(value)
    except RecursionError:
        raise
    except Exception as error:  # whatever an application's code raises
        raise KeyTypeError(
            f"{refused}: its __cache_key__ raised"
            f" {type(error).__name__}: {error}",
            value_type=kind,
        ) from error
    if own is None:
        raise KeyTypeError(refused, value_type=kind)
    try:
        return _token(own)
    except KeyTypeError as error:
        raise KeyTypeError(
            f"{refused}: in its __cache_key__ {error}", value_type=kind
        ) from None


def _own_key(value: object) -> object:
    own = getattr(value, "__cache_key__", None)
    return own() if callable(own) else own


def _many(kind: str, values: Iterable[object]) -> str:
    return kind + "".join([_token(one) for one in values]) + ")"


def _text(kind: str) -> _Tokenizer:
    return lambda text: f"{kind}{len(text)}:{text}"


def _printed(kind: str) -> _Tokenizer:
    return lambda value: f"{kind}{value};"


def _dict(value: dict[object, object]) -> str:
    items = value.items()
    return "d" + "".join([_token(k) + _token(v) for k, v in items]) + ")"


def _set(kind: str) -> _Tokenizer:
    return lambda value: kind + "".join(sorted(map(_token, value))) + ")"


def _moment(kind: str) -> _Tokenizer:
    def tokenize(value: Any) -> str:
        zone = getattr(value, "tzinfo", None)
        fold = getattr(value, "fold", 0)
        return kind + join(value.isoformat(), str(zone), str(fold))

    return tokenize


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
    tuple: lambda value: _many("(", value),
    list: lambda value: _many("[", value),
    dict: _dict,
    set: _set("{"),
    frozenset: _set("<"),
    range: lambda value: _many("r", (value.start, value.stop, value.step)),
    datetime.date: _moment("D"),
    datetime.datetime: _moment("M"),
    datetime.time: _moment("C"),
    datetime.timedelta: lambda value: f"P{value!r};",
}

_UNLOADED: Final[dict[str, _Tokenizer]] = {
    "decimal.Decimal": _printed("x"),
    "uuid.UUID": _printed("u"),
}
"""Types of modules that most programs do without: they are entered above with
the first value."""
