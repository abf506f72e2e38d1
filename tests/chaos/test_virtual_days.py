"""Virtual days: the firmware from journal to lamp in one MicroPython, a scripted broker and reception, and everything that goes wrong.

`TRYGG_CHAOS_SEED=n` tells the story of seed n again; without it the two days of `make test` are always the same ones, and those of
`make test-long` are new each time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tryggport.board.clock import libfaketime

ROOT = Path(__file__).parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).with_name("micropython")))
DAYS = ROOT / "tests/chaos/virtual/days.py"
SEED = os.environ.get("TRYGG_CHAOS_SEED")
SHORT_SEED = 1
Show = Callable[[str, object], None]
FAULTS = (
    "network cut", "long outage", "broker restarted", "reception closed", "bad broker", "bad receipts", "old and false receipts", "lie",
    "clock stepped", "reception's clock stepped", "power cut", "cut in flash", "cut at an instant", "dropped", "duplicates",
    "planted", "help", "fall", "cancel", "second path", "path lost", "poison",
)  # fmt: skip


def live(seed: int, days: float, variant: str = "", timeout_s: float = 900) -> dict[str, Any]:
    """The report of one story (see virtual/days.py)."""
    print(f"TRYGG_CHAOS_SEED={seed}")
    path = [ROOT / "tests/chaos/virtual", ROOT / "firmware", ROOT / "host_tools/tryggport/board", ".frozen"]
    environment = {
        "MICROPYPATH": ":".join(map(str, path)), "LD_PRELOAD": str(libfaketime()), "FAKETIME": "2026-01-01 00:00:00",
    }  # fmt: skip
    done = subprocess.run(
        [MICROPYTHON, "-X", f"heapsize={64 + 16 * int(days)}M", str(DAYS), str(seed), str(days), variant],
        env=os.environ | environment, capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    said, _, report = done.stdout.rpartition("\x1e")
    assert done.returncode == 0 and "Traceback" not in said, f"seed {seed}\n{said}{done.stderr}"
    result: dict[str, Any] = json.loads(report)
    return result


def keeps_its_promises(report: dict[str, Any]) -> None:
    trace = "\n".join(report.get("trace", []))
    assert report["failed"] == [], f"seed {report['seed']}, {report['failures']} failures\n{trace}"


def test_TP_WIR_050_two_virtual_days_lose_nothing_and_double_nothing(record_property: Show) -> None:
    report = live(int(SEED or SHORT_SEED), 2)
    record_property("shown", f"TRYGG_CHAOS_SEED={report['seed']}, two virtual days")
    print(json.dumps(report["happened"], indent=1))
    missing = [name for name in FAULTS if not report["happened"].get(name)]
    assert SEED or missing == [], "the story is too tame"
    keeps_its_promises(report)


@pytest.mark.long
@pytest.mark.parametrize("part", [1, 2, 3])
def test_TP_WIR_050_thirty_virtual_days_in_three_homes_lose_nothing_and_double_nothing(
    part: int, record_property: Show
) -> None:
    report = live(int(SEED or random.randrange(1 << 30)), 10, timeout_s=3600)
    record_property("shown", f"TRYGG_CHAOS_SEED={report['seed']}, ten virtual days")
    print(json.dumps(report["happened"], indent=1))
    assert [name for name in FAULTS if not report["happened"].get(name)] == []
    keeps_its_promises(report)


def test_a_seed_tells_the_same_story_twice() -> None:
    assert live(7, 0.2) == live(7, 0.2)


@pytest.mark.parametrize(
    ("variant", "complaint", "days"),
    [
        ("receipts before storing", "neither stored nor", 0.3),
        ("does not know what it has", "times", 0.3),
        ("settles what it has not seen", "neither stored nor", 0.3),
        ("settles at PUBACK", "neither stored nor", 0.3),
        ("forgets which seqs it used", "used twice", 0.02),
    ],
)
def test_what_is_broken_on_purpose_is_noticed(variant: str, complaint: str, days: float) -> None:
    """The checker is no ornament: a reception or a gateway that breaks a promise is found out within a few short stories."""
    for seed in range(SHORT_SEED, SHORT_SEED + 8):
        failed = live(seed, days, variant)["failed"]
        if any(complaint in sentence for sentence in failed):
            return
    pytest.fail("nobody has noticed")
