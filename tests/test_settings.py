"""Options of tag, region and cache_args become one region and one policy."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from mako.lookup import TemplateLookup

from mako_cacheplug import CacheRegion
from mako_cacheplug import configure_regions
from mako_cacheplug import OptionError
from mako_cacheplug.options import CallOptions
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import close_backends
from mako_cacheplug.registry import open_backend
from mako_cacheplug.template.settings import ForeignImpl
from mako_cacheplug.template.settings import Resolved
from mako_cacheplug.template.settings import shared_settings
from mako_cacheplug.template.settings import TemplateSettings


def resolve(
    tag: dict[str, object] | None = None,
    cache_args: dict[str, object] | None = None,
    default_dir: str | None = None,
    impl: str = "memory",
) -> Resolved:
    settings = TemplateSettings(cache_args or {}, impl, default_dir)
    return settings.resolve(tag or {}, "def 'f' of '/t'")


LEVELS: dict[str, tuple[object, object, object]] = {
    "timeout": ("1s", "2m", 3),
    "grace": ("1s", "2m", 3),
    "stale_if_error": ("1s", "2m", 3),
    "wait": ("1s", "2m", 3),
    "lease": ("1s", "2m", 3),
    "jitter": ("0.1", "0.2", 0.3),
    "early": ("1", "2", 3),
    "compress": ("1k", "2k", 3),
    "max_value_bytes": ("1k", "2k", 3),
    "tags": ("a b", ["c"], ("d", "e")),
}


@pytest.mark.parametrize("option", LEVELS)
def test_tag_over_region_over_cache_args_over_default(option: str) -> None:
    tag, region, own = LEVELS[option]

    def value(*names: str) -> Any:
        args: dict[str, object] = {"regions": {"r": {}}, "region": "r"}
        if "own" in names:
            args[option] = own
        if "region" in names:
            args["regions"] = {"r": {option: region}}
        given = {option: tag if "tag" in names else None}
        return getattr(resolve(given, args).call, option)

    default = getattr(CallOptions(), option)
    tag_value = value("tag")
    region_value = value("region")
    own_value = value("own")
    assert len({tag_value, region_value, own_value, default}) == 4
    assert value() == default
    assert value("tag", "region", "own") == tag_value
    assert value("tag", "own") == tag_value
    assert value("region", "own") == region_value


@pytest.mark.parametrize(
    ("tag", "region", "own", "seconds"),
    [
        ({"ttl": "5m"}, {"timeout": 1}, {"timeout": 2}, 300),
        ({"timeout": 5}, {"ttl": 1}, {"ttl": 2}, 5),
        ({}, {"ttl": "1m"}, {"timeout": 2}, 60),
        ({}, {}, {"ttl": "2"}, 2),
        ({"ttl": None}, {"timeout": None}, {"ttl": "2"}, 2),
        ({"ttl": "none"}, {}, {"timeout": 2}, math.inf),
        ({"timeout": 60, "ttl": "5m"}, {}, {}, 300),
    ],
)
def test_ttl_and_timeout_are_one_option(
    tag: dict[str, object],
    region: dict[str, object],
    own: dict[str, object],
    seconds: float,
) -> None:
    args = {"regions": {"r": region}, "region": "r", **own}
    assert resolve(tag, args).call.timeout == seconds


def test_everything_may_be_a_string() -> None:
    strings = {
        name: value for name, (value, _, _) in LEVELS.items() if name != "tags"
    }
    found = resolve(
        {}, {**strings, "tags": "a b", "enabled": "true", "namespace": " n "}
    )
    assert found.call == CallOptions(
        1, 1, 1, 1, 1, 0.1, 1, 1024, 1024, ("a", "b")
    )
    assert found.region.namespace == "n"


def test_none_is_not_given() -> None:
    nothing: dict[str, object] = dict.fromkeys(
        [*LEVELS, "url", "dir", "type", "impl", "region", "regions", "secret"]
    )
    assert resolve(nothing, nothing).call == CallOptions()


def test_one_region_for_all_that_ask_alike() -> None:
    args: dict[str, object] = {"url": "memory://?max_entries=7"}
    one = resolve({"timeout": 5}, args).region
    assert resolve({"timeout": 6}, dict(args)).region is one
    assert resolve({"namespace": "n"}, args).region is not one
    assert resolve({}, {"url": "memory://?max_entries=8"}).region is not one


def test_a_region_object_is_the_codes_own() -> None:
    region = CacheRegion(timeout=60, grace=5)
    args: dict[str, object] = {"regions": {"r": region}, "timeout": 1}
    found = resolve({"region": "r", "grace": "1s"}, args)
    assert found.region is region
    assert (found.call.timeout, found.call.grace) == (60, 1)


def test_a_store_on_the_tag_keeps_the_policy_of_a_region_object() -> None:
    region = CacheRegion(timeout=60, namespace="n")
    args: dict[str, object] = {"regions": {"r": region}}
    tag: dict[str, object] = {"region": "r", "url": "memory://?max_entries=9"}
    found = resolve(tag, args)
    assert found.region.backend is not region.backend
    assert found.call.timeout == 60
    assert found.region.namespace == "n"


def test_a_namespace_on_the_tag_is_not_lost_on_a_region_object() -> None:
    args: dict[str, object] = {"regions": {"r": CacheRegion(timeout=60)}}
    found = resolve({"region": "r", "namespace": "tenant"}, args)
    assert found.region.namespace == "tenant"
    assert found.call.timeout == 60


def test_configured_regions_are_known_by_name() -> None:
    configure_regions({"seldom": {"timeout": "1h"}})
    assert resolve({"region": "seldom"}).call.timeout == 3600
    mine: dict[str, object] = {"regions": {"seldom": {"timeout": 1}}}
    assert resolve({"region": "seldom"}, mine).call.timeout == 1


def test_a_folder_on_the_tag_is_stronger_than_a_weaker_url() -> None:
    found = resolve({"dir": "/tmp/b"}, {"url": "file:///tmp/a"})
    there = resolve({}, {"url": "file:///tmp/b"})
    assert found.region.backend is there.region.backend


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ({}, "MemoryBackend"),
        ({"type": "memory"}, "MemoryBackend"),
        ({"type": "file", "dir": "/tmp/x"}, "FileBackend"),
        ({"type": "dbm", "dir": "/tmp/x"}, "FileBackend"),
        ({"impl": "file", "dir": "/tmp/x"}, "FileBackend"),
        ({"url": "file:///tmp/x"}, "FileBackend"),
        ({"impl": "null", "url": "file:///tmp/x"}, "NullBackend"),
        ({"type": "memory", "dir": "/tmp/x"}, "MemoryBackend"),
    ],
)
def test_stores_by_either_name(args: dict[str, object], name: str) -> None:
    assert type(resolve({}, args).region.backend).__name__ == name


def test_a_folder_beside_the_modules_is_the_last_resort() -> None:
    backend = resolve({}, {"type": "dbm"}, "/tmp/m/_cacheplug").region.backend
    there = resolve({}, {"url": "file:///tmp/m/_cacheplug"}).region.backend
    assert backend is there
    with pytest.raises(OptionError, match="needs a folder"):
        resolve({}, {"type": "dbm"})


@pytest.mark.parametrize(
    ("tag", "args", "told"),
    [
        ({"timout": 5}, {}, "unknown option 'timout'; did you mean 'timeout'"),
        ({"timeout": "soon"}, {}, "'timeout': 'soon' is not a duration"),
        ({"ttl": -1}, {}, "'ttl': -1 is not a duration"),
        ({"region": "lonk"}, {"regions": {"long": {}}}, "did you mean 'long'"),
        ({"type": "memcache"}, {}, "did you mean 'memcached'"),
        ({"vary_args": "maybe"}, {}, "'vary_args': 'maybe' is not a boolean"),
        ({"impl": "redis"}, {}, "pip install mako-cacheplug-redis"),
        ({"url": "memroy://"}, {}, "did you mean 'memory'"),
        ({"url": "memory://?max_byte=1"}, {}, "did you mean 'max_bytes'"),
        ({"url": "somewhere"}, {}, "is not a URL"),
    ],
)
def test_errors_name_option_place_and_the_right_spelling(
    tag: dict[str, object], args: dict[str, object], told: str
) -> None:
    for _ in range(2):
        with pytest.raises(OptionError) as caught:
            resolve(tag, args)
        assert told in str(caught.value)
        assert "def 'f' of '/t'" in str(caught.value)
        assert caught.value.option


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"timout": 5}, "cache_args: unknown option 'timout'"),
        ({"regions": {"r": {"key": "x"}}}, "region 'r' in cache_args"),
        ({"regions": {"r": {"gracee": 1}}}, "did you mean 'grace'"),
        ({"regions": "r"}, "a mapping of region names"),
    ],
)
def test_errors_in_cache_args_come_before_anything_is_cached(
    args: dict[str, object], told: str
) -> None:
    with pytest.raises(OptionError) as caught:
        TemplateSettings(args, "memory", None)
    assert told in str(caught.value)


def test_another_plugins_name_is_handed_over_with_what_is_its() -> None:
    args: dict[str, object] = {
        "timeout": "5m",
        "url": "memory://",
        "regions": {"b": {"impl": "beaker", "type": "memory"}},
    }
    with pytest.raises(ForeignImpl) as caught:
        resolve({"impl": "beaker", "type": "memory"}, args)
    assert caught.value.name == "beaker"
    assert caught.value.options == {"type": "memory", "timeout": 300}
    with pytest.raises(ForeignImpl) as caught:
        resolve({"region": "b", "timeout": 5}, args)
    assert caught.value.options == {"type": "memory", "timeout": 5}


@pytest.mark.parametrize("name", ["cacheplug", "cacheplug.memory"])
def test_our_own_names_in_makos_group_are_no_other_plugin(name: str) -> None:
    found = resolve({"impl": name})
    assert type(found.region.backend).__name__ == "MemoryBackend"


# -- what templates share ----------------------------------------------------


def shared(args: dict[str, object]) -> TemplateSettings:
    return shared_settings(args, "memory", None)


def test_templates_with_the_same_options_share_settings() -> None:
    args = {"timeout": "5m", "regions": {"r": {"timeout": 1}}}
    settings = shared(args)
    assert shared(copy.deepcopy(args)) is settings
    assert shared({**args, "timeout": 300}) is not settings
    assert shared_settings(args, "file", None) is not settings
    assert shared_settings(args, "memory", "/d") is not settings


def test_a_thousand_templates_of_a_lookup_resolve_their_options_once() -> None:
    source = '<%def name="f()" cached="True" cache_timeout="61">x</%def>${f()}'
    lookup = TemplateLookup(
        cache_impl="cacheplug", cache_args={"namespace": "a thousand"}
    )
    found = set()
    for number in range(1000):
        lookup.put_string(f"/{number}", source)
        template = lookup.get_template(f"/{number}")
        assert template.render() == "x"
        resolved = template.cache.impl._places.resolve({"timeout": 61}, "")
        found.add(id(resolved.options))
    assert len(found) == 1


class Emptied(dict[str, Any]):
    """Another thread empties it as soon as it has been asked."""

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        self.clear()
        return found


def test_what_is_remembered_may_be_forgotten_meanwhile() -> None:
    settings = TemplateSettings({}, "memory", None)
    first = settings.resolve({"timeout": 5}, "here")
    settings._resolved = Emptied(settings._resolved)
    assert settings.resolve({"timeout": 5}, "here") == first


def test_what_is_done_to_one_s_arguments_is_not_done_to_another_s() -> None:
    one: dict[str, Any] = {"regions": {"r": {"timeout": 1}}}
    other = copy.deepcopy(one)
    assert shared(one).resolve({"region": "r"}, "").call.timeout == 1
    one["regions"]["r"]["timeout"] = 2
    assert shared(one).resolve({"region": "r"}, "").call.timeout == 2
    assert shared(other).resolve({"region": "r"}, "").call.timeout == 1


def test_options_of_another_type_are_other_options() -> None:
    with pytest.raises(OptionError):
        shared({"timeout": True})
    assert shared({"timeout": 1}).resolve({}, "").call.timeout == 1
    with pytest.raises(OptionError):
        shared({"timeout": True})
    settings = shared({})
    assert settings.resolve({"timeout": 1}, "").call.timeout == 1
    with pytest.raises(OptionError):
        settings.resolve({"timeout": True}, "")


def test_a_region_object_belongs_to_who_gave_it() -> None:
    regions = [CacheRegion("memory://?max_entries=1") for _ in range(2)]
    for region in regions * 2:
        settings = shared({"regions": {"r": region}})
        assert settings.resolve({"region": "r"}, "").region is region


def test_a_region_of_the_code_can_become_another() -> None:
    settings = shared({"region": "changing"})
    for seconds in (1, 2):
        configure_regions({"changing": {"timeout": seconds}})
        assert settings.resolve({}, "").call.timeout == seconds
        # With a store of its own it keeps the region's other options.
        own = settings.resolve({"url": "memory://?max_entries=2"}, "")
        assert own.call.timeout == seconds


def test_a_store_that_was_closed_is_opened_anew() -> None:
    settings = shared({})
    before = settings.resolve({}, "").region
    assert settings.resolve({}, "").region is before
    close_backends()
    after = settings.resolve({}, "").region
    assert after.backend is not before.backend
    assert after.backend is open_backend(StoreURL("memory"))
