"""`tryggport sim`: more homes than anybody has on a table."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskID

app = typer.Typer(no_args_is_help=True, help="Simulate many gateways on this machine.")


@app.callback()
def _group() -> None:
    pass


@app.command()
def fleet(
    gateways: Annotated[int, typer.Option("--gateways", help="How many homes.")] = 100,
    events: Annotated[int, typer.Option("--events", help="Events that each has buffered.")] = 20,
    rate: Annotated[float, typer.Option("--rate", help="Fresh alarms a second while they return.")] = 5.0,
    outage: Annotated[
        float, typer.Option("--outage", help="Seconds they were away; 0: they all come at once.")
    ] = 600.0,
    timeout: Annotated[float, typer.Option("--timeout", help="Give up after so many seconds.")] = 300.0,
    seed: Annotated[int, typer.Option("--seed", help="The same number, the same homes and moments.")] = 1,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep keys, broker and database in this new folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let a region come back after an outage: real keys, TLS, Mosquitto and reception. Exit code 1: something was lost."""
    from tryggport.sim import fleet as fleets  # needs resource limits, which Windows lacks

    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True,
                  disable=not sys.stderr.isatty()) as bars:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=of)

        plan = fleets.Plan(gateways, events, rate, outage, timeout, seed)
        found = dataclasses.asdict(fleets.run(plan, keep, tell))
    print(json.dumps(found) if as_json else "\n".join(f"{name:20} {value}" for name, value in found.items()))
    raise typer.Exit(1 if found["lost"] or found["doubled"] else 0)
