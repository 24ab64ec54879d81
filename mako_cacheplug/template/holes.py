"""Holes: parts of a cached fragment that are rendered at each request.

``${hole(self.greeting)}`` in something cached leaves a hole in what is
stored.  Whenever the fragment is served, also the first time, the def is
called anew and what it shows is put in place; it is never stored.

While the fragment is created a hole writes a mark into its output, and
afterwards the output is cut there.  That is right only if nothing can have
worked on the text in between, such as a filter: what it does to a mark says
nothing of what it would do to the hole's content.  Where that cannot be
known the def is called on the spot, and what is around it is not stored.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable
from collections.abc import Collection
from contextvars import ContextVar
from types import FunctionType
from typing import Any
from typing import Final
from typing import NamedTuple

from markupsafe import Markup

from mako_cacheplug import codec as codecs
from mako_cacheplug import nesting
from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.template.identity import own_uri

__all__ = [
    "BadDonutError",
    "Donut",
    "Ground",
    "Hole",
    "hole",
    "read_donut",
    "serve",
]

_log = logging.getLogger(__name__)

_DONUT: Final = "mako_cacheplug donut"

_REMEMBERED_SAID: Final = 1024
_said: Final[set[str | int]] = set()


class Hole(NamedTuple):
    """What is to be called for a hole, found from the fragment around it."""

    inside: str
    """The uri of the ``self`` that it is called in, if that is not the
    fragment's: an included template's, or a namespace's."""

    uri: str
    """The uri of the template that has the def, if that is not the
    fragment's."""

    name: str
    """The def."""

    args: list[object]
    kwargs: dict[str, object]


class Ground:
    """The output of one creation, in which there can be holes.

    :param template: the fragment's.
    :param context: the one it is rendered with.
    :param count_buffers: returns how many buffers a context writes into;
        when this is made, they are those around the fragment's own.
    :param is_reshaped: tells whether a filter works on its whole output.
    :param uris: the templates that a hole may be in beside the fragment's:
        its key has to hold them too.
    """

    def __init__(
        self,
        template: Any,
        context: Any,
        count_buffers: Callable[[Any], int],
        is_reshaped: Callable[[], bool],
        uris: Collection[str],
    ):
        self.template = template
        self.context = context
        self._uris = uris
        self._count_buffers = count_buffers
        self._depth = count_buffers(context)
        self._is_reshaped = is_reshaped
        self._mark = ""
        self._closed = False
        self._holes: list[Hole] = []

    @property
    def top(self) -> Any:
        """The template that ``self`` is."""
        return _top(self.context)

    def is_open(self, context: Any) -> bool:
        """Tell whether what is written to *context* gets out as it is.

        Another render has other buffers, which may be as many.
        """
        return (
            not self._closed
            and self.context is not None
            and context.caller_stack is self.context.caller_stack
            and self._count_buffers(context) == self._depth + 1
            and not self._is_reshaped()
        )

    def place(self, template: Any, top: Any, found: Hole) -> Hole | str:
        """Return *found* as seen from here, or why it cannot be here.

        :param template: the template that it is seen from as yet.
        :param top: the template that ``self`` is there.
        """
        inside, uri = found.inside, found.uri
        if not inside and top is not self.top:
            inside = str(getattr(top, "uri", "?"))
        if not uri and (inside or template is not self.template):
            uri = template.uri
        if not inside and uri == self.template.uri:
            uri = ""  # Back from a base, which it overrides.
        for needed in (inside, uri):
            if needed and needed not in self._uris:
                return (
                    f"it is in {needed!r}, which {self.template.uri!r} does"
                    " not name; write cache_depends"
                )
        return found._replace(inside=inside, uri=uri)

    def add(self, found: Hole) -> str:
        """Return the mark to write for a hole."""
        self._mark = self._mark or os.urandom(16).hex()
        self._holes.append(found)
        return f"\x02{self._mark}:{len(self._holes) - 1}\x03"

    def finish(self, shown: object, again: Callable[[], object]) -> object:
        """Return what is to be kept: the output, cut where a hole is.

        :param shown: what the creator returned.
        :param again: the creator; it is called once more, without holes, if
            a mark was lost or doubled on the way.
        """
        if not self._holes:
            return shown
        if isinstance(shown, str):
            pieces = re.split(f"\x02{self._mark}:([0-9]+)\x03", shown)
            order = [int(number) for number in pieces[1::2]]
            if sorted(order) == list(range(len(self._holes))):
                return Donut(
                    [str(piece) for piece in pieces[::2]],
                    [self._holes[number] for number in order],
                    type(shown) is Markup,
                ).dump()
        creation = nesting.current()
        if creation is not None:
            creation.forbid()
        self._closed = True
        return again()

    def pass_on(
        self, donut: Donut, template: Any, context: Any, is_buffered: bool
    ) -> str | None:
        """Return the text of a fragment with holes that is part of this.

        :param template: the fragment's.
        :param context: the one that it is called in.
        :param is_buffered: whether what called it can do anything to it.
        :return: the text with marks, or ``None`` if they cannot be here.
        """
        if is_buffered or not self.is_open(context):
            _say_not_stored(
                self, "a filter, capture or buffer is between them"
            )
            return None
        top = _top(context)
        placed = [self.place(template, top, one) for one in donut.holes]
        for one in placed:
            if isinstance(one, str):
                _say_not_stored(self, one)
                return None
        marks = iter(
            [self.add(one) for one in placed if isinstance(one, Hole)]
        )
        return donut.fill(lambda _: next(marks))


