"""Read-ahead: how many trips a page costs, and that it serves nothing else.

Real pages on a real memcached, with a proxy before it that sees each trip.
"""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import threading
import uuid
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cached_sites import page
from cached_sites import Ticks
from mako.lookup import TemplateLookup
from mako.runtime import Context
from mako.template import Template
from mako_cacheplug_memcached.backend import MemcachedBackend

from mako_cacheplug.ahead import learner_of
from mako_cacheplug.ahead import RenderReads
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.coded import CodedStorage
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import EventKind
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.learning import HELD_SECONDS
from mako_cacheplug.learning import MOST_BYTES
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.standing import TRUST_SECONDS
from mako_cacheplug.template import private
from mako_cacheplug.testing import ManualClock
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire

NUMBER = 50


@pytest.fixture
def wire(server: MemcachedServer) -> Iterator[Wire]:
    with Wire(server) as running:
        yield running


class Site:
    """Pages on one store, as one process sees them, and when.

    :param store: a backend or a URL.
    :param namespace: another's, to be another process of the same site.
    """

    def __init__(
        self,
        store: CacheBackend | str,
        clock: ManualClock,
        namespace: str = "",
        **given: Any,
    ) -> None:
        self.namespace = namespace or uuid.uuid4().hex
        self.region = CacheRegion(
            store, clock=clock, namespace=self.namespace, **given
        )
        if self.region.bulk_storage is not None:
            self.learner = learner_of(self.region.bulk_storage)
            self.learner.clock = clock
        self.lookup = TemplateLookup(
            cache_impl="cacheplug",
            cache_args={"regions": {"r": self.region}, "region": "r"},
        )

    def put(self, source: str, uri: str = "/p.html") -> Template:
        self.lookup.put_string(uri, source)
        template: Template = self.lookup.get_template(uri)
        return template


@pytest.fixture
def site(wire: Wire, clock: ManualClock) -> Site:
    return Site(wire.url, clock)


@pytest.fixture
def elsewhere(site: Site, server: MemcachedServer, clock: ManualClock) -> Site:
    """Return the same site in another process."""
    return Site(server.url, clock, site.namespace)


def define(names: Iterable[str], body: str = "", options: str = "") -> str:
    """Return cached defs, each of which shows its name and *body*."""
    return "".join(
        f'<%def name="{name}()" cached="True" {options}>{name}{body} </%def>'
        for name in names
    )


def call(names: Iterable[str]) -> str:
    return "".join(f"${{{name}()}}" for name in names)


FRAGMENTS = [f"f{number}" for number in range(NUMBER)]
FRONT = define(FRAGMENTS) + call(FRAGMENTS)
SHOWN = "".join(f"{name} " for name in FRAGMENTS)


def trips(wire: Wire, template: Template, shown: str, **given: Any) -> int:
    """Return how many trips a render costs that shows *shown*."""
    wire.trips()
    assert template.render(**given) == shown
    return len(wire.trips())


# -- how many trips --------------------------------------------------------


def test_a_page_is_one_trip(site: Site, wire: Wire) -> None:
    template = site.put(FRONT)
    assert trips(wire, template, SHOWN) > NUMBER
    assert [trips(wire, template, SHOWN) for _ in range(3)] == [1, 1, 1]
    assert site.region.stats().creations == NUMBER


def test_a_cold_page_looks_for_all_of_it_at_once(
    site: Site, elsewhere: Site, wire: Wire
) -> None:
    template, other = site.put(FRONT), elsewhere.put(FRONT)
    # Each is looked for, elected, looked for again, and given a label; how
    # often some of them are stored meanwhile is a matter of time.
    assert 4 * NUMBER < trips(wire, template, SHOWN) < 6 * NUMBER
    template.render()
    other.cache.impl.invalidate_template()
    assert 3 * NUMBER < trips(wire, template, SHOWN) < 5 * NUMBER


def test_so_it_is_when_labels_are_looked_at_again(
    site: Site, wire: Wire, clock: ManualClock
) -> None:
    template = site.put(FRONT)
    template.render()
    for seconds in (0.1, 0.3, 0.6, 0.9, 1.1, 5.0, 0.55, 0.47, 0.55, 0.47):
        clock.advance(seconds)
        assert trips(wire, template, SHOWN) == 1, seconds


