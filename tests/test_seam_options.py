"""Mako's seam: options wherever they can be typed, and their errors."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from cached_sites import Ticks
from mako.cache import CacheImpl
from mako.cache import register_plugin
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug import CacheRegion
from mako_cacheplug import configure_regions
from mako_cacheplug import OptionError
from mako_cacheplug.template.impl import CachePlugImpl
from mako_cacheplug.testing import ManualClock


@pytest.fixture
def tick() -> Ticks:
    return Ticks()


def page(source: str, **given: Any) -> Template:
    return Template(source, **{"cache_impl": "cacheplug", **given})


def tagged(attributes: str, **given: Any) -> Template:
    """Return a page with one def that counts, cached as *attributes* say."""
    return page(
        f'<%def name="f()" cached="True" {attributes}>${{tick()}}</%def>'
        "${f()}",
        uri="/t.html",
        **given,
    )


def impl_of(template: Template) -> CachePlugImpl:
    impl = template.cache.impl
    assert isinstance(impl, CachePlugImpl)
    return impl


# -- expressions are evaluated at every call ---------------------------------


def test_vary_joins_the_key_at_every_call() -> None:
    template = page(
        '<%def name="f()" cached="True" cache_vary="${(lang, user)}">'
        "${lang}${user}</%def>${f()}"
    )
    for lang, user in [("de", 1), ("en", 1), ("de", 2), ("de", "2")] * 2:
        assert template.render(lang=lang, user=user) == f"{lang}{user}"


def test_enabled_is_asked_at_every_call(tick: Ticks) -> None:
    template = tagged('cache_enabled="${not preview}"')
    previews = [False, False, True, True, False]
    shown = [template.render(tick=tick, preview=p) for p in previews]
    assert shown == ["1", "1", "2", "3", "1"]


def test_a_region_is_chosen_at_every_call(tick: Ticks) -> None:
    regions = {
        name: CacheRegion(f"memory://?max_entries={n}")
        for n, name in enumerate("ab", start=50)
    }
    template = tagged('cache_region="${r}"', cache_args={"regions": regions})
    shown = [template.render(tick=tick, r=r) for r in "abab"]
    assert shown == ["1", "2", "1", "2"]
    assert [regions[name].stats().creations for name in "ab"] == [1, 1]


def test_a_namespace_is_chosen_at_every_call(tick: Ticks) -> None:
    template = tagged('cache_namespace="${tenant}"')
    shown = [template.render(tick=tick, tenant=t) for t in "abab"]
    assert shown == ["1", "2", "1", "2"]


def test_a_ttl_is_taken_at_every_creation(
    tick: Ticks, clock: ManualClock
) -> None:
    region = CacheRegion(clock=clock, grace=0)
    template = page(
        '<%def name="f(n)" cached="True" cache_region="r"'
        ' cache_ttl="${ttl}">${tick()}</%def>${f(ttl)}',
        cache_args={"regions": {"r": region}},
    )
    assert template.render(tick=tick, ttl="1m") == "1"
    assert template.render(tick=tick, ttl="1h") == "2"
    clock.advance(100)
    assert template.render(tick=tick, ttl="1h") == "2"
    assert template.render(tick=tick, ttl="1m") == "3"


def test_tags_are_those_of_each_call(tick: Ticks) -> None:
    template = page(
        '<%def name="f(n)" cached="True" cache_tags="${[n, \'all\']}">'
        "${tick()}</%def>${f(n)}"
    )
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["1", "2"]
    impl_of(template).invalidate_tags("a")
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["3", "2"]
    impl_of(template).invalidate_tags("all")
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["4", "5"]


def test_arguments_can_be_left_out_of_the_key(tick: Ticks) -> None:
    template = page(
        '<%def name="f(x)" cached="True" cache_vary_args="False">${tick()}'
        "</%def>${f(1)}${f(2)}${f(object())}",
        imports=["object = object"],
    )
    assert template.render(tick=tick) == "111"


def test_arguments_can_be_added_to_a_key(tick: Ticks) -> None:
    template = page(
        '<%def name="f(x)" cached="True" cache_key="k"'
        ' cache_vary_args="true">${tick()}</%def>${f(1)}${f(2)}${f(1)}'
    )
    assert template.render(tick=tick) == "121"


def test_options_of_the_page_tag_are_those_of_its_defs(
    tick: Ticks, clock: ManualClock
) -> None:
    region = CacheRegion(clock=clock, grace=0)
    template = page(
        '<%page cache_region="r" cache_timeout="10"/>'
        '<%def name="f()" cached="True">${tick()}</%def>'
        '<%def name="g()" cached="True" cache_timeout="50">${tick()}</%def>'
        "${f()}${g()}",
        cache_args={"regions": {"r": region}, "timeout": 1},
    )
    assert template.render(tick=tick) == "12"
    clock.advance(20)
    assert template.render(tick=tick) == "32"


# -- in cache_args -----------------------------------------------------------


@pytest.mark.parametrize("value", [False, "false", "0"])
def test_caching_can_be_switched_off_in_cache_args(
    value: object, tick: Ticks
) -> None:
    template = tagged("", cache_args={"enabled": value})
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "2"]


def test_and_on_again_on_the_tag(tick: Ticks) -> None:
    template = tagged('cache_enabled="true"', cache_args={"enabled": "no"})
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


def test_arguments_can_be_left_out_of_all_keys(tick: Ticks) -> None:
    template = page(
        '<%def name="f(x)" cached="True">${tick()}</%def>${f(1)}${f(2)}',
        cache_args={"vary_args": "no"},
    )
    assert template.render(tick=tick) == "11"


def test_ini_files_give_strings(tick: Ticks) -> None:
    template = tagged(
        'cache_grace="1m"',
        cache_args={
            "url": "memory://",
            "timeout": "300",
            "jitter": "0.1",
            "wait": "5s",
            "lease": "2s",
            "compress": "none",
        },
    )
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


@pytest.mark.parametrize(
    "given",
    [
        {"cache_type": "memory", "cache_dir": None, "cache_url": None},
        {"cache_type": None, "cache_dir": None, "cache_url": "memory://"},
        {"cache_args": {"type": "memory", "dir": None, "timeout": None}},
    ],
)
def test_as_a_framework_passes_them(
    given: dict[str, object], tick: Ticks
) -> None:
    template = tagged("", **given)
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]


def test_beakers_names_for_a_file_store(tmp_path: Path, tick: Ticks) -> None:
    template = tagged("", cache_type="dbm", cache_dir=str(tmp_path / "c"))
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]
    assert any((tmp_path / "c").rglob("*"))


def test_mako_alone_with_a_file_store(tmp_path: Path, tick: Ticks) -> None:
    (tmp_path / "t.html").write_text('<%page cached="True"/>${tick()}')
    for _ in range(2):
        lookup = TemplateLookup(
            [str(tmp_path)],
            module_directory=str(tmp_path / "m"),
            cache_impl="cacheplug.file",
        )
        assert lookup.get_template("/t.html").render(tick=tick) == "1"
    assert (tmp_path / "m" / "_cacheplug").is_dir()


def test_a_region_shared_with_code(tick: Ticks) -> None:
    configure_regions({"shared": {"timeout": "1h", "namespace": "n"}})
    template = tagged('cache_region="shared"')
    template.render(tick=tick)
    assert impl_of(template).stats()["shared"].creations == 1


def test_a_store_for_one_def(tmp_path: Path, tick: Ticks) -> None:
    template = page(
        '<%def name="f()" cached="True" cache_impl="cacheplug.file"'
        ' cache_region="r">${tick()}</%def>'
        '<%def name="g()" cached="True">${tick()}</%def>${f()}${g()}',
        cache_args={"dir": str(tmp_path), "regions": {"r": {"timeout": 9}}},
    )
    assert [template.render(tick=tick) for _ in range(2)] == ["12", "12"]
    assert set(impl_of(template).stats()) == {"r", "memory"}


# -- other plugins -----------------------------------------------------------


class Dictionary(CacheImpl):  # type: ignore[misc]  # Mako is untyped
    """The ten lines of Mako's documentation, and what they were given."""

    values: dict[object, object]
    given: list[dict[str, object]]

    def get_or_create(
        self, key: object, creation_function: Any, **kw: object
    ) -> object:
        self.given.append(kw)
        if key not in self.values:
            self.values[key] = creation_function()
        return self.values[key]

    def invalidate(self, key: object, **kw: object) -> None:
        self.values.pop(key, None)


