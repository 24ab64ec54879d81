"""template.cache and template.cache.impl, called by an application."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mako.lookup import TemplateLookup
from mako.template import Template
from markupsafe import Markup

from mako_cacheplug import BackendError
from mako_cacheplug import CacheRegion
from mako_cacheplug import CodecError
from mako_cacheplug import configure_regions
from mako_cacheplug import KeyTypeError
from mako_cacheplug import OptionError
from mako_cacheplug.template import places
from mako_cacheplug.testing import ManualClock

SOURCE = """\
<%def name="plain()" cached="True">p${tick()}</%def>
<%def name="card(x)" cached="True">c${tick()}</%def>
<%def name="keyed()" cached="True" cache_key="news-${lang}">k${tick()}</%def>
<%def name="const(x)" cached="True" cache_key="const" cache_vary="${x}">
x${tick()}</%def>
<%def name="far()" cached="True" cache_region="far">f${tick()}</%def>
<%def name="chosen()" cached="True" cache_region="${r}">r${tick()}</%def>
<%def name="outer()">
<%def name="inner()" cached="True">i${tick()}</%def>${inner()}
</%def>
<%block name="box" cached="True">b${tick()}</%block>
${plain()} ${card(1)} ${card(2)} ${keyed()} ${const(1)} ${const(2)}
${far()} ${chosen()} ${outer()}
"""
EVERYTHING = "b1 p2 c3 c4 k5 x6 x7 f8 r9 i10"


class Ticks:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        return self.count


def args(folder: Path | None) -> dict[str, object]:
    if folder is None:
        one, other, near = (f"memory://?max_entries={n}" for n in (91, 92, 93))
    else:
        one, other, near = (f"file://{folder}/{n}" for n in "abc")
    regions = {"far": {"url": one}, "odd": {"url": other}}
    return {"url": near, "timeout": "1h", "regions": regions}


def make(folder: Path | None, source: str = "") -> Template:
    if folder is not None and (folder / "page.html").exists():
        source = (folder / "page.html").read_text()
    return Template(
        source or SOURCE,
        uri="/page.html",
        cache_impl="cacheplug",
        cache_args=args(folder),
    )


class Shown:
    """Renders the page with one counter."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.tick = Ticks()

    def __call__(self, **given: object) -> str:
        data = {"lang": "de", "r": "odd", **given}
        text = self.template.render(tick=self.tick, **data)
        return " ".join(text.split())


def here(action: str, folder: Path | None, template: Template) -> None:
    exec(action, {"cache": template.cache})


_there: list[subprocess.Popen[str]] = []


def elsewhere(action: str, folder: Path | None, _: Template) -> None:
    """Do *action* in a process that has never rendered the template."""
    (process,) = _there
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps([str(folder), action]), file=process.stdin, flush=True)
    assert process.stdout.readline() == "done\n"


@pytest.fixture(scope="module", autouse=True)
def _another_process() -> Iterator[None]:
    program = f"""
import importlib.util, json, pathlib, sys
spec = importlib.util.spec_from_file_location("there", {__file__!r})
there = importlib.util.module_from_spec(spec)
spec.loader.exec_module(there)
for line in sys.stdin:
    folder, action = json.loads(line)
    cache = there.make(pathlib.Path(folder)).cache
    exec(action)
    print("done", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        _there[:] = [process]
        yield


@pytest.fixture(params=["memory", "file", "another process"])
def doing(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return the shown page, and a function that does something to it."""
    folder = None if request.param == "memory" else tmp_path
    shown = Shown(make(folder))
    way = elsewhere if request.param == "another process" else here
    return shown, lambda action: way(action, folder, shown.template)


@pytest.mark.parametrize(
    ("action", "again"),
    [
        ("cache.invalidate_def('plain')", {"p"}),
        ("cache.invalidate('render_plain')", {"p"}),
        ("cache.invalidate_def('card')", {"c"}),
        ("cache.invalidate_def('keyed')", {"k"}),
        ("cache.invalidate('news-de')", {"k"}),
        ("cache.invalidate('news-en')", set()),
        ("cache.invalidate_def('const')", {"x"}),
        ("cache.invalidate('const')", {"x"}),
        ("cache.invalidate_def('far')", {"f"}),
        ("cache.invalidate_def('chosen')", {"r"}),
        ("cache.invalidate_closure('inner')", {"i"}),
        ("cache.invalidate_def('box')", {"b"}),
        ("cache.invalidate_body()", set()),
        ("cache.invalidate_def('outer')", set()),
        ("cache.impl.invalidate_template()", set("bpckxfri")),
    ],
)
def test_invalidates_that_and_nothing_else(
    doing: Any, action: str, again: set[str]
) -> None:
    shown, do = doing
    assert shown() == shown() == EVERYTHING
    do(action)
    before = dict.fromkeys(EVERYTHING.split())
    made = {word[0] for word in shown().split() if word not in before}
    assert made == again


