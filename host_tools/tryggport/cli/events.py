"""`tryggport events`: what gateways have reported."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tryggport.cli.reception import DEFAULT_DB, AsJson, DatabaseUrl, Language, Municipality, local_time, scope_of
from tryggport.reception import dating, views
from tryggport.reception.wording import words

# What stands before the time of an event.
AT = {dating.CLOCK: "", dating.ABOUT: "about", dating.BETWEEN: "before", dating.BEFORE: "before"}

app = typer.Typer(no_args_is_help=True, help="Look at what gateways have reported.")


@app.callback()
def group() -> None:
    """Look at what gateways have reported."""


@app.command("list")
def list_events(
    language: Language,
    db: DatabaseUrl = DEFAULT_DB,
    gateway: Annotated[str | None, typer.Option("--gateway", help="Only those of this gateway.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    municipality: Municipality = None,
    as_json: AsJson = False,
) -> None:
    """The latest events, newest first."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        found = views.list_events(scope, gateway, limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for event in found:
        test = f" ({_('test')})" if event["test"] else ""
        what = f"{_.told(event['kind'])} {_.told(event['state'])}{test}"
        seq = "-" if event["seq"] is None else event["seq"]
        notes = [f"{_('case')} {event['case']}"] if event["case"] else []
        notes += [_("conflict: other bytes under this number")] * event["conflict"]
        happened = event["happened"]
        if happened["how"] == dating.BETWEEN:
            notes.append(_("after {time}").format(time=local_time(happened["earliest_ms"])))
        if happened["utc_refused"]:
            notes.append(_("its clock said {time}: not believed").format(time=local_time(event["utc_ms"])))
        when = f"{_.told(AT[happened['how']]):>6} {local_time(happened['latest_ms'])}"
        print(f"{when}  {event['gateway']:24}  {seq:>6}  {what:28}  {', '.join(notes)}".rstrip())
