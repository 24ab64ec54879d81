"""A random site, rendered with and without the cache, must agree.

At every step: after edits, rollbacks, invalidations, restarts, with two
versions of the site side by side over one store.  What is shown may be older
than the data only where a fragment's bracket allows it; see
``random_sites.model``.  A page that was rendered just before reads nothing
again.
"""

from __future__ import annotations

import os
import tempfile
import types
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from hypothesis.stateful import rule
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import run_state_machine_as_test
from mako import codegen
from random_sites.model import Model
from random_sites.sources import DATA
from random_sites.sources import Page
from random_sites.sources import PAGES
from random_sites.sources import pages
from random_sites.sources import SLOTS
from random_sites.world import GRACE_SECONDS
from random_sites.world import Setup
from random_sites.world import World

from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.servers import MemcachedServer

EXAMPLES = int(os.environ.get("MAKO_CACHEPLUG_EXAMPLES", "10"))
"""Random sites for each pair of stores, with up to forty steps each; ``make
soak`` takes more."""

HOW = ["def", "def", "tags", "tags", "key", "body", "template"]

sites = st.integers(0, 1)
uris = st.sampled_from(PAGES)
slots = st.sampled_from(SLOTS)
looks = st.lists(
    st.tuples(sites, uris, st.sampled_from(["en", "de"])), max_size=3
)
edits = slots.flatmap(
    lambda uri: st.tuples(st.just(uri), st.none() | pages(uri))
)
languages = st.sampled_from(["en", "de"])
invalidations = st.tuples(
    sites, slots, st.sampled_from(HOW), st.integers(0, 5), st.booleans()
)


