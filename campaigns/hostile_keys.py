"""Keys straight from a request: of any type, length and character.

A page's ``cache_key`` is each of them in turn, and what goes to memcached is
recorded.  Each key has a value of its own, which it is asked for again, and
what is on the wire is taken apart by the protocol's grammar: a line that is
none of the commands that were meant got there from within a key.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import random
import re
import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import Final

from mako.lookup import TemplateLookup
from markupsafe import Markup

from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug import keys
from mako_cacheplug.testing.keys import HOSTILE
from mako_cacheplug.testing.running import Child
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire

__all__ = ["CONTENDERS", "hostile_keys", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache")

_GENERATED: Final = {Scale.SHORT: 400, Scale.LONG: 10_000}

_PEERS_SECONDS: Final = 10.0
"""After that long a peer hangs at a key."""

_ALPHABET: Final = (
    "aA0 :;#.%/\\_-\t\r\n\0\x7f\xa0é\u0301\u2028\ud800\udfff\U0001f375"
)

_PIECES: Final = (
    *("\r\n", " ", "\0", "get x", "set x 0 0 1\r\ny", "flush_all\r\n"),
    *("mcp1:", "mcp~l:", "mcp~k:", "_lock", "0" * 40, "..", "/", "1:a", "s1:"),
)

_NAME: Final = rb"(?:mcp~l:)?mcp1:[0-9a-f]{40}|mcp~"
"""What a region calls an entry, a label or a lock, and a client nothing."""

_MEANT: Final = re.compile(
    rb"(?:(?:gets?|mg)(?: (?:%b))+(?: [a-z])*"
    rb"|(?:set|add|cas) (?:%b) \d+ \d+ (?P<size>\d+)(?: \d+)?(?: noreply)?"
    rb"|delete (?:%b)(?: 0)?(?: noreply)?|version|quit|mn)\r\n"
    % ((_NAME,) * 3)
)


class _Colour(enum.Enum):
    RED = "red"


class _Number(enum.IntEnum):
    ONE = 1


def hostile_keys(count: int) -> list[object]:
    """Return keys, no two of which are the same, *count* of them generated."""
    moment = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
    texts = (
        *HOSTILE.values(),
        *map(chr, range(32)),
        *("a_lock", "a", "1", "1.0", "True", "None", "nan", "x" * 10**6),
        *("x" * 10**6 + "y", "é", "e\u0301", "\ud83d\ude00", "\U0001f600"),
        *("#" + "0" * 64, "s1:a", "3:tag", "6:secret"),
    )
    odd: tuple[object, ...] = (
        *(1, 1.0, True, 0, 0.0, -0.0, False, 1j, -1, 2**70, 10**4000),
        *(float("nan"), float("inf"), ..., range(3), range(0), range(1, 1, 2)),
        *(b"", b"a", b"\r\n", b"\xff" * 300, Markup("a"), Markup("")),
        *((), [], {}, set(), frozenset(), (1,), [1], {1}, frozenset({1})),
        *(("a", "b"), ("ab",), (("a",), "b"), ("a", ("b",)), {"a": "b"}),
        *({"a": 1, "b": 2}, {"b": 2, "a": 1}, (None,), (1, "1"), ("1", 1)),
        *(decimal.Decimal(1), decimal.Decimal("1.0"), uuid.UUID(int=1)),
        *(_Colour.RED, _Number.ONE, moment, moment.date(), moment.time()),
        *(moment.replace(tzinfo=None), datetime.timedelta(1)),
    )
    found = {_identity(key): key for key in (*texts, *odd)}
    most = len(found) + count
    chance = random.Random(5)  # the same in every run
    while len(found) < most:
        key = _generated(chance)
        found.setdefault(_identity(key), key)
    return list(found.values())


def _identity(key: object) -> tuple[object, ...]:
    """Return what equals another key's only if both mean the same.

    Written without the code that is put to the test.
    """
    return type(key).__name__, repr(key)


def _generated(chance: random.Random) -> object:
    kind = chance.randrange(8)
    if kind < 4:
        return "".join(chance.choices(_ALPHABET, k=chance.randrange(1, 40)))
    if kind < 6:
        return "".join(chance.choices(_PIECES, k=chance.randrange(1, 8)))
    if kind < 7:
        return chance.choice((1, -1)) * chance.getrandbits(200)
    size = chance.randrange(4)
    return tuple([_generated(chance) for _ in range(size)])


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what of hostile keys got anywhere."""
    with MemcachedServer() as server, Wire(server) as wire:
        if contender == "cacheplug":
            return [
                finding
                for client in ("pylibmc", "pymemcache")
                for finding in _ours(wire, client, _GENERATED[scale])
            ]
        return _dogpile(wire, scale)


