"""Entries of every kind are damaged and forged, and the codec reads them.

Some are mutated as they stand: bits flipped, cut off, spliced, parts left out,
doubled or replaced.  That must be seen, by the checksum, the signature or the
tag.  Others are mutated inside and get a right check again, as who can write
to a store, or once had the key, could give them one: so the parser behind the
check is reached, which must find an entry or none.
"""

from __future__ import annotations

import math
import random
import resource
import struct
import sys
import time
from collections.abc import Callable
from typing import Final

from markupsafe import Markup

from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug import codec as codecs
from mako_cacheplug import encryption
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.testing.payloads import forged
from mako_cacheplug.testing.payloads import trapped

__all__ = ["CONTENDERS", "entries", "run"]

CONTENDERS: Final = ("cacheplug",)

MUTATIONS: Final = {Scale.SHORT: 20_000, Scale.LONG: 1_000_000}

MOST_SECONDS: Final = 2.0
"""Of the processor, for one payload; its own time, whoever else is busy."""

MOST_MIB: Final = 256
"""What the process may grow by."""

_KEY: Final = "fragment key \ud800"
_SECRET: Final = b"secret"
_CODECS: Final = {
    "checked": EntryCodec(),
    "signed": EntryCodec((_SECRET, b"older")),
    "encrypted": EntryCodec((_SECRET, b"older"), encrypts=True),
}
_HEADER: Final = 33
_FIELDS: Final = ((4, 5), (5, 13), (13, 21), (21, 25), (25, 29), (29, 33))

