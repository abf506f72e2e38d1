"""A scripted broker plays every sequence of mqtt_sequences to the client in the real MicroPython .

TP-MQT-001, TP-MQT-002, TP-MQT-003, TP-MQT-004, TP-MQT-005, TP-MQT-006.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mqtt_sequences import all_plays
from scripted_broker import Play, ScriptedBroker, Seen

ROOT = Path(__file__).parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).parent / "micropython"))
PLAYS = all_plays()


@pytest.fixture(scope="module")
def played() -> tuple[dict[str, Seen], dict[str, list[int]]]:
    with ScriptedBroker(PLAYS) as broker:
        done = subprocess.run(
            [MICROPYTHON, "-X", "heapsize=192k", str(Path(__file__).with_name("mqtt_driver.py")), str(broker.port), str(len(PLAYS))],
            env=os.environ | {"MICROPYPATH": f"{ROOT / 'firmware'}:.frozen"},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    seen = {play.name: seen for play, seen in zip(PLAYS, broker.seen, strict=False)}
    reports = [line for line in done.stdout.split("\n") if line.startswith("\x1e")]
    assert reports, done.stdout[-2000:] + done.stderr[-2000:]
    return seen, json.loads(reports[0][1:])


def test_names_are_unique_and_many() -> None:
    assert len({play.name for play in PLAYS}) == len(PLAYS) >= 400


@pytest.mark.parametrize("play", PLAYS, ids=[play.name for play in PLAYS])
def test_TP_MQT_001_sequence(play: Play, played: tuple[dict[str, Seen], dict[str, list[int]]]) -> None:
    seen = played[0].get(play.name)
    assert seen is not None, "the client did not come back for this one"
    assert seen.outcome() == play.expect, [(f"{first:02x}", body.hex()) for first, body in seen.packets]


def test_TP_MQT_006_garbage_does_not_grow_the_heap(played: tuple[dict[str, Seen], dict[str, list[int]]]) -> None:
    half, end = played[1]["heap"]
    assert end - half < 1024
