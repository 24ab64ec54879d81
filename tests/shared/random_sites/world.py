"""A site in one or two versions, in processes that may share their stores."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import Final
from typing import NamedTuple

from cached_sites import watch
from mako.lookup import TemplateLookup
from mako.template import Template

from mako_cacheplug import CacheRegion
from mako_cacheplug import nocache
from mako_cacheplug.ahead import learner_of
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.backends.tiered import TieredBackend
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import backend_class
from mako_cacheplug.testing import ManualClock
from random_sites.model import Invalidation
from random_sites.model import Model
from random_sites.model import skeleton
from random_sites.sources import DATA
from random_sites.sources import Page
from random_sites.sources import SLOTS
from random_sites.sources import Source
from random_sites.sources import source
from random_sites.sources import TIMEOUTS

__all__ = ["Setup", "World"]

GRACE_SECONDS: Final = 60.0
STALENESS_SECONDS: Final = 1.0
TIERED: Final = "tiered "
"""Before a store's kind: with a near tier in each process."""


class Setup(NamedTuple):
    """What stays the same in one example."""

    main: str = "memory"
    side: str = "memory"
    by_language: bool = False
    on_disk: bool = False


class Process:
    """What a process has of its own: open backends, and regions over them."""

    def __init__(
        self,
        backends: dict[str, CacheBackend],
        namespace: str,
        clock: ManualClock,
    ) -> None:
        self.backends = backends
        self.regions = {
            name: CacheRegion(
                backends["side" if name == "side" else "main"],
                name=name,
                clock=clock,
                namespace=namespace,
                timeout=TIMEOUTS[name],
                grace=GRACE_SECONDS,
            )
            for name in ("main", "short", "side")
        }
        for region in self.regions.values():
            if region.bulk_storage is not None:
                learner_of(region.bulk_storage).clock = clock


class Site:
    """One version of the site, as one process renders it."""

    def __init__(
        self,
        process: Process,
        sources: dict[str, Source],
        lookup: TemplateLookup,
        plain: TemplateLookup,
    ):
        self.process = process
        self.sources = sources
        self.lookup = lookup
        self.plain = plain

    @property
    def numbers(self) -> dict[str, int]:
        """Which source each template has."""
        return {uri: one.number for uri, one in self.sources.items()}


class LazyLookup(TemplateLookup):  # type: ignore[misc]  # Mako is untyped
    """A lookup of strings, each compiled when it is first asked for."""

    def __init__(self, sources: dict[str, Source], **given: Any) -> None:
        super().__init__(**given)
        self._sources = sources

    def get_template(self, uri: str) -> Template:
        """Return the template."""
        if uri not in self._collection and uri in self._sources:
            self.put_string(uri, self._sources[uri].text)
        return super().get_template(uri)


