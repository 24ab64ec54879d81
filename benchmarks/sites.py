"""Pages, rendered under one contender after the other.

That a contender shows what the others show, and creates nothing in a hit, is
asserted here, for all scenarios.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

from mako.template import Template

from benchmarks.contenders import Contender
from benchmarks.contenders import UNCACHED
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.measuring import Turn
from benchmarks.workers import Workers

__all__ = [
    "BODY",
    "WARM_RENDERS",
    "LocalSite",
    "Page",
    "Site",
    "front_page",
    "many_keys",
    "one_key",
    "open_site",
    "render_in_turns",
    "same_text",
]

BODY: Final = "x" * 2048

WARM_RENDERS: Final = 4
"""The first creates; the others are for what is learned of a page."""

_numbers: Final = itertools.count()


@dataclasses.dataclass(frozen=True)
class Page:
    """A template, and what it is rendered with.

    Its fragments call ``made()`` when they are created.

    :param hits: cached fragments in one render.
    """

    source: str
    hits: int
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def one_key(hits: int = 100, attributes: str = '"card()"') -> Page:
    """Return a page that shows one cached def of 2 KB *hits* times."""
    source = (
        f'<%def name={attributes} cached="True">${{made()}}{BODY}</%def>\n'
        f"% for i in range({hits}):\n${{card()}}\\\n% endfor\n"
    )
    return Page(source, hits)


def many_keys(numbers: Sequence[int]) -> Page:
    """Return a page of one cached def of 2 KB under many keys.

    :param numbers: which.
    """
    source = (
        '<%def name="card(n)" cached="True" cache_key="card-${str(n)}">'
        f"${{made()}}${{n}} {BODY}</%def>\n"
        "% for n in numbers:\n${card(n)}\\\n% endfor\n"
    )
    return Page(source, len(numbers), {"numbers": numbers})


def front_page(sections: int = 10, teasers: int = 40) -> Page:
    """Return a page of cached defs of 2 KB.

    :param sections: defs without arguments.
    :param teasers: calls of one def, with a key of its own for each article.
    """
    defs = "".join(
        f'<%def name="section{n}()" cached="True">${{made()}}{n} {BODY}'
        "</%def>\n"
        for n in range(sections)
    )
    calls = "".join(f"${{section{n}()}}\n" for n in range(sections))
    teaser = many_keys(range(teasers))
    return Page(defs + calls + teaser.source, sections + teasers, teaser.data)


class Site:
    """A page under one contender, in whatever process."""

    def digest(self) -> str:
        """Return a digest of what the page shows."""
        raise NotImplementedError

    def created(self) -> int:
        """Return how many fragments were created so far."""
        raise NotImplementedError

    def start(self, scale: Scale, per_second: float, parts: int) -> None:
        """Prepare :meth:`turn`; see :func:`benchmarks.measuring.timed`."""
        raise NotImplementedError

    def turn(self) -> float:
        """Return how long a render takes, per part."""
        raise NotImplementedError


class LocalSite(Site):
    """A page under one contender, rendered before.

    :param number: tells its template from those of other sites.
    """

    def __init__(
        self, page: Page, contender: Contender, number: int | None = None
    ) -> None:
        number = next(_numbers) if number is None else number
        self._page = page
        self.template = Template(
            page.source, uri=f"/site{number}", **contender.template_args
        )
        self._created = 0
        self._turn: Turn | None = None
        for _ in range(WARM_RENDERS):
            self.render()

    def _made(self) -> str:
        self._created += 1
        return ""

    def render(self, **data: Any) -> str:
        """Return the page.

        :param data: in place of its own.
        """
        text: str = self.template.render(
            made=self._made, **{**self._page.data, **data}
        )
        return text

    def digest(self) -> str:
        return hashlib.sha256(self.render().encode()).hexdigest()

    def created(self) -> int:
        return self._created

    def start(self, scale: Scale, per_second: float, parts: int) -> None:
        self._turn = timed(
            self.render, scale, per_second=per_second, parts=parts
        )

    def turn(self) -> float:
        assert self._turn is not None
        return self._turn()


class _RemoteSite(Site):
    """One in a process of its own."""

    def __init__(self, worker: Workers) -> None:
        self._worker = worker

    def _ask(self, *order: object) -> Any:
        return self._worker.ask(*order)[0]

    def digest(self) -> str:
        return str(self._ask("digest"))

    def created(self) -> int:
        return int(self._ask("created"))

    def start(self, scale: Scale, per_second: float, parts: int) -> None:
        self._ask("start", scale, per_second, parts)

    def turn(self) -> float:
        return float(self._ask("turn"))


def _make_remote(
    page: Page, contender: Contender, number: int
) -> Callable[..., Any]:
    site = LocalSite(page, contender, number)
    return lambda method, *given: getattr(site, method)(*given)


@contextlib.contextmanager
def open_site(page: Page, contender: Contender) -> Iterator[Site]:
    """Open a site where the contender's modules are."""
    number = next(_numbers)
    if not contender.folder:
        yield LocalSite(page, contender, number)
        return
    make = functools.partial(_make_remote, page, contender, number)
    with Workers(make, folder=contender.folder) as worker:
        yield _RemoteSite(worker)


def render_in_turns(
    page: Page,
    contenders: Sequence[Contender],
    scale: Scale,
    *,
    floors: Mapping[str, Turn] | None = None,
    per_second: float = 1e6,
    parts: int | None = None,
) -> dict[str, list[float]]:
    """Return how long every contender takes, a hit or what *parts* says.

    :param floors: turns that do not render, in the same unit.
    :param parts: by default the page's hits: figures are of one of them.
    """
    with contextlib.ExitStack() as stack:
        sites = {
            contender.name: stack.enter_context(open_site(page, contender))
            for contender in contenders
        }
        same_text(sites)
        for site in sites.values():
            site.start(
                scale, per_second, page.hits if parts is None else parts
            )
        before = {name: site.created() for name, site in sites.items()}
        turns = {name: site.turn for name, site in sites.items()}
        figures = interleave({**(floors or {}), **turns}, scale)
        for name, site in sites.items():
            if name != UNCACHED.name:
                new = site.created() - before[name]
                assert not new, f"{name}: {new} creations among the hits"
    return figures


def same_text(sites: Mapping[str, Site]) -> None:
    """Assert that all sites show the same."""
    digests = {name: site.digest() for name, site in sites.items()}
    assert len(set(digests.values())) == 1, f"unlike pages: {digests}"
