"""The whole gateway in the heap of a board: `heapsize=192k`, TLS open, through everything that makes it allocate."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from chains import stored, wait_stored
from tryggport.devices.link import Link
from tryggport.sim import movement
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms

BUDGET = tomllib.loads((Path(__file__).parents[1] / "budgets.toml").read_text())
PRESSES = 20
BACKLOG = 300
PRESS_MS = 90
PAUSE_MS = 60
# As firmware/main.py, and tells five times a second how much of the heap is in use once the garbage is gone.
MAIN = b"""
import gc
gc.threshold(4096)
import asyncio
from gateway import app

async def tell():
    while True:
        gc.collect()
        print("heap", gc.mem_alloc(), gc.mem_free())
        await asyncio.sleep_ms(200)

asyncio.create_task(tell())
app.main()
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with Chain(tmp_path_factory.mktemp("chain"), broker="mosquitto", heap="192k") as chain:
        with Link(chain.board.tty) as link:
            link.write("/main.py", MAIN)
        since = now_ms()
        chain.board.reset()
        assert chain.timeline.wait("gateway", "connected", since=since, timeout_s=30), chain.board.console()
        yield chain


def live_bytes(chain: Chain) -> list[int]:
    """What the gateway has told so far, as far as the console reaches back."""
    return [int(taken) for taken in re.findall(r"^heap (\d+) \d+\r?$", chain.board.console(), re.M)]


def press(chain: Chain, times: int) -> int:
    """Presses until so many alarms are in the journal, quicker than a person would; returns how many are."""
    since = now_ms()
    appended = 0
    while appended < times:
        chain.board.press("help", PRESS_MS)
        time.sleep((PRESS_MS + PAUSE_MS) / 1000)
        appended = sum((m.source, m.name) == ("gateway", "append.end") for m in chain.timeline.since(since))
        assert now_ms() - since < times * 1000, "it does not take presses any more"
    return appended


def test_what_is_in_use_when_connected(chain: Chain) -> None:
    time.sleep(3)
    connected = live_bytes(chain)[-5:]
    print(f"connected: {connected}")
    assert len(connected) == 5
    assert max(connected) <= BUDGET["heap_connected_bytes"]


def test_presses_a_fall_and_a_broker_that_restarts(chain: Chain) -> None:
    count = len(stored(chain, "help"))
    count += press(chain, PRESSES)
    chain.board.feed(movement.fall(), movement.RATE_HZ)
    assert len(wait_stored(chain, "help", count)) == count
    assert len(wait_stored(chain, "fall", 1)) == 1
    chain.stop_broker()
    chain.start_broker()
    count += press(chain, 1)
    assert len(wait_stored(chain, "help", count)) == count
    survived(chain)


def test_a_backlog_of_300_alarms(chain: Chain) -> None:
    before = len(stored(chain, "help"))
    chain.stop_broker()
    count = press(chain, BACKLOG)
    assert len(stored(chain, "help")) == before
    chain.start_broker()
    assert len(wait_stored(chain, "help", before + count, timeout_s=90)) == before + count
    survived(chain)


def survived(chain: Chain) -> None:
    """It has not run out of memory, has not started again, and all the time there was room."""
    since_main = chain.board.console().rsplit("KeyboardInterrupt", 1)[-1]
    assert "Traceback" not in since_main and "Error" not in since_main, since_main
    highest = max(live_bytes(chain))
    print(f"highest: {highest}")
    assert highest <= BUDGET["heap_high_water_bytes"]
