"""Random templates whose output says how it came about.

A cached fragment shows a bracket that tells which it is and how it is
cached, data show their version, a hole stands between ``<`` and ``>``.  So
an output can be judged alone: see ``model``.

A template is a tuple of small values; :func:`source` makes Mako's text of it.
Whatever is drawn is a valid site: a node that has no meaning where it stands
shows nothing.
"""

from __future__ import annotations

import functools
import posixpath
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import Union

from hypothesis import strategies as st

__all__ = [
    "DATA",
    "PAGES",
    "SLOTS",
    "Caching",
    "Def",
    "Named",
    "Page",
    "Source",
    "pages",
    "source",
]

DATA: Final = ("d0", "d1")
TIMEOUTS: Final = {"": None, "main": None, "short": 10, "side": None}
"""Of a region, in seconds."""

PAGES: Final = ("/a.mako", "/sub/b.mako")
PARTS: Final = ("/sub/part.mako", "/leaf.mako")
FRAMES: Final = ("/sub/mid.mako", "/base.mako", "/frame.mako")
LIBRARY: Final = "/sub/lib.mako"

SLOTS: Final = (
    *PAGES,
    "/sub/mid.mako",
    "/base.mako",
    *PARTS,
    "/frame.mako",
    LIBRARY,
)
"""A template names only later ones, so no site calls itself for ever."""


class Caching(NamedTuple):
    """The options on a cached tag."""

    timeout: int | None = None
    tag: str = ""  # "each": one for each argument
    key: str = ""  # "each", or "lang": one for each language
    region: str = ""
    switched: bool = False  # cache_enabled
    filtered: bool = False
    buffered: bool = False


class Data(NamedTuple):
    """``${show("d0")}``."""

    number: int


class Private(NamedTuple):
    """What is for one visitor while the switch is off."""


class Forbid(NamedTuple):
    """``${nocache(context)}``."""


class Own(NamedTuple):
    """A call of a later def of the same template."""

    number: int
    arguments: tuple[int, ...]
    through_self: bool = False


class Library(NamedTuple):
    """A call of a def of the namespace."""

    number: int
    arguments: tuple[int, ...]
    imported: bool = False


class Include(NamedTuple):
    """``<%include>``, with a relative, an absolute or a computed uri."""

    number: int
    arguments: tuple[int, ...]
    computed: bool = False


class Hole(NamedTuple):
    """A hole, of the template's own def or of what ``self`` is."""

    argument: int
    which: str  # "own", "self" or "title"


class Inner(NamedTuple):
    """A fragment in another: a block, a block in a loop or a nested def."""

    form: str
    caching: Caching | None
    body: Body


class Next(NamedTuple):
    """``${next.body()}``, in what is inherited."""


class Title(NamedTuple):
    """``${self.title()}``, in what is inherited."""


class Parent(NamedTuple):
    """``${parent.b0()}``, in a block that overrides one."""


Node = Union[  # noqa: UP007  # it names what is defined only later
    Data,
    Private,
    Forbid,
    Own,
    Library,
    Include,
    Hole,
    Inner,
    Next,
    Title,
    Parent,
]
Body = tuple[Node, ...]


class Def(NamedTuple):
    """A def with an argument, or the named block."""

    caching: Caching | None = None
    body: Body = ()


class Page(NamedTuple):
    """A template."""

    inherits: int = 0
    caching: Caching | None = None
    body: Body = ()
    defs: tuple[Def, ...] = ()
    title: Def | None = None
    block: Def | None = None
    absolute: bool = True
    """Whether the uris that it names are."""


class Named(NamedTuple):
    """A cached fragment of a template, as one can invalidate it."""

    uri: str
    name: str
    """Dotted, as in its bracket; the last part is the def's."""

    caching: Caching

    @property
    def last_name(self) -> str:
        """The name of its own def or block."""
        return self.name.rpartition(".")[2]

    @property
    def place(self) -> tuple[str, str, str]:
        """What an invalidation knows of it."""
        return self.uri, self.name, self.caching.region or "main"

    def can_have(self, key: str | None) -> bool:
        """Tell whether it may be invalidated by *key*, or by none."""
        own = self.caching.key
        return key is None or own in ("each", "lang") or own == key


# -- Mako's text -------------------------------------------------------------


class Source(NamedTuple):
    """A template as it is put into a lookup."""

    text: str
    number: int
    fragments: tuple[Named, ...]


