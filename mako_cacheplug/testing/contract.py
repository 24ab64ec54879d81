"""What a store of bytes owes its callers: values, lifetimes, threads."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import backend_class
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.running import in_threads

__all__ = ["PAYLOADS", "ContractSuite"]

PAYLOADS = {
    "empty": b"",
    "nul": b"\0",
    "text": "grüße".encode(),
    "every-byte": bytes(range(256)),
    "white-space": b" \t\r\n padded \r\n\t ",
    "protocol": b"END\r\nVALUE a 0 1\r\nb\r\nEND\r\n",
    "not-utf8": b"\xff\xfe\x80",
    "number": b"0042",
    "pickle": b"\x80\x04K*.",
    "compressible": b"a" * 100_000,
    "large": bytes(range(256)) * 1024,
}

_DAY = 86400.0
_LARGEST_TRIED = 64 * 2**20


class ContractSuite(Suite):
    """get, set, delete and close."""

    def test_missing_is_no_value(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        assert backend.get(harness.key()) is NO_VALUE

    @pytest.mark.parametrize("name", PAYLOADS)
    def test_payload_comes_back(
        self, harness: StoreHarness, backend: CacheBackend, name: str
    ) -> None:
        """As ``bytes``, exactly: the region takes it apart unseen."""
        key = harness.key()
        backend.set(key, PAYLOADS[name], 60.0)
        found = backend.get(key)
        assert type(found) is bytes
        assert found == PAYLOADS[name]

    def test_set_replaces(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        key = harness.key()
        for payload in (b"long " * 100, b"short", b"", b"again"):
            backend.set(key, payload, 60.0)
            assert backend.get(key) == payload

    def test_delete_removes_only_its_key(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        gone, kept = harness.key("gone"), harness.key("kept")
        backend.set(gone, b"1", 60.0)
        backend.set(kept, b"2", 60.0)
        backend.delete(gone)
        assert backend.get(gone) is NO_VALUE
        assert backend.get(kept) == b"2"

    def test_delete_of_nothing_is_no_error(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        backend.delete(harness.key())
        backend.set(harness.key(), b"1", 60.0)
        backend.delete(harness.key())
        backend.delete(harness.key())
        assert backend.get(harness.key()) is NO_VALUE

    def test_set_reaches_the_store(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        key = harness.key()
        backend.set(key, b"one", 60.0)
        assert harness.raw_get(key) == b"one"
        backend.delete(key)
        assert harness.raw_get(key) is None

    def test_what_others_wrote_is_read(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """A copy kept in the process would go on being served."""
        key = harness.key()
        backend.set(key, b"ours", 60.0)
        assert backend.get(key) == b"ours"
        harness.raw_set(key, b"theirs")
        assert backend.get(key) == b"theirs"

    def test_ttl_ends_a_payload(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """Not long before, not never; short ones and 0 too."""
        brief = {harness.key(f"for-{ttl}"): ttl for ttl in (1.0, 0.4, 0.0)}
        lasting = {
            harness.key("minute"): 60.0,
            harness.key("forever"): None,
        }
        for key, ttl in (*brief.items(), *lasting.items()):
            backend.set(key, b"x", ttl)
        for _ in range(16):
            harness.advance(0.25)
            left = [
                ttl
                for key, ttl in brief.items()
                if backend.get(key) is not NO_VALUE
            ]
            if not left:
                break
        assert not left, f"there 4 s later, of these ttl: {left}"
        for key, ttl in lasting.items():
            assert backend.get(key) == b"x", f"gone with ttl {ttl}"

    @pytest.mark.parametrize("days", [29.9, 30.1, 400.0, 36500.0])
    def test_ttl_of_many_days_lasts(
        self, harness: StoreHarness, backend: CacheBackend, days: float
    ) -> None:
        """To memcached, more than 30 days are a date in 1970."""
        key = harness.key()
        backend.set(key, b"x", days * _DAY)
        assert backend.get(key) == b"x"

    def test_set_renews_the_ttl(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        key = harness.key()
        backend.set(key, b"x", 1.0)
        backend.set(key, b"x", None)
        harness.advance(2.25)
        assert backend.get(key) == b"x"

    def test_too_large_leaves_no_old_payload(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """The old value is wrong by now, whatever becomes of the new one."""
        key = harness.key()
        limit = backend.max_value_bytes
        size = 8 * 2**20 if limit is None else limit + 1
        assert size <= _LARGEST_TRIED, (
            "make a backend with a lower max_value_bytes for the kit"
        )
        payload = b"x" * size
        backend.set(key, b"old", 60.0)
        try:
            backend.set(key, payload, 60.0)
        except ValueTooLargeError as error:
            assert error.size >= size
            assert backend.get(key) is NO_VALUE
        else:
            assert limit is None, f"stored more than its limit of {limit}"
            assert backend.get(key) == payload

    def test_limits_are_usable(self, backend: CacheBackend) -> None:
        """A region's keys are 45 characters long."""
        assert backend.max_key_bytes >= 45
        limit = backend.max_value_bytes
        assert limit is None or limit >= 64 * 1024

    def test_close_twice(self, harness: StoreHarness) -> None:
        backend = harness.make_backend()
        backend.set(harness.key(), b"x", 60.0)
        backend.close()
        backend.close()

    def test_close_unused(self, harness: StoreHarness) -> None:
        harness.make_backend().close()

    def test_unknown_url_option_is_refused(
        self, harness: StoreHarness
    ) -> None:
        url = harness.url()
        url += ("&" if "?" in url else "?") + "no_such_option=1"
        parsed = StoreURL.parse(url)
        with pytest.raises(OptionError, match="no_such_option"):
            backend_class(parsed.scheme).from_url(parsed)

    def test_threads_get_their_own_answers(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """An answer that went to another thread shows another key."""
        keys = [harness.key(str(number)) for number in range(6)]

        def work(shift: int) -> Callable[[], None]:
            def run() -> None:
                for turn in range(60):
                    key = keys[(turn + shift) % len(keys)]
                    if turn % 3 == 0:
                        body = f"{key}={turn}.{shift};".encode()
                        backend.set(key, body * 20, 60.0)
                    elif turn % 20 == 1:
                        backend.delete(key)
                    else:
                        found = backend.get(key)
                        if found is not NO_VALUE:
                            assert found.startswith(f"{key}=".encode())
                            head = found.partition(b";")[0] + b";"
                            assert found == head * 20

            return run

        in_threads([work(shift) for shift in range(8)])

    def test_readers_see_no_mixture(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """The old payload or the new one, whole, at every moment."""
        key = harness.key()
        payloads = [b"a" * 200_000, b"b" * 150_000]
        backend.set(key, payloads[0], 60.0)
        finished = threading.Event()

        def write() -> None:
            try:
                for _, payload in zip(
                    range(40), itertools.cycle(payloads), strict=False
                ):
                    backend.set(key, payload, 60.0)
            finally:
                finished.set()

        def read() -> None:
            while not finished.is_set():
                found = backend.get(key)
                assert found is not NO_VALUE, "gone while it was replaced"
                assert found in payloads, "neither the old nor the new one"

        in_threads([write, read, read, read])
