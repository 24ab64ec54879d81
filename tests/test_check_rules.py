"""The checker's rules: their examples, and what is near the edge."""

from __future__ import annotations

from pathlib import Path

import pytest

from mako_cacheplug.check import check_file
from mako_cacheplug.check import check_text
from mako_cacheplug.check import Rule
from mako_cacheplug.check import RULES
from mako_cacheplug.check import Settings
from mako_cacheplug.check.files import search
from mako_cacheplug.check.lookup import Directories
from mako_cacheplug.check.rules import find
from mako_cacheplug.check.texts import explanation
from mako_cacheplug.check.texts import rules_page

ROOT = Path(__file__).resolve().parent.parent

WITHOUT_EXAMPLES = {"MC002"}
"""A text cannot show a file that is not read."""


def codes(text: str, **settings: object) -> list[str]:
    """Return the codes of what is found in a template."""
    found = check_text(text, "t.mako", Settings(**settings))  # type: ignore[arg-type]  # as in the test
    return [one.code for one in found]


def cached(attributes: str, content: str = "x", name: str = "f()") -> str:
    return f'<%def name="{name}" cached="True" {attributes}>{content}</%def>'


# -- the texts -------------------------------------------------------------


@pytest.fixture
def others(tmp_path: Path) -> Settings:
    """Return settings for a folder with the templates of the examples."""
    for name in ("base.mako", "card.mako", "row.mako"):
        (tmp_path / name).touch()
    return Settings(lookup=Directories([str(tmp_path)]))


@pytest.mark.parametrize(
    "rule",
    [rule for rule in RULES if rule.code not in WITHOUT_EXAMPLES],
    ids=lambda rule: rule.code,
)
def test_examples(rule: Rule, others: Settings, tmp_path: Path) -> None:
    path = str(tmp_path / "example.mako")
    assert rule.bad
    assert rule.good
    found = check_text(rule.bad, path, others)
    assert {one.code for one in found} == {rule.code}
    assert check_text(rule.good, path, others) == []


def test_codes_and_names_are_used_once_and_in_order() -> None:
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.summary.endswith(".")
        assert find(rule.code.lower()) is rule
        assert find(rule.name) is rule
    assert find("MC9") is None


def test_the_rules_page_is_the_rules_texts() -> None:
    page = ROOT / "docs" / "check-rules.rst"
    assert page.read_text(encoding="utf-8") == rules_page()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_is_on_the_page_and_explained(rule: Rule) -> None:
    assert f"\n{rule.code} {rule.name}\n~~~" in rules_page()
    assert explanation(rule).startswith(f"{rule.code} {rule.name} (")
    assert rule.text in explanation(rule)


# -- templates without a fault ---------------------------------------------


def test_the_sites_templates_are_clean() -> None:
    folder = ROOT / "templates_test" / "templates"
    settings = Settings(lookup=Directories([str(folder)]))
    templates = search([str(folder)]).templates
    assert len(templates) > 10
    for path in templates:
        assert check_file(path, settings) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "text",
        "% if x:\n% elif y:\n% else:\n% endif\n",
        "% try:\n${x}\n% except (KeyError, OSError) as e:\n${e}\n% endtry\n",
        "% for x in y: # all of them\n% endfor\n",
        "% while x:\n% endwhile\n% with a as b:\n% endwith\n",
        "% if a and \\\n  b:\n% endif\n",
        "${x | h, trim} ${x | f(1), n} ${'}' + \"{\"} ${}",
        "<%\nimport os\ndef f(a, *b, c=1, **d): return a\n%>${f(1)}",
        "<%! from x import y %><%doc>${(</%doc><%text>${(</%text>",
        '<%page args="a, *b, c=1, **d"/><%include file="x.mako" args="y=1"/>',
        '<%call expr="f(1)" args="x">${x}</%call><%self:f a="${1}"/>',
        '<%namespace name="n" module="m"/><%namespace name="o">'
        '<%def name="p()"></%def></%namespace>${n.x()}',
        "%% percent\n\r\n  ## comment\n",
    ],
)
def test_nothing_is_found_in_plain_templates(text: str) -> None:
    assert codes(text) == []
    assert codes(f"{text}\n" + cached("")) == []


# -- the file --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\n${a +}", 3),
        ("\n<%\n\nx = 1\ny = = 2\n%>", 5),
        ("a\n% for x y:\n% endfor", 2),
        ("% for x in y:\n", 1),
        ("% switch x:\n", 1),
        ("% try:\nx\n% finally:\ny\n% endtry\n", 3),
        ("% if x: y\n% endif\n", 1),
        ("\n<%def>\n</%def>", 2),
        ("\n<%nonsense/>", 2),
        ('\n<%def name="f"></%def>', 2),
        ('\n<%def name="f()" cashed="True"></%def>', 2),
        ("<%block>", 1),
        ("\n\n</%def>", 3),
        ("\n${x", 2),
        ("\n${x = 1}", 2),
        ("\n${import os}", 2),
        ("${x | f(}", 1),
    ],
)
def test_syntax_errors_have_a_line(text: str, line: int) -> None:
    (found,) = check_text(text)
    assert (found.code, found.line) == ("MC001", line)
    assert "at line" not in found.message
    assert "<unknown>" not in found.message


def test_control_lines_that_mako_does_not_know() -> None:
    (found,) = check_text("% switch x:\n")
    assert found.message == "no such control keyword: 'switch'"