def source(page: Page, uri: str, number: int, by_language: bool) -> Source:
    """Return a template's text, and what is cached in it.

    :param number: which source of the site it is; it is shown.
    :param by_language: whether the site has more than one language.
    """
    writer = _Writer(page, uri, number, by_language)
    return Source(writer.text(), number, tuple(writer.fragments))


class _Writer:
    def __init__(self, page: Page, uri: str, number: int, by_language: bool):
        self._page = page
        self._uri = uri
        self._number = number
        self._by_language = by_language
        self._later = SLOTS[SLOTS.index(uri) + 1 :]
        self._is_frame = uri in FRAMES
        frames = [u for u in FRAMES if u in self._later]
        options = ["", *frames]
        self._inherits = options[page.inherits % len(options)]
        self._heads: dict[str, None] = {}
        self._depends: dict[str, None] = {}
        self._anonymous = 0
        self.fragments: list[Named] = []

    def _named(self, uri: str) -> str:
        """Return *uri* as this template names it."""
        folder = posixpath.dirname(self._uri)
        if not self._page.absolute and posixpath.dirname(uri) == folder:
            return posixpath.basename(uri)
        return uri

    def text(self) -> str:
        page = self._page
        if page.caching is not None:
            # Said on the page's tag it holds for all its fragments, and not
            # all of them have an argument.
            tag = page.caching.tag and "t1"
            only = page.caching._replace(
                tag=tag, filtered=False, buffered=False
            )
            page = self._page = page._replace(caching=only)
        block = ""
        if self._is_frame or (self._inherits and page.block is not None):
            one = _unbuffered(page.block or Def())
            inner = self._fragment("b0", one.caching, one.body, "", -1)
            attributes = self._attributes(one.caching, "")
            block = f'<%block name="b0"{attributes}>{inner}</%block>'
        body = self._fragment("page", page.caching, page.body, "x", -1, block)
        parts = []
        prefix = "x" if self._uri == LIBRARY else "d"
        for number in range(2):
            one = page.defs[number] if number < len(page.defs) else Def()
            parts.append(self._def(f"{prefix}{number}", one, number))
        if self._is_frame or page.title is not None:
            parts.append(self._def("title", page.title or Def(), -1))
        attributes = self._attributes(page.caching, "x")
        if self._depends:
            attributes += f' cache_depends="{" ".join(self._depends)}"'
        heads = [
            "<%! from mako_cacheplug import hole, nocache %>",
            '<%! filled = lambda text: text.replace(" ", "_") %>',
        ]
        if self._inherits:
            heads.append(f'<%inherit file="{self._named(self._inherits)}"/>')
        heads.append(f'<%page args="x=0"{attributes}/>')
        heads += self._heads
        heads.append('<%def name="h0(x)">${x} ${user} ${show("d0")}</%def>')
        return "\\\n".join([*heads, *parts, body]) + "\\\n"

    def _def(self, name: str, one: Def, number: int) -> str:
        inner = self._fragment(name, one.caching, one.body, "x", number)
        attributes = self._attributes(one.caching, "x")
        return f'<%def name="{name}(x=0)"{attributes}>{inner}</%def>\\\n'

    def _with_pages(self, caching: Caching) -> Caching:
        """Return the options with those on the page's tag."""
        all_of = self._page.caching
        if all_of is None:
            return caching
        timeout = caching.timeout
        return caching._replace(
            timeout=all_of.timeout if timeout is None else timeout,
            tag=caching.tag or all_of.tag,
            region=caching.region or all_of.region,
            switched=caching.switched or all_of.switched,
        )

    def _attributes(self, caching: Caching | None, variable: str) -> str:
        if caching is None:
            return ""
        found = ' cached="True"'
        if caching.timeout is not None:
            found += f' cache_timeout="{caching.timeout}"'
        if caching.tag == "each" and variable:
            found += f" cache_tags=\"${{['t0', 't%s' % {variable}]}}\""
        elif caching.tag:
            found += ' cache_tags="t1"'
        is_varied = self._by_language
        if caching.key == "each" and variable:
            found += f" cache_key=\"${{'k%s' % {variable}}}\""
        elif caching.key == "lang" and self._by_language:
            is_varied = False
            found += " cache_key=\"${'k' + lang}\""
        elif caching.key:
            found += ' cache_key="k1"'
        if variable and caching.key:
            found += ' cache_vary_args="true"'
        if is_varied:
            found += f' cache_vary="${{{self._variable("lang", caching)}}}"'
        if caching.region:
            found += f' cache_region="{caching.region}"'
        if caching.switched:
            name = self._variable("is_on", caching)
            found += f' cache_enabled="${{{name}()}}"'
        if caching.filtered:
            found += ' filter="filled"'
        if caching.buffered:
            found += ' buffered="True"'
        return found

    def _variable(self, name: str, caching: Caching) -> str:
        """Return a variable of the context, as a tag's option names it."""
        # Mako takes it from the context only for the page itself.
        return f"context['{name}']" if caching is self._page.caching else name

    def _fragment(
        self,
        name: str,
        caching: Caching | None,
        body: Body,
        variable: str,
        number: int,
        first: str = "",
    ) -> str:
        """Return what is inside of a tag, in a bracket if it is cached."""
        inner = "".join(
            self._node(node, name, variable, number) for node in body
        )
        told = f"~{self._number}~"
        if variable:
            told += f"({variable}=${{{variable}}})"
        if self._by_language:
            told += "${lang}"
        told += f'${{show("{DATA[self._number % 2]}")}}'
        inner = f"{told}{first}{inner}"
        if caching is None:
            return inner
        caching = self._with_pages(caching)
        self.fragments.append(Named(self._uri, name, caching))
        if caching.tag == "each" and variable:
            tag = f"t0,t${{{variable}}}"
        else:
            tag = "t1" if caching.tag else ""
        if caching.key == "each" and variable:
            key = f"k${{{variable}}}"
        elif caching.key == "lang" and self._by_language:
            key = "k${lang}"
        else:
            key = "k1" if caching.key else ""
        timeout = caching.timeout
        if timeout is None:
            timeout = TIMEOUTS[caching.region]
        told = [
            f"{self._uri}!{name}",
            str(self._number),
            tag,
            key,
            "" if timeout is None else str(timeout),
            caching.region or "main",
            "f" if caching.filtered or caching.buffered else "",
        ]
        mode = "{m=${mode()}}" if caching.switched else ""
        return f"[{';'.join(told)}|{mode}{inner}]"

    def _node(self, node: Node, name: str, variable: str, number: int) -> str:
        match node:
            case Data(which):
                return f'${{show("{DATA[which]}")}}'
            case Private():
                return "{m=${private()}}"
            case Forbid():
                return "${nocache(context)}!"
            case Own(which, arguments, through_self):
                if which <= number or self._uri == LIBRARY:
                    return ""
                if name.startswith(("title", "b0")):
                    return ""
                through = "self." if through_self else ""
                return "".join(
                    f"${{{through}d{which}({one})}}" for one in arguments
                )
            case Library(which, arguments, imported):
                function = self._library(which, imported)
                return "".join(
                    f"${{{function}({one})}}" for one in arguments if function
                )
            case Include(which, arguments, computed):
                return self._included(which, arguments, computed)
            case Hole(argument, which_def):
                if which_def != "title":
                    through = "self." if which_def == "self" else ""
                    return f"<${{hole({through}h0, {argument})}}>"
                is_here = self._is_frame and not name.startswith("title")
                return "<${hole(self.title)}>" if is_here else ""
            case Inner(form, caching, body):
                return self._inner(form, caching, body, name, variable, number)
            case Next():
                is_body = name.startswith("page") and self._is_frame
                return "${next.body()}" if is_body else ""
            case Title():
                is_here = self._is_frame and not name.startswith("title")
                return "${self.title()}" if is_here else ""
            case Parent():
                is_here = name.startswith("b0") and self._inherits
                return "${parent.b0()}" if is_here else ""

    def _library(self, which: int, imported: bool) -> str:
        """Return what calls a def of the library; "" if that is this."""
        if LIBRARY not in self._later:
            return ""
        uri = self._named(LIBRARY)
        if imported:
            tag = f'<%namespace file="{uri}" import="x{which}"/>'
            self._heads[tag] = None
            return f"x{which}"
        self._heads[f'<%namespace name="lib" file="{uri}"/>'] = None
        return f"lib.x{which}"

    def _included(
        self, which: int, arguments: tuple[int, ...], computed: bool
    ) -> str:
        parts = [uri for uri in PARTS if uri in self._later]
        if not parts:
            return ""
        uri = self._named(parts[which % len(parts)])
        if computed:
            self._depends[uri] = None
            uri = f"${{'{uri}'}}"
        return "".join(
            f'<%include file="{uri}" args="x={one}"/>' for one in arguments
        )

    def _inner(
        self,
        form: str,
        caching: Caching | None,
        body: Body,
        name: str,
        variable: str,
        number: int,
    ) -> str:
        self._anonymous += 1
        count = self._anonymous
        if form == "def" and name == "page":
            form = "block"  # It would be a def of the template.
        if form != "def":
            caching = _unbuffered(Def(caching)).caching
        if form == "def":
            inner_name = f"{name}.n{count}"
        else:
            inner_name = f"{name}.anon{count}"
        own = f"i{count}" if form == "loop" else variable
        inner = self._fragment(inner_name, caching, body, own, number)
        if own != variable and variable:
            inner += f"({variable}=${{{variable}}})"
        attributes = self._attributes(caching, own)
        if form == "def":
            call = f"${{n{count}()}}"
            return f'<%def name="n{count}()"{attributes}>{inner}</%def>{call}'
        # Mako names a block after its line.
        block = f"\n<%block{attributes}>{inner}</%block>"
        if form == "loop":
            return f"\n% for {own} in (1, 2):{block}\n% endfor\n"
        return block