Mutate = Callable[[random.Random, bytes], bytes]


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what became of the mutations."""
    chance = random.Random(20_251_125)
    good = [
        (codec, codec.encode(_KEY, entry, compress))
        for codec in _CODECS.values()
        for entry in entries()
        for compress in (None, 0)
    ]
    bodies = _bodies()
    seen = _Seen()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for payload in trapped(_KEY).values():
        seen.read(_CODECS["checked"], payload)
    while seen.count < MUTATIONS[scale]:
        if chance.random() < 0.5:
            codec, payload = chance.choice(good)
            broken = _mutated(chance, payload)
            if broken != payload:
                seen.read(codec, broken, is_damaged=True)
        else:
            body = _mutated(chance, _refielded(chance, chance.choice(bodies)))
            seen.read(*_checked(chance, body))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if sys.platform == "darwin":
        grown //= 1024  # Bytes there, KiB elsewhere.
    return [
        Finding(contender, "payloads read", seen.count, least=1.0),
        Finding(
            contender,
            "other errors than a miss",
            seen.errors,
            most=0,
            note=seen.note,
        ),
        Finding(contender, "damaged entries that passed", seen.passed, most=0),
        Finding(
            contender,
            "forged entries that are entries",
            seen.entries,
            least=1.0,
            note="with a right check, as whoever has the key could write",
        ),
        Finding(
            contender,
            "slowest payload, processor",
            seen.slowest * 1e3,
            "ms",
            most=MOST_SECONDS * 1e3,
        ),
        Finding(
            contender, "growth of the process", grown / 1024, "MiB", MOST_MIB
        ),
    ]


class _Seen:
    """What became of the payloads that were read."""

    def __init__(self) -> None:
        self.count = self.errors = self.passed = self.entries = 0
        self.slowest = 0.0
        self.note = ""

    def read(
        self, codec: EntryCodec, payload: bytes, is_damaged: bool = False
    ) -> None:
        self.count += 1
        began = time.thread_time()
        try:
            entry = codec.decode(_KEY, payload)
            codecs.load_value(entry.value)
        except CorruptEntryError:
            pass
        except Exception as error:
            self.errors += 1
            self.note = f"{type(error).__name__}: {payload[:80]!r}"
        else:
            self.passed += is_damaged
            self.entries += not is_damaged
        self.slowest = max(self.slowest, time.thread_time() - began)


def entries() -> list[CacheEntry]:
    """Return entries of every kind of value, plain and with labels."""
    page = "".join(f'<li class="item">{n} grüße</li>' for n in range(600))
    donut = {
        "mako_cacheplug donut": True,
        "text": [page[:500], "b"],
        "holes": [["", "", "greeting", [1, "a"], {"k": None}]],
    }
    noise = random.Random(1).randbytes(2000)
    values = [
        *("", "text", Markup(page), noise, noise * 10, bytes(40_000)),
        *map(
            codecs.dump_value, (donut, [1.5, {"a": [None, True]}], "x\ud800")
        ),
    ]
    labels = tuple((f"tag:{n}", f"{n:024x}") for n in range(30))
    return [
        CacheEntry(value, 1.7e9, until, 0.25, pairs)
        for value in values
        for until, pairs in ((math.inf, ()), (1.8e9, labels))
    ]


def _bodies() -> list[bytes]:
    """Return what stands before the check, packed in every way."""
    plain = _CODECS["checked"]
    return [
        plain.encode(_KEY, entry, compress)[:-4]
        for entry in entries()
        for compress in (None, 0)
    ] + [
        payload[:-4]
        for what, payload in trapped(_KEY).items()
        # The slowest of them costs as much as thousands of the others.
        if what != "json, wide"
    ]


def _checked(chance: random.Random, body: bytes) -> tuple[EntryCodec, bytes]:
    """Return *body* with a right check, and the codec that checks it so."""
    way = chance.choice(["checked", "checked", "signed", "encrypted"])
    codec = _CODECS[way]
    if way == "checked":
        return codec, forged(_KEY, body)
    if way == "encrypted":
        return codec, encryption.seal(_SECRET, _KEY, body)
    if len(body) > 4:
        body = body[:4] + bytes([body[4] | 16]) + body[5:]
    return codec, body + codecs.sign(_SECRET, _KEY, body)


# -- mutations ---------------------------------------------------------------


def _refielded(chance: random.Random, body: bytes) -> bytes:
    """Return *body* with some fields of its header set to what is nasty."""
    fields = list(_FIELDS)
    while chance.random() < 0.6:
        start, end = chance.choice(fields)
        body = body[:start] + _nasty(chance, end - start) + body[end:]
    return body


def _nasty(chance: random.Random, size: int) -> bytes:
    if size == 1:
        return bytes([chance.randrange(256)])
    if size == 8:
        return struct.pack(">d", chance.choice(_TIMES))
    if chance.random() < 0.2:
        return struct.pack(">f", chance.choice(_TIMES[:5]))
    return struct.pack(">I", chance.choice(_SIZES))


_TIMES: Final = [
    *(math.nan, math.inf, -math.inf, -1.0, 0.0),
    *(1e308, -1e308, 5e-324, 1.7e9, 4e18),
]
_SIZES: Final = [
    *(0, 1, 3, 4, 5, 7, 8, 12, 100, 5000, 65_536, 2**19, 2**19 + 1, 2**20),
    *(2**20 + 1, 2**24, 2**26, 2**26 + 1, 2**31, 2**32 - 1),
]


def _flip(chance: random.Random, payload: bytes) -> bytes:
    changed = bytearray(payload)
    # The header is small, and most of what can go wrong is in it.
    end = min(len(changed), chance.choice([_HEADER, 200, 2**30]))
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        if end:
            changed[chance.randrange(end)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(chance: random.Random, payload: bytes) -> bytes:
    return payload[: chance.randrange(len(payload) + 1)]


def _leave_out(chance: random.Random, payload: bytes) -> bytes:
    start, end = _part(chance, payload)
    return payload[:start] + payload[end:]


def _double(chance: random.Random, payload: bytes) -> bytes:
    start, end = _part(chance, payload)
    return payload[:end] + payload[start:]


def _overwrite(chance: random.Random, payload: bytes) -> bytes:
    start, end = _part(chance, payload)
    new = chance.choice(_TEXTS) * chance.choice([1, 1, 1, 50])
    return payload[:start] + new + payload[end:]


def _splice(chance: random.Random, payload: bytes) -> bytes:
    start, end = _part(chance, payload)
    return payload[:start] + payload[end:] + payload[start:end]


_TEXTS: Final = [
    *(b"\0", b"\xff", b"[", b"{", b'"', b"]", b"9", b"\xed\xa0\x80"),
    *(b"NaN", b"1e999", b"\0\0\0\1", b"\xff\xff\xff\xff", b"mcp\x02", b""),
]

_WAYS: Final[list[Mutate]] = [
    *(_flip, _flip, _flip, _cut),
    *(_leave_out, _double, _overwrite, _splice),
]


def _part(chance: random.Random, payload: bytes) -> tuple[int, int]:
    start = chance.randrange(len(payload) + 1)
    return start, min(len(payload), start + chance.choice([1, 4, 8, 60, 4000]))


def _mutated(chance: random.Random, payload: bytes) -> bytes:
    return chance.choice(_WAYS)(chance, payload)
