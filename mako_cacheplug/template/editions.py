"""What a template is in each render: its own edition, and its heirs.

A render begins with templates that the lookup had then; while it goes on,
the lookup can get newer ones.  What is created from a mixture is no
edition's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import Final
from typing import NamedTuple

from mako_cacheplug import options
from mako_cacheplug.template.library import Library
from mako_cacheplug.template.library import OwnPart
from mako_cacheplug.template.library import Version
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.plan import heirs_token

__all__ = ["Edition", "Editions", "Heirs", "running"]

_KNOWN_EDITIONS: Final = 16

Template = Any  # Mako is untyped.


class Edition:
    """A version of the template, and how its fragments are cached in it."""

    __slots__ = ("is_alone", "known", "plans", "version")

    def __init__(self, version: Version, is_alone: bool):
        self.version = version
        # Whether it is one outside of renders too, where expressions have
        # no value.
        self.is_alone = is_alone
        # By the place in the module that asks: its code lives as long as
        # the template.
        self.plans: dict[int, FragmentPlan] = {}
        self.known: dict[str, FragmentPlan] = {}


class Heirs(NamedTuple):
    """The templates that inherit this one in a render."""

    top: weakref.ref[Any]
    """The namespace ``self``: a render that includes others has several."""

    library: Library
    templates: list[weakref.ref[Template]]
    versions: list[Version]
    token: str
    """What tells them apart, for a key."""


class _Render(NamedTuple):
    stack: weakref.ref[Any]
    """Tells the render: it is one object for all its contexts."""

    library: Library
    edition: Edition | None


class Editions:
    """The editions of one template.  Safe in threads.

    :param template: Mako's.
    :param own_part: returns what a template is by itself.
    :param library_in: returns the library of the lookup that a context
        takes templates from, or a template's own without one.
    :param namespaces_of: returns the templates that a template's namespaces
        are in a context.
    """

    def __init__(
        self,
        template: Template,
        own_part: Callable[[Template], OwnPart],
        library_in: Callable[[Any, Template], Library],
        namespaces_of: Callable[[Template, Any], Iterable[Template]],
    ):
        self._template = template
        self._own_part = own_part
        self._own = own = own_part(template)
        self._library_in = library_in
        self._namespaces_of = namespaces_of
        self.only = (
            None
            if own.needs or own.is_open
            else Edition(Version(own.identity, {}, {}, False), True)
        )
        """The edition, if the template needs no other and has but one."""

        self._all: dict[tuple[str, bool], Edition] = {}
        self._render: _Render | None = None
        self._heirs: Heirs | None = None

    def alone(self) -> Edition:
        """Return what the template is now, outside of a render."""
        if self.only is not None:
            return self.only
        library = self._library_in(None, self._template)
        return self._edition(library.version_of(self._template), True)

    def in_render(self, context: Any, depends: object) -> Edition | None:
        """Return what the template is in a render.

        :param depends: the option ``depends`` of a fragment: it can name
            more templates than the template as a whole.
        :return: ``None`` if the render began with other templates than the
            lookup has now, or with one that cannot be had.
        """
        if context is None:
            return self.alone()
        render = self._render
        if render is None or render.stack() is not context.caller_stack:
            render = self._render = self._begin(context, render)
        edition = render.edition
        if edition is None:
            return None
        more: set[str] = set()
        chosen: list[Template] = []
        if depends is not None:
            more = {*options.tag_names(depends, "depends")}
            more -= {*self._own.needs}
        if edition.version.is_open:
            try:
                chosen = self._chosen(context, edition.version)
            except Exception:  # of the expression, or of what it names
                return None
        if not (more or chosen):
            return edition
        version = render.library.version_of(
            self._template, sorted(more), chosen
        )
        if chosen and not self._began_with(context, version):
            return None
        return self._edition(version, False)

    def noted(self, context: Any) -> Edition | None:
        """Return what :meth:`in_render` last said, if of this render."""
        render = self._render
        if render is None or render.stack() is not context.caller_stack:
            return None
        return render.edition

    def is_past(self, context: Any, edition: Edition) -> bool:
        """Tell whether a render goes on with templates edited meanwhile."""
        library = self._library_in(context, self._template)
        return not library.is_current(edition.version, checking=False)

    def _chosen(self, context: Any, version: Version) -> list[Template]:
        """Return what expressions say that it inherits and takes from."""
        bases: list[Template] = []
        found = [*self._namespaces_of(self._template, context)]
        for template in _chain(context):
            if bases or template is self._template:
                bases.append(template)
        for base in bases[1:]:
            found += [base, *self._namespaces_of(base, context)]
        return [
            one
            for one in found
            if self._own_part(one).identity
            not in version.known_as.get(one.uri, ())
        ]

    def _begin(self, context: Any, last: _Render | None) -> _Render:
        stack = weakref.ref(context.caller_stack)
        library = self._library_in(context, self._template)
        edition = last.edition if last and last.library is library else None
        if edition is None or not library.is_current(edition.version):
            version = library.version_of(self._template)
            # Another lookup's templates are not those that it has alone.
            is_alone = library.lookup is self._template.lookup
            edition = self._edition(version, is_alone)
        if not self._began_with(context, edition.version):
            edition = None
        return _Render(stack, library, edition)

    def _began_with(self, context: Any, version: Version) -> bool:
        """Tell whether a render has no other templates than *version*."""
        for template in running(context):
            known = version.known_as.get(template.uri)
            if (
                known is not None
                and template is not self._template
                and self._own_part(template).identity not in known
            ):
                return False
        return True

    def _edition(self, version: Version, is_alone: bool) -> Edition:
        known = version.identity, is_alone
        edition = self._all.get(known)
        if edition is None:
            if len(self._all) >= _KNOWN_EDITIONS:
                self._all.clear()
            edition = Edition(version, is_alone)
            edition = self._all.setdefault(known, edition)
        return edition

    def heirs(self, context: Any) -> Heirs:
        """Return the templates that inherit this one in a render."""
        heirs = self._heirs
        top = context["self"]
        if heirs is not None and heirs.top() is top:
            return heirs
        library = self._library_in(context, self._template)
        templates = []
        for template in _chain(context):
            if template is self._template:
                break
            templates.append(template)
        if (
            heirs is not None
            and heirs.library is library
            and [one() for one in heirs.templates] == templates
            and all(map(library.is_current, heirs.versions))
        ):
            heirs = heirs._replace(top=weakref.ref(top))
        else:
            versions = [
                library.version_of(one, self._own.of_others)
                for one in templates
            ]
            heirs = Heirs(
                weakref.ref(top),
                library,
                [weakref.ref(one) for one in templates],
                versions,
                heirs_token([one.identity for one in versions]),
            )
        self._heirs = heirs
        return heirs

    def guard(
        self, context: Any, edition: Edition, with_heirs: bool
    ) -> tuple[Collection[str], Callable[[], bool]]:
        """Return what a creation that begins now may show, and a check.

        :param with_heirs: whether it can show what is its heirs'.
        :return: the uris of the templates whose edits are noticed, and a
            function that tells whether none of them has been edited since.
        """
        if edition is self.only and not with_heirs:
            return (), _unedited
        library = self._library_in(context, self._template)
        versions = [edition.version]
        uris = {*edition.version.members}
        if with_heirs and context is not None:
            heirs = self.heirs(context)
            versions += heirs.versions
            uris.update(one.uri for one in _chain(context))
        for version in versions:
            uris.update(version.members)
            # Its own uri is what a hole tells of the template that it is in.
            uris.update(
                uri
                for uri, identities in version.known_as.items()
                if uri not in uris and library.has(uri, identities)
            )

        def is_unedited() -> bool:
            return all(
                library.is_current(version, checking=False)
                for version in versions
            )

        return uris, is_unedited


def _unedited() -> bool:
    """Tell of what needs no other template that none has been edited."""
    return True


def _chain(context: Any) -> Iterator[Template]:
    """Yield the page that is rendered and what it inherits."""
    namespace = context.get("self")
    while namespace is not None:
        template = namespace.template
        if template is not None:
            yield template
        namespace = namespace.inherits


def running(context: Any) -> Iterator[Template]:
    """Yield the templates that a render has taken from the lookup."""
    yield from _chain(context)
    for namespace in list(context.namespaces.values()):
        template = getattr(namespace, "template", None)
        if template is not None:
            yield template
