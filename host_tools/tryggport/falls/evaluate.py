"""Measures the firmware's detector on recordings of real people."""

from __future__ import annotations

import re
import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tryggport import paths
from tryggport.errors import TryggError
from tryggport.falls import sensors, train
from tryggport.falls.figures import Figures, Point, curve, figures
from tryggport.falls.impact import impact
from tryggport.falls.progress import Progress, counter, silent
from tryggport.falls.recordings import Recordings, Trial, groups
from tryggport.falls.replay import Outcome, Recording, replay
from tryggport.texts import Words

PLACEMENTS = {
    "waist": "waist", "belt": "waist", "hip": "waist", "pelvis": "waist", "back": "waist", "lumbar": "waist", "trunk": "waist",
    "pocket": "pocket", "thigh": "pocket",
    "pendant": "pendant", "chest": "pendant", "sternum": "pendant", "neck": "pendant",
}  # fmt: skip
"""Words of a recording's position, and the detector's placement for it."""
_ENGLISH = Words("en")
RATES_HZ = (18, 100)
REFUSALS = (
    "The detector is made for the trunk, not for {position!r}.",
    "The detector takes {least} to {most} Hz, not {slow:g} to {fast:g} Hz.",
)


@dataclass(frozen=True)
class Refusal:
    """Why a group was not measured: one of REFUSALS, and its fields."""

    reason: str
    values: dict[str, Any]

    def told(self, _: Words) -> str:
        return _(self.reason).format_map(self.values)


@dataclass(frozen=True)
class Counted:
    """What one detector reported in each trial of a group, and the figures of that."""

    trials: tuple[Trial, ...]
    alarms: tuple[bool, ...]
    figures: Figures

    @property
    def missed(self) -> list[Trial]:
        return [trial for trial, alarm in zip(self.trials, self.alarms, strict=True) if trial.fall and not alarm]

    @property
    def false_alarms(self) -> list[Trial]:
        return [trial for trial, alarm in zip(self.trials, self.alarms, strict=True) if alarm and not trial.fall]

    def table(self) -> dict[str, Any]:
        wrong = {"missed": self.missed, "false_alarms": self.false_alarms}
        return self.figures.table() | {key: [trial.number for trial in trials] for key, trials in wrong.items()}


@dataclass(frozen=True)
class Group:
    """One set at one place on the body."""

    shipped: Counted
    unseen: Counted | None  # trees that never saw the subject
    delays_ms: tuple[int, ...]  # from the impact of a fall that was found to its verdict, ascending
    points: tuple[Point, ...]  # the operating curve, of the unseen where there are any
    sensors: dict[str, Figures]  # as other sensors would have recorded it

    @property
    def honest(self) -> Counted:
        """What is nearest to people who are not in the recordings."""
        return self.unseen or self.shipped

    def table(self) -> dict[str, Any]:
        found = self.shipped.table()
        if self.delays_ms:
            late = self.delays_ms[len(self.delays_ms) * 99 // 100]
            found["delay_ms"] = {"median": int(median(self.delays_ms)), "p99": late, "max": self.delays_ms[-1]}
        if self.unseen:
            found["loso"] = self.unseen.table()
        if self.sensors:
            found["sensors"] = {
                name: {key: told[key] for key in ("se", "sp", "fa_per_h")}
                for name, told in ((name, figures.table()) for name, figures in self.sensors.items())
            }
        return found


@dataclass(frozen=True)
class Evaluation:
    threshold: int
    groups: dict[str, Group]
    refused: dict[str, Refusal]  # groups for which the detector was not made

    def table(self) -> dict[str, Any]:
        """The answer of `falls evaluate --json`."""
        refused = {name: refusal.told(_ENGLISH) for name, refusal in self.refused.items()}
        return {"sets": {name: group.table() for name, group in self.groups.items()}, "refused": refused}


def evaluate(
    recordings: Recordings,
    *,
    loso: bool = False,
    curves: bool = False,
    other_sensors: bool = False,
    progress: Progress = silent,
) -> Evaluation:
    """Feeds every trial to a fresh detector.

    `loso` also trains anew without each subject; `curves` keeps every score; `other_sensors` also feeds what other sensors would
    have recorded.
    """
    refused = {name: why for name, trials in groups(recordings.trials).items() if (why := _refusal(trials))}
    trials = [trial for trial in recordings.trials if trial.group not in refused]
    if not trials:
        raise TryggError(
            "There is no trial that the detector could be fed.",
            " ".join(refusal.told(_ENGLISH) for refusal in refused.values()),
        )
    used = Recordings(tuple(trials), recordings.samples)
    fed = [Recording(t.rate_hz, used.of(t), placement(t.position) or "") for t in trials]
    outcomes = replay(fed, candidates=curves, progress=counter(progress, "Replaying trials", len(fed)))
    scores: list[int] | None = None
    learnt: list[int] | None = None
    if curves:
        scores = train.best_scores(frozen_trees(), train.examples(trials, outcomes), len(trials))
    if loso:
        scores = learnt = _loso_scores(used, progress)
    others = sensors.measure(trials, fed, progress) if other_sensors else {}
    found = {}
    for name in groups(trials):
        where = [i for i, trial in enumerate(trials) if trial.group == name]
        members = tuple(trials[i] for i in where)
        found[name] = Group(
            _counted(members, [outcomes[i].fallen for i in where]),
            _counted(members, [learnt[i] >= train.THRESHOLD for i in where]) if learnt else None,
            tuple(
                sorted(_delay_ms(used, trials[i], outcomes[i]) for i in where if trials[i].fall and outcomes[i].fallen)
            ),
            tuple(curve(members, [scores[i] for i in where])) if scores else (),
            others.get(name, {}),
        )
    return Evaluation(train.THRESHOLD, found, refused)


def _counted(trials: tuple[Trial, ...], alarms: Sequence[bool]) -> Counted:
    return Counted(trials, tuple(alarms), figures(trials, alarms))


def frozen_trees() -> bytes:
    """The trees that the firmware carries."""
    trees = runpy.run_path(str(trees_path()))["TREES"]
    assert isinstance(trees, bytes)
    return trees


def trees_path() -> Path:
    return paths.folder("firmware") / "gateway" / "fall_trees.py"


def placement(position: str) -> str | None:
    """The detector's placement for a position as recordings name it ("right_pocket"); None where it was not made for it."""
    return next((PLACEMENTS[word] for word in re.findall("[a-z]+", position.lower()) if word in PLACEMENTS), None)


def _refusal(trials: Sequence[Trial]) -> Refusal | None:
    position, rates = trials[0].position, {trial.rate_hz for trial in trials}
    if not placement(position):
        return Refusal(REFUSALS[0], {"position": position})
    if min(rates) < RATES_HZ[0] or max(rates) > RATES_HZ[1]:
        least, most = RATES_HZ
        return Refusal(REFUSALS[1], {"least": least, "most": most, "slow": min(rates), "fast": max(rates)})
    return None


def _loso_scores(recordings: Recordings, progress: Progress) -> list[int]:
    people = len({trial.person for trial in recordings.trials})
    sets = train.prepare(recordings, progress)
    return train.leave_one_subject_out(sets, recordings.trials, counter(progress, "Leaving one subject out", people))


def _delay_ms(recordings: Recordings, trial: Trial, outcome: Outcome) -> int:
    """From the impact to the first verdict; negative when an earlier blow of the same fall had given it away."""
    verdict = next(v.sample for v in outcome.verdicts if v.kind == "fallen")
    return round((verdict - impact(recordings.of(trial), trial.rate_hz)) * 1000 / trial.rate_hz)
