"""What was being created when it was invalidated is not served afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from cached_sites import CACHED
from cached_sites import page
from cached_sites import Ticks
from mako.cache import Cache
from mako.template import Template

from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import LIMIT

SOURCES = {
    "a def": '<%def name="f()" cached="True" cache_tags="t">BODY</%def>${f()}',
    "with arguments": '<%def name="f(x)" cached="True" cache_tags="t">BODY'
    "</%def>${f(1)}",
    "with a key": '<%def name="f()" cached="True" cache_key="k"'
    ' cache_tags="t">BODY</%def>${f()}',
    "with a key and arguments": '<%def name="f(x)" cached="True"'
    ' cache_key="k" cache_vary_args="yes" cache_tags="t">BODY</%def>${f(1)}',
    "a block": '<%block name="f" cached="True" cache_tags="t">BODY</%block>',
    "a page": CACHED.replace("/>", ' cache_tags="t"/>') + "BODY",
}
WAYS: dict[str, Callable[[Cache], None]] = {
    "by tag": lambda cache: cache.impl.invalidate_tags("t"),
    "by def": lambda cache: (
        cache.invalidate_def("f")
        if "f" in cache.template.list_defs()
        else cache.invalidate_body()
    ),
    "all of the template": lambda cache: cache.impl.invalidate_template(),
}


def template_of(what: str, url: str) -> Template:
    source = SOURCES[what].replace("BODY", "${tick()}${during()}")
    return page(source, url)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", SOURCES)
def test_by_its_own_thread(what: str, way: str, url: str) -> None:
    template = template_of(what, url)
    tick = Ticks()

    def during() -> str:
        WAYS[way](template.cache)
        return ""

    assert template.render(tick=tick, during=during) == "1"
    assert template.render(tick=tick, during=str) == "2"
    assert template.render(tick=tick, during=str) == "2"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["a def", "with arguments", "a page"])
def test_by_another_process(what: str, way: str, shared_url: str) -> None:
    begun, done = fork_context.Event(), fork_context.Event()

    def create() -> str:
        def during() -> str:
            begun.set()
            assert done.wait(LIMIT)
            return ""

        template = template_of(what, shared_url)
        shown: str = template.render(tick=Ticks(), during=during)
        return shown

    with children(create) as (child,):
        assert begun.wait(LIMIT)
        template = template_of(what, shared_url)
        WAYS[way](template.cache)
        done.set()
        assert child.result() == "1"
    tick = Ticks()
    tick()
    shown = [template.render(tick=tick, during=str) for _ in range(2)]
    assert shown == ["2", "2"]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_around_it_is_not_served_either(way: str, url: str) -> None:
    """Though the inner one was ready when it was invalidated."""
    source = CACHED + (
        '<%def name="f()" cached="True" cache_tags="t">${tick()}</%def>'
        "${f()}${during()}"
    )
    template = page(source, url)
    tick = Ticks()

    def during() -> str:
        WAYS[way](template.cache)
        return ""

    assert template.render(tick=tick, during=during) == "1"
    shown = [template.render(tick=tick, during=str) for _ in range(2)]
    assert shown == ["2", "2"]


def test_those_who_wait_may_be_served_it_but_nobody_later(url: str) -> None:
    template = template_of("a def", url)
    tick = Ticks()
    begun, done = threading.Event(), threading.Event()
    shown: list[str] = []

    def during() -> str:
        begun.set()
        assert done.wait(LIMIT)
        return ""

    creating = threading.Thread(
        target=lambda: shown.append(template.render(tick=tick, during=during))
    )
    creating.start()
    assert begun.wait(LIMIT)
    template.cache.invalidate_def("f")
    done.set()
    creating.join(LIMIT)
    assert shown == ["1"]
    assert template.render(tick=tick, during=str) == "2"


def test_a_value_of_ones_own(url: str) -> None:
    """It has no label but that of the whole template."""
    cache = page("", url).cache

    def create() -> str:
        cache.invalidate("k")
        return "old"

    assert cache.get_or_create("k", create) == "old"
    assert cache.get("k") is None
    assert cache.get_or_create("k", lambda: "new") == "new"
    assert cache.get_or_create("k", create) == "new"


@pytest.mark.parametrize("what", ["with a key", "with a key and arguments"])
def test_by_its_key(what: str, url: str) -> None:
    template = template_of(what, url)
    tick = Ticks()

    def during() -> str:
        template.cache.invalidate("k")
        return ""

    assert template.render(tick=tick, during=during) == "1"
    assert template.render(tick=tick, during=str) == "2"
    assert template.render(tick=tick, during=str) == "2"
