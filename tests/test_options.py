"""Whatever a user can type: parsed, or refused in the user's words."""

from __future__ import annotations

import datetime
import math
import pathlib
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mako_cacheplug import options
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.options import CallOptions
from mako_cacheplug.options import check_options
from mako_cacheplug.options import StoreURL


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        (90, 90.0),
        (0, 0.0),
        (1.5, 1.5),
        ("90", 90.0),
        (" 90s ", 90.0),
        ("5m", 300.0),
        ("5 M", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1w", 604800.0),
        ("250ms", 0.25),
        (".5h", 1800.0),
        ("none", math.inf),
        ("Never", math.inf),
        (math.inf, math.inf),
        (datetime.timedelta(minutes=1), 60.0),
    ],
)
def test_durations(typed: object, seconds: float) -> None:
    assert options.duration(typed) == seconds


@pytest.mark.parametrize(
    "typed",
    [
        True,
        -1,
        -0.1,
        "-1",
        "",
        " ",
        "5x",
        "m",
        "1h30m",
        "1e3",
        "\u0665",
        "nan",
        math.nan,
        10**400,
        None,
        [5],
        b"5",
        datetime.timedelta(seconds=-1),
    ],
)
def test_no_durations(typed: object) -> None:
    with pytest.raises(OptionError, match=r"option 'ttl'.*'5m'") as caught:
        options.duration(typed, "ttl")
    assert caught.value.option == "ttl"


@given(
    st.integers(0, 10**9),
    st.sampled_from(["ms", "s", "m", "h", "d", "w", ""]),
)
def test_a_unit_multiplies(count: int, unit: str) -> None:
    one = options.duration(f"1{unit}")
    assert options.duration(f"{count}{unit}") == pytest.approx(count * one)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans()))
def test_anything_is_a_duration_or_an_option_error(typed: object) -> None:
    for parse in (options.duration, options.size):
        try:
            found = parse(typed)
        except OptionError:
            continue
        assert found is None or found >= 0


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        (1024, 1024),
        ("1024", 1024),
        ("64k", 65536),
        ("64KB", 65536),
        ("64KiB", 65536),
        ("1.5k", 1536),
        ("64m", 2**26),
        ("1g", 2**30),
        ("1t", 2**40),
        ("0", 0),
        ("none", None),
        (10**400, 10**400),
    ],
)
def test_sizes(typed: object, count: int | None) -> None:
    assert options.size(typed) == count


@pytest.mark.parametrize(
    "typed",
    [True, -1, "-1", "", "k", "5x", math.inf, math.nan, "9" * 400, b"1"],
)
def test_no_sizes(typed: object) -> None:
    with pytest.raises(OptionError, match="option 'max_bytes'"):
        options.size(typed)


@pytest.mark.parametrize("typed", [True, 1, "true", "Yes", " on ", "1"])
def test_true(typed: object) -> None:
    assert options.boolean(typed, "enabled") is True


@pytest.mark.parametrize("typed", [False, 0, "false", "NO", "off", "0"])
def test_false(typed: object) -> None:
    assert options.boolean(typed, "enabled") is False


@pytest.mark.parametrize("typed", [2, -1, "", "maybe", None, 1.0, [], b"1"])
def test_no_booleans(typed: object) -> None:
    with pytest.raises(OptionError, match="option 'enabled'"):
        options.boolean(typed, "enabled")


@pytest.mark.parametrize("typed", [True, "x", None, "nan", "inf", 1.1, -0.1])
def test_no_numbers(typed: object) -> None:
    with pytest.raises(OptionError, match="a number from 0 to 1"):
        options.number(typed, "jitter", 0.0, 1.0)


@pytest.mark.parametrize("typed", ["inf", math.inf, 10**400, -1])
def test_numbers_are_finite(typed: object) -> None:
    with pytest.raises(OptionError, match="a number of 0 or more"):
        options.number(typed, "early")


def test_whole_numbers() -> None:
    assert options.whole_number("3", "max_entries", 1) == 3
    for wrong in ("0", "1.5", "x", math.nan):
        with pytest.raises(OptionError, match="option 'max_entries'"):
            options.whole_number(wrong, "max_entries", 1)


@pytest.mark.parametrize(
    ("typed", "tags"),
    [
        ("news  user:42\nnews", ("news", "user:42")),
        ("", ()),
        (["a b", "c", "a b"], ("a b", "c")),
        ((x for x in "ab"), ("a", "b")),
    ],
)
def test_tags(typed: object, tags: tuple[str, ...]) -> None:
    assert options.tag_names(typed) == tags


@pytest.mark.parametrize("typed", [5, b"x", [""], [1], {"a": 1}, None])
def test_no_tags(typed: object) -> None:
    with pytest.raises(OptionError, match="option 'tags'"):
        options.tag_names(typed)


def test_secrets() -> None:
    assert options.secrets("s") == (b"s",)
    assert options.secrets(b"s") == (b"s",)
    assert options.secrets(["new", b"old"]) == (b"new", b"old")


@pytest.mark.parametrize("typed", ["", [], 5, ["hidden", ""], ["hidden", 5]])
def test_a_bad_secret_is_not_shown(typed: object) -> None:
    with pytest.raises(OptionError, match="option 'secret'") as caught:
        options.secrets(typed)
    assert "hidden" not in str(caught.value)
    assert caught.value.value is None


def test_the_nearest_spelling() -> None:
    assert options.nearest("timout", ["timeout", "tags"]) == (
        "; did you mean 'timeout'?"
    )
    assert options.nearest("xyz", ["b", "a"]) == "; known: a, b"
    assert options.nearest("xyz", []) == ""


