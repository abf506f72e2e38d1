"""Tuning on real verdicts: what they teach is measured in homes that were left out (TP-FAL-008)."""

from __future__ import annotations

from pathlib import Path

from test_falls_evaluate import folder  # noqa: F401
from tryggport.cli.falls import app
from tryggport.falls import train
from tryggport.falls.evidence import COLUMNS
from tryggport.falls.train import Example
from typer.testing import CliRunner

FALL, SAT_DOWN = (92, 95, 92, 80, 120, 81, 3), (50, 60, 40, 20, 60, 40, 2)


def verdicts(homes: int) -> list[Example]:
    """In each home a fall, and somebody who sits down hard."""
    return [
        Example(-1, "evidence", f"home {home}", row, row is FALL, True)
        for home in range(homes)
        for row in (FALL, SAT_DOWN)
    ]


def test_TP_FAL_008_no_home_is_judged_by_trees_that_saw_it() -> None:
    real = verdicts(100)
    learnt = train.leave_homes_out([], real)
    assert all((score >= train.THRESHOLD) == e.fall for e, score in zip(real, learnt, strict=True))
    odd = [Example(-1, "evidence", "home odd", SAT_DOWN, True, True)]  # a fall as everybody else sits down
    assert train.leave_homes_out([], [*real, *odd])[-1] < train.THRESHOLD
    assert train.leave_homes_out([], []) == []


def test_TP_FAL_008_training_tells_what_becomes_of_the_real_verdicts(folder: Path) -> None:  # noqa: F811
    lines = [
        ",".join(str(value) for value in (home, fall, 0, "", "", 100, peak, 95, 92, 80, 120, spread, 60))
        for home in range(1, 4)
        for fall, peak, spread in ((1, 2900, 1300), (0, 1600, 600))
    ]
    csv = folder / "falls.csv"
    csv.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    trees = folder / "trees.py"
    done = CliRunner().invoke(app, ["train", "--data", str(folder), "--evidence", str(csv), "--output", str(trees)])
    assert done.exit_code == 0, done.output
    assert "of 3 real falls are still reported" in done.stdout
    assert "of 3 false alarms" in done.stdout
    assert trees.exists()
