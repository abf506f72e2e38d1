"""Recorded trials: a folder with `trials.csv` and `samples.i16`.

`trials.csv` names each trial: trial, set, position, subject, activity, fall (0 or 1), rate_hz, first_sample, samples; other columns
are ignored. `samples.i16` holds little-endian int16 triplets x, y, z in mg; first_sample counts triplets.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tryggport.errors import TryggError

SAMPLE_BYTES = 6


@dataclass(frozen=True)
class Trial:
    number: int
    set: str
    position: str
    subject: str
    activity: str
    fall: bool
    rate_hz: float
    first_sample: int
    samples: int

    @property
    def group(self) -> str:
        """What figures are given for: the set and where the sensor was worn."""
        return f"{self.set} {self.position}"

    @property
    def person(self) -> str:
        return f"{self.set} {self.subject}"

    @property
    def hours(self) -> float:
        return self.samples / self.rate_hz / 3600


@dataclass(frozen=True)
class Recordings:
    trials: tuple[Trial, ...]
    samples: bytes

    def of(self, trial: Trial) -> bytes:
        """The trial's samples as little-endian int16 triplets."""
        first = trial.first_sample * SAMPLE_BYTES
        return self.samples[first : first + trial.samples * SAMPLE_BYTES]


def groups(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Trials by `Trial.group`, in the order in which the groups appear."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.group, []).append(trial)
    return found


def load(folder: Path) -> Recordings:
    """Reads the folder; TryggError when a file is missing, a row unreadable or a trial outside the samples."""
    folder = folder / "falls" if (folder / "falls" / "trials.csv").is_file() else folder
    try:
        samples = (folder / "samples.i16").read_bytes()
        with (folder / "trials.csv").open(newline="") as file:
            trials = tuple(_trial(row, number) for number, row in enumerate(csv.DictReader(file), 2))
    except OSError as e:
        raise TryggError(
            f"{e.filename} cannot be read: {e.strerror}.",
            "--data names a folder with trials.csv and samples.i16; protocols/falls.md says where the sets come from.",
        ) from e
    for trial in trials:
        if (trial.first_sample + trial.samples) * SAMPLE_BYTES > len(samples):
            raise TryggError(f"Trial {trial.number} ends outside samples.i16.", "The two files do not belong together.")
    return Recordings(trials, samples)


def _trial(row: dict[str, str], line: int) -> Trial:
    try:
        trial = Trial(
            int(row["trial"]),
            row["set"],
            row["position"],
            row["subject"],
            row["activity"],
            bool(int(row["fall"])),
            float(row["rate_hz"]),
            int(row["first_sample"]),
            int(row["samples"]),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise TryggError(f"Line {line} of trials.csv cannot be read: {e!r}.") from e
    if trial.first_sample < 0 or trial.samples < 1 or trial.rate_hz <= 0:
        raise TryggError(f"Line {line} of trials.csv has an impossible number.")
    return trial
