"""The command line: `tryggport VERB`. A verb parses, calls one library function, and prints."""

from __future__ import annotations

import sys

import typer

from tryggport.errors import TryggError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=__doc__)


def main() -> None:
    """Runs the command line; exit code 0 ok, 1 failed, 2 usage."""
    try:
        app()
    except TryggError as e:
        print(f"tryggport: {e.message}" + (f"\n  {e.hint}" if e.hint else ""), file=sys.stderr)
        sys.exit(2 if e.usage else 1)
