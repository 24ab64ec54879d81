"""Files of any kind: never a crash, never without an end, nothing is run."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from mako.exceptions import MakoException
from mako.lexer import Lexer

from mako_cacheplug.check import check_file
from mako_cacheplug.check import check_text
from mako_cacheplug.check import Finding
from mako_cacheplug.check import RULES
from mako_cacheplug.check import Settings
from mako_cacheplug.check.checker import check_bytes
from mako_cacheplug.check.files import search
from mako_cacheplug.check.lexer import TemplateLexer
from mako_cacheplug.check.limits import time_limit
from mako_cacheplug.check.limits import TooLongError

ROOT = Path(__file__).resolve().parent.parent
SITE = sorted((ROOT / "templates_test" / "templates").glob("*.mako"))
TEXTS = [path.read_text(encoding="utf-8") for path in SITE] + [
    example for rule in RULES for example in (rule.bad, rule.good)
]
QUICK = Settings(seconds=0.5)


def codes(found: list[Finding]) -> list[str]:
    return [one.code for one in found]


# -- files -----------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "t.mako"
    path.write_bytes(b"\xef\xbb\xbf${a b}")
    (found,) = check_file(str(path))
    assert (found.code, found.path, found.text) == (
        "MC001",
        str(path),
        "${a b}",
    )
    path.write_bytes("ü ${a}".encode("latin-1"))
    (found,) = check_file(str(path))
    assert found.code == "MC002"
    assert "it is not utf-8" in found.message
    assert check_file(str(path), Settings(encoding="latin-1")) == []
    path.write_bytes("## coding: latin-1\nü".encode("latin-1"))
    assert check_file(str(path)) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"## coding: nonsense\n", "no such encoding: 'nonsense'"),
        (b"## coding: zlib\nx", "no such encoding: 'zlib'"),
        (b"a\nb\n\xff", "it is not utf-8"),
        (b"\xfe\xff\x00a", "it is not utf-8"),
        (b"x" * 1001, "it has more than 1000 bytes"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, message: str) -> None:
    (found,) = check_bytes(data, "t", Settings(max_bytes=1000))
    assert (found.code, found.message) == ("MC002", message)
    assert found.line == (3 if b"\n\xff" in data else 1)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mako")
    (tmp_path / "away.mako").symlink_to("nowhere")
    (tmp_path / "loop.mako").symlink_to("loop.mako")
    for path in search([str(tmp_path)]).templates:
        (found,) = check_file(path)
        assert found.code == "MC002"
    (found,) = check_file("no\0such")
    assert found.code == "MC002"


def test_search(tmp_path: Path) -> None:
    for name in (
        "a.mako",
        "B.MAK",
        "c.css",
        ".hidden.mako",
        "sub/d.mako",
        ".git/e.mako",
        "node_modules/f.mako",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    found = search([str(tmp_path), str(tmp_path / "a.mako")])
    names = [os.path.relpath(path, tmp_path) for path in found.templates]
    assert names == [".hidden.mako", "B.MAK", "a.mako", "sub/d.mako"]
    assert [os.path.basename(path) for path in found.others] == ["c.css"]
    html = search([str(tmp_path)], [".css"])
    assert [os.path.basename(path) for path in html.templates] == ["c.css"]
    # What is named is a template, whatever it is called.
    named = search([str(tmp_path / "c.css")])
    assert named.templates == [str(tmp_path / "c.css")]


# -- what is hostile -------------------------------------------------------

DEEP = {
    "brackets": "${" + "(" * 9999 + ")" * 9999 + "}",
    "signs": "${" + "-" * 9999 + "1}",
    "attributes": "${a" + ".a" * 99999 + "} cached",
    "sums": "${1" + "+1" * 99999 + "} cached",
    "tags": "<%block>" * 2000 + "</%block>" * 2000,
    "cached tags": '<%block cached="True">' * 400 + "</%block>" * 400,
    "loops": "% for x in cached:\n" * 2000 + "% endfor\n" * 2000,
    "lists": f'<%block cached="{"[" * 5000}" cache_tags="{"[" * 5000}"/>',
    "numbers": f'<%block cached="True" cache_timeout="{"9" * 9999}"/>',
    "powers": '<%block cached="True" cache_timeout="${9**9**9**9}"/>',
    "zeros": "\0${\0}\0<%def name='a(\0)' cached='\0'/>",
    "surrogates": "\ud800${'\ud800'}<%block cached='\ud800'/>",
    "lines": "\n" * 200_000,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_deep_and_large(text: str) -> None:
    found = codes(check_text(text))
    assert set(found) <= {"MC001", "MC002", "MC103", "MC104"}


SLOW = {
    "tag": "<%a" + " =" * 60,
    "control line": "% " + " " * 200_000 + "\r",
    "string": '${"' + '\\"' * 300_000,
    "closing tags": "</%" * 300_000,
}
"""What Mako's patterns take minutes for, or years."""


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_an_end_to_what_takes_too_long(text: str) -> None:
    (found,) = check_text(text, "t", QUICK)
    assert found.code == "MC002"
    assert found.message == "it took more than 0.5 seconds"


