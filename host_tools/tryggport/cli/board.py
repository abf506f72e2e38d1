"""`tryggport board`: run a virtual board, and act on one that runs."""

from __future__ import annotations

import json as jsonlib
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tryggport.errors import TryggError

app = typer.Typer(
    no_args_is_help=True, help="Run a virtual board: the real MicroPython on simulated hardware (Linux, macOS)."
)

Dir = Annotated[Path, typer.Option("--dir", help="The board's folder: flash.bin, tty, ctl.sock, console.log.")]
CTL_HELP = """Act on a running board.

press|hold|release help|cancel · network up|down|silent · delay MS · power on · power cut [--at SPEC] ·
mains on|off · feed FILE.csv · reset · state [--json]

SPEC: program:N:K (the Nth program stops after K bytes), erase:N (half an erase), step:NAME[:NTH].
"""


@app.command()
def run(
    dir: Dir,
    heap: Annotated[str, typer.Option(help="Heap for the firmware.")] = "192k",
    image: Annotated[Path | None, typer.Option(help="Flash image to start from.", exists=True, dir_okay=False)] = None,
    clock: Annotated[str, typer.Option(help="host, or cold: 2000-01-01 at every power-on.")] = "host",
    flash_time: Annotated[
        bool, typer.Option("--flash-time", help="Erases and programs take NOR flash's time.")
    ] = False,
) -> None:
    """Run a virtual board until Ctrl-C; its port is DIR/tty."""
    from tryggport.board import VirtualBoard

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with VirtualBoard(dir, heap=heap, image=image, clock=clock, flash_time=flash_time) as board:
        typer.echo(f"board: {board.tty} ({board.folder / 'tty'}); Ctrl-C ends it")
        over.wait()


@app.command(help=CTL_HELP)
def ctl(
    dir: Dir,
    verb: Annotated[str, typer.Argument(help="What to do.")],
    args: Annotated[list[str] | None, typer.Argument(help="To what.")] = None,
    at: Annotated[str | None, typer.Option(help="Where the power is cut.")] = None,
    rate_hz: Annotated[float, typer.Option(help="Samples a second in FILE.csv.")] = 50.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    from tryggport.board import control

    words: list[object] = list(args or [])
    if at is not None:
        words.append(at)
    if verb == "feed":
        if len(words) != 1:
            raise TryggError("feed takes one file.", usage=True)
        words = [control.read_samples(Path(str(words[0]))), rate_hz]
    answer = control.ask(dir, verb, *words)
    if json:
        typer.echo(jsonlib.dumps(answer))
    elif isinstance(answer, dict):
        _show(answer)


def _show(state: dict[str, object]) -> None:
    table = Table(show_header=False, box=None)
    for name, value in state.items():
        table.add_row(name, jsonlib.dumps(value) if isinstance(value, dict | list) else str(value))
    Console().print(table)
