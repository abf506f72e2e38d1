"""The whole gateway in the heap of a board: TLS open, through everything that makes it allocate.

Under `-X heapsize=192k` with the board's own modules in it, 19 KiB less for the firmware than everywhere else.
"""

from __future__ import annotations

import contextlib
import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from chains import wait_stored
from tryggport.board.host import MODULES_BYTES
from tryggport.devices.link import Link
from tryggport.reception import open_database, views
from tryggport.reception.tenants import centre
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
    with Chain(tmp_path_factory.mktemp("chain"), broker="mosquitto", heap="173k") as chain:
        with Link(chain.board.tty) as link:
            link.write("/main.py", MAIN)
        since = now_ms()
        chain.board.reset()
        assert chain.timeline.wait("gateway", "connected", since=since, timeout_s=30), chain.board.console()
        yield chain


def live_bytes(chain: Chain) -> list[int]:
    """What the firmware has in use, as often as it has told and as far as the console reaches back."""
    return [int(taken) - MODULES_BYTES for taken in re.findall(r"^heap (\d+) \d+\r?$", chain.board.console(), re.M)]


def press(chain: Chain, times: int) -> set[int]:
    """Presses until so many events are in the journal, quicker than a person would; returns their seqs."""
    since = now_ms()
    appended: set[int] = set()
    while len(appended) < times:
        chain.board.press("help", PRESS_MS)
        time.sleep((PRESS_MS + PAUSE_MS) / 1000)
        moments = chain.timeline.since(since)
        appended = {m.detail["seq"] for m in moments if (m.source, m.name) == ("gateway", "append.end")}
        assert now_ms() - since < times * 1000, "it does not take presses any more"
    return appended


def missing(chain: Chain, seqs: set[int], timeout_s: float = 20) -> set[int]:
    """Which of these the reception has not stored when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.closing(open_database(chain.database_url)) as database:
            left = seqs - {row["seq"] for row in views.list_events(centre(database), limit=10_000)}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def test_what_is_in_use_when_connected(chain: Chain) -> None:
    time.sleep(3)
    connected = live_bytes(chain)[-5:]
    print(f"connected: {connected}")
    assert len(connected) == 5
    assert max(connected) <= BUDGET["heap_connected_bytes"]


def test_presses_a_fall_and_a_broker_that_restarts(chain: Chain) -> None:
    seqs = press(chain, PRESSES)
    chain.board.feed(movement.fall(), movement.RATE_HZ)
    assert missing(chain, seqs) == set()
    assert len(wait_stored(chain, "fall", 1)) == 1
    chain.stop_broker()
    chain.start_broker()
    assert missing(chain, press(chain, 1)) == set()
    survived(chain)


def test_a_backlog_of_300_events(chain: Chain) -> None:
    chain.stop_broker()
    seqs = press(chain, BACKLOG)
    assert missing(chain, seqs, 0) == seqs
    chain.start_broker()
    assert missing(chain, seqs, 90) == set()
    survived(chain)


def survived(chain: Chain) -> None:
    """It has not run out of memory, has not started again, and all the time there was room."""
    since_main = chain.board.console().rsplit("KeyboardInterrupt", 1)[-1]
    assert "Traceback" not in since_main and "Error" not in since_main, since_main
    highest = max(live_bytes(chain))
    print(f"highest: {highest}")
    assert highest <= BUDGET["heap_high_water_bytes"]
