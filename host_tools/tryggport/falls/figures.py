"""Sensitivity, specificity and false alarms an hour. A trial counts once, whatever the number of verdicts in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tryggport.falls.recordings import Trial


@dataclass(frozen=True)
class Activity:
    fall: bool
    trials: int
    alarms: int


@dataclass(frozen=True)
class Figures:
    """`se`, `sp` in percent, each with its 95 % interval; `fa_per_h` per hour of everyday activities; NaN where unknown."""

    falls: int
    adls: int
    se: float
    sp: float
    fa_per_h: float
    se_interval: tuple[float, float]
    sp_interval: tuple[float, float]
    per_activity: dict[str, Activity]

    def table(self) -> dict[str, Any]:
        """As JSON knows it: rounded, None where unknown."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Point:
    """What the detector would do at another threshold."""

    threshold: int
    se: float
    fa_per_h: float


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, in percent (Wilson 1927)."""
    if not trials:
        return math.nan, math.nan
    z = 1.959964
    share = hits / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def figures(trials: Sequence[Trial], alarms: Sequence[bool]) -> Figures:
    """`alarms[i]` tells whether a fall was reported in `trials[i]`."""
    told = list(zip(trials, alarms, strict=True))
    falls = [alarm for trial, alarm in told if trial.fall]
    adls = [alarm for trial, alarm in told if not trial.fall]
    names = sorted({(not trial.fall, trial.activity) for trial in trials})
    per_activity = {
        activity: Activity(
            not adl,
            sum(t.activity == activity for t in trials),
            sum(alarm for t, alarm in told if t.activity == activity),
        )
        for adl, activity in names
    }
    quiet = len(adls) - sum(adls)
    return Figures(
        falls=len(falls),
        adls=len(adls),
        se=_percent(sum(falls), len(falls)),
        sp=_percent(quiet, len(adls)),
        fa_per_h=_per_hour(sum(adls), trials),
        se_interval=wilson(sum(falls), len(falls)),
        sp_interval=wilson(quiet, len(adls)),
        per_activity=per_activity,
    )


def curve(trials: Sequence[Trial], scores: Sequence[int]) -> list[Point]:
    """Sensitivity and false alarms at each threshold that some trial's highest score sets, from the lowest up."""
    falls = [score for trial, score in zip(trials, scores, strict=True) if trial.fall]
    adls = [score for trial, score in zip(trials, scores, strict=True) if not trial.fall]
    return [
        Point(
            threshold,
            _percent(sum(score >= threshold for score in falls), len(falls)),
            _per_hour(sum(score >= threshold for score in adls), trials),
        )
        for threshold in sorted(set(scores))
    ]


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan


def _per_hour(alarms: int, trials: Sequence[Trial]) -> float:
    hours = sum(trial.hours for trial in trials if not trial.fall)
    return alarms / hours if hours else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 2)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value