def test_a_process_that_finds_it_all_there_needs_two_renders(
    site: Site, elsewhere: Site, wire: Wire
) -> None:
    elsewhere.put(FRONT).render()
    template = site.put(FRONT)
    assert trips(wire, template, SHOWN) == NUMBER
    assert trips(wire, template, SHOWN) == 1


def test_tags_and_arguments_come_in_the_same_trip(
    site: Site, wire: Wire
) -> None:
    template = site.put(
        '<%def name="card(n)" cached="True" cache_tags="cards">${n} </%def>'
        '<%def name="box(n)" cached="True" cache_tags="box:${str(n)}">'
        "<${n}> </%def>"
        "\n% for n in range(25):\n${card(n)}${box(n)}\\\n% endfor\n"
    )
    shown = "\n" + "".join(f"{n} <{n}> " for n in range(25))
    template.render()
    assert [trips(wire, template, shown) for _ in range(3)] == [1, 1, 1]


def test_what_depends_on_the_user_is_one_trip_more(
    site: Site, wire: Wire
) -> None:
    names = ["hello", "basket", "orders"]
    options = 'cache_vary="${user}" cache_tags="user:${user}"'
    template = site.put(
        define(FRAGMENTS)
        + define(names, " of ${user}", options)
        + call(FRAGMENTS)
        + call(names)
    )

    def show(user: str) -> int:
        shown = SHOWN + "".join(f"{name} of {user} " for name in names)
        return trips(wire, template, shown, user=user)

    for user in ("ann", "bob", "cid", "dan"):
        show(user)
    show("ann")
    users = ["bob", "cid", "dan", "ann", "cid", "bob", "ann"]
    assert [show(user) for user in users] == [2] * 7


def test_regions_of_one_store_share_a_trip(
    wire: Wire, clock: ManualClock
) -> None:
    regions = {
        name: CacheRegion(wire.url, name=name, namespace=uuid.uuid4().hex)
        for name in ("one", "other")
    }
    regions["signed"] = CacheRegion(wire.url, name="signed", secret="s")
    template = Template(
        define(["a", "b"], options='cache_region="one"')
        + define(["c", "d"], options='cache_region="other"')
        + define(["e", "f"], options='cache_region="signed"')
        + call("abcdef"),
        uri="/p.html",
        cache_impl="cacheplug",
        cache_args={"regions": regions},
    )
    template.render()
    assert trips(wire, template, "a b c d e f ") == 2, "and one for signed"


def test_the_switch(wire: Wire, clock: ManualClock) -> None:
    names = ["a", "b", "c"]
    source = define(names, options='cache_read_ahead="false"') + call(names)
    region = Site(wire.url, clock, read_ahead=False)
    off = [
        region.put(define(names) + call(names)),
        Site(wire.url, clock).put(source),
        page(define(names) + call(names), wire.url, read_ahead="off"),
    ]
    for template in off:
        template.render()
        template.render()
        assert trips(wire, template, "a b c ") == 3
    again = Site(wire.url, clock, read_ahead=False).put(
        define(names, options='cache_read_ahead="on"') + call(names)
    )
    again.render()
    assert trips(wire, again, "a b c ") == 1


@pytest.mark.parametrize("url", ["memory://", "file://{folder}"])
def test_it_is_off_where_a_trip_is_one_entry(url: str, tmp_path: Path) -> None:
    region = CacheRegion(url.format(folder=tmp_path))
    assert region.bulk_storage is None
    template = page(FRONT, url.format(folder=tmp_path))
    assert template.render() == template.render() == SHOWN


# -- what it serves --------------------------------------------------------


def test_an_invalidation_between_renders_is_seen_at_once(
    site: Site, elsewhere: Site, wire: Wire
) -> None:
    tick = Ticks()
    source = define("abc", "${tick()}", 'cache_tags="t"') + call("abc")
    template, other = site.put(source), elsewhere.put(source)
    for done in (0, 3, 6):
        shown = f"a{done + 1} b{done + 2} c{done + 3} "
        assert template.render(tick=tick) == shown
        assert trips(wire, template, shown, tick=tick) <= 4
        assert trips(wire, template, shown, tick=tick) == 1
        other.cache.impl.invalidate_tags("t")
    other.cache.impl.invalidate_template()
    assert template.render(tick=tick) == "a10 b11 c12 "


