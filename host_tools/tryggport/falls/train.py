"""Fits the trees of `gateway.fall` to recordings, and writes firmware/gateway/fall_trees.py."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from tryggport.falls.augment import other_sensor
from tryggport.falls.forest import TREE_SIZE, Row, grow, score
from tryggport.falls.progress import Progress, counter
from tryggport.falls.recordings import Recordings, Trial
from tryggport.falls.replay import Outcome, Recording, replay

SHIFTS = (5, 0, 0, 0, 0, 4, 4)  # as in gateway.fall: these make each feature one byte
DIRECTIONS = (1, 1, 1, 1, 1, 1, -1)  # only restlessness after the impact speaks against a fall
THRESHOLD = -128  # half of log-odds towards finding more: a missed fall costs more than a false alarm
COPIES = 3  # of each recording as other sensors would have made it
_SPAWN = multiprocessing.get_context("spawn")  # forking a process that has threads is not safe
_PARTS = 10
_LEARNT_PAST = 25
UNSEEN = -(1 << 15)  # score of a trial in which nothing was ever scored


@dataclass(frozen=True)
class Example:
    trial: int  # index among the trials
    group: str  # groups weigh the same, falls and activities of each
    person: str
    row: Row
    fall: bool
    learn: bool  # one to learn from: of a fall only the impact, and none whose wearer was not known for a second before


def examples(trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> list[Example]:
    """One example for each peak that the detector scored; outcome i belongs to trial i."""
    found = []
    for index, (trial, outcome) in enumerate(zip(trials, outcomes, strict=True)):
        highest = max((peak for peak, *_, past in outcome.candidates if past >= _LEARNT_PAST), default=0)
        for candidate in outcome.candidates:
            learn = candidate[-1] >= _LEARNT_PAST and (not trial.fall or candidate[0] == highest)
            found.append(Example(index, trial.group, trial.person, byte_row(candidate), trial.fall, learn))
    return found


def byte_row(features: Sequence[int]) -> Row:
    """Features in mg and degrees as the bytes that the trees compare."""
    return tuple(min(255, value >> shift) for value, shift in zip(features, SHIFTS, strict=False))


def prepare(recordings: Recordings, progress: Progress, copies: int = COPIES) -> list[list[Example]]:
    """The examples of the recordings as they are, then of each set of copies as other sensors."""
    plain = [Recording(trial.rate_hz, recordings.of(trial)) for trial in recordings.trials]
    advance = counter(progress, "Making other sensors", len(plain) * (1 + copies))
    made = [examples(recordings.trials, replay(plain, candidates=True, progress=advance))]
    with ProcessPoolExecutor(mp_context=_SPAWN) as pool:
        for copy in range(copies):
            seeds = [copy * len(plain) + i for i in range(len(plain))]
            others = list(pool.map(_other, plain, seeds, chunksize=64))
            made.append(examples(recordings.trials, replay(others, candidates=True, progress=advance)))
    return made


def _other(recording: Recording, seed: int) -> Recording:
    return other_sensor(recording, random.Random(seed))


def fit(found: Iterable[Example]) -> bytes:
    """Trees from the impacts of falls against every peak of everyday activities."""
    used = [e for e in found if e.learn]
    counts = Counter((e.group, e.fall) for e in used)
    weights = [len(used) / (counts[e.group, e.fall] * len(counts)) for e in used]
    return grow([e.row for e in used], [e.fall for e in used], weights, DIRECTIONS)


def best_scores(trees: bytes, found: Iterable[Example], trials: int) -> list[int]:
    """The highest score in each trial."""
    best = [UNSEEN] * trials
    for e in found:
        best[e.trial] = max(best[e.trial], score(e.row, trees))
    return best


def leave_one_subject_out(
    sets: Sequence[Sequence[Example]], trials: Sequence[Trial], progress: Callable[[int], None]
) -> list[int]:
    """The highest score in each trial of the plain recordings, by trees that never saw its subject."""
    people = sorted({trial.person for trial in trials})
    scores = [UNSEEN] * len(trials)
    with ProcessPoolExecutor(mp_context=_SPAWN) as pool:
        for person, trees in zip(people, pool.map(_without, [{p} for p in people], repeat(sets)), strict=True):
            for e in sets[0]:
                if e.person == person:
                    scores[e.trial] = max(scores[e.trial], score(e.row, trees))
            progress(1)
    return scores


def leave_homes_out(sets: Sequence[Sequence[Example]], real: Sequence[Example]) -> list[int]:
    """The score of each real verdict, by trees that learnt from the rest but never saw its home; homes are left out in ten parts."""
    homes = sorted({e.person for e in real})
    parts = [set(homes[i::_PARTS]) for i in range(min(_PARTS, len(homes)))]
    scores = [UNSEEN] * len(real)
    with ProcessPoolExecutor(mp_context=_SPAWN) as pool:
        for part, trees in zip(parts, pool.map(_without, parts, repeat([*sets, real])), strict=True):
            for i, e in enumerate(real):
                if e.person in part:
                    scores[i] = score(e.row, trees)
    return scores


def _without(people: set[str], sets: Sequence[Sequence[Example]]) -> bytes:
    return fit(e for found in sets for e in found if e.person not in people)


def write(trees: bytes, threshold: int, path: Path) -> None:
    """Writes the firmware's module, one tree a line."""
    lines = [trees[i : i + TREE_SIZE] for i in range(0, len(trees), TREE_SIZE)]
    text = "\n".join('    b"' + "".join(f"\\x{byte:02x}" for byte in line) + '"' for line in lines)
    path.write_text(
        '"""The trees of gateway.fall, as `tryggport falls train` made them; tryggport.falls.forest tells their form."""\n\n'
        f"THRESHOLD = {threshold}\nTREES = (\n{text}\n)\n"
    )