@pytest.mark.parametrize("do", [here, elsewhere])
def test_invalidates_a_whole_page(do: Any, tmp_path: Path) -> None:
    whole = SOURCE.replace("<%def", '<%page cached="True"/><%def', 1)
    (tmp_path / "page.html").write_text(whole)
    shown = Shown(make(tmp_path, whole))
    assert shown() == shown() == EVERYTHING
    do("cache.invalidate_body()", tmp_path, shown.template)
    again = shown().split()
    assert again == EVERYTHING.split()
    do("cache.invalidate_def('plain')", tmp_path, shown.template)
    assert shown() == EVERYTHING.replace("p2", "p11")


def test_an_invalidation_elsewhere_damages_no_later_render(
    tmp_path: Path,
) -> None:
    template = make(tmp_path)
    template.cache.invalidate_def("far")
    template.cache.invalidate_def("keyed")
    shown = Shown(template)
    assert shown() == shown() == EVERYTHING
    assert Shown(make(tmp_path))() == EVERYTHING


def test_values_of_ones_own_live_beside_the_fragments(doing: Any) -> None:
    shown, do = doing
    do("cache.set('news-de', 'mine'); cache.put('render_plain', 'other')")
    cache = shown.template.cache
    assert cache.get("news-de") == "mine"
    assert cache.get("render_plain") == "other"
    assert shown() == EVERYTHING
    assert cache.get("news-de") == "mine"
    do("cache.invalidate('news-de')")
    assert cache.get("news-de") is None
    do("cache.impl.invalidate_template()")
    assert cache.get("render_plain") is None


@pytest.mark.parametrize(
    "value",
    ["", "text", Markup("<b>"), b"\x00", None, 0, [1, {"a": None}], 1.5],
)
@pytest.mark.parametrize("store", ["memory", "file"])
def test_set_and_get(store: str, value: object, tmp_path: Path) -> None:
    cache = make(None if store == "memory" else tmp_path).cache
    cache.set("k", value)
    cache.put(("k", 1), value)
    for key in ("k", ("k", 1)):
        assert cache.get(key) == value
        assert type(cache.get(key)) is type(value)


def test_a_miss_is_none() -> None:
    cache = make(None).cache
    assert cache.get("nothing") is None
    assert cache.get("render_plain") is None


def test_get_finds_a_fragment_by_its_key_or_name() -> None:
    shown = Shown(make(None))
    shown()
    cache = shown.template.cache
    assert cache.get("news-de") == "k5"
    assert cache.get("render_plain") == "p2"


def test_what_was_set_expires(clock: ManualClock) -> None:
    region = CacheRegion(clock=clock, grace=0)
    cache = Template(
        "", cache_impl="cacheplug", cache_args={"regions": {"r": region}}
    ).cache
    cache.set("k", "v", region="r", timeout="5s")
    assert cache.get("k", region="r") == "v"
    assert cache.get("k") is None
    clock.advance(6)
    assert cache.get("k", region="r") is None


def test_get_or_create_with_a_function_of_ones_own() -> None:
    cache = make(None).cache
    made: list[int] = []

    def create() -> list[int]:
        made.append(1)
        return [len(made)]

    assert cache.get_or_create("k", create, timeout=5) == [1]
    assert cache.get_or_create("k", create, timeout=5) == [1]
    cache.invalidate("k")
    assert cache.get_or_create("k", create) == [2]


def test_what_cannot_be_stored_or_named_is_refused() -> None:
    cache = make(None).cache
    with pytest.raises(CodecError, match="object"):
        cache.set("k", object())
    for use in (cache.get, cache.invalidate, lambda k: cache.set(k, "")):
        with pytest.raises(KeyTypeError, match="object"):
            use(object())
    with pytest.raises(OptionError, match="did you mean 'timeout'"):
        cache.set("k", "v", timout=5)


def test_an_unknown_def_is_an_error_with_the_nearest_name() -> None:
    cache = make(None).cache
    with pytest.raises(OptionError, match=r"no def 'crad'.*'card'"):
        cache.invalidate_def("crad")
    with pytest.raises(OptionError, match=r"no def 'iner'.*'inner'"):
        cache.invalidate_closure("iner")


def test_tags_across_templates_and_processes(tmp_path: Path) -> None:
    tagged = '<%page cached="True" cache_tags="news user:1"/>${tick()}'
    one, two = (
        Shown(make(tmp_path, tagged)),
        Shown(
            Template(
                tagged.replace(" user:1", ""),
                uri="/other",
                cache_impl="cacheplug",
                cache_args=args(tmp_path),
            )
        ),
    )
    assert (one(), two()) == ("1", "1")
    elsewhere("cache.impl.invalidate_tags('user:1')", tmp_path, one.template)
    assert (one(), two()) == ("2", "1")
    elsewhere(
        "cache.impl.invalidate_tags('x', 'news')", tmp_path, one.template
    )
    assert (one(), two()) == ("3", "2")


