"""What a template is, and what it is with its heirs."""

from __future__ import annotations

import re
from typing import Any

from mako_cacheplug import keys
from mako_cacheplug.template import identity
from mako_cacheplug.template import impl as seam
from mako_cacheplug.template import plan as plans
from mako_cacheplug.template import private
from mako_cacheplug.template.editions import Editions
from mako_cacheplug.template.heirs import HeirUse
from mako_cacheplug.template.library import Library
from mako_cacheplug.template.needs import Needs
from mako_cacheplug.template.needs import read_needs
from taken_out.mechanism import mechanism
from taken_out.mechanism import replace

# -- what a template is -------------------------------------------------------


@mechanism(
    "its source and module are part of what a template is",
    "traps/test_edits.py::test_a_string_at_once[memory-itself]",
    "traps/test_edits.py::test_a_file_within_a_second[memory-itself]",
    "peers/test_wrong_content.py::test_one_uri_in_two_themes[memory]",
    "traps/test_seam.py::test_string_templates_at_one_address[memory]",
)
def _no_own_part() -> None:
    replace(private, "identity", lambda uri, *rest: keys.join(uri, ""))


@mechanism(
    "its uri is part of what a template is",
    "test_identity.py::test_uris_with_one_module_name_are_told_apart",
)
def _no_uri() -> None:
    whole = private.identity
    replace(private, "identity", lambda uri, *rest: whole("", *rest))


@mechanism(
    "a uri that Mako made up is none",
    "test_identity.py::test_string_templates_of_one_source_share_it",
    "peers/test_waste.py::test_a_restart_empties_the_store[file-string]",
)
def _made_up_uris() -> None:
    replace(private, "own_uri", lambda uri, filename: uri)


@mechanism(
    "when and where it was compiled is no part of it",
    "traps/test_seam.py::test_when_it_was_compiled_does_not_matter[memory]",
    "traps/test_deploys.py"
    "::test_the_folder_it_was_deployed_to_does_not_matter[memory]",
)
def _circumstances() -> None:
    replace(identity, "_CIRCUMSTANCES", re.compile("(?!)"))


@mechanism(
    "the address in a namespace's name is no part of it",
    "traps/test_deploys.py"
    "::test_the_folder_it_was_deployed_to_does_not_matter[memory]",
)
def _address() -> None:
    replace(identity, "_ADDRESS", re.compile("(?!)"))


@mechanism(
    "what it needs is part of what a template is",
    "traps/test_edits.py::test_a_string_at_once[memory-included]",
    "traps/test_edits.py::test_a_string_at_once[memory-inherited]",
    "traps/test_edits.py::test_a_string_at_once[memory-a namespace]",
    "traps/test_edits.py"
    "::test_before_another_lookup_is_made[memory-included in a def]",
    "traps/test_seam.py::test_two_themes_that_differ_in_a_part[memory]",
)
def _no_needs() -> None:
    replace(private, "read_needs", lambda code, source: Needs((), False))


@mechanism(
    "what its parts need is, too",
    "traps/test_edits.py"
    "::test_a_string_at_once[memory-included by an included one]",
    "traps/test_edits.py"
    "::test_a_string_at_once[memory-inherited by an inherited one]",
)
def _needs_of_needs() -> None:
    whole = Library.version_of

    def version_of(
        self: Library, template: Any, *args: Any, **given: Any
    ) -> Any:
        known = self._own_part

        def own_part(one: Any) -> Any:
            part = known(one)
            return part if one is template else part._replace(needs=())

        self._own_part = own_part
        try:
            return whole(self, template, *args, **given)
        finally:
            self._own_part = known

    replace(Library, "version_of", version_of)


@mechanism(
    "what an expression inherits or takes from is known in a render",
    "traps/test_inheritance.py"
    "::test_each_theme_shows_its_own[memory-a base's def-]",
    "traps/test_inheritance.py"
    "::test_each_theme_shows_its_own[memory-a base's def-/middle]",
    "traps/test_inheritance.py"
    "::test_each_theme_shows_its_own[memory-a namespace's def-]",
    "traps/test_inheritance.py"
    "::test_each_theme_shows_its_own[memory-an imported def-]",
)
def _open() -> None:
    replace(
        private,
        "read_needs",
        lambda *args: Needs(read_needs(*args).named, False),
    )


@mechanism(
    "an entry of a version that only a render knows has no second line",
    "traps/test_inheritance.py::test_what_an_expression_names_does_not_hide_it"
    "_from_an_invalidation[memory-declared]",
    "traps/test_inheritance.py::test_what_an_expression_names_does_not_hide_it"
    "_from_an_invalidation[memory-inherited]",
)
def _always_removable() -> None:
    whole = plans.FragmentPlan.__init__

    def init(self: Any, *args: Any) -> None:
        whole(self, *args[:-1], True)

    replace(plans.FragmentPlan, "__init__", init)


# -- heirs --------------------------------------------------------------------


@mechanism(
    "heirs are part of the key",
    "traps/test_inheritance.py::test_what_shows_something_of_its_childs_is"
    "_per_child[memory-next-two]",
    "traps/test_inheritance.py::test_what_shows_something_of_its_childs_is"
    "_per_child[memory-self-three]",
    "peers/test_stale_for_ever.py::test_a_cached_page_in_a_base[memory]",
)
def _no_heirs() -> None:
    replace(seam.CachePlugImpl, "_heirs", lambda self, context, plan: "")


@mechanism(
    "what shows nothing of its heirs is one for all",
    "traps/test_inheritance.py"
    "::test_a_library_in_a_base_is_one_entry_for_a_hundred_pages[memory]",
    "test_heirs.py::test_what_is_its_own[text-def]",
)
def _all_are_heirs() -> None:
    replace(HeirUse, "__call__", lambda self, name: True)


@mechanism(
    "what shows something of its heirs is told from what does not",
    "traps/test_inheritance.py::test_what_shows_something_of_its_childs_is"
    "_per_child[memory-self, as a tag-two]",
    "traps/test_inheritance.py::test_what_shows_something_of_its_childs_is"
    "_per_child[memory-another def-two]",
    "traps/test_inheritance.py::test_nested_and_overridden_blocks"
    "[memory-a literal]",
)
def _none_is_heirs() -> None:
    replace(HeirUse, "__call__", lambda self, name: False)


@mechanism(
    "all heirs count, not only the page",
    "traps/test_inheritance.py"
    "::test_what_is_between_a_page_and_its_base_counts_too[memory]",
)
def _only_the_page() -> None:
    whole = Editions.heirs

    def heirs(self: Editions, context: Any) -> Any:
        found = whole(self, context)
        token = plans.heirs_token([found.versions[0].identity])
        return found._replace(token=token)

    replace(Editions, "heirs", heirs)


@mechanism(
    "heirs are those of a page, not of a render",
    "traps/test_seam.py"
    "::test_two_includes_in_one_render_are_each_themselves[memory]",
)
def _heirs_of_a_render() -> None:
    whole = Editions.heirs
    known: dict[tuple[int, int], Any] = {}

    def heirs(self: Editions, context: Any) -> Any:
        place = id(self), id(context.caller_stack)
        if place not in known:
            # The stack is kept, and so its address.
            known[place] = context.caller_stack, whole(self, context)
        return known[place][1]

    replace(Editions, "heirs", heirs)