class Donut(NamedTuple):
    """What is kept of an output with holes."""

    text: list[str]
    """What stands around the holes: one more than there are."""

    holes: list[Hole]
    is_markup: bool

    def dump(self) -> object:
        """Return it as plain JSON."""
        return {
            _DONUT: self.is_markup,
            "text": self.text,
            "holes": [list(one) for one in self.holes],
        }

    def fill(self, show: Callable[[Hole], str]) -> str:
        """Return the whole text.

        :param show: returns what stands in a hole.
        """
        parts = [self.text[0]]
        for found, text in zip(self.holes, self.text[1:], strict=True):
            parts += (show(found), text)
        whole = "".join(parts)
        return Markup(whole) if self.is_markup else whole  # noqa: S704  # it was one when it was created


class BadDonutError(ValueError):
    """A stored value that claims to have holes and is no such thing."""


def read_donut(value: object) -> Donut | None:
    """Return what :meth:`Donut.dump` has made; ``None`` if it is another.

    :raises BadDonutError: if somebody else has made it.
    """
    if not isinstance(value, dict) or _DONUT not in value:
        return None
    text, holes = value.get("text"), value.get("holes")
    if not (
        isinstance(text, list)
        and isinstance(holes, list)
        and len(text) == len(holes) + 1
        and all(isinstance(one, str) for one in text)
        and all(_is_hole(one) for one in holes)
    ):
        raise BadDonutError
    return Donut(text, [Hole(*one) for one in holes], bool(value[_DONUT]))


def _is_hole(parts: object) -> bool:
    return (
        isinstance(parts, list)
        and len(parts) == len(Hole._fields)
        and all(isinstance(one, str) for one in parts[:3])
        and isinstance(parts[3], list)
        and isinstance(parts[4], dict)
    )


_shown: Final[ContextVar[frozenset[str]]] = ContextVar(
    "mako_cacheplug_shown", default=frozenset()
)
"""The keys of the fragments in whose holes this is."""


def serve(
    donut: Donut | None,
    key: str,
    template: Any,
    context: Any,
    is_buffered: Callable[[], bool],
    uris: Callable[[], Collection[str]],
    self_of: Callable[[Any, str], Any],
) -> str:
    """Return a fragment with its holes filled; in another one, left open.

    :param donut: what is stored of it.
    :param key: its logical key.
    :param template: the fragment's.
    :param context: the one that it is called in.
    :param is_buffered: tells whether what called it can do anything to it.
    :param uris: returns the templates that a hole may be in.
    :param self_of: returns what ``self`` is in the template with a uri.
    :raises BadDonutError: for what has no holes, for a hole that is in none
        of them or cannot be called so, and for a fragment in its own holes.
    """
    shown = _shown.get()
    if donut is None or key in shown:
        raise BadDonutError
    around = nesting.current()
    if around is not None:
        ground = around.origin
        if isinstance(ground, Ground):
            passed = ground.pass_on(donut, template, context, is_buffered())
            if passed is not None:
                return passed
        around.forbid()

    def find(found: Hole) -> Callable[..., object]:
        namespace = context.get("self")
        if found.inside:
            if found.inside not in uris():
                raise BadDonutError
            namespace = self_of(context, found.inside)
        while namespace is not None:
            one = namespace.template
            if one.uri == found.uri if found.uri else one is template:
                if not one.has_def(found.name):
                    break
                function: Callable[..., object] = getattr(
                    namespace, found.name
                )
                return function
            namespace = namespace.inherits
        raise BadDonutError

    # All are found before the first is shown.
    functions = iter([find(one) for one in donut.holes])
    token = _shown.set(shown | {key})
    try:
        return donut.fill(lambda one: _show(next(functions), one, context))
    finally:
        _shown.reset(token)


