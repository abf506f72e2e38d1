"""`tryggport cases`: what a person answers."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from tryggport.cli.reception import (
    DEFAULT_DB,
    AsJson,
    DatabaseUrl,
    Language,
    Municipality,
    local_time,
    print_list,
    scope_of,
)
from tryggport.reception import cases, channels, views
from tryggport.reception.ledger import now_ms
from tryggport.reception.wording import words
from tryggport.texts import Words

app = typer.Typer(no_args_is_help=True, help="Take and close the cases that alarms open.")
Number = Annotated[int, typer.Argument(help="Number of the case.")]
By = Annotated[str, typer.Option("--by", help="Who.")]
LOOK_S = 1.0


@app.command("list")
def list_cases(
    language: Language,
    db: DatabaseUrl = DEFAULT_DB,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not closed.")] = False,
    held: Annotated[bool, typer.Option("--held", help="Also those that a grace time holds back.")] = False,
    municipality: Municipality = None,
    as_json: AsJson = False,
) -> None:
    """All cases, newest first."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        found = views.list_cases(scope, closed=not open_only, held=held)
    print_list(found, as_json, lambda case: _line(case, _))


@app.command()
def show(
    case: Number,
    language: Language,
    db: DatabaseUrl = DEFAULT_DB,
    municipality: Municipality = None,
    as_json: AsJson = False,
) -> None:
    """Show one case: its alarms, whom it went to, and who did what when."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        found = views.show_case(scope, case)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(_line(found, _))
    labels = {"municipality": _("municipality"), "home": _("home"), "call_back": _("call back"), "note": _("note")}
    for name, label in labels.items():
        if found[name]:
            print(f"  {label}: {found[name]}")
    for step in found["escalation"]:
        state = _("refused it") if step["refused"] else _("does not have it yet")
        print(f"  {step['name']}: {_('has it') if step['delivered_ms'] else state}")
    for line in found["history"]:
        print(f"  {local_time(line['at_ms'])}  {line['who']}: {_.told(line['what'])}")


@app.command()
def watch(by: By, language: Language, db: DatabaseUrl = DEFAULT_DB, municipality: Municipality = None) -> None:
    """Print what happens to cases as it happens, and say that you are looking. Until Ctrl-C."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        last = views.newest_change(scope)
        while True:
            channels.watch(scope, by, now_ms())
            for line in views.changes(scope, last):
                last = line["id"]
                if line["case_id"] is not None:
                    when = local_time(line["at_ms"])
                    case = f"{_('case')} {line['case_id']}"
                    print(f"{when}  {case}  {line['who']}: {_.told(line['what'])}", flush=True)
            time.sleep(LOOK_S)


@app.command()
def take(
    case: Number, by: By, language: Language, db: DatabaseUrl = DEFAULT_DB, municipality: Municipality = None
) -> None:
    """Say that you have the case. The home is told that help is informed."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        cases.take(scope, case, by)
    print(_("Case {case} is yours, {by}.").format(case=case, by=by))


@app.command()
def contacted(
    case: Number, by: By, language: Language, db: DatabaseUrl = DEFAULT_DB, municipality: Municipality = None
) -> None:
    """Say that you have spoken with the home."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        cases.contacted(scope, case, by)
    print(_("Case {case}: the home is contacted.").format(case=case))


@app.command("on-the-way")
def on_the_way(
    case: Number, by: By, language: Language, db: DatabaseUrl = DEFAULT_DB, municipality: Municipality = None
) -> None:
    """Say that somebody goes to the home."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        cases.on_the_way(scope, case, by)
    print(_("Case {case}: somebody is on the way.").format(case=case))


@app.command()
def close(
    case: Number,
    by: By,
    language: Language,
    cause: Annotated[str, typer.Option("--cause", help=f"What it was: {', '.join(cases.CAUSES)}.")],
    note: Annotated[str, typer.Option("--note", help="What else there is to say. No names.")] = "",
    db: DatabaseUrl = DEFAULT_DB,
    municipality: Municipality = None,
) -> None:
    """Say that what was to do is done."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        cases.close(scope, case, by, cause, note)
    print(_("Case {case} is closed.").format(case=case))


def _line(case: dict[str, Any], _: Words) -> str:
    kinds = dict.fromkeys(_.told(alarm["kind"]) for alarm in case["alarms"])
    alarms = _.told(case["about"] or "") or ", ".join(kinds) or _("unreadable")
    state = _.told(case["status"])
    if case["taken_by"]:
        state = _("{state} by {who}").format(state=state, who=case["taken_by"])
    marks = f" ({_('test')})" * case["test"] + f" ({_('cancelled in the home')})" * bool(case["cancelled_ms"])
    where = case["home"] or case["gateway"]
    return f"{case['id']:6}  {local_time(case['opened_ms'])}  {where:24}  {alarms}{marks}: {state}"