def test_checked_options_are_parsed_and_none_is_not_given() -> None:
    assert check_options(
        {"timeout": "5m", "tags": "a b", "url": None, "compress": "none"}
    ) == {"timeout": 300.0, "tags": ("a", "b"), "compress": None}


def test_an_alias_and_its_option_the_last_counts() -> None:
    assert check_options({"ttl": 5, "timeout": 6}) == {"timeout": 6.0}
    assert check_options({"timeout": 6, "ttl": 5}) == {"timeout": 5.0}
    assert check_options({"timeout": 6, "ttl": None}) == {"timeout": 6.0}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"timout": 5}, r"^here: unknown option 'timout'.*'timeout'"),
        ({"timeout": "5x"}, r"^here: option 'timeout': '5x'"),
        ({"ttl": "5x"}, r"^here: option 'ttl': '5x'"),
        ({"lease": 0}, r"lease"),
        ({"lease": "none"}, r"lease"),
        ({"jitter": 2}, r"jitter"),
        ({"early": -1}, r"early"),
        ({"url": 5}, r"url"),
        ({"regions": "x"}, r"regions"),
        ({"regions": {1: {}}}, r"regions"),
        ({5: 5}, r"unknown option '?5"),
    ],
)
def test_a_wrong_option_says_where(given: Any, match: str) -> None:
    with pytest.raises(OptionError, match=match) as caught:
        check_options(given, "here")
    assert caught.value.where == "here"


def test_only_allowed_options() -> None:
    with pytest.raises(OptionError, match="unknown option 'url'"):
        check_options({"url": "memory://"}, allowed=options.CALL_ONLY)
    assert check_options({"ttl": 1}, allowed=options.CALL_ONLY)


def test_a_directory_may_be_a_path() -> None:
    path = pathlib.Path("/var/cache")
    assert check_options({"dir": path}) == {"dir": "/var/cache"}


def test_call_options_are_replaced_and_never_changed() -> None:
    base = CallOptions()
    changed = base.replace({"timeout": 5.0, "url": "memory://"})
    assert (base.timeout, changed.timeout) == (math.inf, 5.0)
    assert base.replace({"namespace": "x"}) is base
    with pytest.raises(AttributeError):
        base.timeout = 1.0  # type: ignore[misc]  # must fail


def test_an_entry_is_of_use_as_long_as_the_longer_of_two() -> None:
    assert CallOptions(grace=5.0, stale_if_error=60.0).afterlife == 60.0
    assert CallOptions(grace=5.0, stale_if_error=1.0).afterlife == 5.0


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("memory://", ("memory", (), "")),
        ("MEMORY://", ("memory", (), "")),
        ("file:///var/cache/a%20b", ("file", (), "/var/cache/a b")),
        (
            "memcached://h1,h2:11212/",
            ("memcached", (("h1", None), ("h2", 11212)), "/"),
        ),
        ("redis://[::1]:6379/0", ("redis", (("::1", 6379),), "/0")),
        ("redis://[::1]", ("redis", (("::1", None),), "")),
    ],
)
def test_urls(text: str, parts: tuple[object, ...]) -> None:
    url = StoreURL.parse(text)
    assert (url.scheme, url.hosts, url.path) == parts


def test_credentials_are_decoded_and_not_shown() -> None:
    url = StoreURL.parse("redis://me:p%40ss@h:1/?a=b%20c")
    assert (url.user, url.password) == ("me", "p@ss")
    assert url.hosts == (("h", 1),)
    assert url.query == (("a", "b c"),)
    for shown in (str(url), repr(url)):
        assert "p@ss" not in shown
        assert "p%40ss" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "memory",
        "memory:",
        "memcached://h:0",
        "memcached://h:65536",
        "memcached://h:x",
        "memcached://h:1:2",
        "memcached://:11211",
        "memcached://[::1",
        "memory://?max_bytes",
        "memory://?a=1&a=2",
    ],
)
def test_no_urls(text: str) -> None:
    with pytest.raises(OptionError):
        StoreURL.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_an_option_error(text: str) -> None:
    for attempt in (text, f"memcached://{text}", f"memory://?{text}"):
        try:
            StoreURL.parse(attempt)
        except OptionError:
            continue


_HOST = st.tuples(
    st.text(string.ascii_lowercase + string.digits + ".-", min_size=1),
    st.one_of(st.none(), st.integers(1, 65535)),
)
_NAME = st.text(string.ascii_lowercase + "_", min_size=1)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(_HOST, max_size=3),
    _TEXT,
    st.dictionaries(_NAME, _TEXT, max_size=3),
)
def test_a_url_reads_back_what_it_prints(
    hosts: list[tuple[str, int | None]], path: str, query: dict[str, str]
) -> None:
    url = StoreURL("x", tuple(hosts), "/" + path, tuple(query.items()))
    assert StoreURL.parse(str(url)) == url


def test_the_query_is_taken_with_parsers() -> None:
    url = StoreURL.parse("memory://?max_bytes=64m&client=a")
    parsers: dict[str, Callable[[object, str], Any]] = {
        "max_bytes": options.size,
        "client": options._text,
        "unused": options.size,
    }
    assert url.take(**parsers) == {"max_bytes": 2**26, "client": "a"}
    with pytest.raises(OptionError, match=r"'max_bytes'.*did you mean"):
        url.take(max_byte=options.size)
    with pytest.raises(OptionError, match="'max_bytes'"):
        StoreURL.parse("memory://?max_bytes=x").take(max_bytes=options.size)


def test_an_error_shows_no_password() -> None:
    for text in ("redis://u:hunter2@h:99999", "redis://u:hunter2@h/?a=1&a=2"):
        with pytest.raises(OptionError) as caught:
            StoreURL.parse(text)
        assert "hunter2" not in f"{caught.value} {caught.value.value}"
