"""`tryggport falls`: the fall detector, measured on recordings of real people."""

from __future__ import annotations

import json as jsonlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from tryggport import texts
from tryggport.errors import TryggError
from tryggport.falls import evaluate as evaluation
from tryggport.falls import evidence, recordings, report, train
from tryggport.falls.progress import Progress
from tryggport.reception import open_database

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure and tune the fall detector.")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder with trials.csv and samples.i16; without it $TRYGG_DATA/falls.", show_default=False
    ),
]


@app.command()
def evaluate(
    data: Data = None,
    loso: Annotated[
        bool, typer.Option("--loso", help="Also train anew without each subject, and measure on that subject.")
    ] = False,
    sensors: Annotated[
        bool,
        typer.Option("--sensors", help="Also measure what slower, narrower and worse sensors would have recorded."),
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report that any browser shows.")
    ] = None,
    language: Annotated[str, typer.Option("--lang", help="Language of the report: nb or en.")] = "en",
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Feed every recorded trial to the firmware's detector in the real MicroPython, and count what it reports."""
    words = texts.translator(language)
    recorded = recordings.load(_folder(data))
    with _bar() as progress:
        curves = report_file is not None
        found = evaluation.evaluate(recorded, loso=loso, curves=curves, other_sensors=sensors, progress=progress)
    if report_file:
        report_file.write_text(report.html(found, recorded, words), encoding="utf-8")
    if json:
        print(jsonlib.dumps(found.table()))
    else:
        _show(found)


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="CSV file to write.")],
    db: Annotated[
        str, typer.Option("--db", help="SQLAlchemy URL of the reception's database.")
    ] = "sqlite:///reception.db",
) -> None:
    """Write the evidence of the falls that gateways reported, without identities, to tune the detector on real falls."""
    lines = evidence.collect(open_database(db, create=False), random.SystemRandom())
    output.write_text(evidence.text(lines))
    labelled = sum(line["fall"] != "" for line in lines)
    print(f"Wrote {len(lines)} reported falls to {output}; of {labelled} the cause is known.")


@app.command(name="train")
def train_(
    data: Data = None,
    real: Annotated[
        list[Path] | None,
        typer.Option(
            "--evidence", help="Export of real verdicts to learn from as well; may be given again.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Where the trees go; without it into the firmware.", show_default=False),
    ] = None,
) -> None:
    """Fit the detector's trees to recordings, and write them into the firmware."""
    recorded = recordings.load(_folder(data))
    known = [example for path in real or [] for example in evidence.read(path)]
    target = output or evaluation.trees_path()
    with _bar() as progress:
        sets = train.prepare(recorded, progress)
    trees = train.fit([example for found in (*sets, known) for example in found])
    train.write(trees, train.THRESHOLD, target)
    print(f"Wrote {len(trees)} bytes of trees to {target}.")
    if known:
        alarms = [score >= train.THRESHOLD for score in train.leave_homes_out(sets, known)]
        told = [(e.fall, alarm) for e, alarm in zip(known, alarms, strict=True)]
        falls, others = told.count((True, True)), told.count((False, True))
        print(
            f"In homes left out: {falls} of {sum(e.fall for e in known)} real falls are still reported, "
            f"and {others} of {sum(not e.fall for e in known)} false alarms."
        )


def _folder(data: Path | None) -> Path:
    if data:
        return data
    if "TRYGG_DATA" not in os.environ:
        raise TryggError("Where are the recordings?", "Give --data FOLDER, or set TRYGG_DATA.", usage=True)
    return Path(os.environ["TRYGG_DATA"]) / "falls"


@contextmanager
def _bar() -> Iterator[Progress]:
    """A progress bar on a terminal; nothing where the output is not one."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("Starting", total=None)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)


def _show(found: evaluation.Evaluation) -> None:
    table = Table("set", "falls", "found %", "activities", "quiet %", "false alarms/h", "verdict after (median, max)")
    for name, group in found.groups.items():
        told = group.table()
        delay = told.get("delay_ms")
        delays = f"{delay['median'] / 1000:.1f} s, {delay['max'] / 1000:.1f} s" if delay else "-"
        row = (str(told[key] if told[key] is not None else "-") for key in ("falls", "se", "adls", "sp", "fa_per_h"))
        table.add_row(name, *row, delays)
        others = {"unseen subjects": group.unseen.figures} if group.unseen else {}
        for what, figures in (others | group.sensors).items():
            told = figures.table()
            table.add_row(f"  {what}", "", str(told["se"]), "", str(told["sp"]), str(told["fa_per_h"]), "")
    console = Console()
    console.print(table)
    english = texts.translator("en")
    for name, why in found.refused.items():
        console.print(f"{name}: not measured. {why.told(english)}")
    console.print(report.caveat(english))
