"""`tryggport cases`: what a person answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tryggport.cli.reception import DEFAULT_DB, AsJson, DatabaseUrl, local_time
from tryggport.reception import cases, open_database

app = typer.Typer(no_args_is_help=True, help="Take and close the cases that alarms open.")
Number = Annotated[int, typer.Argument(help="Number of the case.")]
By = Annotated[str, typer.Option("--by", help="Who.")]


@app.command("list")
def list_cases(
    db: DatabaseUrl = DEFAULT_DB,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not closed.")] = False,
    as_json: AsJson = False,
) -> None:
    """All cases, newest first."""
    found = cases.list_cases(open_database(db, create=False), closed=not open_only)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for case in found:
        alarms = ", ".join(dict.fromkeys(alarm["kind"] for alarm in case["alarms"])) or "unreadable"
        state = f"{case['status']} by {case['taken_by']}" if case["taken_by"] else case["status"]
        marks = " (test)" * case["test"] + " (cancelled in the home)" * bool(case["cancelled_ms"])
        print(f"{case['id']:6}  {local_time(case['opened_ms'])}  {case['gateway']:24}  {alarms}{marks}: {state}")


@app.command()
def take(case: Number, by: By, db: DatabaseUrl = DEFAULT_DB) -> None:
    """Say that you have the case. The home is told that help is informed."""
    cases.take(open_database(db, create=False), case, by)
    print(f"Case {case} is yours, {by}.")


@app.command()
def close(
    case: Number,
    by: By,
    cause: Annotated[str, typer.Option("--cause", help="What it was.")],
    db: DatabaseUrl = DEFAULT_DB,
) -> None:
    """Say that what was to do is done."""
    cases.close(open_database(db, create=False), case, by, cause)
    print(f"Case {case} is closed.")