register_plugin("dictionary-of-tests", __name__, "Dictionary")


@pytest.fixture
def dictionary(monkeypatch: pytest.MonkeyPatch) -> type[Dictionary]:
    from mako import cache

    loader = cache._cache_plugins
    monkeypatch.setitem(
        loader.impls, "dictionary-of-tests", lambda: Dictionary
    )
    Dictionary.values = {}
    Dictionary.given = []
    return Dictionary


def test_a_third_partys_plugin_on_a_tag(
    dictionary: type[Dictionary], tick: Ticks
) -> None:
    template = tagged(
        'cache_impl="dictionary-of-tests" cache_timeout="5" cache_hue="red"',
        cache_args={"url": "memory://", "grace": 5},
    )
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]
    assert dictionary.given[0] == {"timeout": 5, "hue": "red"}
    template.cache.invalidate_def("f")
    assert template.render(tick=tick) == "2"


def test_another_plugin_does_not_ignore_vary(
    dictionary: type[Dictionary],
) -> None:
    template = tagged('cache_impl="dictionary-of-tests" cache_vary="${lang}"')
    with pytest.raises(OptionError, match="vary"):
        template.render(tick=str, lang="de")
        template.render(tick=str, lang="en")


def test_beaker_on_a_tag(tick: Ticks) -> None:
    template = page(
        '<%def name="f()" cached="True" cache_impl="beaker"'
        ' cache_type="memory">${tick()}</%def>'
        '<%def name="g()" cached="True">${tick()}</%def>${f()}${g()}'
    )
    assert [template.render(tick=tick) for _ in range(2)] == ["12", "12"]
    template.cache.invalidate_def("f")
    assert template.render(tick=tick) == "32"