# -- options ---------------------------------------------------------------


def test_unknown_options_are_named_with_the_nearest() -> None:
    (found,) = check_text(cached('cache_timout="5"'))
    assert found.message == (
        "unknown option 'cache_timout'; did you mean 'cache_timeout'?"
    )
    assert (found.line, found.column, found.length) == (1, 32, 12)
    (found,) = check_text(cached('cache_zzzzzz="5"'))
    assert "timeout" in found.help


@pytest.mark.parametrize(
    "name",
    ["key", "ttl", "timeout", "tags", "depends", "vary", "vary_args", "type"],
)
def test_known_options(name: str) -> None:
    assert "MC101" not in codes(cached(f'cache_{name}="1"'))


@pytest.mark.parametrize(
    "impl", ["memory", "cacheplug.file", "file", "memcached", "redis"]
)
def test_options_of_our_stores_are_checked(impl: str) -> None:
    text = cached(f'cache_impl="{impl}" cache_nonsense="1"')
    assert codes(text) == ["MC101"]


@pytest.mark.parametrize("impl", ["beaker", "dogpile.cache", "${impl}"])
def test_options_of_another_plugin_are_its_own(impl: str) -> None:
    assert codes(cached(f'cache_impl="{impl}" cache_nonsense="1"')) == []
    page = f'<%page cache_impl="{impl}"/>' + cached('cache_nonsense="1"')
    assert codes(page) == []


@pytest.mark.parametrize(
    "option",
    [
        'ttl="soon"',
        'ttl="-1"',
        'timeout="-5"',
        'grace="5 minutes"',
        'jitter="2"',
        'compress="big"',
        'enabled="maybe"',
        'vary_args="1.5"',
        'lease="0"',
        'url="memory://?a=1&a=2"',
        'tags="${[1]}"',
        'early="${-1}"',
    ],
)
def test_bad_values(option: str) -> None:
    assert codes(cached(f"cache_{option}")) == ["MC102"]


@pytest.mark.parametrize(
    "option",
    [
        'ttl="5m"',
        'ttl="${minutes * 60}"',
        'ttl="none"',
        'timeout="60"',
        'timeout="${60 * 60}"',
        'enabled="${not preview}"',
        'url="memory://?max_bytes=64m"',
        'url="localhost:11211"',
        'compress="none"',
        "tags=\"${['a', 'b c']}\"",
    ],
)
def test_good_values(option: str) -> None:
    assert codes(cached(f"cache_{option}")) == []


@pytest.mark.parametrize("value", ["5m", "60.5", "none", "", "${x}", "${f()}"])
def test_timeouts_that_mako_cannot_compile(value: str) -> None:
    assert codes(cached(f'cache_timeout="{value}"')) == ["MC103"]
    page = f'<%page cache_timeout="{value}"/>' + cached("")
    assert codes(page) == ["MC103"]


@pytest.mark.parametrize(
    "value", ["true", "yes", "", "${x}", "x", "not True", "'False'", "None"]
)
def test_cached_that_mako_cannot_evaluate(value: str) -> None:
    for tag in ('def name="f()"', "block", 'block name="b"'):
        name = tag.partition(" ")[0]
        assert codes(f'<%{tag} cached="{value}">x</%{name}>') == ["MC104"]
    assert codes(f'<%page cached="{value}"/>x') == ["MC104"]


@pytest.mark.parametrize("value", ["True", "False", "1", "0", " True"])
def test_cached_that_mako_evaluates(value: str) -> None:
    assert codes(f'<%block cached="{value}">x</%block>') == []


def test_what_is_wrong_with_cached_is_said() -> None:
    def message(value: str) -> str:
        (found,) = check_text(f'<%block cached="{value}">x</%block>')
        return found.message

    assert "is text" in message("'False'")
    assert "neither True nor False" in message("true")
    assert "no expression" in message("${x}")


def test_options_without_effect() -> None:
    assert codes('<%block cache_key="x" cache_ttl="5m">x</%block>') == [
        "MC105"
    ]
    assert codes('<%block cached="False" cache_ttl="5m">x</%block>') == []
    assert codes('<%page cache_ttl="5m"/>x') == ["MC105"]
    assert codes('<%page cache_ttl="5m"/>' + cached("")) == []
    # A key is no default for what is in the page.
    assert codes('<%page cache_key="k"/>' + cached("")) == ["MC105"]
    assert codes('<%page cached="True" cache_key="k"/>x') == []


def test_two_timeouts() -> None:
    text = cached('cache_ttl="5m" cache_timeout="60"')
    (found,) = check_text(text)
    assert found.message.endswith("cache_timeout counts")
    page = '<%page cache_ttl="5m"/>' + cached('cache_timeout="60"')
    assert codes(page) == []


@pytest.mark.parametrize(
    "value",
    ["a-${1}", "a-${len(x)}", "a${(x, y)}", "${x}${y}", "a${x - 1}", "a${-x}"],
)
def test_attributes_that_add_no_text(value: str) -> None:
    for option in ("key", "tags", "vary"):
        assert codes(cached(f'cache_{option}="{value}"')) == ["MC107"]


@pytest.mark.parametrize(
    "value",
    [
        "a-${x}",
        "a-${str(x)}",
        "${str(x)}${y}",
        "${x.isoformat()}${y}",
        "${y}${repr(x)}",
        "${y}${f'x'}",
        "a-${x + y}",
        "${len(x)}",
        "${(x, y)}",
    ],
)
def test_attributes_that_add_text(value: str) -> None:
    assert codes(cached(f'cache_key="{value}"')) == []