def _show(function: Callable[..., object], found: Hole, context: Any) -> str:
    """Return what a hole's def shows now."""
    from mako.runtime import capture  # what is imported everywhere needs none

    returned: list[object] = []

    def call() -> None:
        try:
            returned.append(function(*found.args, **found.kwargs))
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next:
                raise
            # It did not begin: it takes other arguments.
            raise BadDonutError from error

    stack = context.caller_stack
    content, stack.nextcaller = stack.nextcaller, None
    try:
        written = capture(context, call)
    finally:
        stack.nextcaller = content
    return f"{written}{returned[0]}"


def hole(function: Callable[..., object], /, *args: Any, **kwargs: Any) -> str:
    """Show a def here, anew at each request, in whatever is cached around.

    .. code-block:: mako

        <%! from mako_cacheplug import hole %>
        <%def name="greeting(size)">Hello ${user.name}</%def>
        ${hole(self.greeting, 2)}

    What it shows is never stored.  It may use its arguments and whatever is
    passed to ``render()``, but no variable of the page around it.

    :param function: a def of this template (``greeting``), or of ``self``,
        ``next``, ``parent``, ``local`` or a file's namespace.
    :param args: what to call it with: plain JSON values, which are stored.
    :return: an empty text, as it writes into the page by itself.
    """
    creation = nesting.current()
    ground = None if creation is None else creation.origin
    if isinstance(ground, Ground):
        found = _resolve(ground, function, args, kwargs)
        if isinstance(found, Hole):
            ground.context.write(ground.add(found))
            return ""
        _say_not_stored(ground, found)
    elif creation is not None:
        creation.forbid()
    returned = function(*args, **kwargs)
    known = _find(function)
    if known is None:
        return str(returned)
    known[2].write(returned)
    return ""


def _say_not_stored(ground: Ground, why: str) -> None:
    """Note that a hole cannot be left; say why, once."""
    creation = nesting.current()
    if creation is not None:
        creation.forbid()
    said = _told_apart(ground.template)
    if said not in _said:
        if len(_said) >= _REMEMBERED_SAID:
            _said.clear()
        _said.add(said)
        _log.warning(
            "what is cached around a hole in %s is not stored: %s (said once)",
            repr(ground.template.uri),
            why,
        )


def _told_apart(template: Any) -> str | int:
    """Return what tells templates apart: not the objects of one string."""
    uri = own_uri(template.uri, template.filename)
    functions = [
        one
        for one in vars(template.module).values()
        if isinstance(one, FunctionType)
    ]
    return uri or hash(tuple([one.__code__ for one in functions]))


def _resolve(
    ground: Ground,
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> Hole | str:
    """Return how to find *function* again, or why that cannot be."""
    found = _find(function)
    if found is None:
        return f"{function!r} is no def that can be found again"
    name, uri, context = found
    if not ground.is_open(context):
        return "a filter, capture or buffer is between them"
    try:
        # As they are now: the page may go on to change them.
        given: Any = codecs.load_value(codecs.dump_value([list(args), kwargs]))
    except CodecError as error:
        return f"an argument of {name!r}: {error}"
    if uri == ground.template.uri:
        uri = ""
    top = _top(context)
    return ground.place(ground.template, top, Hole("", uri, name, *given))


def _top(context: Any) -> Any:
    return getattr(context.get("self"), "template", None)


def _find(
    function: Callable[..., object],
) -> tuple[str, str, Any] | None:
    """Return a def's name, its template's uri and its context."""
    target: object = function
    context: Any = None
    if isinstance(function, functools.partial):
        # A member of a namespace; if it is the user's, its arguments would
        # be lost.
        target = function.func
        if len(function.args) != 1 or function.keywords:
            return None
        (context,) = function.args
    if not isinstance(target, FunctionType):
        return None
    name = target.__name__.removeprefix("render_")
    if context is None:
        # What stands for a def in its own template.
        names = target.__code__.co_freevars
        if "context" not in names:
            return None
        cell = (target.__closure__ or ())[names.index("context")]
        context = cell.cell_contents
    uri = target.__globals__.get("_template_uri")
    function_name = f"render_{name}"
    if target is not function and target.__name__ != function_name:
        return None
    if uri is None or function_name not in target.__globals__:
        return None
    if function_name not in (target.__name__, *target.__code__.co_names):
        return None  # A nested def of that name.
    return name, uri, context
