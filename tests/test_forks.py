"""A lock that a child of fork finds free."""

from __future__ import annotations

import os
import threading

from mako_cacheplug.forks import ForkSafeLock


def test_excludes_threads() -> None:
    lock = ForkSafeLock()
    entered = threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    thread = threading.Thread(target=enter)
    with lock:
        thread.start()
        assert not entered.wait(0.05)
    thread.join(10)
    assert entered.is_set()


def test_is_free_in_a_child() -> None:
    lock = ForkSafeLock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    child = os.fork()
    if child == 0:
        # A child that waits for ever is ended by the kernel.
        import signal

        signal.alarm(5)
        with lock:
            os._exit(7)
    done.set()
    thread.join(10)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
