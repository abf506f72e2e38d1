"""`tryggport bench`: measure, against named peers in the same run."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from tryggport import paths


def command(
    name: Annotated[
        str | None, typer.Argument(help="latency, drain, memory, sign, mqtt, falls, reception or journal; none: all.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the named one as JSON.")] = False,
) -> None:
    """Measure. Without a name, everything, into tests/bench/results.md."""
    paths.folder("tests/bench")
    arguments = ([name] if name else []) + (["--json"] if json else [])
    raise typer.Exit(subprocess.run([sys.executable, "-m", "tests.bench", *arguments], cwd=paths.ROOT).returncode)
