"""Stale for ever: what has been seen of Beaker and dogpile.cache.

One test for each thing, on every store.
"""

from __future__ import annotations

from cached_sites import CACHED
from cached_sites import site


def test_a_cached_page_in_a_base(url: str) -> None:
    lookup = site(
        {
            "/base": CACHED + "[${next.body()}]",
            "/a": '<%inherit file="/base"/>a',
            "/b": '<%inherit file="/base"/>b',
        },
        url,
    )
    for name in "abab":
        assert lookup.get_template(f"/{name}").render() == f"[{name}]"