def test_dogpile_on_a_tag_with_its_own_regions(tick: Ticks) -> None:
    from dogpile.cache import make_region

    region = make_region().configure("dogpile.cache.memory")
    template = tagged(
        'cache_impl="dogpile.cache" cache_region="theirs"',
        cache_args={"regions": {"theirs": region, "ours": {"timeout": 5}}},
    )
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]
    template.cache.invalidate_def("f")
    assert template.render(tick=tick) == "2"


# -- errors ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ('cache_timout="5"', "did you mean 'timeout'"),
        ('cache_ttl="soon"', "option 'ttl': 'soon' is not a duration"),
        ('cache_ttl="${-1}"', "option 'ttl': -1 is not a duration"),
        ('cache_region="nowhere"', "unknown region 'nowhere'"),
        ('cache_impl="memcahed"', "did you mean 'memcached'"),
        ('cache_impl="redis"', "pip install mako-cacheplug-redis"),
        ('cache_type="dbn"', "did you mean 'dbm'"),
        ('cache_tags="${5}"', "option 'tags': 5 is not a list of tags"),
        ('cache_tags="${missing}"', "option 'tags'"),
        ('cache_region="${missing}"', "option 'region'"),
        ('cache_enabled="maybe"', "option 'enabled': 'maybe'"),
        ('cache_url="file://"', "needs a folder"),
        ('cache_compress="4q"', "option 'compress': '4q' is not a size"),
        ('cache_lease="0"', "option 'lease'"),
        ('cache_creator="x"', "unknown option 'creator'"),
        ('cache_context="x"', "unknown option 'context'"),
        ('cache_secret=""', "option 'secret'"),
        ('cache_depends="${5}"', "option 'depends': 5 is not a list of tags"),
    ],
)
def test_an_error_names_def_and_template_at_every_use(
    attributes: str, told: str, tick: Ticks
) -> None:
    template = tagged(attributes)
    for _ in range(3):
        with pytest.raises(OptionError) as caught:
            template.render(tick=tick)
        message = str(caught.value)
        assert told in message
        assert "def 'f' of '/t.html'" in message
    assert tick.count == 0


def test_an_error_in_cache_args_names_both_places(tick: Ticks) -> None:
    template = tagged("", cache_args={"timout": 5})
    for _ in range(2):
        with pytest.raises(OptionError) as caught:
            template.render(tick=tick)
        message = str(caught.value)
        for part in ("cache_args", "def 'f' of '/t.html'", "'timeout'"):
            assert part in message


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ('<%page cached="True" cache_x="1"/>', "page '/t.html'"),
        ('\n<%block cached="True" cache_x="1"/>', "block in line 2 of"),
        ('<%block name="b" cached="True" cache_x="1"/>', "'b' of '/t.html'"),
        (
            '<%def name="o()"><%def name="i()" cached="True" cache_x="1"/>'
            "${i()}</%def>${o()}",
            "def 'i' of '/t.html'",
        ),
    ],
)
def test_an_error_says_where_in_the_template(source: str, where: str) -> None:
    with pytest.raises(OptionError) as caught:
        page(source, uri="/t.html").render()
    assert where in str(caught.value)


def test_a_bad_region_is_found_though_nobody_uses_it(tick: Ticks) -> None:
    template = tagged("", cache_args={"regions": {"seldom": {"timeout": "x"}}})
    with pytest.raises(OptionError, match="region 'seldom' in cache_args"):
        template.render(tick=tick)


def test_regions_alternating_in_threads_stay_apart() -> None:
    template = page(
        '<%def name="f()" cached="True" cache_namespace="${n}">${n}</%def>'
        "${f()}"
    )
    wrong: list[tuple[str, str]] = []

    def run(names: str) -> None:
        for name in names * 200:
            shown = template.render(n=name)
            if shown != name:
                wrong.append((name, shown))

    threads = [
        threading.Thread(target=run, args=(names,))
        for names in ("abc", "cab", "bca", "abc")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