MIDST = define("ab", "${tick()}", 'cache_tags="t"') + "${a()}${midst()}${b()}"


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda site, page: page.cache.impl.invalidate_tags("t"),
        lambda site, page: page.cache.invalidate_def("b"),
        lambda site, page: page.cache.impl.invalidate_template(),
        lambda site, page: site.region.clear(),
    ],
    ids=["tags", "def", "template", "clear"],
)
@pytest.mark.parametrize("is_own_thread", [True, False])
@pytest.mark.parametrize("is_own_region", [True, False])
def test_an_invalidation_in_the_midst_of_a_render_is_seen(
    site: Site,
    clock: ManualClock,
    wire: Wire,
    invalidate: Callable[[Site, Template], None],
    is_own_thread: bool,
    is_own_region: bool,
) -> None:
    tick = Ticks()
    template = site.put(MIDST)
    for _ in range(3):
        template.render(tick=tick, midst=str)
    one = site if is_own_region else Site(wire.url, clock, site.namespace)
    other = one.put(MIDST) if one is not site else template

    def midst() -> str:
        if is_own_thread:
            invalidate(one, other)
        else:
            thread = threading.Thread(target=invalidate, args=(one, other))
            thread.start()
            thread.join()
        return ""

    assert template.render(tick=tick, midst=midst) == "a1 b3 "


def test_what_a_region_with_a_near_tier_clears_is_seen(
    site: Site, wire: Wire
) -> None:
    template = site.put(MIDST)
    tick = Ticks()
    for _ in range(3):
        template.render(tick=tick, midst=str)
    tiered = CacheRegion(f"tiered://?far={wire.url}")

    def midst() -> str:
        tiered.clear()
        return ""

    assert template.render(tick=tick, midst=midst) == "a1 b3 "


@pytest.mark.parametrize("seconds", [0.0, HELD_SECONDS * 1.1])
def test_labels_that_were_current_are_looked_at_again(
    site: Site, elsewhere: Site, clock: ManualClock, seconds: float
) -> None:
    source = (
        '<%def name="box(n)" cached="True" cache_tags="t">${tick()} </%def>'
        "${box(1)}${box(2)}${midst()}${box(3)}${box(4)}"
    )
    template, other = site.put(source), elsewhere.put(source)
    tick = Ticks()

    def midst() -> str:
        clock.advance(seconds)
        if is_last:
            one = other if seconds else template
            one.cache.impl.invalidate_tags("t")
            if one is other:
                one.get_def("box").render(3, tick=tick)
        return ""

    is_last = False
    for _ in range(5):
        assert template.render(tick=tick, midst=midst) == "1 2 3 4 "
    is_last = True
    assert template.render(tick=tick, midst=midst) == "1 2 5 6 "


def test_an_entry_without_the_tag_that_is_asked_for_is_a_miss(
    site: Site,
) -> None:
    template = site.put(
        '<%def name="box()" cached="True" cache_key="${str(1)}"'
        ' cache_vary="v" cache_tags="${tags.pop(0)}">${tick()} </%def>'
        "${box()}${box()}${box()}"
    )
    tick = Ticks()
    for _ in range(3):
        shown = template.render(tick=tick, tags=["one", "one", "one"])
        assert shown == "1 1 1 "
    shown = template.render(tick=tick, tags=["one", "one", "other"])
    assert shown == "1 1 2 "


def test_what_another_thread_stored_meanwhile_is_served(site: Site) -> None:
    template = site.put(MIDST)
    tick = Ticks()
    for _ in range(3):
        template.render(tick=tick, midst=str)

    def midst() -> str:
        template.cache.invalidate_def("b")
        template.get_def("b").render(tick=tick)
        return ""

    assert template.render(tick=tick, midst=midst) == "a1 b3 "
    assert tick.count == 3


def test_a_slow_render_does_not_serve_what_is_old(
    site: Site, elsewhere: Site, clock: ManualClock
) -> None:
    template, other = site.put(MIDST), elsewhere.put(MIDST)
    tick = Ticks()
    for _ in range(3):
        template.render(tick=tick, midst=str)

    def midst(seconds: float) -> Callable[[], str]:
        def wait() -> str:
            other.cache.impl.invalidate_tags("t")
            clock.advance(seconds)
            return ""

        return wait

    within = template.render(tick=tick, midst=midst(HELD_SECONDS * 0.9))
    assert within == "a1 b2 ", "as of the moment when it began"
    assert template.render(tick=tick, midst=str) == "a3 b4 "
    later = template.render(tick=tick, midst=midst(HELD_SECONDS * 1.1))
    assert later == "a3 b5 "


