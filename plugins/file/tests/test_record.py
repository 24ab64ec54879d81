"""The file's format: whole and its own, or nothing."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import pytest
from mako_cacheplug_file import record


def test_what_is_packed_is_unpacked() -> None:
    data = record.pack(b"key", b"payload", 12.5)
    assert record.unpack(data, b"key") == (b"payload", 12.5)
    empty = record.pack(b"", b"", math.inf)
    assert record.unpack(empty, b"") == (b"", math.inf)


def test_every_cut_and_every_flipped_bit_is_found() -> None:
    data = record.pack(b"key", b"payload", 12.5)
    for length in range(len(data)):
        assert record.unpack(data[:length], b"key") is None
    for place in range(len(data) * 8):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        assert record.unpack(bytes(broken), b"key") is None
    assert record.unpack(data + b"\0", b"key") is None


def test_another_keys_bytes_are_not_taken() -> None:
    data = record.pack(b"key", b"payload", 12.5)
    assert record.unpack(data, b"other") is None
    assert record.unpack(data, b"ke") is None


@pytest.mark.parametrize("length", [0, 16_000, 16_384, 16_385, 3_000_000])
def test_a_payload_of_any_length_is_read(tmp_path: Path, length: int) -> None:
    payload = os.urandom(length)
    path = tmp_path / "entry"
    path.write_bytes(record.pack(b"key", payload, 1.0))
    fd = os.open(path, os.O_RDONLY)
    try:
        data = record.read(fd, math.inf)
    finally:
        os.close(fd)
    assert record.unpack(data, b"key") == (payload, 1.0)


@pytest.mark.parametrize("claim", [2**63, 2**40, 30_000])
def test_a_lying_header_takes_no_memory(tmp_path: Path, claim: int) -> None:
    path = tmp_path / "entry"
    header = struct.pack("<4sIQd", b"MCF\x01", 3, claim, 1.0)
    path.write_bytes(header + bytes(20_000))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert len(record.read(fd, math.inf)) <= 20_028
    finally:
        os.close(fd)


def test_an_entry_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    path.write_bytes(record.pack(b"key", bytes(50_000), 1.0))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert len(record.read(fd, 40_000)) < 40_000
    finally:
        os.close(fd)
