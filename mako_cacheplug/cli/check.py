"""``mako-cacheplug check``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Final
from typing import TYPE_CHECKING

import click

from mako_cacheplug.cli.config import find_config
from mako_cacheplug.cli.config import read_config

if TYPE_CHECKING:
    from mako_cacheplug.check.files import Search
    from mako_cacheplug.check.finding import Finding
    from mako_cacheplug.check.lookup import Lookup
    from mako_cacheplug.check.settings import Settings

__all__ = ["check"]

_NO_SETTINGS: Final = frozenset({"config", "explain", "help"})


def _configure(
    context: click.Context, _: click.Parameter, path: str | None
) -> None:
    """Make the settings in a file the defaults of the other options."""
    path = path or find_config()
    if path is not None:
        parameters = [
            one
            for one in context.command.get_params(context)
            if one.name not in _NO_SETTINGS
        ]
        context.default_map = read_config(path, parameters)


def _explain(context: click.Context, _: click.Parameter, name: str) -> None:
    """Print a rule's text, and that is all."""
    if not name:
        return
    from mako_cacheplug.check.rules import find
    from mako_cacheplug.check.rules import RULES
    from mako_cacheplug.check.texts import explanation

    rule = find(name)
    if rule is not None:
        click.echo(explanation(rule), nl=False)
    elif name == "all":
        for one in RULES:
            click.echo(f"{one.code} {one.name}: {one.summary}")
    else:
        raise click.BadParameter(
            f"no rule is called {name!r}; 'all' lists them"
        )
    context.exit()


def _split(
    _context: click.Context, _parameter: click.Parameter, given: Iterable[str]
) -> list[str]:
    """Return the parts of an option that takes commas and can be repeated."""
    return [
        part.strip()
        for one in given
        for part in one.split(",")
        if part.strip()
    ]


def _codes(
    context: click.Context, parameter: click.Parameter, given: Iterable[str]
) -> frozenset[str]:
    """Return codes, or the beginnings of codes, from these and names."""
    from mako_cacheplug.check.rules import find
    from mako_cacheplug.check.rules import RULES

    found = set()
    for name in _split(context, parameter, given):
        rule = find(name)
        if rule is not None:
            found.add(rule.code)
        elif any(one.code.startswith(name.upper()) for one in RULES):
            found.add(name.upper())
        else:
            raise click.BadParameter(f"no rule is called {name!r}")
    return frozenset(found)


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "-d",
    "--directory",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="A folder of the TemplateLookup; repeat it for each.",
)
@click.option(
    "--extension",
    multiple=True,
    metavar="ENDINGS",
    callback=_split,
    help="What templates end with; mako,mak,html,htm,xml,tmpl by default.",
)
@click.option(
    "--select",
    multiple=True,
    metavar="CODES",
    callback=_codes,
    help="Only these rules: codes, names, or MC2 for all that begin so.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="CODES",
    callback=_codes,
    help="Not these rules.",
)
@click.option(
    "--request-names",
    multiple=True,
    metavar="NAMES",
    callback=_split,
    help="More names that tell who asks; with - in front one name less.",
)
@click.option(
    "--encoding",
    default="utf-8",
    show_default=True,
    help="Of templates that do not say it themselves.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["human", "json", "github"]),
    default="human",
    show_default=True,
    help="How findings are written.",
)
@click.option(
    "--exit-zero", is_flag=True, help="Exit with 0 also if there are findings."
)
@click.option(
    "--explain",
    metavar="CODE",
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Print what a rule is about, or 'all' for a list.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_configure,
    help="A pyproject.toml; the default is the nearest one.",
)
def check(
    paths: tuple[str, ...],
    directory: tuple[str, ...],
    extension: list[str],
    select: frozenset[str],
    ignore: frozenset[str],
    request_names: list[str],
    encoding: str,
    format_: str,
    exit_zero: bool,
) -> None:
    """Find in templates what will go wrong in the cache.

    PATH is a file, a folder, or - for the standard input.  Nothing in a
    template is run.  Exits with 0 if there is nothing to say, with 1 if there
    is, and with 2 if it is called wrongly.
    """
    # Imported here, so that --help is quick.
    from mako_cacheplug.check.checker import selected
    from mako_cacheplug.check.files import EXTENSIONS
    from mako_cacheplug.check.files import search
    from mako_cacheplug.check.settings import REQUEST_NAMES
    from mako_cacheplug.check.settings import Settings
    from mako_cacheplug.cli.output import OUTPUTS

    if not paths:
        raise click.UsageError("Missing argument 'PATH...'.")
    for path in paths:
        if path != "-" and not os.path.lexists(path):
            raise click.UsageError(f"there is no {path!r}")
    endings = extension or EXTENSIONS
    found = search(paths, endings)
    if not found.templates:
        raise click.UsageError(
            f"no templates in {', '.join(paths)}: nothing there ends with"
            f" {', '.join(endings)}; --extension gives other endings"
        )
    less = {name[1:] for name in request_names if name.startswith("-")}
    settings = Settings(
        request_names=REQUEST_NAMES.union(request_names) - less,
        lookup=_lookup(paths, directory, found),
        encoding=encoding,
    )
    output = OUTPUTS[format_]()
    for path in found.templates:
        for finding in selected(_check(path, settings), select, ignore):
            output.add(finding)
    output.finish(len(found.templates))
    if output.findings and not exit_zero:
        sys.exit(1)


def _lookup(
    paths: tuple[str, ...], directories: tuple[str, ...], found: Search
) -> Lookup | None:
    """Return what knows which templates there are, if anybody does."""
    from mako_cacheplug.check.lookup import Directories
    from mako_cacheplug.check.lookup import SeenFiles

    if directories:
        return Directories(directories)
    if any(os.path.isdir(path) for path in paths):
        return SeenFiles([*found.templates, *found.others])
    return None


def _check(path: str, settings: Settings) -> list[Finding]:
    from mako_cacheplug.check.checker import check_bytes
    from mako_cacheplug.check.checker import check_file

    if path != "-":
        return check_file(path, settings)
    if sys.stdin is None:
        raise click.UsageError("there is no standard input")
    data = sys.stdin.buffer.read(settings.max_bytes + 1)
    return check_bytes(data, "<stdin>", settings)