def test_commas() -> None:
    assert codes(cached('cache_tags="a, b"')) == ["MC108"]
    assert codes(cached('cache_depends="a.mako;b.mako"')) == ["MC108"]
    assert codes(cached("cache_tags=\"${['a,b']}\"")) == []


# -- keys ------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "${a.email}",
        "${a.title}",
        "${a.get_name()}",
        "% if a.is_active:\nx\n% endif",
        "<%block>${a.email}</%block>",
        '<%def name="g()">${a.email}</%def>${g()}',
        "${[a.email for x in y]}",
        "${(lambda: a.email)()}",
        "<%ui:box title='${a.email}'/>",
        "<%include file='x' args='x=a.email'/>",
    ],
)
def test_arguments_that_are_objects(content: str) -> None:
    assert codes(cached("", f"\n{content}\n", "f(a)")) == ["MC201"]


@pytest.mark.parametrize(
    "content",
    [
        "${a}",
        "${a.title()}",
        "${a.isoformat()} ${a.day} ${a.hex}",
        "${a['x']} ${a.items()} ${a.get('x')}",
        "${[a.email for a in a]}",
        "${(lambda a: a.email)(1)}",
        "<% a = load(a) %>${a.email}",
        "<%ui:box args='a'>${a.email}</%ui:box>",
        '<%def name="g(b)">${b.email}</%def>${g(1)}',
        "% for a in y:\n${a.email}\n% endfor",
    ],
)
def test_arguments_that_can_be_plain(content: str) -> None:
    assert codes(cached("", f"\n{content}\n", "f(a)")) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ["MC201"]),
        ('cache_key="${a.id}"', []),
        ('cache_vary_args="false"', ["MC203"]),
        ('cache_vary_args="${x}"', []),
        ('cache_vary="${a.id}"', ["MC201"]),
        ('cache_vary="${a.id}" cache_vary_args="false"', []),
        ('cache_key="${a.id}" cache_vary_args="true"', ["MC201"]),
    ],
)
def test_options_that_keep_arguments_out(
    options: str, expected: list[str]
) -> None:
    assert codes(cached(options, "${a.email}", "f(a)")) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("% for a in all:\n${a.email}\n% endfor", ["MC201"]),
        ("% for i, a in enumerate(all):\n${a.email}\n% endfor", ["MC201"]),
        (
            "% for a in all:\n<%block>${a.email}</%block>\n% endfor",
            ["MC201"],
        ),
        ("% for a in all:\n${a.title()} ${a}\n% endfor", []),
        ("% for a, b in all:\n${a.email}\n% endfor", []),
        ("% for a in all[1:]:\n${a.email}\n% endfor", []),
        ("% for a in all:\n<% a = f(a) %>${a.email}\n% endfor", []),
        ("<% all = f(all) %>\n% for a in all:\n${a.email}\n% endfor", []),
        ("% for a in all:\n% for a in b:\n${a.email}\n% endfor\n% endfor", []),
        ("% for a in others:\n${a.email}\n% endfor", []),
        ("% for a in all:\n% endfor\n${a.email}", []),
    ],
)
def test_lists_of_objects(content: str, expected: list[str]) -> None:
    assert codes(cached("", f"\n{content}\n", "f(all)")) == expected
    key = 'cache_key="${[a.id for a in all]}"'
    assert codes(cached(key, f"\n{content}\n", "f(all)")) == []


def test_an_object_is_said_where_its_def_begins() -> None:
    text = "\n" + cached("", "\n\n${a.id}${a.email}", "f(a)")
    (found,) = check_text(text)
    assert (found.line, found.column) == (2, 7)
    assert "its .id in line 4" in found.message
    suppressed = f"## cacheplug: ignore[MC201]{text}"
    assert codes(suppressed) == []
    (found,) = check_text('<%page cached="True"\n args="a"/>${a.id}')
    assert (found.line, found.column) == (2, 2)
    block = "\n% for a in b:\n<%block cached='True'>${a.id}</%block>\n% endfor"
    (found,) = check_text(block)
    assert (found.line, found.column) == (3, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("${a.value}", []),
        ("${a.name} ${a.value}", []),
        ("${a.name}", ["MC201"]),
        ("${a.value} ${a.label}", ["MC201"]),
    ],
)
def test_what_looks_like_an_enum(content: str, expected: list[str]) -> None:
    assert codes(cached("", content, "f(a)")) == expected


@pytest.mark.parametrize("default", ["object()", "lambda: 1", "Options()"])
def test_defaults_that_are_objects(default: str) -> None:
    assert codes(cached("", "${a}", f"f(a={default})")) == ["MC201"]


@pytest.mark.parametrize(
    "default", ["1", "[]", "dict()", "Decimal(1)", "_(x)"]
)
def test_defaults_that_are_plain(default: str) -> None:
    assert codes(cached("", "${a}", f"f(a={default})")) == []


