"""`tryggport events`: what gateways have reported."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tryggport.cli.reception import DEFAULT_DB, AsJson, DatabaseUrl, local_time
from tryggport.reception import open_database, views

app = typer.Typer(no_args_is_help=True, help="Look at what gateways have reported.")


@app.callback()
def group() -> None:
    """Look at what gateways have reported."""


@app.command("list")
def list_events(
    db: DatabaseUrl = DEFAULT_DB,
    gateway: Annotated[str | None, typer.Option("--gateway", help="Only those of this gateway.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """The latest events, newest first."""
    found = views.list_events(open_database(db, create=False), gateway, limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for event in found:
        case = f"case {event['case']}" if event["case"] else ""
        test = " (test)" if event["test"] else ""
        what = f"{event['kind']} {event['state']}{test}"
        print(f"{local_time(event['received_ms'])}  {event['gateway']:24}  {event['seq']:6}  {what:28}  {case}")