def _ours(wire: Wire, client: str, count: int) -> list[Finding]:
    lookup = TemplateLookup(
        cache_impl="cacheplug",
        cache_args={
            "url": f"{wire.url}?client={client}",
            "namespace": client,
            "read_ahead": False,
        },
    )
    lookup.put_string(
        "key.mako",
        '<%def name="a()" cached="True" cache_key="${key}">${new()}</%def>'
        "${a()}",
    )
    render = lookup.get_template("key.mako").render
    made = iter(range(10**9))
    asked = hostile_keys(count)
    outputs, exceptions, wrong = [], 0, 0
    for key in asked:
        try:
            outputs.append(render(key=key, new=lambda: next(made)))
        except Exception:
            exceptions += 1
            outputs.append("")
    for key, output in zip(asked, outputs, strict=True):
        wrong += render(key=key, new=lambda: "made again") != output
    collisions = len(asked) - len({*outputs})
    commands, strange, names = 0, 0, set()
    for line in _commands(wire.trips()):
        commands += 1
        strange += _MEANT.fullmatch(line) is None
        if line.startswith((b"set ", b"add ", b"cas ")):
            names.add(line.split()[1])
    longest = max(len(keys.token(key)) for key in asked)
    note = f"{len(asked)} keys, {commands} commands"
    goals: tuple[tuple[str, float, float], ...] = (
        ("commands on the wire that were not meant", strange, 0),
        ("keys that collide", collisions, 0),
        ("keys that are not found again", wrong, 0),
        ("exceptions from keys", exceptions, 0),
        ("longest token of a key", longest, keys.LONGEST_TOKEN),
    )
    return [
        Finding("cacheplug", f"{client}: {what}", value, most=goal, note=note)
        for what, value, goal in goals
    ]


def _dogpile(wire: Wire, scale: Scale) -> list[Finding]:
    from dogpile.cache import make_region

    asked = hostile_keys(0)
    if scale is Scale.SHORT:
        asked = [HOSTILE["noreply"], HOSTILE["space"], 1]
    hung = raised = wrong = 0
    for number, key in enumerate(asked):

        def use(key: Any = key, number: int = number) -> object:
            region = make_region().configure(
                "dogpile.cache.pylibmc",
                arguments={"url": [f"{wire.host}:{wire.port}"]},
            )
            try:
                region.get_or_create(key, lambda: number)
                return region.get(key) == number
            except Exception:
                return None

        child = Child(use)
        try:
            found = child.result(_PEERS_SECONDS)
            raised += found is None
            wrong += found is False
        except AssertionError:
            hung += 1
        finally:
            child.close()
    peers = re.compile(
        rb"(?:get|set|add|gets) [!-~]{1,250}( \d+ \d+ \d+)?\r\n|quit\r\n"
    )
    strange = [
        line
        for line in _commands(wire.trips())
        if peers.fullmatch(line) is None
        or line.split()[1:2] in ([b"x"], [b"kit"])
    ]
    note = f"{len(asked)} keys"
    return [
        Finding("dogpile.cache", f"pylibmc: {what}", value, note=note)
        for what, value in (
            ("commands on the wire that were not meant", len(strange)),
            ("keys that are not found again", wrong),
            ("exceptions from keys", raised),
            ("keys at which it hangs", hung),
        )
    ]


def _commands(trips: Iterable[bytes]) -> Iterator[bytes]:
    """Take what was sent apart, into command lines as a server reads them."""
    for trip in trips:
        at = 0
        while at < len(trip):
            end = trip.find(b"\r\n", at) + 2
            line = trip[at : end if end >= 2 else None]
            at += len(line)
            yield line
            size = re.match(
                rb"(?:set|add|cas) \S+ \d+ \d+ (\d+)(?: \d+)?(?: noreply)?\r",
                line,
            )
            if size is not None:
                at += int(size[1]) + 2