def test_variables_around_are_arguments_too() -> None:
    block = '<%block cached="True">${a.email}</%block>'
    assert codes(f"% for a in b:\n{block}\n% endfor") == ["MC201"]
    assert codes(f"<% a = b %>{block}") == ["MC201"]
    assert codes(f'<%def name="f(a)">{block}</%def>') == ["MC201"]
    named = '<%block name="n" cached="True">${a.email}</%block>'
    assert codes(f"<% a = b %>{named}") == []
    # What a cached fragment does with its variables inside is its own.
    assert codes(cached("", f"<% a = 1 %>{block}", "f()")) == ["MC201"]


def test_what_a_part_with_its_own_key_shows_counts_around_it() -> None:
    block = '<%block cached="True" cache_key="${a.id}">${a.email}</%block>'
    assert codes(cached("", block, "f(a)")) == ["MC201"]
    assert codes(cached('cache_key="k"', block, "f(a)")) == ["MC203"]


def test_same_keys() -> None:
    two = cached('cache_key="k"') + cached('cache_key="k"', name="g()")
    assert codes(two) == ["MC202"]
    three = two + '<%page cached="True" cache_key="k"/>'
    assert codes(three) == ["MC202", "MC202"]
    dynamic = cached('cache_key="${k}"') + cached(
        'cache_key="${k}"', name="g()"
    )
    assert codes(dynamic) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('cache_key="k"', ["MC203"]),
        ('cache_key="${a}"', ["MC203"]),
        ('cache_key="${(a, b)}"', []),
        ('cache_key="k" cache_vary_args="true"', []),
        ('cache_key="${a}" cache_vary="${b}"', []),
        ('cache_key="${key(context)}"', []),
        ('cache_key="k" cache_enabled="${a and b}"', []),
    ],
)
def test_keys_without_an_argument(options: str, expected: list[str]) -> None:
    assert codes(cached(options, "${a} ${b}", "f(a, b=1)")) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('cache_vary_args="false"', ["MC203"]),
        ('cache_vary_args="no" cache_vary="${a}"', ["MC203"]),
        ('cache_vary_args="no" cache_vary="${(a, b)}"', []),
        ('cache_vary_args="no" cache_vary="${key(context)}"', []),
        ('cache_vary_args="${x}"', []),
    ],
)
def test_arguments_that_are_kept_out(
    options: str, expected: list[str]
) -> None:
    text = cached(options, "${a} ${b}", "f(a, b=1)")
    assert codes(text) == expected
    page = f"<%page {options}/>" + cached("", "${a} ${b}", "f(a, b=1)")
    assert codes(page) == expected


def test_arguments_that_are_not_shown_may_be_left_out() -> None:
    assert codes(cached('cache_key="k"', "x", "f(a, *b, **c)")) == []
    assert codes(cached('cache_key="k"', "${c}", "f(a, *b, **c)")) == ["MC203"]
    page = '<%page args="a" cached="True" cache_key="k"/>${a}'
    assert codes(page) == ["MC203"]


def test_a_constant_key_leaves_out_the_arguments_around() -> None:
    block = '<%block cached="True" cache_key="k">${a}</%block>'
    assert codes(f'<%def name="f(a)">{block}</%def>') == ["MC203"]
    key = block.replace('"k"', '"${a}"')
    assert codes(f'<%def name="f(a)">{key}</%def>') == []


@pytest.mark.parametrize(
    "option",
    [
        'key="a"',
        'key="a.id"',
        'key="x-{a}"',
        'key="x-{a.id}"',
        'key="x-$a"',
        'key="x-%(a)s"',
        'key="user.id"',
        'vary="lang"',
        'vary=""',
        'tags="a:{a}"',
        'tags="b a:a"',
        'key="x-%s"',
        'tags="a:%d"',
    ],
)
def test_forgotten_expressions(option: str) -> None:
    assert codes(cached(f"cache_{option}", "${a}", "f(a)")) == ["MC204"]


@pytest.mark.parametrize(
    "option",
    [
        'key="about:figures"',
        'key="user"',
        'key="100%discount"',
        'tags="a b{}"',
        'tags="a:f f"',
    ],
)
def test_constants(option: str) -> None:
    assert codes(cached(f"cache_{option}")) == []


def test_a_constant_vary_of_the_page_is_forgotten_too() -> None:
    assert codes('<%page cache_vary="lang"/>' + cached("")) == ["MC204"]


@pytest.mark.parametrize(
    "value",
    [
        "id(a)",
        "(1, hash(a))",
        "uuid4()",
        "random.random()",
        "secrets.token_hex()",
        "time.time()",
        "(1, datetime.now())",
        "str(datetime.datetime.utcnow())",
    ],
)
def test_unstable_keys(value: str) -> None:
    for option in ("key", "vary"):
        assert codes(cached(f'cache_{option}="${{{value}}}"')) == ["MC205"]


@pytest.mark.parametrize(
    "value",
    [
        "a.id",
        "a.hash()",
        "id",
        "store.random()",
        "int(time.time() / 60)",
        "time.time() // 60",
        "datetime.now().date()",
        "str(datetime.now().hour)",
        "lesson.time()",
    ],
)
def test_stable_keys(value: str) -> None:
    assert codes(cached(f'cache_key="${{{value}}}"')) == []


@pytest.mark.parametrize("value", ["user", "(1, user)", "[[user]]"])
def test_objects_in_keys(value: str) -> None:
    for option in ("key", "vary"):
        tag = f'cache_{option}="${{{value}}}"'
        assert codes(cached(tag, "${user.email}")) == ["MC206"]
        assert codes(cached(tag, "${user.upper()} ${user}")) == []
    page = f'<%page cache_vary="${{{value}}}"/>'
    assert codes(page + cached("", "${user.email}")) == ["MC206"]


