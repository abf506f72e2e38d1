"""The detector behind other sensors: the same recordings, as slower, narrower, turned and worse sensors would have made them."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from tryggport.falls.augment import Sensor, recorded_by, rotation
from tryggport.falls.figures import Figures, figures
from tryggport.falls.progress import Progress, counter
from tryggport.falls.recordings import Trial, groups
from tryggport.falls.replay import Recording, replay

SENSORS: dict[str, dict[str, float | bool]] = {
    "18 Hz": {"rate_hz": 18},
    "20 Hz": {"rate_hz": 20},
    "25 Hz": {"rate_hz": 25},
    "31.25 Hz": {"rate_hz": 31.25},
    "50 Hz": {"rate_hz": 50},
    "100 Hz": {"rate_hz": 100},
    "±2 g": {"range_mg": 2000},
    "±4 g": {"range_mg": 4000},
    "in any direction": {"turned": True},
    "±5 % gain, ±60 mg offset": {"gain": 0.05, "offset_mg": 60},
    "30 mg noise, 16 mg steps": {"noise_mg": 30, "step_mg": 16},
    "all of it, 18 Hz, ±2 g": {
        "rate_hz": 18, "range_mg": 2000, "turned": True, "gain": 0.05, "offset_mg": 60, "noise_mg": 30, "step_mg": 16,
    },
    "all of it, 50 Hz, ±2 g": {
        "rate_hz": 50, "range_mg": 2000, "turned": True, "gain": 0.05, "offset_mg": 60, "noise_mg": 30, "step_mg": 16,
    },
    "all of it, 25 Hz, ±4 g": {
        "rate_hz": 25, "range_mg": 4000, "turned": True, "gain": 0.05, "offset_mg": 60, "noise_mg": 30, "step_mg": 16,
    },
}  # fmt: skip
"""What differs from the sensor that recorded; gain and offset are at their worst, in a direction drawn for each trial and axis."""


def measure(
    trials: Sequence[Trial], recordings: Sequence[Recording], progress: Progress
) -> dict[str, dict[str, Figures]]:
    """Figures of the firmware's detector by group of trials, then by sensor; recording i belongs to trial i."""
    advance = counter(progress, "Trying other sensors", len(SENSORS) * len(trials))
    found: dict[str, dict[str, Figures]] = {name: {} for name in groups(trials)}
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for sensor in SENSORS:
            made = list(pool.map(_made, recordings, repeat(sensor), range(len(trials)), chunksize=64))
            outcomes = replay(made, progress=advance)
            for name, members in groups(trials).items():
                alarms = [o.fallen for t, o in zip(trials, outcomes, strict=True) if t.group == name]
                found[name][sensor] = figures(members, alarms)
    return found


def _made(recording: Recording, name: str, seed: int) -> Recording:
    random_, other = random.Random(seed), SENSORS[name]
    turn = {"turn": rotation(random_)} if other.get("turned") else {}
    sensor = Sensor(
        rate_hz=other.get("rate_hz"),
        range_mg=int(other.get("range_mg", 16000)),
        gain=1 + random_.choice((-1, 1)) * other.get("gain", 0),
        offsets_mg=[random_.choice((-1, 1)) * other.get("offset_mg", 0) for _ in range(3)],
        noise_mg=other.get("noise_mg", 0),
        step_mg=int(other.get("step_mg", 1)),
        **turn,
    )
    return recorded_by(sensor, recording, random_)
