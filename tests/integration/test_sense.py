"""The gateway's own sense task on the virtual board: nothing of a movement is lost, be it stalled or woken by it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from tryggport.devices.link import Link
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms

RAMP = [(x, 0, 1000) for x in range(0, 8000, 4)]  # at 500 Hz: rises by 40 mg from one sample at 50 Hz to the next
ONE_STEP_MG = range(24, 57)  # 40 mg, seen through the FIFO's 16 mg
RAMP_S = len(RAMP) / 500
STILL_S = 9  # 5 s, and as much as the stalls make of it
# As firmware/main.py, but it tells each read of the sensor, and another task stalls everything as a TLS handshake does.
MAIN = b"""
import gc
gc.threshold(4096)
import asyncio, time
from gateway import app
from gateway.drivers import lis3dh

class Told(lis3dh.LIS3DH):
    def read_into(self, samples):
        n = super().read_into(samples)
        print("read", time.ticks_ms(), int(self.overrun), *[samples[3 * i] for i in range(n)])
        return n

async def stall():
    while True:
        await asyncio.sleep_ms(900)
        time.sleep_ms(400)
        print("stalled")

lis3dh.LIS3DH = Told
asyncio.create_task(stall())
app.main()
"""


@dataclass(frozen=True)
class Read:
    t_ms: int
    overrun: bool
    xs: list[int]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with Chain(tmp_path_factory.mktemp("chain")) as chain:
        run(chain, MAIN)
        yield chain


def run(chain: Chain, main: bytes) -> None:
    """Starts the gateway anew with this main.py; returns when it is online."""
    with Link(chain.board.tty) as link:
        link.write("/main.py", main)
    since = now_ms()
    chain.board.reset()
    assert chain.timeline.wait("gateway", "connected", since=since, timeout_s=30), chain.board.console()


def reads(chain: Chain) -> list[Read]:
    found = re.findall(r"^read (\d+) (\d)((?: -?\d+)*)\r?$", chain.board.console(), re.M)
    return [Read(int(t), overrun == "1", [int(x) for x in xs.split()]) for t, overrun, xs in found]


def climb(chain: Chain) -> list[Read]:
    """Moves the sensor up the ramp and down at once; the reads meanwhile."""
    before = len(reads(chain))
    chain.board.feed([*RAMP, (0, 0, 1000)], 500)
    time.sleep(RAMP_S + 1)
    return reads(chain)[before:]


def whole(told: list[Read]) -> bool:
    """Whether every sample of the ramp was read, in order."""
    xs = [x for read in told for x in read.xs]
    top = xs.index(max(xs))
    first = next(i for i, x in enumerate(xs) if x > 0)
    assert top - first > 40 * RAMP_S, "the ramp was not climbed"
    return xs[first] < ONE_STEP_MG[-1] and all(b - a in ONE_STEP_MG for a, b in pairwise(xs[first : top + 1]))


def longest_ms(told: list[Read]) -> int:
    return max(after.t_ms - before.t_ms for before, after in pairwise(told))


def undisturbed(chain: Chain) -> list[Read]:
    """A climb in which the machine that runs the test has not itself stalled the board for long."""
    for _ in range(3):
        told = climb(chain)
        if longest_ms(told) <= 600:
            break
    return told


def test_TP_FAL_010_a_stall_of_400_ms_loses_no_sample_of_the_gateways_own(chain: Chain) -> None:
    told = undisturbed(chain)
    assert longest_ms(told) >= 400, "nothing stalled"
    assert not any(read.overrun for read in told)
    assert whole(told)


def test_TP_FAL_012_a_still_wearer_is_left_to_the_chip_and_his_first_movement_is_not_lost(chain: Chain) -> None:
    for _ in range(3):
        time.sleep(STILL_S)
        before = len(reads(chain))
        time.sleep(3)
        still = reads(chain)[before:]
        told = climb(chain)
        if longest_ms(told) <= 600:
            break
    assert 4 <= len(still) <= 9  # 25 to 30 while he moves
    assert sum(len(read.xs) for read in still) >= 50 * 3 - 32
    assert whole([*still[-1:], *told])
    assert min(after.t_ms - before.t_ms for before, after in pairwise(told)) < 200, "it does not read quickly again"


@pytest.mark.long
def test_TP_FAL_012_without_int1_it_goes_on_reading(tmp_path: Path) -> None:
    main = MAIN.replace(
        b"    def read_into",
        b"    def __init__(self, *wired):\n        super().__init__(*wired)\n        self._write(0x22, 0)\n\n    def read_into",
    )
    with Chain(tmp_path) as chain:
        run(chain, main.replace(b"asyncio.create_task(stall())", b""))
        time.sleep(STILL_S)
        before = len(reads(chain))
        time.sleep(3)
        assert 3 <= len(reads(chain)) - before <= 6, "INT1 is heard"
        told = climb(chain)
        assert max(max(read.xs, default=0) for read in told) > 7000
        assert sum(len(read.xs) for read in told) >= 50 * RAMP_S
