"""Comments that suppress findings, and those that suppress nothing."""

from __future__ import annotations

import pytest

from mako_cacheplug.check import check_text

BAD = '<%def name="f()" cached="True" cache_tll="5m">x</%def>\n'


def codes(text: str) -> list[str]:
    return [one.code for one in check_text(text)]


@pytest.mark.parametrize(
    "comment",
    [
        "## cacheplug: ignore[MC101]",
        "##cacheplug:ignore[mc101]",
        "  ## cacheplug: ignore[unknown-option]",
        "## cacheplug: ignore[MC101] since it is for another plugin",
        "## cacheplug: ignore[MC101]\n## and a comment between",
        "## cacheplug: ignore-file[MC101]\n\n",
        "## cacheplug: ignore-file[unknown-option]\ntext",
    ],
)
def test_suppressed(comment: str) -> None:
    assert codes(BAD) == ["MC101"]
    assert codes(f"{comment}\n{BAD}") == []


@pytest.mark.parametrize(
    "comment",
    [
        "## cacheplug: ignore[MC102]",
        "## cacheplug: ignore[MC101]\n",
        "## cacheplug: ignore[MC999]",
        "## cacheplug: ignore[MC1]",
        "## cacheplug: ignore",
        "## cacheplug: ignore[]",
        "## cacheplug: ignore-file[MC102]",
    ],
)
def test_suppressing_something_else(comment: str) -> None:
    assert codes(f"{comment}\n{BAD}") == ["MC003", "MC101"]


@pytest.mark.parametrize(
    "comment",
    ["# cacheplug: ignore[MC101]", "## ignore[MC101]", "## cacheplug: MC101"],
)
def test_other_comments(comment: str) -> None:
    assert codes(f"{comment}\n{BAD}") == ["MC101"]


def test_several_rules() -> None:
    both = BAD.replace("tll", "ttl").replace("5m", "soon")
    both = both.replace('cached="True"', 'cached="true"')
    assert codes(both) == ["MC104", "MC102"]
    assert codes(f"## cacheplug: ignore[MC104, MC102]\n{both}") == []
    left = "## cacheplug: ignore[MC104, MC102, MC101]\n"
    assert codes(left + both) == ["MC003"]


def test_a_tag_of_many_lines_is_suppressed_before_it() -> None:
    tag = BAD.replace(" cache_tll", "\n\n  cache_tll")
    assert codes(tag) == ["MC101"]
    assert codes(f"## cacheplug: ignore[MC101]\n{tag}") == []
    # But not what stands in it.
    text = '<%def name="f()" cached="True">\n${user}</%def>'
    comment = "## cacheplug: ignore[MC207]\n"
    assert codes(comment + text) == ["MC003", "MC207"]
    assert codes(text.replace("\n", f"\n{comment}")) == []


def test_a_block_of_python_is_suppressed_before_it() -> None:
    code = "## cacheplug: ignore[MC402]\n<%\n\nseen.add(1)\n%>"
    assert codes(f'<%block cached="True">\n{code}\n</%block>') == []


def test_errors_of_reading() -> None:
    comment = "## cacheplug: ignore[MC001]\n"
    assert codes(f"{comment}${{a b}}") == []
    # Nobody knows whether these would be used.
    assert codes("## cacheplug: ignore[MC101]\n${a b}") == ["MC001"]


def test_the_suppression_of_unused_suppressions() -> None:
    unused = "## cacheplug: ignore[MC101]\n"
    assert codes(unused) == ["MC003"]
    assert codes(f"## cacheplug: ignore-file[MC003]\n{unused}") == []
    assert codes("## cacheplug: ignore-file[MC003]\n") == []


def test_many_comments_take_no_time() -> None:
    assert len(codes("## cacheplug: ignore[MC101]\n" * 20000)) == 20000
