"""Durations, sizes, URLs and option names: parsed, checked, rejected, here.

Whatever a user can type is turned into a typed value by this module and by
no other; nothing below it sees a string that still wants interpreting.  How
the single values are spelled is in ``spellings.py``; whoever writes a
store finds them here.
"""

from __future__ import annotations

import math
import re
import urllib.parse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import NamedTuple

from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.spellings import boolean
from mako_cacheplug.spellings import duration
from mako_cacheplug.spellings import nearest
from mako_cacheplug.spellings import number
from mako_cacheplug.spellings import secrets
from mako_cacheplug.spellings import share
from mako_cacheplug.spellings import size
from mako_cacheplug.spellings import tag_names
from mako_cacheplug.spellings import whole_number
from mako_cacheplug.spellings import wrong

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
    raise wrong(option, value, "a string")


def _directory(value: object, option: str) -> str:
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    return _text(value, option)


def _lease(value: object, option: str) -> float:
    seconds = duration(value, option)
    if 0.0 < seconds < math.inf:
        return seconds
    raise wrong(option, value, "a time above 0 and not 'none'")


def _key(value: object, option: str) -> object:
    return value


def _regions(value: object, option: str) -> Mapping[str, object]:
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return value
    raise wrong(option, value, "a mapping of region names to their options")


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
