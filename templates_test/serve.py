"""Shows the sample site to a browser.

Run ``python -m templates_test.serve --port 8000 --url memory://``.  The
standard library's server, one thread for each request, is enough for a
sample that listens on this machine alone, and needs nothing installed.
:func:`make_app` returns the WSGI application for any other server.
"""

from __future__ import annotations

import argparse
import http
import mimetypes
import socketserver
import sys
import time
import urllib.parse
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import Final
from typing import NamedTuple
from wsgiref.simple_server import make_server
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer

from mako.lookup import TemplateLookup
from markupsafe import Markup

from mako_cacheplug.exceptions import OptionError
from templates_test.site import GUEST
from templates_test.site import make_lookup
from templates_test.site import missing
from templates_test.site import Page
from templates_test.site import pages
from templates_test.site import render
from templates_test.site import STATIC
from templates_test.site import User
from templates_test.site import USERS

__all__ = ["make_app"]

FOOTNOTE: Final = "<!--footnote-->"
"""Where base.mako leaves room for the one line that is never the same."""

_COOKIE: Final = "reader"
_HEADERS: Final = [
    ("Content-Security-Policy", "default-src 'self'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
]


class Answer(NamedTuple):
    """What is sent back."""

    status: http.HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def make_app(
    cached: TemplateLookup,
) -> Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]:
    """Return the WSGI application.  Safe in threads.

    ``?user=wren`` changes the reader, ``?nocache=1`` renders without the
    cache, ``?preview=1`` shows an article as its editor sees it.

    :param cached: from ``make_lookup``.
    """
    uncached = make_lookup(cache_enabled=False)
    known = {page.path: page for page in pages() if page.name != "missing"}
    files = {f"/static/{path.name}": path for path in STATIC.iterdir()}

    def show(path: str, query: dict[str, str], user: User) -> Answer:
        if path in files:
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            return Answer(http.HTTPStatus.OK, kind, files[path].read_bytes())
        page = known.get(path) or missing(path)
        status = http.HTTPStatus.OK
        if page.path not in known:
            status = http.HTTPStatus.NOT_FOUND
        through_cache = query.get("nocache") != "1"
        began = time.perf_counter()
        html = render(
            cached if through_cache else uncached,
            page,
            user,
            preview=query.get("preview") == "1",
        )
        spent = time.perf_counter() - began
        note = _footnote(page, user, spent, through_cache)
        body = html.replace(FOOTNOTE, note).encode()
        return Answer(status, "text/html; charset=utf-8", body)

    def app(
        environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method in ("GET", "HEAD"):
            # WSGI hands over the path's bytes as Latin-1.
            raw = environ.get("PATH_INFO", "").encode("latin-1")
            path = raw.decode("utf-8", "replace")
            query = dict(
                urllib.parse.parse_qsl(environ.get("QUERY_STRING", ""))
            )
            chosen = USERS.get(query.get("user", ""))
            answer = show(path, query, chosen or _reader(environ))
            if chosen:
                cookie = f"{_COOKIE}={chosen.id}; Path=/; SameSite=Lax"
                answer = answer._replace(headers=(("Set-Cookie", cookie),))
        else:
            answer = Answer(
                http.HTTPStatus.METHOD_NOT_ALLOWED,
                "text/plain; charset=utf-8",
                b"This site can only be read.\n",
                (("Allow", "GET, HEAD"),),
            )
        start_response(
            f"{answer.status.value} {answer.status.phrase}",
            [
                ("Content-Type", answer.content_type),
                ("Content-Length", str(len(answer.body))),
                *_HEADERS,
                *answer.headers,
            ],
        )
        return [b"" if method == "HEAD" else answer.body]

    return app


def _reader(environ: dict[str, Any]) -> User:
    """Return the reader that the cookie names, or the guest."""
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == _COOKIE and value in USERS:
            return USERS[value]
    return GUEST


def _footnote(
    page: Page, user: User, spent: float, through_cache: bool
) -> str:
    """Return the line about this very render."""
    how = "with the cache" if through_cache else "without the cache"
    other = "?nocache=1" if through_cache else "?"
    offer = "render without it" if through_cache else "render with it"
    readers = Markup(" · ").join(
        Markup("<b>{}</b>").format(one.name or "guest")
        if one is user
        else Markup('<a href="?user={}">{}</a>').format(
            one.id, one.name or "guest"
        )
        for one in USERS.values()
    )
    return Markup(
        '<p class="footnote">{} rendered {} in {:.1f}\u00a0ms'
        ' (<a href="{}">{}</a>). Reader: {}</p>'
    ).format(page.uri, how, spent * 1e3, other, offer, readers)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    # A browser may open a connection and say nothing.
    timeout = 30


def main() -> int:
    """Serve until interrupted; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m templates_test.serve", description=__doc__
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--url", default="memory://", help="the cache's store")
    options = parser.parse_args()
    lookup = make_lookup({"url": options.url, "namespace": "courier"})
    try:
        # The first look into the store finds a mistyped URL now.
        lookup.get_template("front.mako").cache.get("probe")
    except OptionError as error:
        print(error, file=sys.stderr)
        return 2
    app = make_app(lookup)
    with make_server(
        options.host, options.port, app, _Server, _Handler
    ) as server:
        place = f"http://{options.host}:{server.server_port}/"
        print(f"The Saltmere Courier is at {place} (Ctrl+C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
