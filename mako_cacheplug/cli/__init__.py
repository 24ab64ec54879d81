"""The command ``mako-cacheplug``."""

from __future__ import annotations

import os
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
        try:
            command(prog_name="mako-cacheplug")
        finally:
            # Here, where its failure can be told, and not at the exit.
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:  # such as a full disk behind the output
        if sys.stdout is not None:
            # What is left in the buffer has nowhere to go.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
        if sys.stderr is not None and not isinstance(error, BrokenPipeError):
            print(f"mako-cacheplug: {error}", file=sys.stderr)
        sys.exit(2)
