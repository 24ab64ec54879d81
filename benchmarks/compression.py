"""Where compression pays: DEFLATE and zstd on the sample site's HTML.

For each size and method: what is left, what packing and unpacking take, and
what a hit gains when fewer bytes cross a wire, unpacking deducted.  The rows
take turns in one process; medians.  A star is what the codec does.
``python -m benchmarks.compression [--rounds N]``
"""

from __future__ import annotations

import argparse
import platform
import socket
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

from mako_cacheplug import compression
from templates_test import site

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 262144)
DEFLATE_LEVELS = (1, 3, 6)
ZSTD_LEVELS = (1, 3, 6)
GIGABIT_NS = 8.0
"""Nanoseconds per byte at 1 Gbit/s."""

TURN_SECONDS = 1e-3


class Row(NamedTuple):
    """One value, packed in one way."""

    size: int
    name: str
    method: int
    packed: bytes
    pack: Callable[[], object]


def fragment(size: int) -> bytes:
    """Return that many bytes of the site's pages, one after the other."""
    lookup = site.make_lookup(cache_enabled=False)
    html = b""
    for page in site.pages():
        html += site.render(lookup, page).encode()
        if len(html) >= size:
            break
    return html[:size]


def deflate(raw: bytes, level: int) -> bytes:
    """Pack as the codec does, at any level."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()


def rows(size: int) -> list[Row]:
    """Return each way to pack a fragment of *size* bytes."""
    raw = fragment(size)
    found = []
    for name, method, levels, pack in (
        ("deflate", compression.DEFLATE, DEFLATE_LEVELS, deflate),
        ("zstd", compression.ZSTD, ZSTD_LEVELS, zstd.compress),
    ):
        for level in levels:
            call = _bound(pack, raw, level)
            found.append(Row(size, f"{name} {level}", method, call(), call))
    return found


def _bound(
    pack: Callable[[bytes, int], bytes], raw: bytes, level: int
) -> Callable[[], bytes]:
    return lambda: pack(raw, level)


def loopback_ns() -> float:
    """Return what one more byte costs on loopback TCP, in nanoseconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    with sender, receiver:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def carry(size: int) -> Callable[[], object]:
            data = bytes(size)

            def call() -> None:
                sender.sendall(data)
                left = size
                while left:
                    left -= len(receiver.recv(left))

            return call

        small, large = carry(1024), carry(33 * 1024)
        more = [turn(large) - turn(small) for _ in range(100)]
    return statistics.median(more) / 32.768


def turn(call: Callable[[], object]) -> float:
    """Return the µs of one call, over about a millisecond."""
    calls, started = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        taken = time.perf_counter() - started
        if taken >= TURN_SECONDS:
            return taken / calls * 1e6


def show(found: list[Row], rounds: int, loopback: float) -> None:
    """Measure and print all rows of one size."""
    size = found[0].size
    taken: list[list[tuple[float, float]]] = [[] for _ in found]
    for _ in range(rounds):
        for one, row in zip(taken, found, strict=True):
            unpack = _unpacking(row)
            one.append((turn(row.pack), turn(unpack)))
    chosen = compression.pack(fragment(size))[1]
    for one, row in zip(taken, found, strict=True):
        pack, unpack = map(statistics.median, zip(*one, strict=True))
        saved = size - len(row.packed)
        print(
            f"{size / 1024:5g} {row.name:>10}"
            f"{'*' if row.packed == chosen else ' '}"
            f" {len(row.packed) / size:5.0%} {pack:8.1f} {unpack:8.1f}"
            f" {saved * GIGABIT_NS / 1000 - unpack:8.1f}"
            f" {saved * loopback / 1000 - unpack:8.1f}"
        )


def _unpacking(row: Row) -> Callable[[], object]:
    return lambda: compression.unpack(row.method, row.packed, row.size)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    loopback = loopback_ns()
    print(
        f"Python {platform.python_version()}, {platform.machine()},"
        f" zlib {zlib.ZLIB_RUNTIME_VERSION}, zstd {zstd.zstd_version};"
        f" a byte on loopback {loopback:.2f} ns, at 1 Gbit/s {GIGABIT_NS:g} ns"
    )
    print(
        f"{'KiB':>5} {'':>10}  {'left':>5} {'pack':>8} {'unpack':>8}"
        f" {'1 Gbit/s':>8} {'loopback':>8}   µs; the last two: gain of a hit"
    )
    for size in SIZES:
        show(rows(size), rounds, loopback)


if __name__ == "__main__":
    main()