def test_expiry_is_judged_when_it_is_served(
    site: Site, clock: ManualClock
) -> None:
    template = site.put(
        define("ab", "${tick()}", 'cache_ttl="10s"') + "${a()}${midst()}${b()}"
    )
    tick = Ticks()
    for _ in range(3):
        template.render(tick=tick, midst=str)
    clock.advance(9.5)

    def midst() -> str:
        clock.advance(0.7)
        return ""

    assert template.render(tick=tick, midst=midst) == "a1 b3 "


def test_what_was_not_there_and_then_made_is_a_hit(
    site: Site, elsewhere: Site, wire: Wire
) -> None:
    source = define("ab", "${tick()}") + "${a()}${b()}${b()}"
    tick = Ticks()
    template, other = site.put(source), elsewhere.put(source)
    for _ in range(3):
        template.render(tick=tick)
    other.cache.invalidate_def("b")
    before = site.region.stats()
    assert template.render(tick=tick) == "a1 b3 b3 "
    stats = site.region.stats()
    assert stats.misses == before.misses + 1
    assert stats.hits == before.hits + 2


def test_one_entry_that_is_rubbish_is_one_miss(site: Site, wire: Wire) -> None:
    template = site.put(define("abc", "${tick()}") + call("abc"))
    tick = Ticks()
    for _ in range(2):
        template.render(tick=tick)
    (name,) = (
        name
        for key, name in site.region.bulk_storage._names.items()  # type: ignore[union-attr]  # memcached has it
        if key.startswith("8:fragment") and key.endswith("b")
    )
    site.region.backend.set(name, b"rubbish", None)
    assert template.render(tick=tick) == "a1 b4 c3 "
    assert site.region.stats().errors == 2, "who creates looks once more"


@pytest.mark.parametrize("changed", ["entry", "label"])
def test_what_is_read_anew_in_the_midst_of_a_call_proves_nothing(
    site: Site, changed: str
) -> None:
    """Nor does the same payload later prove what was there before."""
    storage = site.region.bulk_storage
    assert storage is not None

    def write(key: str, value: str, *labels: tuple[str, str]) -> None:
        entry = CacheEntry(value, 1.0, labels=labels)
        storage.write(key, entry, math.inf, None, None)

    write("label", "1")
    write("entry", "old", ("label", "1"))
    ahead = RenderReads("/p.html", lambda: None).of(storage)
    entry, _ = ahead.read("entry", ("label",), False)
    assert entry is not NO_VALUE
    assert ahead.gather("entry", entry, entry.labels)
    write(changed, "new")
    ahead.read("entry", ("label",), False)
    assert ahead.gather("entry", entry, entry.labels) is None


# -- inside what is being created ------------------------------------------


@pytest.mark.parametrize("around", ["memory", "memcached"])
def test_nothing_read_ahead_becomes_part_of_what_is_stored(
    site: Site,
    elsewhere: Site,
    server: MemcachedServer,
    clock: ManualClock,
    around: str,
) -> None:
    """A fragment, changed meanwhile, in another that is created."""
    url = "memory://" if around == "memory" else server.url

    def open_page(one: Site) -> Template:
        outer = CacheRegion(url, name="outer", namespace=one.namespace)
        one.lookup.template_args["cache_args"]["regions"]["outer"] = outer
        return one.put(
            define("ab", "${news()}", 'cache_tags="t"')
            + '<%def name="box()" cached="True" cache_region="outer"'
            ' cache_vary="${n}">[${b()}]</%def>'
            "${a()}${midst()}"
            "\n% if n:\n${box()}\n% else:\n${b()}\n% endif\n"
        )

    template, other = open_page(site), open_page(elsewhere)
    news = ["old"]

    def show(n: int, midst: Callable[[], object] = str) -> str:
        shown = template.render(n=n, midst=midst, news=lambda: news[0])
        return "".join(str(shown).split())

    for _ in range(3):
        assert show(0) == "aoldbold"

    def midst() -> str:
        news[0] = "new"
        other.cache.impl.invalidate_tags("t")
        return ""

    assert show(1, midst) == "aold[bnew]"
    assert show(1) == "anew[bnew]"


def test_what_a_hole_shows_is_read_ahead(site: Site, wire: Wire) -> None:
    template = site.put(
        "<%! from mako_cacheplug import hole %>"
        '<%page cached="True"/>'
        + define("abc")
        + '<%def name="inner()">'
        + call("abc")
        + "</%def>page ${hole(self.inner)}"
    )
    template.render()
    assert template.render() == "page a b c "
    assert trips(wire, template, "page a b c ") == 1