def _unbuffered(one: Def) -> Def:
    """Return a block that is shown: nobody asks for what it returns."""
    caching = one.caching
    if caching is None:
        return one
    return one._replace(caching=caching._replace(buffered=False))


# -- strategies --------------------------------------------------------------


def _cachings() -> st.SearchStrategy[Caching]:
    rare = st.sampled_from([False] * 9 + [True])
    return st.builds(
        Caching,
        timeout=st.sampled_from([None, None, None, 5, 30]),
        tag=st.sampled_from(["", "", "t1", "each"]),
        key=st.sampled_from(["", "", "", "k1", "each", "lang"]),
        region=st.sampled_from(["", "", "", "short", "side"]),
        switched=rare,
        filtered=rare,
        buffered=rare,
    )


_MAYBE_CACHED: Final = st.one_of(st.none(), _cachings(), _cachings())
_TWO: Final = st.integers(0, 1)
_ARGUMENTS: Final = st.sampled_from([(1,), (2,), (1, 2)])


def _nodes(uri: str, where: str) -> st.SearchStrategy[Node]:
    """Return a strategy for what shows something in a part of *uri*."""
    holes = ["own", "own", "self"]
    found: list[st.SearchStrategy[Node]] = []
    if uri in FRAMES:
        if where == "page":
            found += [st.builds(Next)] * 3
        if where != "title":
            found += [st.builds(Title)]
            holes.append("title")
    if where in ("page", "d0") and uri != LIBRARY:
        least = 1 if where == "d0" else 0
        numbers = st.integers(least, 1)
        found += [st.builds(Own, numbers, _ARGUMENTS, st.booleans())] * 2
    if where == "b0":
        found += [st.builds(Parent)]
    if uri in SLOTS[: SLOTS.index(PARTS[-1])]:
        found += [st.builds(Include, _TWO, _ARGUMENTS, st.booleans())] * 2
    if uri != LIBRARY:
        found += [st.builds(Library, _TWO, _ARGUMENTS, st.booleans())] * 2
    found += [
        st.builds(Data, _TWO),
        st.builds(Hole, st.integers(1, 2), st.sampled_from(holes)),
        st.sampled_from([Data(0), Data(1), Data(0), Private(), Forbid()]),
    ]
    return st.one_of(found)