@pytest.mark.parametrize("value", ["user.id", "(1, user.id)", "f(user)"])
def test_what_is_no_object_in_a_key(value: str) -> None:
    assert codes(cached(f'cache_key="${{{value}}}"', "${user.email}")) == []


def test_the_loop_around_is_an_object() -> None:
    block = '<%block cached="True">${loop.index}</%block>'
    loop = "% for x in y:\n{}\n% endfor"
    assert codes(loop.format(block)) == ["MC201"]
    own = loop.format("${loop.index}")
    block_with_loop = f'<%block cached="True">\n{own}\n</%block>'
    assert codes(loop.format(block_with_loop)) == []
    named = block.replace("block ", 'block name="b" ', 1)
    assert codes(loop.format(named)) == []
    key = block.replace(">$", ' cache_key="${loop.index}">$')
    assert codes(loop.format(key)) == []


# -- whose entry it is -----------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "${user.name}",
        "${user}",
        "% if user:\nx\n% endif",
        "<% x = session['a'] %>",
        "${context['user'].name}",
        "${context.get('user')}",
        "${x | escape(lang)}",
        "<%block>${user}</%block>",
        '<%def name="g()">${user}</%def>${g()}',
        '<%call expr="box(user)">x</%call>',
        "<%include file='x' args='x=user'/>",
        "${[user for x in y]}",
        "${request.url} ${request.static_url('x')}",
        "${request.get_user()}",
        "${request.static_url}",
    ],
)
def test_reads_of_the_request(content: str) -> None:
    assert codes(cached("", f"\n{content}\n")) == ["MC207"]
    assert codes(f"\n{content}\n" + cached("")) == []
    assert codes(f'<%page cached="True"/>\n{content}\n') == ["MC207"]


@pytest.mark.parametrize(
    "content",
    [
        "${request.static_url('x')} ${request.route_path('y')}",
        "${[user.name for user in users]}",
        "% for user in users:\n${user.name}\n% endfor",
        "<% user = author %>${user.name}",
        "<% def user(): pass %>${user()}",
        "<%ui:box args='user'>${user}</%ui:box>",
        "${article.user} ${f(user=1)} ${context['article']}",
        '<%def name="g()">${user}</%def>',
    ],
)
def test_names_that_are_not_the_requests(content: str) -> None:
    assert codes(cached("", f"\n{content}\n")) == []


@pytest.mark.parametrize(
    "before",
    [
        "<%! user = 1 %>",
        "<%! from x import user %>",
        '<%def name="user()">x</%def>',
        '<%namespace name="user" file="u.mako"/>',
        '<%namespace file="u.mako" import="user, other"/>',
    ],
)
def test_names_that_the_template_has_itself(before: str) -> None:
    assert codes(before + cached("", "${user()}")) == []


@pytest.mark.parametrize(
    "option",
    [
        'vary="${user.id}"',
        'vary="${(1, user.id)}"',
        'key="${user.id}"',
        'enabled="${not user}"',
        'region="${user.tenant}"',
        'key="${key(context)}"',
    ],
)
def test_options_that_name_the_request(option: str) -> None:
    assert codes(cached(f"cache_{option}", "${user.name}")) == []
    page = f"<%page cache_{option}/>" + cached("", "${user.name}")
    assert ("MC207" in codes(page)) is option.startswith("key")


def test_the_request_is_read_through_other_defs() -> None:
    text = (
        '<%def name="outer()" cached="True">\n${middle()}</%def>'
        '<%def name="middle()">${self.inner()}</%def>'
        '<%def name="inner()">${user.name}${inner()}</%def>'
    )
    (found,) = check_text(text)
    assert (found.code, found.line, found.column) == ("MC207", 2, 3)
    assert "through middle(), inner()" in found.message
    # An inner key does not help what is around.
    inner = text.replace(
        'inner()">', 'inner()" cached="True" cache_vary="${user.name}">'
    )
    assert codes(inner) == ["MC207"]


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("${user.name}", 'write cache_vary="${user.name}", or'),
        ("${user}", "name in cache_vary what is shown of 'user', or"),
        ("${request.get_user()}", "name in cache_vary what is shown of"),
    ],
)
def test_what_helps_against_reading_the_request(
    content: str, advice: str
) -> None:
    # What is not a value that can be in a key is not advised.
    (found,) = check_text(cached("", content))
    assert found.help.startswith(advice)


def test_the_place_in_an_attribute() -> None:
    text = cached("", "\n<%ui:box a='1'\n  title='a ${user.name}'/>")
    (found,) = check_text(text)
    assert (found.line, found.column, found.length) == (3, 14, 4)


def test_a_page_does_not_show_the_defs_that_it_does_not_call() -> None:
    assert codes('<%page cached="True"/><%def name="g()">${user}</%def>') == []


def test_other_names_of_the_request() -> None:
    names = frozenset({"tenant"})
    text = cached("", "${tenant} ${user}")
    assert [one.message for one in check_text(text)] != []
    (found,) = check_text(text, "t", Settings(request_names=names))
    assert "'tenant'" in found.message


