"""What tells fragments and their calls apart."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from mako_cacheplug import codec
from mako_cacheplug import keys
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.template import impl as seam
from mako_cacheplug.template import plan as plans
from mako_cacheplug.template import planning
from mako_cacheplug.template import scan as scans
from mako_cacheplug.template.heirs import CallerUse
from mako_cacheplug.template.scan import Scan
from mako_cacheplug.template.settings import TemplateSettings
from taken_out.mechanism import mechanism
from taken_out.mechanism import replace

# -- keys ---------------------------------------------------------------------


@mechanism(
    "arguments are part of the key",
    "peers/test_wrong_content.py::test_arguments_are_ignored[memory]",
    "traps/test_seam.py::test_arguments[memory]",
)
def _no_arguments() -> None:
    replace(planning, "argument_cells", lambda creator, around: ())


@mechanism(
    "the variables around a nested fragment are, too",
    "test_seam.py::test_a_nested_fragment_shows_what_the_def_around_it_was"
    "_given[a variable]",
    "test_seam.py::test_a_nested_fragment_shows_what_the_def_around_it_was"
    "_given[the variable of a loop]",
)
def _no_variables() -> None:
    whole = Scan.around
    replace(
        Scan,
        "around",
        lambda self, name: whole(self, name)._replace(variables=frozenset()),
    )


@mechanism(
    "variables that nested functions close over are, too",
    "test_seam.py::test_a_nested_fragment_shows_what_the_def_around_it_was"
    "_given[an argument through another nested def]",
)
def _no_nested_functions() -> None:
    replace(plans, "_content", lambda cell: None)


@mechanism(
    "what is passed to render is no argument",
    "traps/test_seam.py::test_what_is_passed_to_render_is_no_argument[memory]",
)
def _page_arguments() -> None:
    replace(scans, "_given_by_mako", lambda name, blocks: {"context"})


@mechanism(
    "a fragment's name holds the functions around it",
    "peers/test_wrong_content.py::test_two_nested_defs_of_one_name[memory]",
    "traps/test_seam.py::test_nested_defs_of_one_name_and_of_a_key[memory]",
)
def _bare_names() -> None:
    whole = planning.fragment_name
    replace(
        planning, "fragment_name", lambda name: whole(name).rpartition(".")[2]
    )


@mechanism(
    "two fragments of one name in two calls are numbered",
    "test_seam.py::test_two_calls_that_define_one_def_each_show_their_own",
)
def _no_numbers() -> None:
    replace(Scan, "name_at", lambda self, name, line: name)


@mechanism(
    "a value's type is part of its token",
    "traps/test_seam.py::test_arguments[memory]",
)
def _no_types() -> None:
    for kind in (bool, int, float):
        keys._TOKENS[kind] = lambda value: keys._TOKENS[str](str(value))


@mechanism(
    "Markup and str are told apart in a key",
    "traps/test_seam.py::test_arguments[memory]",
)
def _markup_in_keys() -> None:
    keys._TOKENS[Markup] = keys._TOKENS[str]


@mechanism(
    "Markup and str are told apart in what is stored",
    "test_seam.py::test_html_from_a_filter_comes_back_as_markup",
    "traps/test_seam.py::test_set_put_and_get[memory-<b>]",
)
def _markup_in_values() -> None:
    whole = codec.dump_value

    def dump_value(value: object) -> str | bytes:
        return whole(str(value) if isinstance(value, Markup) else value)

    replace(codec, "dump_value", dump_value)


@mechanism(
    "content that a def is called with is not cached",
    "test_seam.py::test_defs_called_with_other_content_show_that_content"
    "[<%self:card>{}</%self:card>]",
    "traps/test_seam.py"
    "::test_a_def_that_is_called_with_content_shows_that_content[memory]",
)
def _content() -> None:
    replace(planning, "uses_caller", lambda creator: False)
    replace(CallerUse, "__call__", lambda self, name: False)


@mechanism(
    "a namespace is part of the key",
    "traps/test_options_per_call.py"
    "::test_each_value_has_its_own[memory-namespace-values1]",
)
def _no_namespace() -> None:
    whole = CacheRegion.__init__

    def init(self: CacheRegion, *args: Any, **given: Any) -> None:
        whole(self, *args, **given)
        self.scope = keys.join("", self.name)

    replace(CacheRegion, "__init__", init)


# -- options ------------------------------------------------------------------


@mechanism(
    "options are those of each call",
    "traps/test_options_per_call.py"
    "::test_each_value_has_its_own[memory-region-values0]",
    "traps/test_options_per_call.py"
    "::test_each_value_has_its_own[memory-namespace-values1]",
    "traps/test_options_per_call.py"
    "::test_each_value_has_its_own[memory-vary-values2]",
    "traps/test_options_per_call.py::test_a_url[memory]",
    "traps/test_options_per_call.py::test_a_folder",
    "traps/test_options_per_call.py::test_tags[memory]",
    "traps/test_options_per_call.py::test_enabled[memory]",
    "traps/test_options_per_call.py::test_a_lifetime[memory-ttl]",
    "traps/test_options_per_call.py::test_an_impl[memory]",
    "peers/test_wrong_content.py::test_a_region_per_tenant_freezes[memory]",
)
def _frozen() -> None:
    whole = seam.CachePlugImpl._serve

    def first(
        self: Any,
        key: object,
        creator: Any,
        context: Any,
        kw: dict[str, object],
    ) -> object:
        frozen = self.__dict__.setdefault("_frozen", {})
        kw = {**frozen.setdefault(kw.get("__M_defname"), {**kw})}
        return whole(self, key, creator, context, kw)

    replace(seam.CachePlugImpl, "_serve", first)


@mechanism(
    "an impl of another plugin is handed over to it",
    "test_seam_options.py::test_a_third_partys_plugin_on_a_tag",
    "test_seam_options.py::test_beaker_on_a_tag",
    "traps/test_options_per_call.py::test_an_impl[memory]",
)
def _no_foreign() -> None:
    replace(TemplateSettings, "_refuse_foreign", lambda self, *args: None)