def _bodies(nodes: st.SearchStrategy[Node], most: int) -> Any:
    return st.lists(nodes, max_size=most).map(tuple)


def _inners(uri: str, where: str) -> st.SearchStrategy[Node]:
    forms = ["block", "loop"] if where == "page" else ["block", "loop", "def"]
    return st.builds(
        Inner,
        st.sampled_from(forms),
        _MAYBE_CACHED,
        _bodies(_nodes(uri, where), 2),
    )


def _def(uri: str, where: str) -> st.SearchStrategy[Def]:
    nodes = _nodes(uri, where)
    body = _bodies(st.one_of(nodes, nodes, _inners(uri, where)), 2)
    return st.builds(Def, _MAYBE_CACHED, body)


@functools.cache
def pages(uri: str) -> st.SearchStrategy[Page]:
    """Return a strategy for templates that can stand under *uri*."""
    nodes = _nodes(uri, "page")
    return st.builds(
        Page,
        inherits=st.integers(0, 3),
        caching=_MAYBE_CACHED,
        body=_bodies(st.one_of(nodes, nodes, _inners(uri, "page")), 4),
        defs=st.tuples(_def(uri, "d0"), _def(uri, "d1")),
        title=st.one_of(st.none(), _def(uri, "title")),
        block=st.one_of(st.none(), _def(uri, "b0")),
        absolute=st.booleans(),
    )