@pytest.mark.parametrize(
    ("options", "content", "expected"),
    [
        ('cache_key="k"', "${x}", ["MC208"]),
        ('cache_key="k"', "${loop.index}", ["MC208"]),
        ('cache_key="${lang}" cache_vary="${x}"', "${x}", []),
        ('cache_key="${lang}"', "${x}", ["MC208"]),
        ('cache_key="${key(context)}"', "${x}", []),
        ('cache_key="${x}"', "${x}", []),
        ('cache_key="k" cache_vary_args="true"', "${x}", []),
        ('cache_key="k"', "the same", []),
        ('cache_key="k"', "${[x for x in z]}", []),
        ("", "${x}", []),
    ],
)
def test_blocks_in_loops(
    options: str, content: str, expected: list[str]
) -> None:
    block = f'<%block cached="True" {options}>{content}</%block>'
    assert codes(f"% for x in y:\n{block}\n% endfor\n") == expected
    assert codes(f"% for x in y:\n% endfor\n{block}") == []


def test_a_block_in_a_loop_shows_what_the_loop_assigns() -> None:
    block = '<%block cached="True" cache_key="k">${z}</%block>'
    text = f"% while more():\n<% z = f() %>\n{block}\n% endwhile"
    assert codes(text) == ["MC208"]


def test_calls_in_loops() -> None:
    row = cached("", "${z}", "row()")
    loop = "% for x in y:\n<% z = x %>\n${row()}\n% endfor\n"
    assert codes(loop + row) == ["MC208"]
    varying = 'cached="True" cache_vary="${z}"'
    assert codes(loop + row.replace('cached="True"', varying)) == []
    assert codes(loop.replace("z = x", "q = x") + row) == []
    assert codes("<% z = 1 %>${row()}" + row) == []
    argument = cached("", "${z}", "row(z)")
    assert codes(loop.replace("row()", "row(z)") + argument) == []


# -- what is not stored ----------------------------------------------------

HOLE = "<%! from mako_cacheplug import hole, nocache %>"
PAGE = '<%page cached="True"/>'
GREETING = '<%def name="greeting(word)">${word} ${user.name}</%def>'


@pytest.mark.parametrize(
    "content",
    [
        "${hole(greeting, 'Hello')}",
        "${hole(self.greeting, 'Hello')}",
        "${hole(local.greeting, word='Hello') | n}",
        "${hole(greeting, 'Hi') if friendly else ''}",
        "<% hole(greeting, 'Hi') %>",
        "% if friendly:\n${hole(greeting, [1, None])}\n% endif",
        "${hole(next.body)} ${hole(parent.foot)} ${hole(self.head)}",
        '<%namespace name="n" file="n.mako"/>${hole(n.cart, count)}',
        '<%def name="head()">${hole(greeting, 1)}</%def>${head()}',
        "<%block>${hole(greeting, 1)}</%block>",
    ],
)
def test_a_hole_shows_everyone_his_own(content: str) -> None:
    for before in (HOLE, ""):  # The lookup's imports can have it.
        text = f"{before}{PAGE}{GREETING}\n{content}\n"
        assert codes(text) == []
        fragment = cached("", f"\n{content}\n")
        assert codes(f"{before}{GREETING}{fragment}") == []


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("<%! from mako_cacheplug import hole as h %>", "h"),
        ("<% from mako_cacheplug import hole as h %>", "h"),
        ("<%! import mako_cacheplug %>", "mako_cacheplug.hole"),
        ("<%! import mako_cacheplug as m, os %>", "m.hole"),
    ],
)
def test_other_names_of_hole(before: str, name: str) -> None:
    text = f"{before}{PAGE}{GREETING}${{{name}(greeting, 1)}}"
    assert codes(text) == []
    assert codes(text.replace("mako_cacheplug", "os")) == ["MC207"]


@pytest.mark.parametrize(
    "before",
    [
        "<%! from donuts import hole %>",
        "<% hole = 1 %>",
        '<%def name="hole(f, x)">${f(x)}</%def>',
        '<%namespace file="x.mako" import="hole"/>',
    ],
)
def test_another_hole(before: str) -> None:
    text = f"{before}{PAGE}{GREETING}${{hole(greeting, 1)}}"
    assert codes(text) == ["MC207"]
    # Nothing is known of what this one can do.
    assert codes(f"{before}{PAGE}${{hole(lambda: 1) | h}}") == []


def test_what_is_stored_of_a_hole() -> None:
    direct = f"{HOLE}{PAGE}{GREETING}${{hole(greeting, 1)}} ${{greeting(1)}}"
    assert codes(direct) == ["MC207"]
    argument = f"{HOLE}{PAGE}{GREETING}${{hole(greeting, user.name)}}"
    (found,) = check_text(argument)
    assert "through" not in found.message
    include = f"{HOLE}{PAGE}${{hole(f)}}" + (
        '<%def name="f()"><%include file="${x}.mako"/></%def>'
    )
    assert codes(include) == []
    assert codes(include.replace("hole(f)", "f()")) == ["MC301"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("${user.name} ${nocache(context)}", []),
        ("<%block>${user.name}</%block> <% nocache(context) %>", []),
        ("<%\nx = 1\nnocache(context)\n%>${user.name}", []),
        ("${user.name} ${nocache(context) if x else ''}", ["MC207"]),
        ("${user.name} ${x and nocache(context)}", ["MC207"]),
        ("<% if x: nocache(context) %>${user.name}", ["MC207"]),
        ("<% f = lambda: nocache(context) %>${user.name}", ["MC207"]),
        ("${user.name} ${nocache}", ["MC207"]),
        ("% if x:\n${user} ${nocache(context)}\n% endif", []),
        ("% if user:\n${nocache(context)}\n% endif", ["MC207"]),
        (
            "% if x:\n${nocache(context)}\n% else:\n${user}\n% endif",
            ["MC207"],
        ),
        (
            "% if x:\n${nocache(context)}\n% elif user:\n% endif",
            ["MC207"],
        ),
        (
            "% if x:\n${nocache(context)}\n% for a in user.b:\n"
            "<%block>${lang}</%block>\n% endfor\n% endif",
            [],
        ),
        ("% if x:\n${nocache(context)}\n% endif\n${user}", ["MC207"]),
    ],
)
def test_where_nocache_is_called(content: str, expected: list[str]) -> None:
    assert codes(f"{HOLE}{PAGE}\n{content}\n") == expected
    assert codes(f"{PAGE}\n{content}\n") == expected
    assert codes(cached("", f"\n{content}\n")) == expected


