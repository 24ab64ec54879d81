"""The names in a piece of Python: read from outside, bound, and where."""

from __future__ import annotations

import pytest

from mako_cacheplug.check.python import Python
from mako_cacheplug.check.source import Source


def names(code: str) -> set[str]:
    return {name.id for name in Python(code, 1, 1, 1).names}


@pytest.mark.parametrize(
    ("code", "read", "bound"),
    [
        ("a.b(c, d=e)[f]", "a c e f", ""),
        ("x = y", "y", "x"),
        ("x += 1", "", "x"),
        ("(x := y)", "y", "x"),
        ("[a for a in b if a > c]", "b c", ""),
        ("{a: c for a, b in d for c in a}", "d", ""),
        ("[a for a in a]", "a", ""),
        ("(x for x in y if (lambda z: z + x + w)(1))", "y w", ""),
        ("lambda a, *b, c=d, **e: a + b + c + e + f", "d f", ""),
        ("def f(a, b=c):\n    d = a + g\n    return d", "c g", "f"),
        ("@d\ndef f(): return f", "d f", "f"),
        ("def f():\n    global g\n    g = 1\n    return g", "g", "f"),
        ("class A(B):\n    c = d\n    e = c", "B d", "A"),
        ("import a.b, c as d\nfrom e import f as g, h", "", "a d g h"),
        ("for a, (b, *c) in d: pass", "d", "a b c"),
        ("with a as b: pass", "a", "b"),
        ("try: pass\nexcept A as b: c", "A c", "b"),
        (
            "match a:\n case {'x': b, **c}: pass\n case [*d]: pass",
            "a",
            "b c d",
        ),
        ("match a:\n case B(c=d) as e: pass", "a B", "d e"),
        ("async def f(a): await b", "b", "f"),
        ("f'{a:{b}}'", "a b", ""),
        ("del a", "", "a"),
    ],
)
def test_names(code: str, read: str, bound: str) -> None:
    python = Python(code, 1, 1, 1)
    assert {name.id for name in python.names} == set(read.split())
    assert python.bound == set(bound.split())


def test_a_name_knows_what_it_stands_in() -> None:
    (name,) = Python("a.b()", 1, 1, 1).names
    assert name.attribute == "b"
    assert name.is_method_call
    (name,) = Python("a.b", 1, 1, 1).names
    assert not name.is_method_call
    _, name = Python("f(a.b)", 1, 1, 1).names
    assert (name.id, name.is_method_call) == ("a", False)
    (name,) = Python("a", 1, 1, 1).names
    assert (name.attribute, name.is_method_call) == ("", False)


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "place"),
    [
        ("a ${ user }", " user ", 1, 3, (1, 6, 4)),
        ("user ${user}", "user", 1, 6, (1, 8, 4)),
        ("ü ${ü + user}", "ü + user", 1, 3, (1, 9, 4)),
        ("x ${\n  user}", "\n  user", 1, 3, (2, 3, 4)),
        ("<%\n  if a:\n    user\n%>", "\nif a:\n  user\n", 1, 1, (3, 5, 4)),
        ("nothing of it", "user", 1, 3, (1, 3, 1)),
        ("nothing of it", "a\nuser", 1, 3, (2, 0, 1)),
    ],
)
def test_places(
    text: str, code: str, line: int, column: int, place: tuple[int, int, int]
) -> None:
    python = Python(code, line, column, line)
    name = python.names[-1]
    found = Source("t", text).python(python, name.node)
    assert (found.line, found.column, found.length) == place
    assert found.start == line


def test_what_python_cannot_parse_raises() -> None:
    with pytest.raises(SyntaxError):
        _ = Python("a b", 1, 1, 1).names
