"""What others can make happen at any rate is told once a minute."""

from __future__ import annotations

import logging

import pytest

from mako_cacheplug.seldom import Seldom
from mako_cacheplug.testing import ManualClock


def test_the_first_is_told_and_then_one_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    seldom = Seldom(logging.getLogger("kit"), clock)
    for number in range(1000):
        seldom.warn("unreadable: %s", number)
    assert caplog.messages == ["unreadable: 0"]
    clock.advance(59.9)
    seldom.warn("unreadable: %s", 1000)
    clock.advance(0.2)
    seldom.warn("unreadable: %s", 1001)
    assert caplog.messages[1:] == [
        "unreadable: 1001 (and 1000 before that were not told)"
    ]
    clock.advance(61.0)
    seldom.warn("unreadable: %s", 1002)
    assert caplog.messages[2:] == ["unreadable: 1002"]
