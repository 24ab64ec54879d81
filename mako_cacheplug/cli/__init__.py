"""The command ``mako-cacheplug``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command, or say what it wants installed."""
    try:
        import click  # noqa: F401  # an extra of this distribution
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print(
            'mako-cacheplug needs more: pip install "mako-cacheplug[cli]"',
            file=sys.stderr,
        )
        sys.exit(2)
    from mako_cacheplug.cli.main import command

    try:
        command(prog_name="mako-cacheplug")
    except OSError as error:  # such as a full disk behind the output
        print(f"mako-cacheplug: {error}", file=sys.stderr)
        sys.exit(2)
