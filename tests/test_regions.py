"""Regions by name."""

from __future__ import annotations

import pytest

from mako_cacheplug import CacheRegion
from mako_cacheplug import configure_regions
from mako_cacheplug import get_region
from mako_cacheplug import OptionError
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.backends.null import NullBackend


def test_regions_are_made_of_mappings_or_taken_as_they_are() -> None:
    mine = CacheRegion("memory://", name="mine")
    configure_regions(
        {
            "short": {"url": "memory://?max_bytes=1m", "ttl": "60s"},
            "none": {"impl": "null", "namespace": "shop"},
            "mine": mine,
        }
    )
    short = get_region("short")
    assert short.name == "short"
    assert short.options.timeout == 60.0
    assert isinstance(short.backend, MemoryBackend)
    assert short.backend.max_bytes == 2**20
    assert isinstance(get_region("none").backend, NullBackend)
    assert get_region("none").namespace == "shop"
    assert get_region("mine") is mine


def test_a_name_gets_its_new_meaning_and_the_others_stay() -> None:
    configure_regions({"a": {"timeout": 1}, "b": {"timeout": 2}})
    kept = get_region("b")
    configure_regions({"a": {"timeout": 3}})
    assert get_region("a").options.timeout == 3.0
    assert get_region("b") is kept


def test_an_unknown_region_names_the_nearest() -> None:
    configure_regions({"short": {}, "long": {}})
    with pytest.raises(OptionError, match=r"'shrot'.*did you mean 'short'"):
        get_region("shrot")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"timout": 1}, "^region 'bad': unknown option 'timout'.*'timeout'"),
        ({"timeout": "x"}, "^region 'bad': option 'timeout'"),
        ({"url": "memry://"}, "^region 'bad': unknown backend 'memry'"),
        ({"url": "memory://?x=1"}, "^region 'bad': unknown option 'x'"),
        ({"impl": "file"}, "^region 'bad': the file store needs a folder"),
        ({"region": "other"}, "unknown option 'region'"),
        ({"key": "k"}, "unknown option 'key'"),
        ({"enabled": True}, "unknown option 'enabled'"),
        ("memory://", "region 'bad' is 'memory://'"),
        (None, "region 'bad' is None"),
    ],
)
def test_all_are_checked_before_any_is_in_force(
    given: object, match: str
) -> None:
    with pytest.raises(OptionError, match=match):
        configure_regions({"good": {}, "bad": given})
    with pytest.raises(OptionError, match="unknown region"):
        get_region("good")