class World:
    """All that the machine's steps act on.

    :param urls: returns the URL of a new shared store of a kind.
    :param folder: for the templates' files.
    """

    def __init__(
        self,
        setup: Setup,
        pages: list[Page],
        urls: Callable[[str], str],
        folder: str,
        clock: ManualClock,
    ) -> None:
        self.setup = setup
        self.clock = clock
        is_tiered = setup.main.startswith(TIERED) or setup.side.startswith(
            TIERED
        )
        self.model = Model(DATA, STALENESS_SECONDS if is_tiered else 0.0)
        self.is_on = True
        self._folder = folder
        self._guard = threading.Lock()
        self._renders = 0
        self.reads = 0
        self._is_rendering = False
        self._pending: tuple[int, Callable[[], None]] | None = None
        self.numbers = 0
        self.pages: dict[str, Page] = {}
        self.history: dict[str, list[Source]] = {uri: [] for uri in SLOTS}
        for uri, page in zip(SLOTS, pages, strict=True):
            self.add_source(uri, page)
        self._kinds = {"main": setup.main, "side": setup.side}
        self._urls = {
            name: urls(kind.removeprefix(TIERED)) if kind != "memory" else ""
            for name, kind in self._kinds.items()
        }
        self.is_shared = all(self._urls.values())
        # A server has served other examples before.
        self._namespace = os.urandom(6).hex()
        self._opened: list[CacheBackend] = []
        self._lookups = 0
        self.sites: list[Site] = []
        first = self._process()
        for _ in range(2):
            if self.is_shared and self.sites:
                first = self._process()
            self.sites.append(self._site(first, None))

    def close(self) -> None:
        """Close what is open."""
        for backend in self._opened:
            backend.close()

    # -- making things -----------------------------------------------------

    def add_source(self, uri: str, page: Page | None) -> Source:
        """Return a new source of a template; the last one but for a number,
        if none is given."""
        self.numbers += 1
        if page is None:
            page = self.pages[uri]
        self.pages[uri] = page
        new = source(page, uri, self.numbers, self.setup.by_language)
        self.history[uri].append(new)
        return new

    def _process(self, kept: dict[str, CacheBackend] | None = None) -> Process:
        backends: dict[str, CacheBackend] = {}
        for name, url in self._urls.items():
            if kept is not None and name in kept:
                backends[name] = kept[name]
                continue
            if url:
                parsed = StoreURL.parse(url)
                backends[name] = backend_class(parsed.scheme).from_url(parsed)
                if self._kinds[name].startswith(TIERED):
                    self._opened.append(backends[name])
                    backends[name] = TieredBackend(
                        backends[name],
                        staleness=STALENESS_SECONDS,
                        clock=self.clock,
                    )
            else:
                backends[name] = MemoryBackend(clock=self.clock)
            self._opened.append(backends[name])
        return Process(backends, self._namespace, self.clock)

    def _site(
        self, process: Process, sources: dict[str, Source] | None
    ) -> Site:
        if sources is None:
            sources = {uri: self.history[uri][0] for uri in SLOTS}
        sources = dict(sources)
        cached = {
            "cache_impl": "cacheplug",
            "cache_args": {"region": "main", "regions": process.regions},
        }
        if self.setup.on_disk:
            self._lookups += 1
            folder = os.path.join(self._folder, str(self._lookups))
            for uri, one in sources.items():
                self._write(folder, uri, one)
            lookup = TemplateLookup(directories=[folder], **cached)
        else:
            lookup = LazyLookup(sources, **cached)
        watch(lookup, self.clock)
        plain = LazyLookup(sources, cache_enabled=False)
        return Site(process, sources, lookup, plain)

    def _write(self, folder: str, uri: str, one: Source) -> None:
        path = folder + uri
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(one.text)
        os.utime(path, (self.clock.now, self.clock.now))

    # -- what pages call ---------------------------------------------------

    def context(self, language: str, user: str, mode: str) -> dict[str, Any]:
        """Return what is passed to a render."""

        def private() -> str:
            if mode != "on":
                nocache()
            return mode

        return {
            "show": self.show,
            "lang": language,
            "user": user,
            "mode": lambda: mode,
            "is_on": lambda: mode == "on",
            "private": private,
        }

    def show(self, name: str) -> str:
        """Show some data in their present version."""
        text = f"{{{name}={self.model.versions[name]}}}"
        with self._guard:
            self.reads += 1
            pending = self._pending
            if pending is None:
                return text
            if pending[0]:
                self._pending = (pending[0] - 1, pending[1])
                return text
            self._pending = None
        self._is_rendering = True
        pending[1]()
        self._is_rendering = False
        return text

    # -- steps -------------------------------------------------------------

    def next_mode(self) -> str:
        """Return what private parts show in the next render."""
        self._renders += 1
        return "on" if self.is_on else f"off{self._renders}"

    def render(self, site: Site, uri: str, language: str, user: str) -> str:
        """Render with the cache; check and return what is shown."""
        mode = self.next_mode()
        context = self.context(language, user, mode)
        reads = self.reads
        shown = str(site.lookup.get_template(uri).render(**context))
        self.last_reads = self.reads - reads
        self.check(site, uri, context, mode, shown)
        return shown

    def check(
        self,
        site: Site,
        uri: str,
        context: dict[str, Any],
        mode: str,
        shown: str,
        late: float = 0.0,
    ) -> None:
        """Compare what was shown with what is shown without a cache."""
        right = str(site.plain.get_template(uri).render(**context))
        assert skeleton(shown) == skeleton(right), (
            f"{uri} shows\n{shown}\nand not\n{right}"
        )
        self.model.check(
            shown, site.numbers, self.clock.now, mode, late, site.process
        )

    def render_during(
        self,
        site: Site,
        uri: str,
        language: str,
        user: str,
        after: int,
        action: Callable[[], None],
    ) -> None:
        """Render while *action* happens, when some data have been read.

        What that render shows is of before, of after or of both.
        """
        context = self.context(language, user, self.next_mode())
        self._pending = (after, action)
        try:
            site.lookup.get_template(uri).render(**context)
        finally:
            pending, self._pending = self._pending, None
        if pending is not None:
            action()

    def edit(self, site: Site, uri: str, new: Source) -> None:
        """Put another source into a site."""
        if not self.setup.on_disk:
            site.sources[uri] = new
            for lookup in (site.lookup, site.plain):
                if uri in lookup._collection:
                    lookup.put_string(uri, new.text)
            return
        # Mako looks at whole seconds; and what others depend on is looked
        # at once a second.
        self.clock.advance(1.0)
        site.sources[uri] = new
        if uri in site.plain._collection:
            site.plain.put_string(uri, new.text)
        self._write(site.lookup.directories[0], uri, new)

    def change(self, name: str) -> None:
        """Change some data."""
        self.model.change(name, self.clock.now)

    def restart(self, index: int, keeps_memory: bool) -> None:
        """Start a site's process anew."""
        old = self.sites[index]
        kept = {
            name: backend
            for name, backend in old.process.backends.items()
            if keeps_memory and not self._urls[name]
        }
        process = self._process(kept)
        for number, site in enumerate(self.sites):
            if site.process is old.process:
                self.sites[number] = self._site(process, site.sources)

    @contextlib.contextmanager
    def as_seen(self, site: Site, from_elsewhere: bool) -> Iterator[Site]:
        """Give a site to invalidate in: *site* or one that never rendered."""
        if not from_elsewhere:
            yield site
            return
        process = site.process
        if self.is_shared:
            process = self._process()
        yield self._site(process, site.sources)

    def invalidate(
        self, site: Site, uri: str, how: str, which: int, elsewhere: bool
    ) -> None:
        """Invalidate something of a template, or tags through it."""
        with self.as_seen(site, elsewhere) as seen:
            template = seen.lookup.get_template(uri)
            cached = site.sources[uri].fragments
            places = set(cached)
            key: str | None = None
            tags: tuple[str, ...] = ()
            cache = template.cache
            what = f"{how} of {uri}"
            if how == "tags":
                tags = (f"t{which % 3}",)
                places = set()
                cache.impl.invalidate_tags(*tags)
            elif how == "template":
                cache.impl.invalidate_template()
            elif how == "body":
                places = {one for one in cached if one.name == "page"}
                cache.invalidate_body()
            elif how == "key":
                key = ("k1", "k2", "ken", "kde", "k0")[which % 5]
                cache.invalidate(key)
            else:
                named = [one for one in cached if "anon" not in one.last_name]
                named = [one for one in named if one.name != "page"]
                if not named:
                    return
                chosen = named[which % len(named)]
                name = chosen.last_name
                places = {one for one in cached if one.last_name == name}
                if "." in chosen.name:
                    cache.invalidate_closure(name)
                else:
                    cache.invalidate_def(name)
                what += f" {name}"
        self.model.note(
            Invalidation(
                what,
                dict(self.model.versions),
                self.clock.now,
                site.numbers,
                tags,
                {one.place for one in places if one.can_have(key)},
                key,
                is_during=self._is_rendering,
                process=seen.process,
            )
        )

    def clear(self, site: Site, name: str) -> None:
        """Empty the store of a region."""
        site.process.regions[name].clear()
        stores = ("side",) if name == "side" else ("main", "short")
        self.model.note(
            Invalidation(
                f"clear of {name}",
                dict(self.model.versions),
                self.clock.now,
                site.numbers,
                stores=stores,
                is_during=self._is_rendering,
                process=site.process,
            )
        )
