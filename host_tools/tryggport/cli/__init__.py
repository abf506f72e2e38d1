"""The command line: `tryggport VERB`. A verb parses, calls one library function, and prints."""

from __future__ import annotations

import sys
from typing import Any

import typer
import typer.core

from tryggport.cli import (
    bench,
    board,
    cases,
    demo,
    events,
    falls,
    flash,
    gateways,
    pki,
    provision,
    reception,
    registry,
    scaip,
    sim,
)
from tryggport.errors import TryggError

TECHNICIAN, MUNICIPALITY, CENTRE, QA, EVERYONE = "Technician", "Municipality", "Alarm centre", "QA", "Everyone"


class _ByUser(typer.core.TyperGroup):
    """Help in the order of those who use it, from the technician on; Typer alone puts groups after commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        panels = [TECHNICIAN, MUNICIPALITY, CENTRE, QA, EVERYONE]
        return sorted(self.commands, key=lambda name: panels.index(str(self.commands[name].rich_help_panel)))  # type: ignore[attr-defined]


app = typer.Typer(
    cls=_ByUser,
    no_args_is_help=True,
    add_completion=False,
    help="Flash, provision, receive and test Tryggport gateways.",
)

app.command("flash", rich_help_panel=TECHNICIAN)(flash.command)
app.command("provision", rich_help_panel=TECHNICIAN)(provision.command)
app.add_typer(pki.app, name="pki", rich_help_panel=MUNICIPALITY)
app.add_typer(registry.app, name="registry", rich_help_panel=MUNICIPALITY)
app.add_typer(gateways.app, name="gateways", rich_help_panel=MUNICIPALITY)
app.add_typer(reception.app, name="reception", rich_help_panel=CENTRE)
app.add_typer(events.app, name="events", rich_help_panel=CENTRE)
app.add_typer(cases.app, name="cases", rich_help_panel=CENTRE)
app.add_typer(scaip.app, name="scaip", rich_help_panel=CENTRE)
app.add_typer(board.app, name="board", rich_help_panel=QA)
app.add_typer(falls.app, name="falls", rich_help_panel=QA)
app.add_typer(sim.app, name="sim", rich_help_panel=QA)
app.command("bench", rich_help_panel=QA)(bench.command)
app.command("demo", rich_help_panel=EVERYONE)(demo.command)


def main() -> None:
    """Runs the command line; exit code 0 ok, 1 failed, 2 usage."""
    try:
        app()
    except TryggError as e:
        print(f"tryggport: {e.message}" + (f"\n  {e.hint}" if e.hint else ""), file=sys.stderr)
        sys.exit(2 if e.usage else 1)
