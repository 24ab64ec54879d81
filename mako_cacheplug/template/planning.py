"""From a call that generated code makes to the plan for that fragment."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any
from typing import Final

from mako_cacheplug import keys
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.nesting import Creation
from mako_cacheplug.template.editions import Edition
from mako_cacheplug.template.outline import Outline
from mako_cacheplug.template.places import TemplatePlaces
from mako_cacheplug.template.plan import argument_cells
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.plan import uses_caller
from mako_cacheplug.template.scan import Around
from mako_cacheplug.template.scan import fragment_name

__all__ = ["Planner"]

_KNOWN_PLANS: Final = 1024


class Planner:
    """Makes the plans of one template's fragments.  Safe in threads.

    :param places: what the template caches, and where.
    :param family: what it is in all its versions.
    :param outline: what its module tells without being parsed.
    :param run: runs a fragment's creator.
    """

    def __init__(
        self,
        places: TemplatePlaces,
        family: str,
        outline: Outline,
        run: Callable[[Creation, Callable[[], object]], Any],
    ):
        self._places = places
        self._family = family
        self._outline = outline
        self._run = run

    def find(
        self,
        edition: Edition,
        defname: str,
        creator: FunctionType,
        kw: dict[str, object],
    ) -> FragmentPlan:
        """Return the plan for a tag's options; it becomes the latest.

        :param defname: the fragment's own function.
        :param creator: the lambda that Mako passes.
        :param kw: the options, but for those that are taken at each call.
        :raises OptionError: for an option that is unknown or wrong.
        :raises ForeignImpl: if the store is not one of ours.
        """
        site = id(creator.__code__)
        try:
            known = f"{site} {keys.token(kw)}"
        except KeyTypeError:
            known = ""
        plan = edition.known.get(known)
        if plan is None:
            plan = self._make(edition, defname, creator, kw)
        if len(edition.known) >= _KNOWN_PLANS:
            edition.known.clear()
        if known:
            edition.known[known] = plan
        edition.plans[site] = plan
        return plan

    def _make(
        self,
        edition: Edition,
        defname: str,
        creator: FunctionType,
        kw: dict[str, object],
    ) -> FragmentPlan:
        places = self._places
        where = places.where(defname)
        region, call, given = places.resolve(kw, where)
        name = path = fragment_name(creator.__qualname__)
        around, takes_content = Around(), False
        if self._outline.names_caller:
            takes_content = uses_caller(creator)
        if self._is_plain(path, creator):
            has_key = defname not in self._outline.asked_by_name
        else:
            scanned = places.scanned()
            name = scanned.name_at(name, creator.__code__.co_firstlineno)
            has_key = scanned.has_key(name)
            around = scanned.around(name)
            takes_content = takes_content or scanned.is_callers(path)
        places.remember(name, kw)
        return FragmentPlan(
            kw,
            region,
            call,
            edition.version.identity,
            self._family,
            name,
            defname,
            has_key,
            argument_cells(creator, around),
            takes_content,
            given,
            where,
            self._run,
            edition.is_alone,
        )

    def _is_plain(self, path: str, creator: FunctionType) -> bool:
        """Tell whether a fragment's own function tells all of it."""
        return (
            self._outline.is_plain
            and "." not in path
            and (
                path == "render_body"
                or "pageargs" not in creator.__code__.co_freevars
            )
        )
