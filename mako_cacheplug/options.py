"""Durations, sizes, URLs and option names: parsed, checked, rejected, here.

Whatever a user can type is turned into a typed value by this module and by
no other; nothing below it sees a string that still wants interpreting.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import re
import urllib.parse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import TypeVar

from mako_cacheplug.exceptions import OptionError

__all__ = [
    "CallOptions",
    "StoreURL",
    "boolean",
    "check_options",
    "duration",
    "nearest",
    "number",
    "share",
    "size",
    "tag_names",
    "whole_number",
]

_T = TypeVar("_T")

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


def _wrong(option: str, value: object, right: str) -> OptionError:
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
    raise _wrong(option, value, right)


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
    raise _wrong(option, value, "a size: write bytes, or '64k', '64m', '1g'")


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
    raise _wrong(option, value, "a boolean: write 'true' or 'false'")


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
    raise _wrong(option, value, right)


def whole_number(
    value: object, option: str, lowest: int = 0, highest: float = math.inf
) -> int:
    """Return a whole number from *lowest* to *highest*.

    :raises OptionError: for anything else.
    """
    found = number(value, option, lowest, highest)
    if found != int(found):
        raise _wrong(option, value, "a whole number")
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
    raise _wrong(option, value, "a share: write '25%' or 0.25")


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
    raise _wrong(
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


class CallOptions(NamedTuple):
    """The policy of one call: what the region does with one entry.

    Durations are seconds, ``math.inf`` is never.
    """

    timeout: float = math.inf
    """How long an entry is fresh."""

    grace: float = 60.0
    """How long after that it is served while another caller regenerates."""

    stale_if_error: float = 0.0
    """How long after expiry the last value stands in for a failed creator."""

    wait: float = 10.0
    """Longest wait for another caller's creation."""

    lease: float = 30.0
    """How long the cross-process lock outlives a dead holder."""

    jitter: float = 0.0
    """Fraction of *timeout* by which expiries are spread, earlier."""

    early: float = 0.0
    """XFetch's beta: 0 is off, 1 the paper's optimum."""

    compress: int | None = 4096
    """Values of this many bytes are compressed; ``None`` is never."""

    max_value_bytes: int | None = None
    """Larger payloads are not stored; ``None`` is the backend's limit."""

    tags: tuple[str, ...] = ()
    """The labels of the entry."""

    read_ahead: bool = True
    """Whether a render reads it in one trip with others."""

    budget: float = 0.25
    """Longest that a render asks the store, all calls together."""

    @property
    def afterlife(self) -> float:
        """Seconds for which an entry can be of use when it has expired."""
        return max(self.grace, self.stale_if_error)

    def replace(self, given: Mapping[str, object]) -> CallOptions:
        """Return these options with those in *given* that are a call's.

        :param given: checked options, as from :func:`check_options`.
        """
        own = {k: v for k, v in given.items() if k in _CALL_OPTIONS}
        if given.get("encrypt"):
            # How far a text can be compressed tells something of it.
            own.setdefault("compress", None)
        return self._replace(**own) if own else self  # type: ignore[arg-type]  # checked by check_options


def _text(value: object, option: str) -> str:
    if isinstance(value, str):
        return value.strip()
    raise _wrong(option, value, "a string")


def _directory(value: object, option: str) -> str:
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    return _text(value, option)


def _lease(value: object, option: str) -> float:
    seconds = duration(value, option)
    if 0.0 < seconds < math.inf:
        return seconds
    raise _wrong(option, value, "a time above 0 and not 'none'")


def _key(value: object, option: str) -> object:
    return value


def _regions(value: object, option: str) -> Mapping[str, object]:
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return value
    raise _wrong(option, value, "a mapping of region names to their options")


_CALL_OPTIONS: Final[dict[str, Callable[[object, str], Any]]] = {
    "timeout": duration,
    "grace": duration,
    "stale_if_error": duration,
    "wait": duration,
    "lease": _lease,
    "jitter": lambda value, option: number(value, option, 0.0, 1.0),
    "early": number,
    "compress": size,
    "max_value_bytes": size,
    "tags": tag_names,
    "read_ahead": boolean,
    "budget": duration,
}

_REGION_OPTIONS: Final[dict[str, Callable[[object, str], Any]]] = {
    "impl": _text,
    "url": _text,
    "type": _text,
    "dir": _directory,
    "namespace": _text,
    "secret": secrets,
    "encrypt": boolean,
    "max_share": share,
}

STORE_ONLY: Final = frozenset({"impl", "url", "type", "dir"})
"""The options that choose a store."""

_OPTIONS: Final[dict[str, Callable[[object, str], Any]]] = {
    **_CALL_OPTIONS,
    **_REGION_OPTIONS,
    "region": _text,
    "regions": _regions,
    "key": _key,
    "vary": _key,
    "depends": tag_names,
    "vary_args": boolean,
    "enabled": boolean,
}

ON_TAGS: Final = frozenset(_OPTIONS)
"""The options that may stand on a tag."""

EVERYWHERE: Final = ON_TAGS - {"key", "depends"}
"""The options that may stand in ``cache_args``: a key is one fragment's, and
what it depends on is one template's."""