def test_defs_that_call_nocache() -> None:
    bar = (
        '<%def name="bar()">${nocache(context)} ${user} ${menu()}</%def>'
        '<%def name="menu()">${lang}</%def>'
    )
    assert codes(f"{HOLE}{PAGE}{bar}${{bar()}}") == []
    assert codes(f"{HOLE}{PAGE}{bar}${{bar()}} ${{menu()}}") == ["MC207"]
    other = '<%def name="nocache(x)"></%def>'
    assert codes(f"{other}{PAGE}{bar}${{menu()}}") == ["MC207"]


DEF = '<%def name="f(x=1)">${user}</%def>'


@pytest.mark.parametrize(
    "content",
    [
        "${hole(lambda: 1)}",
        "${hole(f())}",
        "${hole('f')}",
        "${hole(f'{x}')}",
        "${hole(function)}",
        "${hole(caller.body)}",
        "${capture(hole, f)}",
        "${hole(f, (1, 2))}",
        "${hole(f, x={1, 2})}",
        "${hole(f, lambda: 1)}",
        '<%block filter="trim">${hole(f)}</%block>',
        '<%block buffered="True">${hole(f)}</%block>',
        '<%block filter="h"><%block>${hole(self.f)}</%block></%block>',
    ],
)
def test_holes_that_cannot_be(content: str) -> None:
    text = f"<%! from x import function %>{HOLE}{PAGE}{DEF}\n{content}"
    others = {"MC207", "MC401"}  # What is called, the content.
    found = [one for one in check_text(text) if one.code not in others]
    assert [(one.code, one.line) for one in found] == [("MC403", 2)]


@pytest.mark.parametrize(
    ("attributes", "inside", "expected"),
    [
        ('filter="trim"', "${hole(f)}", ["MC403"]),
        ('filter="n"', "${hole(f)}", []),
        ('filter=""', "${hole(f)}", []),
        ('buffered="True"', "${hole(f)}", ["MC403"]),
        ('buffered="False"', "${hole(f)}", []),
        ("", "${hole(f)}", []),
        ("", '<%def name="g()">x</%def>${hole(g)}', ["MC403"]),
        ('filter="trim"', "${f()}", ["MC207"]),
    ],
)
def test_holes_in_defs(
    attributes: str, inside: str, expected: list[str]
) -> None:
    frame = f'<%def name="frame()" {attributes}>{inside}</%def>'
    assert codes(f"{PAGE}{DEF}{frame}${{frame()}}") == expected
    outer = '<%def name="outer()">${frame()}</%def>'
    assert codes(f"{PAGE}{DEF}{frame}{outer}${{outer()}}") == expected
    # Where nothing is cached, nothing is in the way.
    if "g()" not in inside:
        assert codes(f"<%page/>{DEF}{frame}${{frame()}}") == []


def test_holes_in_what_is_cached_itself() -> None:
    assert codes(DEF + cached('filter="trim"', "${hole(f)}", "g()")) == [
        "MC403"
    ]
    assert codes(DEF + cached('buffered="True"', "${hole(f)}", "g()")) == []
    # Only its own text is filtered.
    filtered = DEF.replace(">", ' filter="trim">', 1)
    assert codes(filtered + cached("", "${hole(f)}", "g()")) == []


@pytest.mark.parametrize(
    "content",
    [
        "${'a' + hole(f)}",
        "${hole(f) + 'a'}",
        "${'%s' % hole(f)}",
        "${f'a{hole(f)}'}",
        "${strong(hole(f))}",
        "${capture(hole(f))}",
        "${hole(f) | h}",
        "${hole(f) | n, trim}",
        "${hole(f) | clip(1)}",
    ],
)
def test_holes_as_values(content: str) -> None:
    assert codes(f"{HOLE}{PAGE}{DEF}{content}") == ["MC404"]
    assert codes(f"{HOLE}{DEF}{content}") == ["MC404"]


@pytest.mark.parametrize(
    "content",
    [
        "${hole(f) | n}",
        "${hole(f) | unicode}",
        "${hole(f) or ''}",
        "${hole(f, 'a' + b)}",
        "${hole(f) if x else g(1)}",
        "${''.join(hole(f, i) for i in ids)}",
    ],
)
def test_holes_by_themselves(content: str) -> None:
    assert codes(f"{HOLE}{PAGE}{DEF}{content}") == []


