"""Waste: what has been seen of Beaker and dogpile.cache.

One test for each thing, on every store.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cached_sites import def_f
from cached_sites import page
from cached_sites import Ticks
from mako.template import Template

from mako_cacheplug import CacheRegion
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import open_backend
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import in_threads


def test_failing_creations_one_after_the_other(url: str) -> None:
    tick = Ticks()

    def fail() -> None:
        tick()
        time.sleep(0.1)
        raise LookupError

    template = page(def_f("${fail()}"), url)

    def call() -> float:
        began = time.monotonic()
        with pytest.raises(LookupError):
            template.render(fail=fail)
        return time.monotonic() - began

    # One failure, then all others at once: 0.2 s; in turn it is 0.8 s.
    assert max(in_threads([call] * 8)) < 0.5
    assert tick.count <= 8


def test_a_timeout_shorter_than_the_creation(url: str) -> None:
    tick = Ticks()

    def make() -> int:
        time.sleep(0.3)
        return tick()

    template = page(def_f("${make()}", 'cache_ttl="0.2s"'), url, grace=0)
    shown = in_threads([lambda: template.render(make=make)] * 8)
    assert shown == ["1"] * 8


def test_waiters_find_a_value_soon_after_it_is_made(
    shared_url: str,
) -> None:
    source = def_f("${make()}")

    def render() -> tuple[float, float]:
        made = [0.0]

        def make() -> str:
            time.sleep(0.4)
            made[0] = time.monotonic()
            return "made"

        template = page(source, shared_url)
        assert template.render(make=make) == "made"
        return made[0], time.monotonic()

    with children(*[render] * 3) as running:
        results = [child.result() for child in running]
    creations = [made for made, _ in results if made]
    assert len(creations) == 1
    assert max(end for _, end in results) - creations[0] < 0.3


def test_a_lock_file_for_each_key(tmp_path: Path) -> None:
    source = '<%def name="f(x)" cached="True">${x}</%def>'

    def files(keys: int) -> int:
        folder = tmp_path / str(keys)
        template = page(
            source
            + f"% for x in range({keys}):\n${{f(x)}}\n% endfor\n".join(
                ("\n", "")
            ),
            f"file://{folder}",
        )
        template.render()
        found = sum(one.is_file() for one in folder.rglob("*"))
        return found - keys

    assert files(200) == files(10)


AGAIN = """
import sys
from mako.template import Template
print(Template(
    sys.argv[1],
    cache_impl="cacheplug",
    cache_args={"url": sys.argv[2]},
    **({"uri": sys.argv[3]} if sys.argv[3] else {}),
).render(tick=lambda: "made anew"), end="")
"""


@pytest.mark.parametrize("uri", ["/p.html", ""], ids=["uri", "string"])
def test_a_restart_empties_the_store(uri: str, shared_url: str) -> None:
    names = "${a}${b}${c}${d}"
    source = def_f("${tick()}" + names) + names + "<% e = 1; g = 2 %>"
    given = {"a": 1, "b": 2, "c": 3, "d": 4}
    template = Template(
        source,
        cache_impl="cacheplug",
        cache_args={"url": shared_url},
        **({"uri": uri} if uri else {}),
    )
    template.render(tick=Ticks(), **given)
    program = AGAIN.replace(
        "render(tick", "render(**dict(a=1, b=2, c=3, d=4), tick"
    )
    for seed in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", program, source, shared_url, uri],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        )
        assert done.stdout == "112341234"


def test_memory_without_bound() -> None:
    url = "memory://?max_bytes=200k&max_entries=50"
    source = '<%def name="f(x)" cached="True">${"y" * 5000}</%def>${f(x)}'
    template = page(source, url)
    for x in range(200):
        template.render(x=x)
    usage = open_backend(StoreURL.parse(url)).usage()  # type: ignore[attr-defined]  # memory has it
    assert 10 < usage.entries <= 50
    assert usage.bytes <= 200 * 1024


def test_invalidate_def_with_a_key_removes_nothing(url: str) -> None:
    tick = Ticks()
    template = page(def_f("${tick()}", 'cache_key="k-${n}"'), url)
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["1", "2"]
    template.cache.invalidate_def("f")
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["3", "4"]


def test_an_early_invalidate_def_damages_later_renders(
    clock: ManualClock,
) -> None:
    tick = Ticks()
    regions = {
        "r": CacheRegion("memory://?max_entries=81", clock=clock, grace=0)
    }
    source = def_f("${tick()}", 'cache_region="r" cache_timeout="5"')
    template = page(source, "memory://", regions=regions)
    template.cache.invalidate_def("f")
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]
    clock.advance(6)
    assert template.render(tick=tick) == "2"
    assert regions["r"].stats().creations == 2


def test_no_invalidation_by_label_across_processes(
    shared_url: str,
) -> None:
    tick = Ticks()
    source = '<%def name="f(n)" cached="True" cache_tags="${[n, \'all\']}">'
    source += "${tick()}</%def>${f(n)}"
    template = page(source, shared_url)
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["1", "2"]

    def invalidate() -> None:
        cache = page("", shared_url, "/cron").cache
        cache.impl.invalidate_tags("a")

    with children(invalidate) as (child,):
        child.result()
    assert [template.render(tick=tick, n=n) for n in "ab"] == ["3", "2"]
