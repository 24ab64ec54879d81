"""What a hit is made of: one call for a fragment, and some of its parts.

The call is the one that a page has made: its arguments are caught on the way
to the cache, and it is then repeated outside the page.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import Final

from benchmarks.contenders import CONSTANT
from benchmarks.contenders import ours
from benchmarks.contenders import UNCACHED
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.measuring import Turn
from benchmarks.model.rules import ALONE
from benchmarks.model.rules import FILE
from benchmarks.model.rules import MEMORY
from benchmarks.model.rules import TIERED
from benchmarks.placement import pinned
from benchmarks.results import Result
from benchmarks.sites import BODY
from benchmarks.sites import LocalSite
from benchmarks.sites import one_key
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import open_backend
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["measure_parts"]

HITS: Final = 100
REPEATED: Final = 1000
AT_ONCE: Final = 50
SHARE: Final = 0.3
"""Of a scenario's time."""
KEY: Final = "a logical key of some length"


def statement(text: str, scale: Scale, **names: Any) -> Turn:
    """Return a turn that tells how many µs a statement takes.

    :param names: that it uses.
    """
    count = REPEATED if scale.turn_seconds else 1
    timer = timeit.Timer(text, globals=names)
    return lambda: timer.timeit(count) / count * 1e6


def caught(site: LocalSite) -> tuple[Callable[[], object], Any]:
    """Return a page's call for a fragment, and the context of that call."""
    cache = site.template.cache
    serve = cache._ctx_get_or_create
    calls: list[Callable[[], object]] = []
    contexts: list[Any] = []

    def catch(key: str, creator: Any, context: Any, **kw: Any) -> Any:
        calls.append(functools.partial(serve, key, creator, context, **kw))
        contexts.append(context)
        return serve(key, creator, context, **kw)

    cache._ctx_get_or_create = catch
    try:
        site.render()
    finally:
        cache._ctx_get_or_create = serve
    return calls[-1], contexts[-1]


def measure_parts(scale: Scale) -> Result:
    """Measure a hit on each store, on one core."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(pinned())
        server = stack.enter_context(MemcachedServer())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stores = {
            MEMORY: "memory://",
            TIERED: f"tiered://?far={server.url}&staleness=1h",
            FILE: f"file://{folder}/parts",
            ALONE: server.url,
        }
        sites = {
            name: LocalSite(one_key(HITS), ours(name, url, read_ahead=False))
            for name, url in stores.items()
        }
        turns: dict[str, Turn] = {
            **_of_mako(*caught(sites[MEMORY]), scale),
            "clock": statement("now()", scale, now=time.time),
            "counter": statement(
                "count()", scale, count=itertools.count().__next__
            ),
        }
        for name, site in sites.items():
            call, _ = caught(site)
            turns[f"{name}: the call"] = statement("call()", scale, call=call)
        turns["file: of it, the file's status"] = _status(folder, scale)
        turns.update(_of_memcached(server.url, scale))
        rows = interleave(turns, scale.share(SHARE))
    return Result(
        "model_parts",
        "What a hit is made of",
        "µs",
        rows,
        f"{MEMORY}: the call",
    )


def _of_mako(
    call: Callable[[], object], context: Any, scale: Scale
) -> dict[str, Turn]:
    """Return what is around the call, whatever the store."""
    turns = {}
    for one in (UNCACHED, CONSTANT, ours("memory", "memory://")):
        site = LocalSite(one_key(HITS), one)
        turns[f"in a page: {one.name}"] = timed(site.render, scale, parts=HITS)
    turns["Mako: the template's cache is found"] = statement(
        "context.get('local').cache", scale, context=context
    )
    turns["Mako: the closure is made"] = statement(
        "lambda: body(context)", scale, body=call, context=context
    )
    return turns


def _status(folder: str, scale: Scale) -> Turn:
    path = next(p for p in Path(folder).rglob("*") if p.is_file())
    return statement("stat(path)", scale, stat=os.stat, path=str(path))


def _of_memcached(url: str, scale: Scale) -> dict[str, Turn]:
    backend = open_backend(StoreURL.parse(url))
    assert isinstance(backend, SupportsBulk)
    codec = EntryCodec(())
    payload = codec.encode(KEY, CacheEntry(BODY, time.time()), None)
    backend.set("one", payload, None)
    turns = {
        "memcached: of it, the trip": statement(
            "get('one')", scale, get=backend.get
        ),
        "memcached: of it, decoding": statement(
            "decode(key, payload)",
            scale,
            decode=codec.decode,
            key=KEY,
            payload=payload,
        ),
    }
    for size, value in (("0.1", payload[:100]), ("2", payload)):
        names = [f"{size}-{number}" for number in range(AT_ONCE)]
        backend.set_many(dict.fromkeys(names, value), None)
        turns[f"memcached: {size} KB, one of {AT_ONCE} in a trip"] = timed(
            functools.partial(backend.get_many, names), scale, parts=AT_ONCE
        )
    return turns
