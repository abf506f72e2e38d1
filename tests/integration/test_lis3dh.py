"""The LIS3DH driver on the virtual board, whose sensor is modelled at register level and samples in real time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from mpremote.transport_serial import SerialTransport
from tryggport import paths
from tryggport.board import VirtualBoard

RAMP = [
    (x, -1000, 250) for x in range(-8000, 8000, 4)
]  # at 500 Hz: rises by 40 mg from one sample at 50 Hz to the next
ONE_STEP_MG = range(24, 57)  # 40 mg, seen through the FIFO's 16 mg
READ = """
import json, machine, time
from array import array
from lis3dh import LIS3DH
sensor = LIS3DH(machine.I2C(0, scl=machine.Pin({scl}), sda=machine.Pin({sda})), {address})
samples = array("h", bytes(6 * 32))
reads = []
sensor.read_into(samples)
last = time.ticks_ms()
for stall_ms in {stalls_ms}:
    time.sleep_ms(stall_ms)
    n = sensor.read_into(samples)
    now = time.ticks_ms()
    reads.append((time.ticks_diff(now, last), sensor.overrun, [list(samples[3 * i : 3 * i + 3]) for i in range(n)]))
    last = now
print(json.dumps(reads))
"""


class Reads:
    def __init__(self, board: VirtualBoard) -> None:
        self.board = board
        self.transport = SerialTransport(str(board.folder / "tty"))
        self.transport.enter_raw_repl(soft_reset=False)
        source = (paths.folder("firmware") / "gateway" / "drivers" / "lis3dh.py").read_text()
        self.transport.exec(f"with open('lis3dh.py', 'w') as f: f.write({source!r})")

    def __call__(self, stalls_ms: list[int]) -> list[Any]:
        """(ms since the last read, overrun, samples) of each read after such a stall, while the motion rises."""
        self.board.feed(RAMP, 500)
        wiring = self.board.definition.wiring
        values = wiring["i2c"] | {"address": wiring["accelerometer"]["address"], "stalls_ms": stalls_ms}
        answer = self.transport.exec(READ.format_map(values))
        found: list[Any] = json.loads(answer)
        return found


@pytest.fixture
def reads(tmp_path: Path) -> Iterator[Reads]:
    with VirtualBoard(tmp_path) as board:
        board.wait_for(lambda b: b.booted)
        run = Reads(board)
        yield run
        run.transport.close()


def rises(samples: list[list[int]]) -> list[int]:
    return [after[0] - before[0] for before, after in pairwise(samples)]


def test_TP_FAL_010_a_stall_of_400_ms_loses_no_sample(reads: Reads) -> None:
    told = reads([400] * 12)
    kept = [read for read in told if read[0] <= 600]  # the machine that runs the test may itself stall for longer
    assert len(kept) >= 6
    assert not any(overrun for _, overrun, _ in kept)
    joined = 0
    for before, after in pairwise(told):
        if before in kept and after in kept:
            joined += len(after[2])
            assert all(rise in ONE_STEP_MG for rise in rises([*before[2][-1:], *after[2]]))
    assert joined >= 60
    assert all(abs(y + 1000) < 16 and abs(z - 250) < 16 for _, y, z in kept[0][2])


def test_TP_FAL_010_a_longer_stall_is_reported(reads: Reads) -> None:
    before, after, later = reads([200, 1000, 100])
    assert not before[1]
    assert after[1]
    assert len(after[2]) == 32
    assert after[2][0][0] - before[2][-1][0] not in ONE_STEP_MG
    assert not later[1]