def test_a_label_is_trusted_from_when_it_was_read(
    site: Site, elsewhere: Site, clock: ManualClock
) -> None:
    template = site.put(
        define("ab", "${tick()}")
        + '<%def name="box()" cached="True">[${b()}]</%def>'
        "${box() if boxed else a() + midst() + b()}"
    )
    tick = Ticks()

    def show(boxed: bool = False, midst: Callable[[], str] = str) -> str:
        shown = template.render(tick=tick, boxed=boxed, midst=midst)
        return "".join(str(shown).split())

    def midst() -> str:
        clock.advance(HELD_SECONDS * 0.9)
        return ""

    for _ in range(2):
        assert show() == "a1b2"
    clock.advance(5.0)
    assert show(midst=midst) == "a1b2"
    storage = site.region.bulk_storage
    assert storage is not None
    (label,) = (
        key
        for key in storage._names
        if key.startswith("8:variants") and key.endswith("b")
    )
    elsewhere.region.discard_label(label)
    clock.advance(HELD_SECONDS * 0.3)
    assert show(boxed=True) == "[b3]"


def test_what_was_found_valid_is_so_while_its_label_is_trusted(
    site: Site, elsewhere: Site, clock: ManualClock
) -> None:
    """Whoever invalidates only the label has another version's entry."""
    template = site.put(define("ab", "${tick()}") + call("ab"))
    tick = Ticks()
    for _ in range(3):
        assert template.render(tick=tick) == "a1 b2 "
    # From now on no trip brings what is rarely needed.
    stopped = clock()
    site.learner.clock = lambda: stopped
    storage = site.region.bulk_storage
    assert storage is not None
    for label in [k for k in storage._names if k.startswith("8:variants")]:
        elsewhere.region.discard_label(label)
    clock.advance(TRUST_SECONDS * 0.99)
    # What leads the trip is looked at in any case.
    assert template.render(tick=tick) == "a3 b2 "
    clock.advance(TRUST_SECONDS * 0.02)
    assert template.render(tick=tick) == "a3 b4 "


def test_what_was_found_valid_is_not_found_out_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "abcdef"
    template = site.put(define(names, "", 'cache_tags="t"') + call(names))
    decoded = []
    decode = CodedStorage.decode

    def watched(storage: CodedStorage, key: str, payload: bytes) -> Any:
        decoded.append(key)
        return decode(storage, key, payload)

    monkeypatch.setattr(CodedStorage, "decode", watched)
    counts = []
    for _ in range(4):
        decoded.clear()
        template.render()
        counts.append(len(decoded))
    # The first one's, which led the trip, and its labels'.
    assert counts[-1] == 3 < counts[1]


# -- when something is wrong -----------------------------------------------


class Failing(MemcachedBackend):
    """A memcached that does not answer questions for many keys."""

    is_well = True

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        names = list(keys)
        if len(names) > 3 and not self.is_well:
            raise BackendError("no")
        return super().get_many(names)


def test_a_trip_that_fails_costs_one_error(
    server: MemcachedServer, clock: ManualClock
) -> None:
    backend = Failing([("127.0.0.1", server.port)])
    site = Site(backend, clock)
    own = ["hello", "basket", "orders"]
    template = site.put(
        define(FRAGMENTS)
        + define(own, options='cache_vary="${user}"')
        + call([*FRAGMENTS, *own])
    )
    shown = SHOWN + "hello basket orders "
    for user in "abcdab":
        assert template.render(user=user) == shown
    errors: list[object] = []
    site.region.add_hook(
        lambda event: (
            errors.append(event.error)
            if event.kind is EventKind.STORE_ERROR
            else None
        )
    )
    backend.is_well = False
    before = site.region.stats()
    assert template.render(user="a") == shown
    stats = site.region.stats()
    assert stats.errors == before.errors + 1
    assert not errors, "what it was for is read the ordinary way"
    assert stats.hits == before.hits + NUMBER + 3
    assert stats.creations == before.creations
    backend.is_well = True
    assert template.render(user="a") == shown
    assert site.region.stats().errors == stats.errors
    backend.close()


