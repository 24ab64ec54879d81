"""Real Mako templates over the store, chosen by its URL."""

from __future__ import annotations

import pytest
from mako.lookup import TemplateLookup
from markupsafe import Markup

from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.program import Counter
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import within

__all__ = ["MakoSuite"]


class Site:
    """Templates by uri in one lookup, and how often they were created."""

    def __init__(
        self, harness: StoreHarness, templates: dict[str, str], **options: str
    ) -> None:
        self.count = Counter()
        self.lookup = TemplateLookup(
            cache_impl="cacheplug",
            cache_args={
                "url": harness.url(),
                "namespace": harness.mark,
                # A machine may be slow, and a store as well.
                "budget": "none",
                **options,
            },
        )
        for uri, text in templates.items():
            self.lookup.put_string(uri, text)

    def show(self, uri: str = "/page.html", **names: object) -> str:
        """Return what the page shows, without white space at its ends."""
        template = self.lookup.get_template(uri)
        shown: str = template.render(count=self.count, **names)
        return shown.strip()


def _page(harness: StoreHarness, text: str, **options: str) -> Site:
    return Site(harness, {"/page.html": text}, **options)


class MakoSuite(Suite):
    """The right fragment or none."""

    def test_def_is_created_once(self, harness: StoreHarness) -> None:
        site = _page(
            harness,
            '<%def name="box()" cached="True">${count()}box</%def>${box()}',
        )
        assert [site.show() for _ in range(3)] == ["box"] * 3
        assert site.count.calls == 1

    def test_page_and_block_are_created_once(
        self, harness: StoreHarness
    ) -> None:
        site = Site(
            harness,
            {
                "/page.html": '<%page cached="True"/>${count()}page',
                "/block.html": '<%block cached="True">${count()}b</%block>',
            },
        )
        assert [site.show() for _ in range(2)] == ["page"] * 2
        assert [site.show("/block.html") for _ in range(2)] == ["b"] * 2
        assert site.count.calls == 2

    def test_arguments_are_told_apart(self, harness: StoreHarness) -> None:
        """By type too: 1, "1", True, and text that looks like a list."""
        site = _page(
            harness,
            '<%def name="show(x, y=0)" cached="True">${repr(x)} ${y}</%def>'
            "${show(x, y)}",
        )
        arguments = [
            "alice",
            "bob",
            1,
            "1",
            True,
            1.0,
            None,
            "",
            ["a"],
            "['a']",
        ]
        for _ in range(2):
            for x in arguments:
                for y in (0, "0 "):
                    shown = site.show(x=x, y=y)
                    assert shown == f"{x!r} {y}".strip()

    def test_values_come_back_as_themselves(
        self, harness: StoreHarness
    ) -> None:
        cache = _page(harness, "x").lookup.get_template("/page.html").cache
        values = [
            *("text", "", "\r\n ü \U0001f375 \0", Markup("<b>ü</b>")),
            *(b"", b"\0\xff bytes", Markup("")),
            *([1, "two", None, {"three": 3.5}], {}, True, 7),
        ]
        for number, value in enumerate(values):
            cache.set(f"key {number}", value)
        for number, value in enumerate(values):
            found = cache.get(f"key {number}")
            assert (type(found), found) == (type(value), value)
        with pytest.raises(CodecError):
            cache.set("object", object())

    def test_markup_is_not_escaped_again(self, harness: StoreHarness) -> None:
        """A def's filter made Markup of it; from the cache it still is."""
        site = _page(
            harness,
            '<%page expression_filter="h"/>'
            '<%def name="b(x)" cached="True" filter="h">${count()}a&b</%def>'
            "${b(1)} ${capture(b, 1)}",
        )
        cold = site.show()
        assert site.show() == cold
        assert cold.startswith("a&amp;b")
        assert site.count.calls == 1

    def test_templates_are_told_apart(self, harness: StoreHarness) -> None:
        """Two that have a def of one name, or ids that Mako mixes up."""
        text = '<%def name="box()" cached="True">{}</%def>${{box()}}'
        uris = ["/a/b.html", "/a_b.html", "/a/b_html", "/b.html", "/a/B.html"]
        site = Site(harness, {uri: text.format(uri) for uri in uris})
        for _ in range(2):
            assert [site.show(uri) for uri in uris] == uris

    def test_lookups_are_told_apart(self, harness: StoreHarness) -> None:
        """Two themes: the same uri, another source."""
        text = '<%def name="box()" cached="True">{}</%def>${{box()}}'
        sites = [_page(harness, text.format(name)) for name in "ab"]
        assert [site.show() for site in sites * 2] == ["a", "b", "a", "b"]

    def test_applications_are_told_apart(self, harness: StoreHarness) -> None:
        text = '<%def name="box()" cached="True">${who}</%def>${box()}'
        sites = {
            name: _page(harness, text, namespace=harness.mark + name)
            for name in ("shop", "blog")
        }
        for _ in range(2):
            for name, site in sites.items():
                assert site.show(who=name) == name

    def test_nested_defs_are_told_apart(self, harness: StoreHarness) -> None:
        inner = '<%def name="item()" cached="True">{}</%def>${{item()}}'
        site = _page(
            harness,
            f'<%def name="one()">{inner.format("in one")}</%def>'
            f'<%def name="two()">{inner.format("in two")}</%def>'
            '<%def name="item()" cached="True">outside</%def>'
            "${one()}, ${two()}, ${item()}",
        )
        for _ in range(2):
            assert site.show() == "in one, in two, outside"

    def test_def_that_calls_itself(self, harness: StoreHarness) -> None:
        """Under one key: it must not wait for itself."""
        site = _page(
            harness,
            '<%def name="tree(n)" cached="True" cache_key="tree">${n}'
            "${tree(n - 1) if n else ''}</%def>${tree(3)}",
        )
        assert within(10.0, site.show) == "3210"
        assert "3" in within(10.0, site.show)

    def test_cached_page_in_a_cached_page(self, harness: StoreHarness) -> None:
        """Inherited and included, each under its default key."""
        site = Site(
            harness,
            {
                "/base.html": '<%page cached="True"/>[${self.body()}]',
                "/page.html": '<%page cached="True"/>'
                '<%inherit file="/base.html"/>page'
                '<%include file="/part.html"/>',
                "/other.html": '<%inherit file="/base.html"/>other',
                "/part.html": '<%page cached="True"/>, part',
            },
        )
        for _ in range(2):
            assert within(10.0, site.show) == "[page, part]"
            assert site.show("/other.html") == "[other]"
            assert site.show("/part.html") == ", part"

    def test_cache_set_get_invalidate(self, harness: StoreHarness) -> None:
        cache = _page(harness, "x").lookup.get_template("/page.html").cache
        assert cache.get("k") is None
        cache.set("k", "set")
        assert cache.get("k") == "set"
        cache.put("k", "put")
        assert cache.get("k") == "put"
        assert cache.get_or_create("k", lambda: "made") == "put"
        cache.invalidate("k")
        assert cache.get("k") is None
        assert cache.get_or_create("k", lambda: "made") == "made"

    def test_invalidate_def_body_and_closure(
        self, harness: StoreHarness
    ) -> None:
        """Each renews its own, all variants of it, and nothing else."""
        site = _page(
            harness,
            '<%page cached="True"/>'
            '<%def name="box(n)" cached="True">${count()}box</%def>'
            '<%def name="outer()">'
            '<%def name="inner()" cached="True">${count()}inner</%def>'
            "${inner()}</%def>"
            "${count()}${box(1)}${box(2)}${outer()}",
        )
        template = site.lookup.get_template("/page.html")
        cache = template.cache
        expected = "boxboxinner"

        def created() -> int:
            site.count.calls = 0
            assert site.show() == expected
            return site.count.calls

        assert created() == 4
        assert created() == 0
        cache.invalidate_body()
        assert created() == 1
        cache.invalidate_def("box")
        cache.invalidate_body()
        assert created() == 3
        cache.invalidate_closure("inner")
        cache.invalidate_body()
        assert created() == 2
        assert created() == 0

    def test_own_key_and_vary(self, harness: StoreHarness) -> None:
        site = _page(
            harness,
            '<%def name="box()" cached="True" cache_key="box-${lang}"'
            ' cache_vary="${user}">${lang} ${user}</%def>${box()}',
        )
        for _ in range(2):
            for lang in ("de", "en"):
                for user in ("ann", "bob", 1):
                    shown = site.show(lang=lang, user=user)
                    assert shown == f"{lang} {user}"
        cache = site.lookup.get_template("/page.html").cache
        cache.invalidate("box-de")

    def test_tags_invalidate_across_templates(
        self, harness: StoreHarness
    ) -> None:
        text = (
            '<%def name="box()" cached="True" cache_tags="{}">'
            "${{count()}}box</%def>${{box()}}"
        )
        site = Site(
            harness,
            {
                "/a.html": text.format("news sport"),
                "/b.html": text.format("news"),
                "/c.html": text.format("sport"),
            },
        )

        def created() -> list[int]:
            figures = []
            for uri in ("/a.html", "/b.html", "/c.html"):
                site.count.calls = 0
                assert site.show(uri) == "box"
                figures.append(site.count.calls)
            return figures

        impl = site.lookup.get_template("/a.html").cache.impl
        assert created() == [1, 1, 1]
        assert created() == [0, 0, 0]
        impl.invalidate_tags("news")
        assert created() == [1, 1, 0]
        impl.invalidate_tags("sport")
        assert created() == [1, 0, 1]

    def test_creator_that_raises_stores_nothing(
        self, harness: StoreHarness
    ) -> None:
        site = _page(
            harness,
            '<%def name="box()" cached="True">${10 // n}</%def>${box()}',
        )
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                site.show(n=0)
        assert site.show(n=5) == "2"
        assert site.show(n=0) == "2"

    def test_store_per_def(self, harness: StoreHarness) -> None:
        """``cache_impl`` on a tag beside the lookup's own store."""
        site = _page(
            harness,
            '<%def name="kept()" cached="True">${count()}kept</%def>'
            '<%def name="never()" cached="True" cache_impl="null">'
            "${count()}never</%def>${kept()} ${never()}",
        )
        for calls in (2, 3, 4):
            assert site.show() == "kept never"
            assert site.count.calls == calls

    def test_disabled_at_a_call(self, harness: StoreHarness) -> None:
        site = _page(
            harness,
            '<%def name="box()" cached="True" cache_enabled="${on}">'
            "${count()}${text}</%def>${box()}",
        )
        assert site.show(on=True, text="old") == "old"
        assert site.show(on=False, text="new") == "new"
        assert site.show(on=True, text="new") == "old"
        assert site.count.calls == 2

    def test_threads_render_one_page(self, harness: StoreHarness) -> None:
        """Each is shown the whole page; each fragment is created once."""
        site = _page(
            harness,
            '<%def name="box(n)" cached="True">${count()}<b>${n}</b></%def>\n'
            "% for n in range(12):\n${box(n)}\n% endfor\n",
        )
        expected = "\n".join(f"<b>{n}</b>" for n in range(12))
        assert in_threads([site.show] * 8) == [expected] * 8
        assert site.count.calls == 12

    def test_stats_count_hits(self, harness: StoreHarness) -> None:
        site = _page(
            harness,
            '<%def name="box()" cached="True">box</%def>${box()}',
        )
        for _ in range(4):
            site.show()
        impl = site.lookup.get_template("/page.html").cache.impl
        (stats,) = impl.stats().values()
        assert (stats.hits, stats.misses, stats.creations) == (3, 1, 1)
        assert stats.errors == 0
