"""One root, natural co-parents, and the offender attached."""

from __future__ import annotations

import pytest

from mako_cacheplug import exceptions
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import CachePlugError
from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import UnknownCompressionError
from mako_cacheplug.exceptions import ValueTooLargeError


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (OptionError, ValueError),
        (CodecError, TypeError),
        (CorruptEntryError, ValueError),
        (UnknownCompressionError, CorruptEntryError),
        (KeyTypeError, TypeError),
        (BackendError, Exception),
        (ValueTooLargeError, BackendError),
    ],
)
def test_every_error_has_the_root_and_its_natural_parent(
    error: type, parent: type
) -> None:
    assert issubclass(error, CachePlugError)
    assert issubclass(error, parent)
    assert error.__name__ in exceptions.__all__


def test_an_option_error_tells_where_once() -> None:
    error = OptionError("no", option="ttl", value="5x")
    placed = error.at("def 'card'")
    assert str(error) == "no"
    assert str(placed) == "def 'card': no"
    assert (placed.option, placed.value) == ("ttl", "5x")
    assert placed.at("elsewhere") is placed
    assert error.at("") is error


def test_the_offender_is_attached() -> None:
    assert CodecError("m", value_type=set).value_type is set
    assert KeyTypeError("m", value_type=set).value_type is set
    assert BackendError("m", url="memcached://h").url == "memcached://h"
    error = ValueTooLargeError("m", size=3, limit=2, url="u")
    assert (error.size, error.limit, error.url) == (3, 2, "u")
