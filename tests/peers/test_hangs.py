"""It hangs: what has been seen of Beaker and dogpile.cache.

One test for each thing, on every store.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from functools import partial

from cached_sites import CACHED
from cached_sites import def_f
from cached_sites import page
from cached_sites import site
from cached_sites import Ticks

from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import within

DIES = """
import os, signal, sys
from mako.template import Template
def die():
    print("creating", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
Template(
    sys.argv[1],
    uri="/p.html",
    cache_impl="cacheplug",
    cache_args={"url": sys.argv[2], "lease": "1s"},
).render(tick=die)
"""


def test_the_holder_of_the_lock_was_killed(shared_url: str) -> None:
    source = def_f("${tick()}")
    done = subprocess.run(
        [sys.executable, "-c", DIES, source, shared_url],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9
    assert done.stdout == b"creating\n"
    template = page(source, shared_url, lease="1s")
    began = time.monotonic()
    assert within(8, lambda: template.render(tick=Ticks())) == "1"
    assert time.monotonic() - began < 4


def test_a_def_that_calls_itself(url: str) -> None:
    template = page(
        '<%def name="f(n)" cached="True" cache_key="k">'
        "${n}${f(n - 1) if n else ''}</%def>${f(3)}",
        url,
    )
    assert within(8, template.render) == "3210"


def test_a_cached_page_includes_a_cached_page(url: str) -> None:
    pages = {
        "/outer": CACHED + 'outer <%include file="/inner"/>',
        "/inner": CACHED + "inner",
    }
    lookup = site(pages, url, regions={"r": {}}, region="r")
    for _ in range(2):
        shown = within(8, lookup.get_template("/outer").render)
        assert shown == "outer inner"


def test_two_fragments_that_include_each_other(url: str) -> None:
    both = threading.Barrier(2)

    def arrive(template: str, top: str) -> str:
        if template == top:
            both.wait(8)
        return template

    part = CACHED + '${arrive("{0}", top)}\\\n% if top == "{0}":\n'
    part += '<%include file="/{1}"/>\\\n% endif\n'
    lookup = site(
        {
            f"/{a}": part.replace("{0}", a).replace("{1}", b)
            for a, b in ("xy", "yx")
        },
        url,
    )
    shown = in_threads(
        [
            lambda: lookup.get_template("/x").render(arrive=arrive, top="x"),
            lambda: lookup.get_template("/y").render(arrive=arrive, top="y"),
        ],
        8,
    )
    assert [text[:2] for text in shown] == ["xy", "yx"]


def test_a_key_that_is_another_keys_lock(url: str) -> None:
    template = page(
        '<%def name="f(k)" cached="True" cache_key="${k}">${k}'
        "${'' if k == inner else f(inner)}</%def>${f('k')}",
        url,
        wait="8s",
    )
    for inner in ("k_lock", "_lockk", "k:lock", "lock:k", "k.lock"):
        template.cache.invalidate("k")
        shown = within(6, partial(template.render, inner=inner))
        assert shown == "k" + inner
