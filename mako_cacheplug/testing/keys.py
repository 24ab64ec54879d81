"""Keys: told apart to the last character, and never anything but a key."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.harness import StoreHarness

__all__ = ["KeySuite"]

HOSTILE = {
    "empty": "",
    "dot": ".",
    "dots": "..",
    "slash": "/",
    "parent": "../../kit",
    "absolute": "/tmp/kit",  # noqa: S108  # only a key
    "folder": "kit/a",
    "folder-with-dot": "kit/./a",
    "space": "kit a",
    "space-at-the-end": "kit ",
    "tab": "kit\ta",
    "line-end": "kit\r\n",
    "command": "kit\r\nset x 0 0 1\r\ny\r\n",
    "noreply": "kit 0 0 1 noreply\r\nflush_all\r\n",
    "nul": "kit\0a",
    "delete": "kit\x7f",
    "latin": "kit-é",
    "decomposed": "kit-e\u0301",
    "wide": "kit-\U0001f375",
    "surrogate": "kit-\udc80",
    "percent": "kit%2e%2e",
    "star": "kit*",
    "query": "kit'; drop table kit; --",
    "long": "k" * 2000,
    "very-long": "k" * 70_000,
}


class KeySuite(Suite):
    """Regular keys are told apart, others do no harm."""

    def test_longest_keys_are_told_apart(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """By their first, middle and last characters."""
        start = harness.key("")
        room = backend.max_key_bytes - len(start)
        middle = room // 2
        blank = "x" * room
        keys = [
            start + blank,
            start + "y" + blank[1:],
            start + blank[:middle] + "y" + blank[middle + 1 :],
            start + blank[:-1] + "y",
        ]
        _check_apart(backend, keys)

    def test_case_is_told_apart(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        _check_apart(
            backend, [harness.key(name) for name in ("key", "Key", "KEY")]
        )

    def test_similar_keys_are_told_apart(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        names = (
            *("a", "aa", "a.", "a:", "a-", "a_", ".a", "-a"),
            *("a.b", "a:b", "a-b", "a_b", "ab", "0", "00", "1", "01", "1.0"),
            *("mutex", "lock", "mutex:a", "lock:a", "a.lock", "a.tmp"),
        )
        _check_apart(backend, [harness.key(name) for name in names])

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_key_is_harmless(
        self, harness: StoreHarness, backend: CacheBackend, name: str
    ) -> None:
        """It is stored under its own name or refused; nothing else."""
        neighbour = harness.key("neighbour")
        backend.set(neighbour, b"neighbour", 60.0)
        key = HOSTILE[name]
        try:
            backend.set(key, b"hostile", 60.0)
        except BackendError:
            assert _get_or_refuse(backend, key) is NO_VALUE
        else:
            assert backend.get(key) == b"hostile"
        assert backend.get(neighbour) == b"neighbour"
        with contextlib.suppress(BackendError):
            backend.delete(key)
        assert _get_or_refuse(backend, key) is NO_VALUE
        assert backend.get(neighbour) == b"neighbour"

    def test_hostile_keys_are_told_apart(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        stored = {}
        keys = (*HOSTILE.values(), "kit", "kit-a", "kit_a", "kita", "k" * 100)
        for key in (*keys, *("k" * length for length in (200, 250, 251, 255))):
            payload = f"payload of {key!a}".encode()
            try:
                backend.set(key, payload, 60.0)
            except BackendError:
                continue
            stored[key] = payload
        found = {key: backend.get(key) for key in stored}
        for key in stored:
            backend.delete(key)
        assert found == stored

    def test_key_is_no_path(
        self, harness: StoreHarness, backend: CacheBackend, tmp_path: Path
    ) -> None:
        """A file that a key names is neither written, read nor removed."""
        file = tmp_path / "precious"
        file.write_bytes(b"precious")
        keys = [str(file), "../" * 30 + str(file)[1:], f"file://{file}"]
        for key in keys:
            assert _get_or_refuse(backend, key) is NO_VALUE
            for act in (lambda k: backend.set(k, b"x", 60.0), backend.delete):
                with contextlib.suppress(BackendError):
                    act(key)
        assert file.read_bytes() == b"precious"


def _check_apart(backend: CacheBackend, keys: list[str]) -> None:
    for key in keys:
        assert backend.get(key) is NO_VALUE, f"{key} is another's already"
        backend.set(key, f"of {key}".encode(), 60.0)
    for key in keys:
        assert backend.get(key) == f"of {key}".encode()
    backend.delete(keys[0])
    for key in keys[1:]:
        assert backend.get(key) == f"of {key}".encode()


def _get_or_refuse(backend: CacheBackend, key: str) -> object:
    try:
        return backend.get(key)
    except BackendError:
        return NO_VALUE