@pytest.mark.parametrize(
    "option", ["region", "namespace", "url"], ids=lambda name: f"by-{name}"
)
def test_invalidates_wherever_an_expression_has_put_it(option: str) -> None:
    configure_regions({"r1": {}, "r2": {"url": "memory://?max_entries=71"}})
    values = {
        "region": ("r1", "r2"),
        "namespace": ("n1", "n2"),
        "url": ("memory://?max_entries=72", "memory://?max_entries=73"),
    }[option]
    template = Template(
        f'<%def name="f()" cached="True" cache_{option}="${{v}}">'
        "${tick()}</%def>${f()}",
        cache_impl="cacheplug",
    )
    tick = Ticks()
    before = [template.render(tick=tick, v=v) for v in values]
    template.cache.invalidate_def("f")
    assert [template.render(tick=tick, v=v) for v in values] == ["3", "4"]
    assert before == ["1", "2"]


def test_every_child_of_a_base_is_invalidated_with_it() -> None:
    lookup = TemplateLookup(cache_impl="cacheplug")
    lookup.put_string("/base", '<%page cached="True"/>${next.body()}${tick()}')
    for name in "ab":
        lookup.put_string(f"/{name}", '<%inherit file="/base"/>' + name)
    tick = Ticks()

    def shown() -> list[str]:
        return [lookup.get_template(f"/{n}").render(tick=tick) for n in "ab"]

    assert shown() == shown() == ["a1", "b2"]
    lookup.get_template("/base").cache.invalidate_body()
    assert shown() == ["a3", "b4"]


def test_an_invalidation_that_did_not_happen_is_an_error() -> None:
    cache = Template(
        '<%def name="f()" cached="True"></%def>',
        cache_impl="cacheplug",
        cache_args={"url": "memcached://127.0.0.1:1/?connect_timeout=0.1"},
    ).cache
    uses: list[Callable[[], object]] = [
        lambda: cache.invalidate("k"),
        lambda: cache.invalidate_def("f"),
        lambda: cache.impl.invalidate_tags("t"),
        lambda: cache.impl.invalidate_template(),
    ]
    for use in uses:
        with pytest.raises(BackendError):
            use()
    assert cache.get("k") is None
    cache.set("k", "v")


def test_stats_count_what_happened() -> None:
    shown = Shown(make(None))
    shown()
    shown()
    stats = shown.template.cache.impl.stats()
    assert set(stats) == {"memory", "far", "odd"}
    assert (stats["far"].misses, stats["far"].hits) == (1, 1)
    assert stats["memory"].creations == 8
    assert stats["memory"].hits == 8


INVALIDATE: dict[str, Callable[[Any], None]] = {
    "def": lambda cache: cache.invalidate_def("f"),
    "key": lambda cache: cache.invalidate("k"),
    "template": lambda cache: cache.impl.invalidate_template(),
    "tags": lambda cache: cache.impl.invalidate_tags("t"),
}


def dynamic(option: str, folder: Path) -> Template:
    return Template(
        f'<%def name="f()" cached="True" cache_{option}="${{v}}"'
        ' cache_key="k" cache_tags="t">${tick()}</%def>${f()}',
        uri="/dynamic",
        cache_impl="cacheplug",
        cache_args={"dir": str(folder)},
    )


@pytest.mark.parametrize("do", INVALIDATE)
@pytest.mark.parametrize("option", ["region", "impl", "type"])
def test_what_an_expression_chose_elsewhere_is_tried(
    do: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        places, "backend_names", lambda: {"file", "null", "redis"}
    )
    configure_regions({"code": {"url": f"file://{tmp_path}"}})
    value = "code" if option == "region" else "file"
    template, tick = dynamic(option, tmp_path), Ticks()
    assert template.render(tick=tick, v=value) == "1"
    INVALIDATE[do](dynamic(option, tmp_path).cache)
    assert template.render(tick=tick, v=value) == "2"


@pytest.mark.parametrize("do", ["def", "key", "template"])
@pytest.mark.parametrize("option", ["namespace", "url", "dir"])
def test_where_nobody_knows_the_place_it_is_an_error(
    do: str, option: str, tmp_path: Path
) -> None:
    elsewhere = dynamic(option, tmp_path).cache
    elsewhere.set("k", 1)
    told = f"def 'f' of '/dynamic': option '{option}' is an expression"
    with pytest.raises(OptionError, match=told):
        INVALIDATE[do](elsewhere)
    # All else is done: no def has that value.
    assert elsewhere.get("k") == (1 if do == "def" else None)


def test_a_def_that_nobody_can_find_does_not_save_the_others() -> None:
    template = Template(
        '<%def name="f()" cached="True" cache_key="k"'
        ' cache_namespace="${v}"></%def>'
        '<%def name="g()" cached="True" cache_key="k">${tick()}</%def>${g()}',
        cache_impl="cacheplug",
    )
    tick = Ticks()
    assert [template.render(tick=tick) for _ in range(2)] == ["1", "1"]
    with pytest.raises(OptionError, match="def 'f'"):
        template.cache.invalidate("k")
    assert template.render(tick=tick) == "2"
