"""The journal under power cuts at every program and erase, in one MicroPython process.

Replay one cut by its number:
    TRYGG_CUT=rotating.encrypted:1225 .venv/bin/python -m pytest -s tests/powercut/test_journal_cuts.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).parent / "micropython"))
REPLAY = os.environ.get("TRYGG_CUT", "")
WHERE = ("first", "inside", "last", "none left")  # the byte of the operation before which the power goes


def cut(scenario: str, nest_every: int, number: int, timeout_s: int) -> list[dict[str, Any]]:
    path = f"{ROOT / 'firmware'}:{ROOT / 'host_tools/tryggport/board'}:.frozen"
    script = [str(ROOT / "tests/powercut/journal_cuts.py"), scenario, str(nest_every), str(number)]
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=8M", *script],
        env=os.environ | {"MICROPYPATH": path}, capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def judge(reports: list[dict[str, Any]], at_least: int, record_property: Callable[[str, object], None]) -> None:
    """Shows what was cut where, and which numbers can be replayed; fails when anything was lost or doubled."""
    cuts = sum(report["cuts"] for report in reports)
    lines = [f"{'power cuts':24}{'cuts':>8}{'nested':>8}  " + "".join(f"{where:>13}" for where in WHERE) + "  numbers"]
    for report in reports:
        counts = "".join(f"{report['positions'].get(where, 0):13}" for where in WHERE)
        lines.append(f"{report['scenario']:24}{report['cuts']:8}{report['nested']:8}  {counts}  1-{report['last']}")
    lines.append(f"{'all':24}{cuts:8}{sum(report['nested'] for report in reports):8}")
    record_property("shown", "\n".join(lines))
    failed = [(report["scenario"], failure) for report in reports for failure in report["failed"]]
    for scenario, failure in failed[:5]:
        print(f"replay with TRYGG_CUT={scenario}:{failure['cut']}\n{failure}\n{failure['error']}")
    assert cuts >= at_least
    assert failed == []


@pytest.mark.skipif(bool(REPLAY), reason="TRYGG_CUT replays one cut")
def test_TP_JRN_001_004_012_013_cuts_at_every_operation_lose_and_double_nothing(
    record_property: Callable[[str, object], None],
) -> None:
    judge(cut("all", 23, 0, 1200), 10_000, record_property)


@pytest.mark.long
@pytest.mark.skipif(bool(REPLAY), reason="TRYGG_CUT replays one cut")
def test_TP_JRN_012_recoveries_cut_again_and_again_lose_nothing(record_property: Callable[[str, object], None]) -> None:
    judge(cut("all", 2, 0, 7200), 200_000, record_property)


@pytest.mark.skipif(not REPLAY, reason="set TRYGG_CUT=scenario:number to replay one cut")
def test_replay(record_property: Callable[[str, object], None]) -> None:
    scenario, number = REPLAY.split(":")
    judge(cut(scenario, 23, int(number), 600), 1, record_property)
