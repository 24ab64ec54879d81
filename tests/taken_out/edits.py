"""How edits are noticed."""

from __future__ import annotations

from typing import Any

from mako_cacheplug.template.editions import Editions
from mako_cacheplug.template.library import Library
from taken_out.mechanism import mechanism
from taken_out.mechanism import replace


@mechanism(
    "files that others depend on are looked at",
    "traps/test_edits.py::test_a_file_within_a_second[memory-included]",
    "traps/test_edits.py::test_a_file_within_a_second[memory-a namespace]",
    "test_library.py::test_an_edit_is_noticed_within_a_second",
)
def _never_looked_at() -> None:
    replace(Library, "_is_time", lambda self, uri, now: False)


@mechanism(
    "they are looked at once a second",
    "traps/test_looks.py"
    "::test_each_dependency_once_a_second_however_many_pages[memory]",
    "test_library.py::test_each_file_is_looked_at_once_a_second",
)
def _always_looked_at() -> None:
    replace(Library, "_is_time", lambda self, uri, now: True)


@mechanism(
    "what was edited during a creation is not kept",
    "traps/test_edits_under_way.py::test_of_strings[memory-included, before]",
    "traps/test_edits_under_way.py"
    "::test_in_one_process[memory-included, between]",
    "traps/test_edits_under_way.py::test_of_strings[memory-declared]",
)
def _edited() -> None:
    whole = Editions.guard

    def guard(self: Editions, *args: Any) -> Any:
        return whole(self, *args)[0], lambda: True

    replace(Editions, "guard", guard)


@mechanism(
    "nor where the lookup has let go of it meanwhile",
    "test_library.py::test_but_it_is_not_trusted_where_no_file_is_looked_at",
    "traps/test_edits_under_way.py"
    "::test_a_part_that_the_lookup_has_let_go_of[memory]",
)
def _let_go() -> None:
    whole = Library.is_current

    def is_current(
        self: Library, version: Any, *, checking: bool = True
    ) -> bool:
        if checking:
            return whole(self, version)
        held = {
            uri: known
            for uri, known in version.members.items()
            if self._loaded(self.lookup, uri) is not None
        }
        version = version._replace(members=held)
        return whole(self, version, checking=False)

    replace(Library, "is_current", is_current)


@mechanism(
    "a render that began with others keeps nothing",
    "traps/test_edits_under_way.py"
    "::test_a_render_that_began_with_the_old_ones[memory-inherited]",
    "traps/test_edits_under_way.py"
    "::test_a_render_that_began_with_the_old_ones[memory-a namespace]",
)
def _began_with() -> None:
    replace(Editions, "_began_with", lambda self, context, version: True)