def test_a_trip_after_which_the_store_is_left_alone_is_told(
    server: MemcachedServer, clock: ManualClock
) -> None:
    """What it was for is not read any more."""
    backend = MemcachedBackend([("127.0.0.1", server.port)], timeout=0.1)
    site = Site(backend, clock)
    template = site.put(FRONT)
    for _ in range(3):
        assert template.render() == SHOWN
    kinds: list[EventKind] = []
    site.region.add_hook(lambda event: kinds.append(event.kind))
    server.pause()
    try:
        assert template.render() == SHOWN
    finally:
        server.resume()
    assert kinds.count(EventKind.STORE_ERROR) == 1
    assert kinds.count(EventKind.MISS) == NUMBER
    backend.close()


def test_a_server_that_is_away_costs_what_it_holds(
    server: MemcachedServer, clock: ManualClock
) -> None:
    """And no trip for what the others hold, too."""
    source = (
        define(FRAGMENTS, "${tick()}")
        + "\n% for name in names:\n${getattr(local, name)()}\n% endfor\n"
    )
    with MemcachedServer() as other:
        url = f"{server.url},127.0.0.1:{other.port}/?pool_size="
        off = Site(f"{url}1", clock, read_ahead=False)
        template = off.put(source)
        for _ in range(2):
            template.render(tick=str, names=FRAGMENTS)
        other.kill()
        clock.advance(HELD_SECONDS * 2)  # No label is trusted any more.
        shown = template.render(tick=lambda: "!", names=FRAGMENTS)
        away = [name for name in FRAGMENTS if f"{name}! " in shown]
        well = [name for name in FRAGMENTS if name not in away]
        assert away
        assert well
        other.start()
        on = Site(f"{url}2", clock, off.namespace)
        template = on.put(source)
        names = well + away
        tick = Ticks()
        for _ in range(3):
            template.render(tick=tick, names=names)
        assert tick.count == len(away)
        other.kill()
        clock.advance(HELD_SECONDS * 2)
        template.render(tick=tick, names=names)
        assert tick.count == 2 * len(away)


class Strange(MemcachedBackend):
    """A memcached whose answers are no bytes."""

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        return {key: ["no bytes"] for key in keys}  # type: ignore[misc]  # that is the point


def test_answers_that_are_no_bytes_are_misses(
    server: MemcachedServer, clock: ManualClock
) -> None:
    backend = Strange([("127.0.0.1", server.port)])
    template = Site(backend, clock).put(FRONT)
    assert template.render() == template.render() == SHOWN
    backend.close()


# -- bounds ----------------------------------------------------------------


