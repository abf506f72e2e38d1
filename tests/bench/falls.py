"""Instructions that the fall detector takes for a second of accelerometer data at 50 Hz, in the real MicroPython, counted by callgrind.

Movements are made up (tryggport.sim.movement), so that the figures are the same everywhere. Start and imports are not counted: each figure is
the difference between a run that ends before the movement and one that ends after it.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tryggport import paths
from tryggport.sim import movement

CLOCK_HZ = 160_000_000  # of an ESP32-C3
PER_INSTRUCTION = 2  # cycles there for one here: an estimate
FEED = """
import sys
from array import array
from gateway.fall import FallDetector
samples = array("h", open(sys.argv[1], "rb").read())
detector = FallDetector(50)
found = 0
for i in range(0, 3 * int(sys.argv[2]), 3):
    if detector.feed(samples[i], samples[i + 1], samples[i + 2]):
        found += 1
print("found", found)
"""


def movements() -> Iterator[tuple[str, list[movement.Sample]]]:
    yield "start", list(movement.walking(1))
    yield "walking", list(movement.walking(20))
    yield "fall", list(movement.fall())
    yield "lying", list(movement.lying(20))


def run(folder: Path, samples: int) -> tuple[int, int]:
    """Instructions of a run over so many samples, and the verdicts in it."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}", paths.interpreter(),
         str(folder / "feed.py"), str(folder / "samples.i16"), str(samples)],
        env=os.environ | {"MICROPYPATH": f"{paths.folder('firmware')}:.frozen"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    counted, found = re.search(r"Collected : (\d+)", done.stderr), re.search(r"found (\d+)", done.stdout)
    if not counted or not found:
        raise RuntimeError(f"callgrind told nothing: {done.stderr}")
    return int(counted[1]), int(found[1])


def measure() -> dict[str, Any]:
    """{"walking_ir_per_s", "fall_ir_per_s", "lying_ir_per_s", "all_ir_per_s", "verdicts", "esp32_c3_estimate_percent"}."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "feed.py").write_text(FEED)
        moved = dict(movements())
        flat = array("h", [v for samples in moved.values() for sample in samples for v in sample])
        (folder / "samples.i16").write_bytes(flat.tobytes())
        end, ends = 0, []
        for what, samples in moved.items():
            end += len(samples)
            spent, verdicts = run(folder, end)
            if ends:
                seconds = len(samples) / movement.RATE_HZ
                result[f"{what}_ir_per_s"] = round((spent - ends[-1][1]) / seconds)
            ends.append((end, spent))
    (first, before), (last, after) = ends[0], ends[-1]
    result["all_ir_per_s"] = round((after - before) * movement.RATE_HZ / (last - first))
    result["verdicts"] = verdicts
    result["esp32_c3_estimate_percent"] = round(100 * PER_INSTRUCTION * result["all_ir_per_s"] / CLOCK_HZ, 1)
    return result
