"""Keys and expiry times as memcached gets them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mako_cacheplug_memcached._wire import expiry_time
from mako_cacheplug_memcached._wire import lock_key
from mako_cacheplug_memcached._wire import MAX_KEY_BYTES
from mako_cacheplug_memcached._wire import value_key

NOW = 1_700_000_000.0
MONTH = 30 * 86400

_anything = st.text(st.characters(codec=None, exclude_categories=()))
_plain = st.text(st.characters(min_codepoint=33, max_codepoint=126))


@given(_anything | _plain)
def test_what_is_sent_is_a_key(key: str) -> None:
    for wire in (value_key(key), lock_key(key)):
        assert re.fullmatch(rb"[!-~]{1,250}", wire)


@given(_anything | _plain, _anything | _plain)
def test_different_keys_stay_different(one: str, other: str) -> None:
    assert (one == other) == (value_key(one) == value_key(other))
    assert value_key(one) != lock_key(other)


@pytest.mark.parametrize("key", ["k", "!~", "k" * MAX_KEY_BYTES, "mcp1:0"])
def test_a_plain_key_is_itself(key: str) -> None:
    assert value_key(key) == key.encode()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "k" * (MAX_KEY_BYTES + 1),
        "a b",
        "a\r\nflush_all\r\n",
        "a\n",
        "\x7f",
        "é",
        "\ud800",
        value_key("a b").decode(),
        lock_key("k").decode(),
    ],
)
def test_any_other_is_hashed(key: str) -> None:
    assert re.fullmatch(rb"mcp~k:[0-9a-f]{40}", value_key(key))
    assert value_key(key) != key.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("seconds", "exptime"),
    [
        (None, 0),
        (0.001, 2),
        (0.4, 2),
        (1.0, 2),
        (1.1, 3),
        (MONTH - 1.0, MONTH),
        (MONTH - 0.5, NOW + MONTH + 1),
        (MONTH, NOW + MONTH + 1),
        (10 * MONTH, NOW + 10 * MONTH + 1),
        (1e9, 0),
        (float("inf"), 0),
    ],
)
def test_expiry(seconds: float | None, exptime: float) -> None:
    assert expiry_time(seconds, lambda: NOW) == exptime


@given(st.floats(1e-9, 1e9))
def test_nothing_expires_early(seconds: float) -> None:
    exptime = expiry_time(seconds, lambda: NOW)
    left = exptime - NOW if exptime > MONTH else float(exptime)
    # The server's next second may begin at once.
    assert exptime == 0 or left - 1.0 >= seconds
