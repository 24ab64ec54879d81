"""The Saltmere Courier: the sample site that tests, demo and benchmarks use.

Its pages are the same for everybody but for the reader's box and the units
of the weather, so a cached page must equal the uncached one, byte for byte,
for every reader.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any
from typing import Final

from mako.lookup import TemplateLookup

from templates_test.work import Newsroom
from templates_test.work import SECTIONS

__all__ = [
    "GUEST",
    "NEWS",
    "STATIC",
    "USERS",
    "Page",
    "User",
    "fragment_counts",
    "make_lookup",
    "pages",
    "render",
]

HERE: Final = pathlib.Path(__file__).parent
STATIC: Final = HERE / "static"
NEWS: Final = Newsroom()

REGIONS: Final = {
    "short": {"timeout": "60s"},
    "long": {"timeout": "1h", "grace": "10m"},
}


@dataclasses.dataclass(frozen=True)
class User:
    """A reader; *read* are the ids of the articles already read."""

    id: str
    name: str
    interests: tuple[str, ...] = ()
    read: tuple[int, ...] = ()
    units: str = "C"


GUEST: Final = User("guest", "")

USERS: Final = {
    user.id: user
    for user in (
        GUEST,
        User("wren", "Wren", ("science", "living"), (21, 26, 59)),
        User("moss", "Moss & Co", ("business",), (11, 17), units="F"),
        User("heron", "Heron", ("sport", "town"), (1, 8, 43, 47)),
    )
}
"""The readers by id.  Names are text, not HTML: one has an ampersand."""


@dataclasses.dataclass(frozen=True)
class Page:
    """One page of the site."""

    name: str
    """For tables and test ids."""

    path: str
    """What a browser asks for."""

    uri: str
    """Its template."""

    own: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """What only this page puts into the context."""

    def context(self, user: User, *, preview: bool = False) -> dict[str, Any]:
        """Return what a render of this page for *user* needs.

        :param preview: whether an editor looks at it before it is printed.
        """
        shared = {
            "news": NEWS,
            "sections": SECTIONS,
            "section": None,
            "user": user,
            "preview": preview,
        }
        return {**shared, **self.own}


def make_lookup(
    cache_args: Mapping[str, object] | None = None,
    cache_impl: str = "cacheplug",
    *,
    cache_enabled: bool = True,
    **more: Any,
) -> TemplateLookup:
    """Return a lookup for the site's templates.

    :param cache_args: the plugin's options; the regions ``short`` and
        ``long`` are added unless they are given.
    :param cache_enabled: whether anything is cached.
    :param more: any other argument of Mako's ``TemplateLookup``.
    """
    args = dict(cache_args or {})
    if cache_impl.startswith("cacheplug"):
        args.setdefault("regions", REGIONS)
    return TemplateLookup(
        directories=[str(HERE / "templates")],
        cache_impl=cache_impl,
        cache_args=args,
        cache_enabled=cache_enabled,
        default_filters=["h"],
        imports=["from markupsafe import Markup"],
        strict_undefined=True,
        **more,
    )


@functools.cache
def pages() -> tuple[Page, ...]:
    """Return every page of the site, the front page first."""
    found = [Page("front", "/", "front.mako", {"section": ""})]
    found += [
        Page(slug, f"/section/{slug}", "section.mako", {"section": slug})
        for slug in SECTIONS
    ]
    found += [
        Page(
            f"article-{article.id}",
            article.path,
            "article.mako",
            {"article_id": article.id, "section": article.section},
        )
        for article in NEWS.articles.values()
    ]
    found += [
        Page(
            f"digest-{half}",
            f"/digest/{half}",
            "digest.mako",
            {"section": "digest", "half": half},
        )
        for half in ("morning", "evening")
    ]
    found += [
        Page("about", "/about", "about.mako"),
        missing("/article/the lost <ferry>"),
    ]
    return tuple(found)


def missing(path: str) -> Page:
    """Return the page that says that nothing is at *path*."""
    return Page("missing", path, "missing.mako", {"wanted": path})


def render(
    lookup: TemplateLookup,
    page: Page,
    user: User = GUEST,
    *,
    preview: bool = False,
) -> str:
    """Return the HTML of *page* as *user* sees it.  Safe in threads."""
    template = lookup.get_template(page.uri)
    html: str = template.render_unicode(**page.context(user, preview=preview))
    return html


def fragment_counts(lookup: TemplateLookup) -> dict[str, Any]:
    """Return the plugin's counters, by region, over all templates so far.

    Regions are shared between templates, so each is taken once.
    """
    found: dict[str, Any] = {}
    for path in sorted((HERE / "templates").glob("*.mako")):
        template = lookup.get_template(path.name)
        found.update(template.cache.impl.stats())
    return found