ALIASES: Final = {"ttl": "timeout"}

CALL_ONLY: Final = frozenset(_CALL_OPTIONS)
"""The options of one call: the policy."""

REGION_ONLY: Final = CALL_ONLY | frozenset(_REGION_OPTIONS)
"""The options that a region's own configuration may hold."""


def check_options(
    given: Mapping[str, object],
    where: str = "",
    *,
    allowed: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Return *given* parsed, aliases resolved, without those that are None.

    Of an option and its alias the one that comes last in *given* counts.

    :param given: options as the user typed them.
    :param where: where they were typed, for the error.
    :param allowed: the option names that may stand here; all by default.
    :raises OptionError: for an unknown name or a wrong value.
    """
    names = frozenset(_OPTIONS if allowed is None else allowed)
    checked: dict[str, Any] = {}
    for typed, value in given.items():
        name = ALIASES.get(typed, typed)
        if name not in names:
            known = names | {a for a, n in ALIASES.items() if n in names}
            raise OptionError(
                f"unknown option {typed!r}{nearest(str(typed), known)}",
                option=str(typed),
                value=value,
                where=where,
            )
        if value is None:
            continue
        try:
            parsed = _OPTIONS[name](value, typed)
        except OptionError as error:
            raise error.at(where) from None
        checked.pop(name, None)
        checked[name] = parsed
    return checked


class StoreURL(NamedTuple):
    """A store as one string, taken apart.

    ``scheme://user:password@host:port,host:port/path?option=value``
    """

    scheme: str
    """The backend's short name."""

    hosts: tuple[tuple[str, int | None], ...] = ()
    """Host names or addresses, each with its port or ``None``."""

    path: str = ""
    """What follows the hosts, percent-decoded, with its leading slash."""

    query: tuple[tuple[str, str], ...] = ()
    """The backend's options in the order of the URL."""

    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, text: str) -> StoreURL:
        """Return the parts of *text*.

        :raises OptionError: if it is not a URL with a scheme.
        """
        if "://" not in text:
            raise OptionError(
                f"option 'url': {text!r} is not a URL: write"
                " 'memory://', 'file:///var/cache/app' or"
                " 'memcached://10.0.0.1:11211'",
                option="url",
                value=text,
            )
        scheme, _, rest = text.partition("://")
        rest, _, query = rest.partition("?")
        location, slash, path = rest.partition("/")
        credentials, _, hosts = location.rpartition("@")
        user, _, password = credentials.partition(":")
        try:
            pairs = urllib.parse.parse_qsl(
                query, keep_blank_values=True, strict_parsing=bool(query)
            )
            places = tuple(_host(one) for one in hosts.split(",") if one)
        except ValueError as error:
            # Without what may be a password.
            shown = f"{scheme}://{hosts}{slash}{path}"
            raise OptionError(
                f"option 'url': {shown!r}: {error}", option="url", value=shown
            ) from None
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise OptionError(
                    f"option {name!r} is given twice in a {scheme}:// url",
                    option=name,
                    value=name,
                )
        return cls(
            scheme.strip().lower(),
            places,
            urllib.parse.unquote(slash + path),
            tuple(pairs),
            urllib.parse.unquote(user),
            urllib.parse.unquote(password),
        )

    def take(self, **parsers: Callable[[object, str], Any]) -> dict[str, Any]:
        """Return the query's options, parsed, for use as keyword arguments.

        :param parsers: for each option that the backend knows, a function
            of this module or one like it: ``(value, option name) -> parsed``.
        :raises OptionError: for an option that is not among them, or a bad
            value.
        """
        found: dict[str, Any] = {}
        for name, value in self.query:
            if name not in parsers:
                raise OptionError(
                    f"unknown option {name!r} in a {self.scheme}:// url"
                    f"{nearest(name, parsers)}",
                    option=name,
                    value=value,
                )
            found[name] = parsers[name](value, name)
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        """Return the URL without its password, fit for a log."""
        hosts = ",".join(
            (f"[{host}]" if ":" in host else host)
            + (f":{port}" if port is not None else "")
            for host, port in self.hosts
        )
        user = f"{self.user}@" if self.user or self.password else ""
        pairs = [(name, _without_password(v)) for name, v in self.query]
        query = urllib.parse.urlencode(pairs, safe="/:,") if pairs else ""
        path = urllib.parse.quote(self.path)
        return f"{self.scheme}://{user}{hosts}{path}{query and '?' + query}"


def _without_password(value: str) -> str:
    """Return an option's *value*, which may be a URL itself, fit for a log."""
    if "://" not in value:
        return value
    try:
        return str(StoreURL.parse(value))
    except OptionError:
        return value.partition("://")[0] + "://"


def _host(text: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``."""
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^\[\]:]*))(?::([0-9]+))?", text)
    if not match or not (match[1] or match[2]):
        raise ValueError(f"{text!r} is not host or host:port")
    port = int(match[3]) if match[3] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{text!r}: port {port} is not from 1 to 65535")
    return match[1] or match[2], port
