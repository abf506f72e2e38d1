"""Made-up movements for a sensor at the waist, for the demo and for tests that need no recording of a person.

Samples are (x, y, z) in mg at 50 Hz, y vertical: -1,000 mg standing, as in SisFall. They prove the path, not the detector: that is
measured on recordings (`tryggport falls evaluate`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

RATE_HZ = 50
Sample = tuple[int, int, int]


def standing(seconds: float) -> Iterator[Sample]:
    """Standing still, with a little sway."""
    for i in range(int(seconds * RATE_HZ)):
        sway = 18 * math.sin(i / 9)
        yield int(sway), -1000 + int(8 * math.sin(i / 4)), int(25 * math.cos(i / 11))


def lying(seconds: float) -> Iterator[Sample]:
    """On the back: gravity along z."""
    for i in range(int(seconds * RATE_HZ)):
        yield int(10 * math.sin(i / 7)), -120 + int(6 * math.cos(i / 5)), 985


def walking(seconds: float) -> Iterator[Sample]:
    """Two steps a second."""
    for i in range(int(seconds * RATE_HZ)):
        step = math.sin(2 * math.pi * 2 * i / RATE_HZ)
        yield int(120 * math.sin(i / 12)), -1000 - int(260 * step), int(90 * math.cos(i / 6))


def fall() -> list[Sample]:
    """Three seconds of standing, a fall backwards with an impact of about 3.5 g, and lying still for six seconds."""
    samples = list(standing(3))
    tipping = int(0.6 * RATE_HZ)
    for i in range(tipping):
        angle = math.pi / 2 * (i / tipping) ** 2
        weight = 1000 * (1 - 0.7 * i / tipping)  # ever lighter on the way down
        samples.append((int(60 * math.sin(i)), int(-weight * math.cos(angle)), int(weight * math.sin(angle))))
    impact = [(300, -900, 2100), (650, -1400, 3400), (-500, -700, 2600), (350, 200, 1500), (-250, -350, 600)]
    samples += impact
    for i in range(RATE_HZ // 2):
        ring = math.exp(-i / 6)
        samples.append((int(220 * ring * math.sin(i)), int(-120 - 250 * ring), int(985 + 300 * ring * math.cos(i))))
    return samples + list(lying(6))