def test_large_entries_come_in_trips_of_a_bounded_size(
    site: Site, wire: Wire
) -> None:
    names = FRAGMENTS[:12]
    body = "x" * (MOST_BYTES // 4)
    template = site.put(
        define(names, body, 'cache_compress="none"')
        + call([*names, names[-1], names[0]])
    )
    shown = "".join(f"{name}{body} " for name in [*names, names[-1], names[0]])
    template.render()
    assert trips(wire, template, shown) == 1, "nobody knew how large"
    for _ in range(3):
        template.render()
    # The fourth is for the first entry again, which is not held so long.
    assert [trips(wire, template, shown) for _ in range(3)] == [4, 4, 4]


def test_entries_that_have_become_small_come_together_again(
    site: Site, elsewhere: Site, wire: Wire
) -> None:
    options = 'cache_compress="none" cache_tags="t"'
    source = define(FRAGMENTS, "${body}", options) + call(FRAGMENTS)
    template, other = site.put(source), elsewhere.put(source)

    def show(body: str) -> int:
        shown = "".join(f"{name}{body} " for name in FRAGMENTS)
        return trips(wire, template, shown, body=body)

    for _ in range(3):
        show("small")
    assert show("small") == 1
    other.cache.impl.invalidate_tags("t")
    for _ in range(4):
        show("x" * (MOST_BYTES // 4))
    assert show("x" * (MOST_BYTES // 4)) > 10
    other.cache.impl.invalidate_tags("t")
    for _ in range(20):
        show("small")
    assert show("small") == 1


def test_what_was_at_hand_goes_when_the_render_ends(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the garbage to be collected, as a context does."""
    kept: list[weakref.ref[object]] = []

    class Watched(RenderReads):
        __slots__ = ("__weakref__",)

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            kept.append(weakref.ref(self))

    monkeypatch.setattr(private, "RenderReads", Watched)
    template = site.put(FRONT)
    gc.disable()
    try:
        template.render()
        template.render()
        assert len(kept) == 2
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()


def test_one_output_of_two_renders_is_no_common_state(
    site: Site, elsewhere: Site
) -> None:
    source = define("ab", "${tick()}", 'cache_tags="t"') + call("ab")
    template, other = site.put(source), elsewhere.put(source)
    tick = Ticks()
    output = io.StringIO()
    for _ in range(3):
        template.render_context(Context(output, tick=tick))
    other.cache.impl.invalidate_tags("t")
    template.render_context(Context(output, tick=tick))
    assert output.getvalue() == "a1 b2 " * 3 + "a3 b4 "


@pytest.mark.parametrize(
    "copied",
    [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy],
    ids=["pickled", "copied"],
)
def test_an_output_can_be_copied(
    site: Site, copied: Callable[[io.StringIO], io.StringIO]
) -> None:
    """As a framework does that keeps its responses."""
    template = site.put(define("ab") + call("ab"))
    output = io.StringIO()
    template.render_context(Context(output))
    assert vars(output), "what it has at hand is kept there"
    other = copied(output)
    assert [*vars(other).values()] == [None]
    template.render_context(Context(other))
    assert other.getvalue() == "a b a b "
    assert output.getvalue() == "a b "


def test_an_output_that_takes_no_attributes(site: Site) -> None:
    template = site.put(define("ab") + call("ab"))
    shown: list[str] = []

    class Output:
        write = shown.append

    for _ in range(3):
        template.render_context(Context(Output))
    assert "".join(shown) == "a b " * 3


# -- changes and threads ---------------------------------------------------


def test_it_follows_a_page_that_changes(site: Site, wire: Wire) -> None:
    template = site.put(
        define("abcde")
        + "\n% for name in names:\n${getattr(local, name)()}\\\n% endfor\n"
    )

    def show(names: str) -> int:
        shown = "\n" + "".join(f"{name} " for name in names)
        return trips(wire, template, shown, names=names)

    show("abc")
    assert show("abc") == 1
    show("abcde")  # d and e are made
    show("abcde")
    assert [show("abcde"), show("abcde")] == [1, 1]
    assert [show("ae"), show("ae"), show("ae")] == [1, 1, 1]
    known = site.learner._known.values()
    assert sorted(len(one.names) for one in known)[-1] <= 4
    assert [show("abcde") for _ in range(5)][-1] == 1


def test_a_page_that_is_always_slow_reads_twice(
    site: Site, wire: Wire, clock: ManualClock
) -> None:
    template = site.put(
        define("abcdef") + "${a()}${b()}${midst()}" + call("cdef")
    )

    def midst() -> str:
        clock.advance(HELD_SECONDS * 1.5)
        return ""

    shown = "a b c d e f "
    for _ in range(5):
        template.render(midst=midst)
    assert trips(wire, template, shown, midst=midst) == 2


def test_the_label_of_what_was_made_anew_is_not_learned(
    site: Site, elsewhere: Site
) -> None:
    template, other = (
        one.put(define("abc") + call("abc")) for one in (site, elsewhere)
    )
    for _ in range(2):
        template.render()
    for _ in range(4):
        other.cache.invalidate_def("b")
        other.render()
        template.render()
    storage = site.region.bulk_storage
    assert storage is not None
    learned = {n for one in site.learner._known.values() for n in one.names}
    labels = {
        name
        for key, name in storage._names.items()
        if key.startswith("8:variants")
    }
    assert len(labels) == 3
    assert not learned & labels
    assert len(site.learner) == 1


def test_threads_that_render_one_page_for_many_users(
    site: Site, wire: Wire
) -> None:
    template = site.put(
        define(FRAGMENTS[:10])
        + define(["hello", "basket"], " of ${user}", 'cache_vary="${user}"')
        + call([*FRAGMENTS[:10], "hello", "basket"])
    )
    start = SHOWN.partition("f10 ")[0]
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(30):
            user = f"u{(number + turn) % 5}"
            try:
                shown = template.render(user=user)
            except Exception as error:
                wrong.append(error)
                return
            if shown != f"{start}hello of {user} basket of {user} ":
                wrong.append(shown)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    known = site.learner._known.values()
    assert site.learner.kept == sum(map(len, known))
    assert site.region.stats().creations == 10 + 2 * 5
    for user in ("u1", "u1", "u1", "u1"):
        wire.trips()
        template.render(user=user)
    assert len(wire.trips()) <= 2
