"""Other sensors and other endings than those that were recorded."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from tryggport.falls.recordings import SAMPLE_BYTES
from tryggport.falls.replay import Recording

_RATES_HZ = (18.0, 20.0, 25.0, 31.25, 40.0, 50.0)
_RANGES_MG = (2000, 2000, 4000, 8000, 16000)
_OFFSET_MG = 60
_GAIN = 0.04
_NOISE_MG = 25

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
_AS_WORN: Matrix = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@dataclass(frozen=True)
class Sensor:
    """What tells a sensor, and how it is worn, from the one that recorded. `rate_hz` None: the same."""

    rate_hz: float | None = None
    range_mg: int = 16000
    turn: Matrix = _AS_WORN
    gain: float = 1.0
    offsets_mg: Sequence[float] = (0.0, 0.0, 0.0)
    noise_mg: float = 0.0
    step_mg: int = 1


def rotation(random_: random.Random) -> Matrix:
    """A rotation drawn evenly from all (Shoemake 1992)."""
    w, x, y, z = (random_.gauss(0, 1) for _ in range(4))
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )


def resampled(flat: Sequence[float], rate_hz: float, to_hz: float) -> array[float]:
    """The mean over each period of a lower rate, so that nothing folds back; for a higher rate a straight line between samples."""
    step = rate_hz / to_hz
    count = len(flat) // 3
    made = array("d")
    for k in range(int((count - 1) / step) + 1 if step < 1 else int(count / step)):
        first = int(k * step)
        last = max(first + 1, min(count, round((k + 1) * step)))
        for axis in range(3):
            if step < 1:
                after = flat[3 * min(first + 1, count - 1) + axis]
                made.append(flat[3 * first + axis] + (k * step - first) * (after - flat[3 * first + axis]))
            else:
                made.append(sum(flat[3 * first + axis : 3 * last : 3]) / (last - first))
    return made


def recorded_by(sensor: Sensor, recording: Recording, random_: random.Random) -> Recording:
    """The recording as that sensor would have made it; `random_` makes the noise."""
    flat = array("h", recording.samples[: len(recording.samples) // SAMPLE_BYTES * SAMPLE_BYTES])
    rate_hz = sensor.rate_hz or recording.rate_hz
    values = resampled(flat, recording.rate_hz, rate_hz) if rate_hz != recording.rate_hz else array("d", flat)
    limit, step = sensor.range_mg, sensor.step_mg
    made = array("h")
    for i in range(0, len(values), 3):
        x, y, z = values[i : i + 3]
        for (a, b, c), offset in zip(sensor.turn, sensor.offsets_mg, strict=True):
            value = sensor.gain * (a * x + b * y + c * z) + offset + sensor.noise_mg * random_.gauss(0, 1)
            made.append(max(-limit, min(limit, round(value / step) * step)))
    return Recording(rate_hz, made.tobytes(), recording.placement)


def other_sensor(recording: Recording, random_: random.Random) -> Recording:
    """The recording as another sensor, drawn at random, would have made it: never faster, at most as wide."""
    sensor = Sensor(
        rate_hz=random_.choice([r for r in _RATES_HZ if r <= recording.rate_hz] or [recording.rate_hz]),
        turn=rotation(random_),
        range_mg=random_.choice(_RANGES_MG),
        gain=1 + random_.uniform(-_GAIN, _GAIN),
        offsets_mg=[random_.uniform(-_OFFSET_MG, _OFFSET_MG) for _ in range(3)],
        noise_mg=random_.uniform(0, _NOISE_MG),
    )
    return recorded_by(sensor, recording, random_)


def getting_up(recording: Recording, first: int, seconds: float, walk_s: float) -> Recording:
    """The recording up to sample `first`; then the wearer turns back within `seconds` to the posture in which the recording began, and does
    for `walk_s` what he did at first."""
    flat = array("h", recording.samples)
    start = flat[: 3 * round(2 * recording.rate_hz)]
    lying, upright = _posture(flat[3 * (first - round(recording.rate_hz / 2)) : 3 * first]), _posture(start)
    made = flat[: 3 * first]
    steps = round(seconds * recording.rate_hz)
    for k in range(1, steps + 1):
        part = math.sin(math.pi / 2 * k / steps) ** 2
        between = [low + part * (up - low) for low, up in zip(lying, upright, strict=True)]
        length = math.hypot(*between) or 1
        made.extend(round(1000 * value / length) for value in between)
    while len(made) < 3 * (first + steps + walk_s * recording.rate_hz):
        made.extend(start)
    return Recording(recording.rate_hz, made.tobytes(), recording.placement)


def _posture(flat: array[int]) -> list[float]:
    sums = [sum(flat[axis::3]) for axis in range(3)]
    length = math.hypot(*sums) or 1
    return [value / length for value in sums]
