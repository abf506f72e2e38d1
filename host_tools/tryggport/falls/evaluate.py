"""Measures the firmware's detector on recordings of real people."""

from __future__ import annotations

import runpy
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tryggport import paths
from tryggport.errors import TryggError
from tryggport.falls import train
from tryggport.falls.figures import Figures, Point, curve, figures
from tryggport.falls.progress import Progress, counter, silent
from tryggport.falls.recordings import Recordings, Trial, groups
from tryggport.falls.replay import Outcome, Recording, replay

PLACEMENTS = {
    "waist": "waist", "belt": "waist", "hip": "waist", "back": "waist", "lumbar": "waist",
    "pocket": "pocket", "thigh": "pocket",
    "pendant": "pendant", "chest": "pendant", "neck": "pendant",
}  # fmt: skip
RATES_HZ = (18, 100)


@dataclass(frozen=True)
class Group:
    """One set at one place on the body."""

    trials: tuple[Trial, ...]
    alarms: tuple[bool, ...]  # whether a fall was reported in each trial
    figures: Figures
    delays_ms: tuple[int, ...]  # from the highest magnitude of a fall that was found to its verdict, ascending
    points: tuple[Point, ...]  # the operating curve, by trees that never saw the subject where that was asked for
    loso: Figures | None

    @property
    def missed(self) -> list[Trial]:
        return [trial for trial, alarm in zip(self.trials, self.alarms, strict=True) if trial.fall and not alarm]

    def table(self) -> dict[str, Any]:
        found = self.figures.table()
        if self.delays_ms:
            found["delay_ms"] = {"median": int(median(self.delays_ms)), "max": self.delays_ms[-1]}
        if self.loso:
            found["loso"] = self.loso.table()
        return found


@dataclass(frozen=True)
class Evaluation:
    threshold: int
    groups: dict[str, Group]
    refused: dict[str, str]  # groups for which the detector was not made, and why

    def table(self) -> dict[str, Any]:
        """The answer of `falls evaluate --json`."""
        return {"sets": {name: group.table() for name, group in self.groups.items()}, "refused": self.refused}


def evaluate(
    recordings: Recordings, *, loso: bool = False, curves: bool = False, progress: Progress = silent
) -> Evaluation:
    """Feeds every trial to a fresh detector. `loso` also trains anew without each subject; `curves` keeps every score."""
    refused = {name: why for name, trials in groups(recordings.trials).items() if (why := _refusal(trials))}
    trials = [trial for trial in recordings.trials if trial.group not in refused]
    if not trials:
        raise TryggError("There is no trial that the detector could be fed.", " ".join(refused.values()))
    used = Recordings(tuple(trials), recordings.samples)
    fed = [Recording(t.rate_hz, used.of(t), PLACEMENTS[t.position]) for t in trials]
    outcomes = replay(fed, candidates=curves, progress=counter(progress, "Replaying trials", len(fed)))
    scores: list[int] | None = None
    learnt: list[int] | None = None
    if curves:
        scores = train.best_scores(frozen_trees(), train.examples(trials, outcomes), len(trials))
    if loso:
        scores = learnt = _loso_scores(used, progress)
    found = {
        name: _group(used, outcomes, scores, learnt, [i for i, trial in enumerate(trials) if trial.group == name])
        for name in groups(trials)
    }
    return Evaluation(train.THRESHOLD, found, refused)


def _group(
    recordings: Recordings,
    outcomes: list[Outcome],
    scores: list[int] | None,
    learnt: list[int] | None,
    where: list[int],
) -> Group:
    trials = tuple(recordings.trials[i] for i in where)
    alarms = tuple(outcomes[i].fallen for i in where)
    delays = [_delay_ms(recordings, recordings.trials[i], outcomes[i]) for i in where if recordings.trials[i].fall]
    return Group(
        trials,
        alarms,
        figures(trials, alarms),
        tuple(sorted(delay for delay in delays if delay is not None)),
        tuple(curve(trials, [scores[i] for i in where]) if scores else ()),
        figures(trials, [learnt[i] >= train.THRESHOLD for i in where]) if learnt else None,
    )


def frozen_trees() -> bytes:
    """The trees that the firmware carries."""
    trees = runpy.run_path(str(trees_path()))["TREES"]
    assert isinstance(trees, bytes)
    return trees


def trees_path() -> Path:
    return paths.folder("firmware") / "gateway" / "fall_trees.py"


def _refusal(trials: Sequence[Trial]) -> str | None:
    position, rates = trials[0].position, {trial.rate_hz for trial in trials}
    if position not in PLACEMENTS:
        return f"The detector is made for the trunk, not for {position!r}."
    if min(rates) < RATES_HZ[0] or max(rates) > RATES_HZ[1]:
        return f"The detector takes {RATES_HZ[0]} to {RATES_HZ[1]} Hz, not {min(rates):g} to {max(rates):g} Hz."
    return None


def _loso_scores(recordings: Recordings, progress: Progress) -> list[int]:
    people = len({trial.person for trial in recordings.trials})
    sets = train.prepare(recordings, progress)
    return train.leave_one_subject_out(sets, recordings.trials, counter(progress, "Leaving one subject out", people))


def _delay_ms(recordings: Recordings, trial: Trial, outcome: Outcome) -> int | None:
    """From the highest magnitude in the trial to the first verdict; negative when the verdict came before it."""
    if not outcome.fallen:
        return None
    flat = array("h", recordings.of(trial))
    energy = [x * x + y * y + z * z for x, y, z in zip(flat[::3], flat[1::3], flat[2::3], strict=True)]
    verdict = next(v.sample for v in outcome.verdicts if v.kind == "fallen")
    return round((verdict - energy.index(max(energy))) * 1000 / trial.rate_hz)
