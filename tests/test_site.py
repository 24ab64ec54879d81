"""The sample site: what goes through the cache is what would be rendered."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from mako.lookup import TemplateLookup

from templates_test import compose
from templates_test import demo
from templates_test import serve
from templates_test import site
from templates_test.site import GUEST
from templates_test.site import NEWS
from templates_test.site import Page
from templates_test.site import render
from templates_test.site import User
from templates_test.site import USERS

PAGES = {page.name: page for page in site.pages()}
FRONT = PAGES["front"]
WORDY = PAGES["article-5"]
"""An article with a long thread."""


@pytest.fixture(scope="module")
def uncached() -> TemplateLookup:
    """Return a lookup that caches nothing."""
    return site.make_lookup(cache_enabled=False)


@pytest.fixture
def cached() -> TemplateLookup:
    """Return a lookup with an empty memory store."""
    return site.make_lookup({"url": "memory://", "namespace": "test"})


def creations(lookup: TemplateLookup) -> int:
    """Return how many fragments have been created."""
    return sum(one.creations for one in site.fragment_counts(lookup).values())


def work_of(task: Callable[[], object]) -> dict[str, int]:
    """Return the work that the newsroom did in *task*, by kind."""
    before = NEWS.work()
    task()
    after = NEWS.work()
    done = {kind: n - before.get(kind, 0) for kind, n in after.items()}
    return {kind: n for kind, n in done.items() if n}


def test_cold_and_warm_pages_are_the_uncached_ones(
    cached: TemplateLookup, uncached: TemplateLookup
) -> None:
    everything = [(p, u) for u in USERS.values() for p in PAGES.values()]
    expected = [render(uncached, *one) for one in everything]
    cold = [render(cached, *one) for one in everything]
    made = creations(cached)
    warm = [render(cached, *one) for one in everything]
    for (page, user), *html in zip(
        everything, expected, cold, warm, strict=True
    ):
        assert html[1] == html[0], f"cold {page.name} for {user.id}"
        assert html[2] == html[0], f"warm {page.name} for {user.id}"
    assert creations(cached) == made > 1000


def test_threads_get_the_uncached_pages(
    cached: TemplateLookup, uncached: TemplateLookup
) -> None:
    jobs = [(FRONT, user) for user in USERS.values()] * 4
    expected = [render(uncached, *job) for job in jobs]
    assert list(demo.render_all(cached, jobs).html) == expected


def test_threads_create_each_fragment_once(cached: TemplateLookup) -> None:
    readers = [(FRONT, reader) for reader in USERS.values()]
    demo.render_all(cached, readers * demo.THREADS)
    alone = site.make_lookup({"url": "memory://", "namespace": "alone"})
    for page, reader in readers:
        render(alone, page, reader)
    assert creations(cached) == creations(alone)


@pytest.mark.parametrize("page", [FRONT, WORDY, PAGES["digest-morning"]])
def test_readers_see_different_pages(
    page: Page, uncached: TemplateLookup
) -> None:
    # Or the comparisons above would not notice a box of somebody else's.
    celsius, fahrenheit = USERS["wren"], USERS["moss"]
    assert render(uncached, page, celsius) != render(
        uncached, page, fahrenheit
    )


def test_front_page_has_fifty_teasers(cached: TemplateLookup) -> None:
    html = render(cached, FRONT)
    assert html.count('<article class="card ') == 50
    counts = site.fragment_counts(cached)["long"]
    assert counts.creations >= 50
    render(cached, FRONT)
    again = site.fragment_counts(cached)["long"]
    assert again.creations == counts.creations
    assert again.hits - counts.hits >= 50


def test_creation_is_real_work_and_a_hit_saves_it(
    cached: TemplateLookup, uncached: TemplateLookup
) -> None:
    for _ in range(2):
        plain = work_of(lambda: render(uncached, FRONT))
        assert plain["teaser"] == 50
        assert plain["engraving"] == 9
        assert plain["recommend"] == plain["talked_about"] == 1
    assert work_of(lambda: render(cached, FRONT)) == plain
    # What stands outside of any fragment: the order of the page.
    rest = {"front": 1, "latest": 1}
    assert work_of(lambda: render(cached, FRONT)) == rest


def test_preview_bypasses_the_story(
    cached: TemplateLookup, uncached: TemplateLookup
) -> None:
    printed = render(uncached, WORDY)
    draft = render(uncached, WORDY, preview=True)
    assert "not yet printed" in draft
    assert "not yet printed" not in printed
    for _ in range(2):
        assert render(cached, WORDY, preview=True) == draft
        assert render(cached, WORDY) == printed


def test_nothing_sleeps() -> None:
    files = [*site.HERE.glob("*.py"), *site.HERE.glob("templates/*.mako")]
    assert len(files) > 15
    for path in files:
        assert "sleep" not in path.read_text("utf-8"), path


def test_articles_are_what_the_generator_makes() -> None:
    path = compose.DATA / "articles.json"
    assert path.read_text("utf-8") == compose.compose()
    assert len(json.loads(path.read_text("utf-8"))["articles"]) == 60


def test_text_is_escaped_and_typeset() -> None:
    html = NEWS.html('## <b>\n\n"It\'s" *so* **too** - & on\n\n- a\n- b')
    assert html == (
        "<h2>&lt;b&gt;</h2>\n"
        "<p>\u201cIt\u2019s\u201d <em>so</em> <strong>too</strong> \u2013"
        " &amp; on</p>\n"
        "<ul><li>a</li><li>b</li></ul>"
    )


# -- for a browser ---------------------------------------------------------


class Browser:
    """Asks a WSGI application, which is checked while it answers."""

    def __init__(self, lookup: TemplateLookup) -> None:
        self._app: Any = validator(serve.make_app(lookup))
        self.status = ""
        self.headers: dict[str, str] = {}

    def ask(
        self,
        path: str,
        query: str = "",
        method: str = "GET",
        cookie: str = "",
    ) -> str:
        """Return the body; status and headers are in the attributes."""
        environ: dict[str, Any] = {
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": method,
            "HTTP_COOKIE": cookie,
        }
        setup_testing_defaults(environ)

        def start(
            status: str, headers: list[tuple[str, str]], *_: object
        ) -> None:
            self.status = status
            self.headers = dict(headers)

        answer = self._app(environ, start)
        try:
            return b"".join(answer).decode()
        finally:
            answer.close()


@pytest.fixture
def browser(cached: TemplateLookup) -> Browser:
    """Return a browser that is at the site."""
    return Browser(cached)


def test_every_page_is_served(browser: Browser) -> None:
    for page in PAGES.values():
        browser.ask(page.path)
        found = "404" if page.name == "missing" else "200"
        assert browser.status.startswith(found), page.path


@pytest.mark.parametrize(
    "path",
    [
        "/article/999",
        "/article/<script>",
        "/static/../site.py",
        "/static/",
        "//",
        "/\xff\xfe",
        "/" + "x" * 5000,
        "/a\r\nSet-Cookie: b",
    ],
)
def test_anything_else_is_a_page_that_says_so(
    browser: Browser, path: str
) -> None:
    for _ in range(2):
        html = browser.ask(path)
        assert browser.status == "404 Not Found"
        assert "Not in print" in html
        assert "<script>" not in html


def test_reader_is_kept_in_a_cookie(browser: Browser) -> None:
    assert "For you, Moss &amp; Co" in browser.ask("/", "user=moss")
    assert browser.headers["Set-Cookie"].startswith("reader=moss;")
    assert "For you, Heron" in browser.ask("/", cookie="a=b; reader=heron")
    assert "Set-Cookie" not in browser.headers
    for cookie in ("", "reader=nobody", "reader"):
        assert "Good morning" in browser.ask("/", "user=no", cookie=cookie)


def test_footnote_tells_how_the_page_was_made(
    browser: Browser, cached: TemplateLookup
) -> None:
    assert "rendered without the cache" in browser.ask("/", "nocache=1")
    assert creations(cached) == 0
    assert "rendered with the cache" in browser.ask("/")
    assert creations(cached) > 0


def test_only_reading_is_allowed(browser: Browser) -> None:
    assert browser.ask("/about", method="HEAD") == ""
    assert browser.status == "200 OK"
    assert int(browser.headers["Content-Length"]) > 1000
    browser.ask("/about", method="POST")
    assert browser.status == "405 Method Not Allowed"


def test_style_sheet_asks_nobody_else(browser: Browser) -> None:
    style = browser.ask("/static/style.css")
    assert browser.headers["Content-Type"] == "text/css"
    assert "url(" not in style
    assert "@import" not in style
    for page in (FRONT, WORDY, PAGES["about"]):
        html = browser.ask(page.path)
        assert "http://" not in html
        assert "https://" not in html


def test_users_are_told_apart_by_id() -> None:
    assert all(user.id == key for key, user in USERS.items())
    assert User("guest", "") == GUEST