def test_the_timer_is_put_back() -> None:
    with pytest.raises(TooLongError), time_limit(0.01):
        while True:
            pass
    with time_limit(0.01):
        pass
    sum(range(1_000_000))


def test_another_thread_has_no_timer() -> None:
    found: list[list[Finding]] = []
    thread = threading.Thread(
        target=lambda: found.append(check_text("${a b}", "t", QUICK))
    )
    thread.start()
    thread.join()
    assert codes(found[0]) == ["MC001"]


def test_nothing_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    run = f"open('{mark}', 'w')"
    text = f"""\
<%! {run} %><% {run} %>${{{run}}}
<%page cached="{run}" enable_loop="{run}" cache_timeout="${{{run}}}"
  args="a={run}" expression_filter="{run}"/>
<%inherit file="${{{run}}}"/>
<%namespace name="n" file="${{{run}}}" inheritable="{run}"/>
<%namespace name="m" module="{tmp_path}/m" import="*"/>
<%def name="f(a={run})" cached="{run}" buffered="{run}" filter="{run}"
  decorator="{run}" cache_timeout="{run}" cache_ttl="${{{run}}}"
  cache_key="${{{run}}}" cache_impl="${{{run}}}" cache_tags="${{{run}}}">
</%def>
<%include file="${{{run}}}" args="a={run}"/>
<%call expr="f({run})"/><%n:x a="${{{run}}}"/>
% if {run}:
% endif
"""
    Lexer(text).parse()  # Mako takes it.
    found = codes(check_text(text))
    assert "MC104" in found
    assert not mark.exists()


# -- anything --------------------------------------------------------------


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check_bytes(data, "t", QUICK)


PIECES = st.sampled_from(
    [
        *("<%", "%>", "${", "}", "</%", ">", "/>", '"', "'", "\n", "\\", "#"),
        *("% ", "for x in y:", "endfor", "if x:", "endif", "else:", "##"),
        *("def", "block", "page", "include", "call", "text", "doc", " "),
        *(' name="f(a)"', ' cached="True"', ' cache_key="${a}"', "cache_"),
        *(' file="${x}"', "user", "caller", "a.b", "=", "(", ")", "|", ","),
        *("<%def name='g()' cached='True'>", "</%def>", "ü", "\0", "\r\n"),
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=300)
def test_any_pieces(text: str) -> None:
    check_text(text, "t", QUICK)


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_mutations(text: str, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        end = min(start + chance.randrange(12), len(text))
        other = chance.choice(TEXTS)
        at = chance.randrange(len(other) + 1)
        text = (
            text[:start] + other[at : at + chance.randrange(20)] + text[end:]
        )
    check_text(text, "t", QUICK)


def shape(text: str, lexer: type[Lexer]) -> object:
    """Return what a lexer makes of a template."""

    def nodes(parent: object) -> object:
        return [
            (
                node.lineno,
                node.pos,
                getattr(node, "text", None),
                getattr(node, "content", None),
                getattr(node, "attributes", None),
                nodes(node),
            )
            for node in getattr(parent, "nodes", ())
        ]

    try:
        return nodes(lexer(text).parse())
    except MakoException:
        return "an error"


@pytest.mark.parametrize("text", TEXTS)
def test_the_lexer_reads_as_makos(text: str) -> None:
    assert shape(text, TemplateLexer) == shape(text, Lexer)
    windows = text.replace("\n", "\r\n")
    assert shape(windows, TemplateLexer) == shape(windows, Lexer)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_the_lexer_refuses_what_makos_refuses(text: str) -> None:
    makos = shape(text, Lexer)
    if makos == "an error":
        assert shape(text, TemplateLexer) == makos
