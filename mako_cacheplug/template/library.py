"""The templates of one lookup, as those that depend on them see them.

A template's version is what it says and does, and what all the templates say
and do that it includes, inherits or takes a namespace from.  It is the same
in every process that has the same sources, and changes when one of them is
edited.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import NamedTuple

from mako_cacheplug import keys
from mako_cacheplug.digests import blake2b
from mako_cacheplug.template.outline import Outline

__all__ = ["Library", "OwnPart", "Version"]

_MISSING: Final = "missing"
"""Stands for a template that cannot be had: not there, or broken."""

Template = Any  # Mako is untyped.


class OwnPart(NamedTuple):
    """What one template is by itself."""

    identity: str
    """From :func:`~mako_cacheplug.template.identity.identity`."""

    uri: str
    """Its uri, or "" if Mako made it up."""

    base: str
    """What the uris that it names are relative to."""

    needs: tuple[str, ...]
    """The uris that it names."""

    is_open: bool
    """Whether an expression says what it inherits or takes from."""

    of_others: tuple[str, ...] = ()
    """Those of *needs* that can be relative to a template that needs this
    one."""

    outline: Outline = Outline()
    """What its module tells without being parsed."""


class Version(NamedTuple):
    """What a template is at a time, with all that it needs."""

    identity: str
    """A text that no other template, and no other version, has."""

    members: Mapping[str, str]
    """The templates that it needs, directly or not, by uri: what each of
    them is by itself."""

    known_as: Mapping[str, Collection[str]]
    """The same by the uri that each of them has itself, which several can
    share."""

    is_open: bool
    """Whether the template, or one that it needs, leaves to an expression
    what it inherits or takes from."""


class Library:
    """What is known of a lookup's templates.  Safe in threads.

    An edited file is noticed within :attr:`CHECK_SECONDS`, if the lookup has
    ``filesystem_checks``, at the cost of one ``stat`` in that time for each
    template that others depend on; at once if Mako itself has noticed.

    :param lookup: a ``TemplateLookup``, or ``None`` for templates without
        one, which can need nothing.
    :param own_part: returns what a template is by itself.
    :param loaded: returns the template that the lookup holds under a uri
        without looking at its file; ``None`` if it holds none.
    :param clock: monotonic seconds.
    :param asks: whether the lookup is asked each time: it has a way of its
        own to find templates, which can depend on anything.
    """

    CHECK_SECONDS: Final = 1.0
    MOST_SEEN: Final = 4096

    def __init__(
        self,
        lookup: Any,
        own_part: Callable[[Template], OwnPart],
        loaded: Callable[[Any, str], Template | None],
        clock: Callable[[], float] = time.monotonic,
        asks: bool = False,
    ):
        self.lookup = lookup
        self._checks = bool(getattr(lookup, "filesystem_checks", True))
        self._own_part = own_part
        self._loaded = loaded
        self._clock = clock
        self._asks = asks
        # By uri: when its file was looked at, and what was seen last.  The
        # lookup can have let go of it since, or know it by another name.
        self._seen: dict[str, tuple[float, str]] = {}

    def version_of(
        self,
        template: Template,
        more: Iterable[str] = (),
        chosen: Iterable[Template] = (),
    ) -> Version:
        """Return what *template* is now.

        :param more: uris that it also needs, relative to its own.
        :param chosen: templates that it also needs, which the lookup can
            hold by other names than their own.
        """
        own = self._own_part(template)
        is_open = own.is_open
        members: dict[str, str] = {}
        known_as: dict[str, set[str]] = {}
        parts = [own]
        waiting = deque(self._absolute(own.base, (*own.needs, *more)))
        unfound: list[str] = []
        for one in chosen:
            part = self._own_part(one)
            if self.has(one.uri, (part.identity,)):
                waiting.append(one.uri)
                continue
            unfound.append(part.identity)
            known_as.setdefault(one.uri, set()).add(part.identity)
            is_open = is_open or part.is_open
            waiting.extend(self._absolute(part.base, part.needs))
            parts.append(part)
        while waiting := waiting or self._of_others(parts, members):
            uri = waiting.popleft()
            if uri in members:
                continue
            members[uri] = _MISSING
            member = self._find(uri)
            if member is not None:
                part = self._own_part(member)
                members[uri] = part.identity
                known_as.setdefault(member.uri, set()).add(part.identity)
                is_open = is_open or part.is_open
                waiting.extend(self._absolute(part.base, part.needs))
                parts.append(part)
        if not (members or unfound):
            return Version(own.identity, members, known_as, is_open)
        told = [keys.join(*pair) for pair in sorted(members.items())]
        told += [keys.join("", one) for one in sorted({*unfound})]
        text = "".join([own.identity, *told]).encode("utf-8", "surrogatepass")
        digest = blake2b(text, digest_size=16).hexdigest()
        identity = keys.join(own.uri, digest)
        return Version(identity, members, known_as, is_open)

    def _of_others(
        self, parts: Iterable[OwnPart], members: Collection[str]
    ) -> deque[str]:
        """Return what is relative to a template that is not known.

        It can be any of those that have been found to belong together.
        """
        found: deque[str] = deque()
        uris = {uri for part in parts for uri in part.of_others}
        if uris:
            for base in {part.base for part in parts}:
                found.extend(self._absolute(base, uris))
        return deque(uri for uri in found if uri not in members)

    def is_current(self, version: Version, *, checking: bool = True) -> bool:
        """Tell whether nothing that *version* needs has changed.

        :param checking: whether files may be looked at where it is time; if
            not, no template is trusted that the lookup has let go of.
        """
        now = self._clock()
        for uri, known in version.members.items():
            if self._asks or (checking and self._is_time(uri, now)):
                found = self._digest(self._get(uri, now))
            else:
                member = self._loaded(self.lookup, uri)
                if member is not None:
                    found = self._digest(member)
                elif checking:
                    found = self._seen.get(uri, (now, known))[1]
                elif known == _MISSING:
                    continue
                else:
                    found = self._digest(self._get(uri))
            if found != known:
                return False
        return True

    def has(self, uri: str, identities: Collection[str]) -> bool:
        """Tell whether it is one of *identities* that is found by *uri*."""
        return self._digest(self._find(uri)) in identities

    def _find(self, uri: str) -> Template | None:
        now = self._clock()
        if self._asks or self._is_time(uri, now):
            return self._get(uri, now)
        return self._loaded(self.lookup, uri) or self._get(uri)

    def _get(self, uri: str, now: float | None = None) -> Template | None:
        """Return what the lookup has, and remember it.

        :param now: ``None`` if this does not count as a look at the file.
        """
        try:
            member = self.lookup.get_template(uri)
        except Exception:  # not there, or whatever is wrong with its source
            member = None
        if now is None:
            now = self._seen.get(uri, (-math.inf, ""))[0]
        self._remember(uri, now, self._digest(member))
        return member

    def _digest(self, member: Template | None) -> str:
        return _MISSING if member is None else self._own_part(member).identity

    def _absolute(self, base: str, uris: Iterable[str]) -> list[str]:
        if self.lookup is None:
            return []
        found: list[str] = []
        for uri in filter(None, uris):
            # Whatever raises here raises in Mako too, if it gets there.
            with contextlib.suppress(Exception):
                found.append(self.lookup.adjust_uri(uri, base))
        return found

    def _is_time(self, uri: str, now: float) -> bool:
        """Tell whether the file behind *uri* is to be looked at now."""
        last = self._seen.get(uri)
        if last is None:
            return True
        if not self._checks or now - last[0] < self.CHECK_SECONDS:
            return False
        # Other threads do not look meanwhile.
        self._remember(uri, now, last[1])
        return True

    def _remember(self, uri: str, now: float, seen: str) -> None:
        if uri not in self._seen and len(self._seen) >= self.MOST_SEEN:
            # Uris can be without end, where an option computes them.
            self._seen.clear()
        self._seen[uri] = now, seen