# -- other templates -------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '<%page cached="True"/><%include file="${x}"/>',
        '<%page cached="True"/><%include file="a-${x}.mako"/>',
        cached("", "${g()}")
        + '<%def name="g()"><%include file="${x}"/></%def>',
        cached("", "${local.get_namespace(x).f()}"),
        cached("", "<% self.include_file(x) %>"),
        cached("", "${context.lookup.get_template(x).render()}"),
    ],
)
def test_dynamic_dependencies(text: str) -> None:
    assert codes(text) == ["MC301"]
    declared = text.replace(
        'cached="True"', 'cached="True" cache_depends="a.mako"'
    )
    assert codes(declared) == []
    if "<%page" not in text:
        assert codes('<%page cache_depends="a.mako"/>' + text) == []


@pytest.mark.parametrize(
    "text",
    [
        '<%include file="${x}"/>' + cached(""),
        '<%page cached="True"/><%include file="${\'a.mako\'}"/>',
        '<%page cached="True"/><%include file="a.mako"/>',
        # What these name is in the key.
        '<%namespace name="n" file="${x}"/>' + cached("", "${n.f()}"),
        '<%inherit file="${x}"/><%page cached="True"/>${parent.foot()}',
        cached("", "${local.get_namespace('a.mako').f()}"),
        cached("", "${mails.get_template(x)}"),
    ],
)
def test_dependencies_that_are_known(text: str) -> None:
    assert codes(text) == []


def test_each_dynamic_dependency_is_said_once() -> None:
    include = '<%def name="g()"><%include file="${x}"/></%def>'
    two = cached("", "${g()}") + cached("", "${g()}", "h()")
    assert codes(two + include) == ["MC301"]


def test_missing_templates(others: Settings, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "own.mako").touch()

    def missing(text: str, path: str = "sub/t.mako") -> int:
        found = check_text(text, str(tmp_path / path), others)
        assert {one.code for one in found} <= {"MC302"}
        return len(found)

    assert missing('<%include file="own.mako"/>') == 0
    assert missing('<%include file="own.mako"/>', "t.mako") == 1
    assert missing('<%include file="/card.mako"/>') == 0
    assert missing('<%include file="card.mako"/>') == 1
    assert missing('<%include file="../card.mako"/>') == 0
    assert missing('<%inherit file="/nope.mako"/>') == 1
    assert missing('<%namespace name="n" file="/nope.mako"/>') == 1
    assert missing('<%include file="package:nope.mako"/>') == 0
    assert missing('<%include file="${x}"/>') == 0
    assert missing('<%include file="nope\0.mako"/>') == 1
    assert missing(cached('cache_depends="/card.mako /nope.mako"')) == 1
    assert missing(cached("cache_depends=\"${['/nope.mako']}\"")) == 1


# -- content ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ["MC401"]),
        ('cache_key="k"', ["MC401"]),
        ('cache_key="${k}"', []),
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        "${caller.body()}",
        "<%block>${caller.body()}</%block>",
        "<%ui:box>${caller.body()}</%ui:box>",
        "${capture(caller.body)}",
    ],
)
def test_callers(options: str, expected: list[str], content: str) -> None:
    assert codes(cached(options, content)) == expected


def test_what_becomes_of_content_is_said() -> None:
    (found,) = check_text(cached("", "${caller.body()}"))
    assert "is not cached when it is called with content" in found.message
    (found,) = check_text(cached('cache_key="k"', "${caller.body()}"))
    assert "shows every caller the content of the first" in found.message


def test_a_def_that_is_called_has_its_own_caller() -> None:
    box = '<%def name="box()">${caller.body()}</%def>'
    assert codes(cached("", "<%self:box>x</%self:box>") + box) == []
    assert codes(cached("", "${caller}", "f(caller)")) == []


@pytest.mark.parametrize(
    "content",
    [
        "<% request_.response.status = 404 %>",
        "<% self.title = 'x' %>",
        "<% seen['x'] = 1 %>",
        "<% seen['x'] += 1 %>",
        "<% del seen['x'] %>",
        "<% a.b[1].c = 1 %>",
        "<% scripts.append('x') %>",
        "<% page.scripts.append('x') %>",
        "${scripts.append('x') or ''}",
        "<% seen.update(x=1) %>",
        "<% response.set_cookie('x', 'y') %>",
        "<% arg.add(1) %>",
        "<%\nif x:\n    seen.add(1)\n%>",
        "<%block><% seen.add(1) %></%block>",
        "<%\ndef f():\n    global count\n    count = 1\n%>",
    ],
)
def test_writes_outside(content: str) -> None:
    assert codes(cached("", content, "f(arg)")) == ["MC402"]
    assert codes(content + cached("")) == []


@pytest.mark.parametrize(
    "content",
    [
        "<% x = [] %><% x.append(1) %>",
        "<% x = {} %><% x['a'] = 1 %>",
        "<% arg = list(arg) %><% arg.append(1) %>",
        "<% context.write('x') %>",
        "<% y = seen.pop() %>",
        "${seen.pop()}",
        "<% rows.sort() %>",
        "<%\ndef f():\n    a = []\n    a.append(1)\n%>",
        "<% x = [] %><%block><% x.append(1) %></%block>",
        "% for x in y:\n<% x = 1 %>\n% endfor",
    ],
)
def test_writes_inside(content: str) -> None:
    assert codes(cached("", f"\n{content}\n", "f(arg)")) == []
