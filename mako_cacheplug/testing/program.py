"""Another program that uses the store by its URL, for the kit's tests.

``python -m mako_cacheplug.testing.program URL NAMESPACE ACTION``
"""

from __future__ import annotations

import sys

from mako.template import Template

from mako_cacheplug.registry import close_backends

__all__ = ["EXPECTED", "Counter", "main", "page"]

_SOURCE = """\
<%def name="box(n)" cached="True" cache_tags="boxes">\
${count()}box ${n}</%def>\
<%block name="news" cached="True" cache_key="top">${count()}news</%block>\
, ${box(1)}, ${box(2)}"""

EXPECTED = "news, box 1, box 2"


class Counter:
    """Counts how often a template calls it; shows nothing."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return ""


def page(url: str, namespace: str) -> Template:
    """Return the template that all programs render."""
    return Template(  # noqa: S702  # nothing in it is a user's
        _SOURCE,
        uri="/kit/page.html",
        cache_impl="cacheplug",
        # A machine may be slow, and a store as well.
        cache_args={"url": url, "namespace": namespace, "budget": "none"},
    )


def main(url: str, namespace: str, action: str) -> None:
    """Render the page and print how much was created, or invalidate."""
    template = page(url, namespace)
    if action == "render":
        count = Counter()
        shown = template.render(count=count)
        if shown != EXPECTED:
            raise SystemExit(f"it shows {shown!r}")
        print(count.calls)
    elif action == "invalidate":
        template.cache.invalidate("top")
    elif action == "invalidate_def":
        template.cache.invalidate_def("box")
    elif action == "invalidate_tags":
        template.cache.impl.invalidate_tags("boxes")
    else:
        template.cache.impl.invalidate_template()
    close_backends()


if __name__ == "__main__":
    main(*sys.argv[1:])
