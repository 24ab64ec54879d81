"""Options that are expressions: each is that of its call, none freezes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cached_sites import page
from cached_sites import Ticks
from mako.cache import CacheImpl
from mako.cache import register_plugin

from mako_cacheplug import CacheRegion
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import open_backend
from mako_cacheplug.testing import ManualClock

TAG = '<%def name="f()" cached="True" {}>${{tick()}}</%def>${{f()}}'


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("region", ["one", "two"]),
        ("namespace", ["one", "two"]),
        ("vary", ["one", ("two", 2)]),
        ("key", ["one", ("two", 2)]),
    ],
)
def test_each_value_has_its_own(
    option: str, values: list[object], url: str
) -> None:
    regions: dict[str, object] = {"one": {"timeout": 5}, "two": {}}
    tag = TAG.format(f'cache_{option}="${{v}}"')
    template = page(tag, url, regions=regions)
    tick = Ticks()
    shown = [template.render(tick=tick, v=v) for v in values * 2]
    assert shown == ["1", "2", "1", "2"]


def test_a_url(url: str, tmp_path: Path) -> None:
    template = page(TAG.format('cache_url="${v}"'), url)
    values = [url, f"file://{tmp_path}/other", "memory://?max_entries=41"]
    tick = Ticks()
    shown = [template.render(tick=tick, v=v) for v in values * 2]
    assert shown == ["1", "2", "3"] * 2
    for value in values:
        backend = open_backend(StoreURL.parse(value))
        backend.clear()  # type: ignore[attr-defined]  # all of these can
        assert int(template.render(tick=tick, v=value)) > 3


def test_a_folder(tmp_path: Path) -> None:
    template = page(
        TAG.format('cache_type="file" cache_dir="${v}"'), "memory://"
    )
    values = [str(tmp_path / name) for name in "ab"]
    tick = Ticks()
    shown = [template.render(tick=tick, v=v) for v in values * 2]
    assert shown == ["1", "2"] * 2
    assert all(any(Path(value).rglob("*")) for value in values)


def test_tags(url: str) -> None:
    template = page(TAG.format('cache_key="${v}" cache_tags="${v}"'), url)
    tick = Ticks()

    def shown() -> list[str]:
        return [template.render(tick=tick, v=v) for v in ("one", "two")]

    assert shown() == shown() == ["1", "2"]
    template.cache.impl.invalidate_tags("two")
    assert shown() == ["1", "3"]
    template.cache.impl.invalidate_tags("one")
    assert shown() == ["4", "3"]


def test_an_entry_with_other_tags_than_the_call_is_made_anew(url: str) -> None:
    """It would survive the invalidation of a tag that it was made without."""
    template = page(TAG.format('cache_tags="${v}"'), url)
    tick = Ticks()
    assert template.render(tick=tick, v="one") == "1"
    assert template.render(tick=tick, v="one two") == "2"
    template.cache.impl.invalidate_tags("two")
    assert template.render(tick=tick, v="two") == "3"


def test_enabled(url: str) -> None:
    template = page(TAG.format('cache_enabled="${v}"'), url)
    tick = Ticks()
    values = [True, True, False, "no", "yes", 0, 1]
    shown = [template.render(tick=tick, v=v) for v in values]
    assert shown == ["1", "1", "2", "3", "1", "4", "1"]


@pytest.mark.parametrize("option", ["ttl", "timeout"])
def test_a_lifetime(option: str, url: str, clock: ManualClock) -> None:
    region = CacheRegion(url, clock=clock, grace=0)
    # Mako makes a number of cache_timeout, and so no expression of it.
    value = {"ttl": "${v}", "timeout": "60"}[option]
    source = TAG.format(
        f'cache_key="${{v}}" cache_region="r" cache_{option}="{value}"'
    )
    template = page(source, url, regions={"r": region})
    tick = Ticks()

    def shown() -> list[str]:
        return [template.render(tick=tick, v=v) for v in ("1m", "1h")]

    assert shown() == shown() == ["1", "2"]
    clock.advance(100)
    assert shown() == (["3", "2"] if option == "ttl" else ["3", "4"])


class Theirs(CacheImpl):  # type: ignore[misc]  # Mako is untyped
    """Another plugin, which keeps nothing."""

    def get_or_create(
        self, key: object, creation_function: object, **kw: object
    ) -> object:
        assert callable(creation_function)
        return f"theirs {creation_function()}"


register_plugin("theirs-of-the-traps", __name__, "Theirs")


def test_an_impl(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mako import cache

    monkeypatch.setitem(
        cache._cache_plugins.impls, "theirs-of-the-traps", lambda: Theirs
    )
    template = page(TAG.format('cache_impl="${v}"'), url)
    tick = Ticks()
    values = [None, "null", "theirs-of-the-traps", "null", None]
    shown = [template.render(tick=tick, v=v) for v in values]
    assert shown == ["1", "2", "theirs 3", "4", "1"]


def test_two_calls_in_one_render_have_each_their_own(url: str) -> None:
    source = """\
<%def name="f(n)" cached="True" cache_namespace="${n}" cache_vary="${n}">\
${n}${tick()}</%def>${f("a")}${f("b")}${f("a")}"""
    template = page(source, url)
    tick = Ticks()
    assert [template.render(tick=tick) for _ in range(2)] == ["a1b2a1"] * 2
