"""Other sensors than the one that recorded: other rates, directions, ranges, offsets and noise."""

from __future__ import annotations

import math
import random
from array import array

from tryggport.falls.recordings import SAMPLE_BYTES
from tryggport.falls.replay import Recording

_RATES_HZ = (18.0, 20.0, 25.0, 31.25, 40.0, 50.0)
_RANGES_MG = (2000, 2000, 4000, 8000, 16000)
_OFFSET_MG = 60
_GAIN = 0.04
_NOISE_MG = 25

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


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


def resampled(flat: array[int], rate_hz: float, to_hz: float) -> array[float]:
    """The mean over each period of the new rate, so that nothing folds back; for a higher rate the nearest sample."""
    step = rate_hz / to_hz
    count = len(flat) // 3
    made = array("d")
    for k in range(int(count / step)):
        first = int(k * step)
        last = max(first + 1, min(count, round((k + 1) * step)))
        for axis in range(3):
            made.append(sum(flat[3 * first + axis : 3 * last : 3]) / (last - first))
    return made


def other_sensor(recording: Recording, random_: random.Random) -> Recording:
    """The recording as another sensor, drawn at random, would have made it: never faster, at most as wide."""
    flat = array("h", recording.samples[: len(recording.samples) // SAMPLE_BYTES * SAMPLE_BYTES])
    rate_hz = random_.choice([r for r in _RATES_HZ if r <= recording.rate_hz] or [recording.rate_hz])
    values = resampled(flat, recording.rate_hz, rate_hz) if rate_hz != recording.rate_hz else array("d", flat)
    turn = rotation(random_)
    limit = random_.choice(_RANGES_MG)
    gain = 1 + random_.uniform(-_GAIN, _GAIN)
    offsets = [random_.uniform(-_OFFSET_MG, _OFFSET_MG) for _ in range(3)]
    noise = random_.uniform(0, _NOISE_MG)
    made = array("h")
    for i in range(0, len(values), 3):
        x, y, z = values[i : i + 3]
        for (a, b, c), offset in zip(turn, offsets, strict=True):
            value = gain * (a * x + b * y + c * z) + offset + noise * random_.gauss(0, 1)
            made.append(max(-limit, min(limit, round(value))))
    return Recording(rate_hz, made.tobytes(), recording.placement)
