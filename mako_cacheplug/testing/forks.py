"""After ``fork``: parent and children each get their own answers."""

from __future__ import annotations

import random
import threading

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import LIMIT

__all__ = ["ForkSuite"]


class ForkSuite(Suite):
    """A backend that was open when the process forked."""

    def test_children_get_their_own_answers(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """Over one connection they would read each other's."""
        all_at_once = fork_context.Barrier(4)
        payloads = {
            harness.key(str(number)): f"payload {number};".encode() * 200
            for number in range(20)
        }
        for key, payload in payloads.items():
            backend.set(key, payload, 60.0)

        def read() -> int:
            all_at_once.wait(LIMIT)
            chance = random.Random()  # noqa: S311  # no secret
            names = list(payloads)
            for _ in range(150):
                key = chance.choice(names)
                found = backend.get(key)
                assert found is not NO_VALUE, f"{key} is gone after fork"
                assert found == payloads[key], f"{key} is another's"
            return 150

        with children(read, read, read) as started:
            read()
            assert [child.result() for child in started] == [150] * 3
        for key, payload in payloads.items():
            assert backend.get(key) == payload, f"{key} is another's"

    def test_children_write_and_close(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """What a child does to its backend is not done to its parent's."""
        backend.set(harness.key("kept"), b"kept", 60.0)

        def work() -> bytes | None:
            own = harness.key("own")
            backend.set(own, b"x", 60.0)
            backend.delete(own)
            backend.set(own, b"y", 60.0)
            found = backend.get(own)
            backend.close()
            return None if found is NO_VALUE else found

        with children(work) as (child,):
            assert child.result() == b"y"
        assert backend.get(harness.key("kept")) == b"kept"
        backend.set(harness.key("kept"), b"new", 60.0)
        assert backend.get(harness.key("kept")) == b"new"

    def test_fork_while_threads_use_the_backend(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """A lock that another thread held stays locked in the child."""
        over = threading.Event()
        errors: list[BaseException] = []

        def use(name: str) -> None:
            key = harness.key(name)
            try:
                while not over.is_set():
                    backend.set(key, name.encode() * 100, 60.0)
                    assert backend.get(key) == name.encode() * 100
            except BaseException as error:
                errors.append(error)

        def work() -> bool:
            key = harness.key("child")
            for _ in range(5):
                backend.set(key, b"x", 60.0)
                backend.get(key)
            return True

        threads = [
            threading.Thread(target=use, args=(name,), daemon=True)
            for name in "abc"
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                with children(work) as (child,):
                    assert child.result(5.0)
        finally:
            over.set()
            for thread in threads:
                thread.join(10.0)
        assert not errors, errors[0]
