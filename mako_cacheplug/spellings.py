"""How values are spelled: durations, sizes, booleans, names.

Each function takes what the user typed and the option's name, and returns the
value; or raises what says what he typed and what would be right.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import re
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final

from mako_cacheplug.exceptions import OptionError

__all__ = [
    "boolean",
    "duration",
    "nearest",
    "number",
    "secrets",
    "share",
    "size",
    "tag_names",
    "whole_number",
    "wrong",
]

_NEVER: Final = frozenset({"none", "never"})
_SECONDS: Final = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_BYTES: Final = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DURATION: Final = re.compile(r"([0-9]*\.?[0-9]+)\s*(ms|[smhdw]?)")
_SIZE: Final = re.compile(r"([0-9]*\.?[0-9]+)\s*([bkmgt]?)(?:i?b)?")
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


def wrong(option: str, value: object, right: str) -> OptionError:
    return OptionError(
        f"option {option!r}: {value!r} is not {right}",
        option=option,
        value=value,
    )


def duration(value: object, option: str = "timeout") -> float:
    """Return seconds; ``math.inf`` for ``"none"``, which is never.

    :param value: ``90``, ``"90"``, ``"90s"``, ``"5m"``, ``"2h"``, ``"1d"``,
        ``"250ms"``, ``"none"`` or a ``timedelta``.
    :raises OptionError: for anything else, and for a negative time.
    """
    right = (
        "a duration: write seconds (90), or '90s', '5m', '2h', '1d', "
        "or 'none' for never"
    )
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            seconds = float(value)
            if seconds >= 0.0:
                return seconds
    elif isinstance(value, str):
        text = value.strip().lower()
        if text in _NEVER:
            return math.inf
        match = _DURATION.fullmatch(text)
        if match:
            return float(match[1]) * _SECONDS[match[2] or "s"]
    raise wrong(option, value, right)


def size(value: object, option: str = "max_bytes") -> int | None:
    """Return bytes; ``None`` for ``"none"``, which is no bound.

    :param value: ``1024``, ``"1024"``, ``"64k"``, ``"64m"``, ``"1g"`` (powers
        of 1024) or ``"none"``.
    :raises OptionError: for anything else, and for a negative size.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if 0 <= value < math.inf:
            return int(value)
    elif isinstance(value, str):
        text = value.strip().lower()
        if text in _NEVER:
            return None
        match = _SIZE.fullmatch(text)
        if match:
            found = float(match[1]) * _BYTES[match[2]]
            if found < math.inf:
                return int(found)
    raise wrong(option, value, "a size: write bytes, or '64k', '64m', '1g'")


def boolean(value: object, option: str) -> bool:
    """Return a truth value.

    :param value: a bool, 0, 1, or ``"true"``, ``"yes"``, ``"on"``, ``"1"``,
        ``"false"``, ``"no"``, ``"off"``, ``"0"`` in any case.
    :raises OptionError: for anything else.
    """
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    text = value.strip().lower() if isinstance(value, str) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise wrong(option, value, "a boolean: write 'true' or 'false'")


def number(
    value: object,
    option: str,
    lowest: float = 0.0,
    highest: float = math.inf,
) -> float:
    """Return a number from *lowest* to *highest*.

    :raises OptionError: for anything else.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # any object may be typed here
    except (OverflowError, TypeError, ValueError):
        found = math.nan
    if lowest <= found <= highest and found != math.inf:
        return found
    if highest == math.inf:
        right = f"a number of {lowest:g} or more"
    else:
        right = f"a number from {lowest:g} to {highest:g}"
    raise wrong(option, value, right)


def whole_number(
    value: object, option: str, lowest: int = 0, highest: float = math.inf
) -> int:
    """Return a whole number from *lowest* to *highest*.

    :raises OptionError: for anything else.
    """
    found = number(value, option, lowest, highest)
    if found != int(found):
        raise wrong(option, value, "a whole number")
    return int(found)


def share(value: object, option: str) -> float:
    """Return a part of a whole, above 0 and up to 1.

    :param value: ``"25%"``, 0.25 or ``"0.25"``.
    :raises OptionError: for anything else.
    """
    text = value.strip() if isinstance(value, str) else ""
    with contextlib.suppress(OptionError):
        if text.endswith("%"):
            part = number(text[:-1], option) / 100.0
        else:
            part = number(value, option)
        if 0.0 < part <= 1.0:
            return part
    raise wrong(option, value, "a share: write '25%' or 0.25")


def tag_names(value: object, option: str = "tags") -> tuple[str, ...]:
    """Return labels in the order given, each once.

    :param value: a string of names separated by white space, or an iterable
        of strings, each of which is one name.
    :raises OptionError: for anything else, and for an empty name.
    """
    if isinstance(value, str):
        return tuple(dict.fromkeys(value.split()))
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        names = list(value)
        if all(isinstance(name, str) and name for name in names):
            return tuple(dict.fromkeys(str(name) for name in names))
    raise wrong(
        option, value, "a list of tags: write 'news user:42' or ['news', ...]"
    )


def secrets(value: object, option: str = "secret") -> tuple[bytes, ...]:
    """Return signing keys; the first signs, all of them verify."""
    if isinstance(value, (str, bytes)):
        value = [value]
    found: list[bytes] = []
    if isinstance(value, Iterable):
        for one in value:
            if isinstance(one, str):
                one = one.encode()
            if not isinstance(one, bytes) or not one:
                break
            found.append(one)
        else:
            if found:
                return tuple(found)
    raise OptionError(
        f"option {option!r} is not a secret: write a non-empty string or a"
        " list of them, the newest first",
        option=option,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or the known names if none is near."""
    import difflib  # at an error: it takes a millisecond to load

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
