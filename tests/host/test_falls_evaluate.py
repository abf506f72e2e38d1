"""`tryggport falls`: on made-up recordings always, on recordings of people where TRYGG_DATA names them."""

from __future__ import annotations

import json
import os
import re
from array import array
from pathlib import Path

import pytest
from tryggport.cli.falls import app
from tryggport.errors import TryggError
from tryggport.falls import evaluate, recordings, train
from tryggport.falls.progress import silent
from tryggport.sim import movement
from typer.testing import CliRunner

HEADER = "trial,set,position,subject,group,activity,fall,rate_hz,first_sample,samples\n"


def people() -> Path:
    """The recordings of people; the test is skipped where there are none."""
    if "TRYGG_DATA" not in os.environ:
        pytest.skip("TRYGG_DATA names no folder with recordings of people")
    return Path(os.environ["TRYGG_DATA"]) / "falls"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three people who walk and fall, one of whom wears the sensor on the wrist; one fall is cut off before its impact."""
    walk = [*movement.standing(2), *movement.walking(10)]
    fall = [*movement.walking(3), *movement.fall()]
    trials = [("waist", "A", "walk", 0, walk), ("waist", "A", "<slip>", 1, fall), ("waist", "B", "<slip>", 1, fall[:300]),
              ("waist", "B", "walk", 0, walk), ("wrist", "C", "walk", 0, walk)]  # fmt: skip
    samples = array("h")
    lines = []
    for number, (position, subject, activity, is_fall, moved) in enumerate(trials):
        lines.append(
            f"{number},made,{position},{subject},young,{activity},{is_fall},50,{len(samples) // 3},{len(moved)}\n"
        )
        samples.extend(v for sample in moved for v in sample)
    (tmp_path / "trials.csv").write_text(HEADER + "".join(lines))
    (tmp_path / "samples.i16").write_bytes(samples.tobytes())
    return tmp_path


def test_TP_FAL_009_the_figures_as_json_and_the_report(folder: Path) -> None:
    report = folder / "report.html"
    done = CliRunner().invoke(app, ["evaluate", "--data", str(folder), "--report", str(report), "--json"])
    assert done.exit_code == 0, done.output
    table = json.loads(done.stdout)
    made = table["sets"]["made waist"]
    assert (made["falls"], made["adls"], made["se"], made["sp"], made["fa_per_h"]) == (2, 2, 50.0, 100.0, 0.0)
    assert made["per_activity"]["<slip>"] == {"fall": True, "trials": 2, "alarms": 1}
    assert made["delay_ms"]["max"] <= 4000
    assert list(table["refused"]) == ["made wrist"]

    html = report.read_text()
    assert "&lt;slip&gt;" in html
    assert "<slip>" not in html
    assert html.count("<figure>") == 1
    assert "57 %" in html
    assert not re.search(r"(src|href|url|import)\s*[=(]", html)


def test_the_table_for_people(folder: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", "--data", str(folder)], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "made waist" in done.stdout
    assert "made wrist: not measured" in done.stdout


def test_leaving_one_subject_out_uses_no_trial_of_that_subject(folder: Path) -> None:
    recorded = recordings.load(folder)
    sets = train.prepare(recorded, silent, copies=1)
    assert {e.person for e in sets[0] if e.fall} == {"made A"}
    scores = train.leave_one_subject_out(sets, recorded.trials, lambda done: None)
    trees = train.fit([e for found in sets for e in found if e.person != "made A"])
    assert scores[1] == train.best_scores(trees, [e for e in sets[0] if e.trial == 1], 2)[1]
    assert len(scores) == len(recorded.trials)


def test_copies_as_other_sensors_are_the_same_each_time(folder: Path) -> None:
    recorded = recordings.load(folder)
    first, again = (train.prepare(recorded, silent, copies=2) for _ in range(2))
    assert first == again
    assert first[1] != first[2]


@pytest.mark.parametrize(
    ("csv", "sentence"),
    [
        (HEADER + "0,made,waist,A,young,walk,0,50,0,999\n", "Trial 0 ends outside samples.i16."),
        (HEADER + "0,made,waist,A,young,walk,0,fast,0,9\n", "Line 2 of trials.csv cannot be read"),
        (HEADER + "0,made,waist,A,young,walk,0,0,0,9\n", "Line 2 of trials.csv has an impossible number."),
        ("trial,set\n0,made\n", "Line 2 of trials.csv cannot be read"),
    ],
)
def test_bad_recordings_are_named(tmp_path: Path, csv: str, sentence: str) -> None:
    (tmp_path / "trials.csv").write_text(csv)
    (tmp_path / "samples.i16").write_bytes(bytes(60))
    with pytest.raises(TryggError) as caught:
        recordings.load(tmp_path)
    assert caught.value.message.startswith(sentence)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TryggError, match="cannot be read"):
        recordings.load(tmp_path / "nowhere")


def test_TP_FAL_009_sensitivity_and_specificity_on_recordings_of_people() -> None:
    found = evaluate.evaluate(recordings.load(people()))
    sisfall, umafall = (found.groups[name].figures for name in ("sisfall waist", "umafall waist"))
    assert sisfall.se >= 98.8
    assert sisfall.sp >= 99.4
    assert sisfall.fa_per_h <= 1.1
    assert umafall.se >= 98
    assert umafall.sp >= 98.5


@pytest.mark.long
def test_TP_FAL_009_on_people_whom_the_trees_never_saw() -> None:
    found = evaluate.evaluate(recordings.load(people()), loso=True)
    sisfall, umafall = (found.groups[name].loso for name in ("sisfall waist", "umafall waist"))
    assert sisfall
    assert sisfall.se >= 98.8
    assert sisfall.sp >= 99.4
    assert sisfall.fa_per_h <= 1.1
    assert umafall
    assert umafall.se >= 98
    assert umafall.sp >= 98.5


@pytest.mark.long
def test_the_shipped_trees_are_those_that_training_makes(tmp_path: Path) -> None:
    made = tmp_path / "fall_trees.py"
    done = CliRunner().invoke(app, ["train", "--data", str(people()), "--output", str(made)])
    assert done.exit_code == 0, done.output
    assert made.read_text() == evaluate.trees_path().read_text()