class SiteMachine(RuleBasedStateMachine):
    """The steps.  A subclass says which stores there are."""

    main = "memory"
    side = "memory"
    servers: dict[str, MemcachedServer] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock(1_000_000.0)
        self.codegen_time = codegen.time
        codegen.time = types.SimpleNamespace(time=self.clock)
        self.world: Any = None
        self.warm: object = None

    def teardown(self) -> None:
        codegen.time = self.codegen_time
        if self.world is not None:
            self.world.close()
        self.folder.cleanup()

    def url(self, kind: str) -> str:
        if kind == "file":
            return f"file://{tempfile.mkdtemp(dir=self.folder.name)}"
        server = self.servers[kind]
        # A busy machine is no reason for a miss.
        return f"{server.url}/?timeout=20s"

    @initialize(
        first=st.tuples(*map(pages, SLOTS)),
        by_language=st.booleans(),
        on_disk=st.sampled_from([False, False, True]),
    )
    def begin(
        self, first: tuple[Page, ...], by_language: bool, on_disk: bool
    ) -> None:
        setup = Setup(self.main, self.side, by_language, on_disk)
        folder = os.path.join(self.folder.name, "site")
        self.world = World(setup, first, self.url, folder, self.clock)

    # -- rendering ---------------------------------------------------------

    @rule(site=sites, uri=uris, lang=languages, times=st.integers(1, 2))
    def render(self, site: int, uri: str, lang: str, times: int) -> None:
        for user in "ab"[:times]:
            self._render(site, uri, lang, user)

    @rule(lang=languages)
    def render_all(self, lang: str) -> None:
        for site in range(2):
            for uri in PAGES:
                self._render(site, uri, lang, "a")

    def _look(self, looks: list[tuple[int, str, str]]) -> None:
        for site, uri, lang in looks:
            self._render(site, uri, lang, "b")

    def _render(self, index: int, uri: str, lang: str, user: str) -> None:
        world = self.world
        site = world.sites[index]
        # One that may be behind another finds out by itself.
        where = site.process if world.model.staleness else None
        now = (uri, lang, site.numbers, where)
        shown = world.render(site, uri, lang, user)
        if self.warm == now and world.is_on:
            most = Model.most_creations(shown)
            assert world.last_reads <= most, f"{world.last_reads} {shown}"
        self.warm = now

    @rule(
        site=sites,
        uri=uris,
        lang=languages,
        after=st.integers(0, 5),
        what=st.one_of(
            invalidations, edits, st.sampled_from(["main", "side"])
        ),
        name=st.sampled_from(DATA),
    )
    def render_during(
        self,
        site: int,
        uri: str,
        lang: str,
        after: int,
        what: Any,
        name: str,
    ) -> None:
        """Render while data change and something is invalidated or edited."""
        world = self.world
        if isinstance(what, str):
            event = partial(world.clear, world.sites[site], what)
        elif len(what) == 2:
            new = world.add_source(*what)
            event = partial(world.edit, world.sites[site], what[0], new)
        else:
            index, *rest = what
            event = partial(world.invalidate, world.sites[index], *rest)

        def happen() -> None:
            world.change(name)
            event()

        self.warm = None
        world.render_during(world.sites[site], uri, lang, "c", after, happen)
        self._look([(site, uri, lang), (1 - site, uri, lang)])

    @rule(site=sites, uri=uris, other=uris, lang=languages)
    def render_in_threads(
        self, site: int, uri: str, other: str, lang: str
    ) -> None:
        world = self.world
        self.warm = None
        one = world.sites[site]
        mode = world.next_mode()
        context = world.context(lang, "d", mode)
        for every in SLOTS:
            # CPython 3.11 cannot always compile in two threads at once.
            one.lookup.get_template(every)
        found = [one.lookup.get_template(u) for u in (uri, other)]
        shown = in_threads([partial(t.render, **context) for t in found])
        for place, text in zip((uri, other), shown, strict=True):
            world.check(one, place, context, mode, text, GRACE_SECONDS)

    # -- what happens between ----------------------------------------------

    @rule(before=looks, site=sites, what=edits, after=looks)
    def edit(
        self, before: Any, site: int, what: tuple[str, Page | None], after: Any
    ) -> None:
        self._look(before)
        self.warm = None
        new = self.world.add_source(*what)
        self.world.edit(self.world.sites[site], what[0], new)
        self._look(after)

    @rule(site=sites, uri=slots, back=st.integers(0, 2), after=looks)
    def roll_back(self, site: int, uri: str, back: int, after: Any) -> None:
        """Put an earlier source, or the other site's newer one."""
        known = self.world.history[uri]
        new = known[-1 - back % len(known)]
        if self.world.sites[site].sources[uri] is not new:
            self.warm = None
            self.world.edit(self.world.sites[site], uri, new)
        self._look(after)

    @rule(
        what=invalidations,
        name=st.sampled_from((*DATA, "")),
        after=looks,
    )
    def publish(self, what: Any, name: str, after: Any) -> None:
        """Change data, and invalidate what may show them."""
        if name:
            self.world.change(name)
        self.warm = None
        index, *rest = what
        self.world.invalidate(self.world.sites[index], *rest)
        self._look(after)

    @rule(name=st.sampled_from(DATA), after=looks)
    def change(self, name: str, after: Any) -> None:
        self.world.change(name)
        self._look(after)

    @rule(site=sites, name=st.sampled_from(["main", "side", "short"]))
    def clear(self, site: int, name: str) -> None:
        self.warm = None
        self.world.clear(self.world.sites[site], name)

    @rule(seconds=st.sampled_from([0.5, 1.0, 6.0, 31.0, 100.0]), after=looks)
    def pass_time(self, seconds: float, after: Any) -> None:
        self.warm = None
        self.clock.advance(seconds)
        self._look(after)

    @rule(after=looks)
    def switch(self, after: Any) -> None:
        self.warm = None
        self.world.is_on = not self.world.is_on
        self._look(after)

    @rule(site=sites, keeps_memory=st.booleans(), after=looks)
    def restart(self, site: int, keeps_memory: bool, after: Any) -> None:
        if not keeps_memory and "memory" in (self.main, self.side):
            self.warm = None
        self.world.restart(site, keeps_memory)
        self._look(after)


STORES = [
    ("memory", "memory"),
    ("file", "file"),
    ("memcached", "file"),
    ("file", "memory"),
    ("tiered file", "file"),
    ("tiered memcached", "tiered file"),
    ("memcached", "tiered memcached"),
]


@pytest.mark.parametrize(("main", "side"), STORES)
def test_a_site_is_shown_as_it_is(
    main: str, side: str, server: MemcachedServer
) -> None:
    kind = type(
        "SiteMachine",
        (SiteMachine,),
        {"main": main, "side": side, "servers": {"memcached": server}},
    )
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            report_multiple_bugs=False,
        ),
    )
