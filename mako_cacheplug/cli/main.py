"""The command and its parts."""

from __future__ import annotations

import click

from mako_cacheplug.cli.check import check

__all__ = ["command"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mako-cacheplug")
def command() -> None:
    """Look after templates that are cached by mako-cacheplug."""


command.add_command(check)
