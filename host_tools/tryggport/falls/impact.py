"""Where in a recorded fall the impact is, found without the detector and with the whole trial in view.

The highest magnitude alone will not do: who trips while jogging may have stepped harder before than he landed.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import accumulate

_NEAR_S, _FAR_S = 0.2, 1.0  # posture is the mean from 1.0 s to 0.2 s away from a moment
_ROUND_S = 1.0


def impact(samples: bytes, rate_hz: float) -> int:
    """The sample of the highest magnitude within 1 s of the moment at which gravity turned farthest."""
    axes = [array("h", samples)[axis::3] for axis in range(3)]
    energy = [x * x + y * y + z * z for x, y, z in zip(*axes, strict=True)]
    count, near, far = len(energy), round(_NEAR_S * rate_hz), round(_FAR_S * rate_hz)
    sums = [list(accumulate(axis, initial=0)) for axis in axes]

    def posture(first: int, last: int) -> list[int]:
        return [s[last] - s[first] for s in sums]

    turns = [
        _cosine(posture(t - far, t - near), posture(t + near, t + far)) for t in range(far, count - far)
    ]  # the less, the farther
    if not turns:
        return energy.index(max(energy))
    turn = far + turns.index(min(turns))
    around = range(max(0, turn - round(_ROUND_S * rate_hz)), min(count, turn + round(_ROUND_S * rate_hz)))
    return max(around, key=energy.__getitem__)


def _cosine(a: Sequence[int], b: Sequence[int]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b) or 1)
