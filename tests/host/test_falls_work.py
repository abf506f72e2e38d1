"""The detector's work, in instructions that callgrind counts: repeatable on any machine with the same interpreter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from array import array
from pathlib import Path

import pytest
from tryggport import paths
from tryggport.sim import movement

SECONDS = 40
FEED = """
import sys
from array import array
from gateway.fall import FallDetector
samples = array("h", open(sys.argv[1], "rb").read())
detector = FallDetector(50)
found = 0
for i in range(0, int(sys.argv[2]) * 150, 3):
    if detector.feed(samples[i], samples[i + 1], samples[i + 2]):
        found += 1
print("found", found)
"""


def instructions(script: Path, samples: Path, seconds: int) -> tuple[int, int]:
    """Instructions of a run over so many seconds of data, and the verdicts in it."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}", paths.interpreter(), str(script), str(samples), str(seconds)],
        env=os.environ | {"MICROPYPATH": f"{paths.folder('firmware')}:.frozen"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    counted, found = re.search(r"Collected : (\d+)", done.stderr), re.search(r"found (\d+)", done.stdout)
    assert counted
    assert found
    return int(counted[1]), int(found[1])


def test_TP_FAL_011_work_per_second_of_data(tmp_path: Path) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed (make system-packages)")
    script, samples = tmp_path / "feed.py", tmp_path / "samples.i16"
    script.write_text(FEED)
    moved = [*movement.walking(20), *movement.fall(), *movement.lying(20)]
    samples.write_bytes(array("h", [v for sample in moved for v in sample]).tobytes())
    short, none = instructions(script, samples, 1)
    long, found = instructions(script, samples, 1 + SECONDS)
    assert (none, found) == (0, 1)
    per_second = (long - short) / SECONDS
    print(f"{per_second:,.0f} instructions a second of data at 50 Hz")
    assert per_second <= 1_100_000
