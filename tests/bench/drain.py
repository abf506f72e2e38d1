"""Drain of a backlog over a network with 50 ms round trip: virtual board, TLS, Mosquitto, SQLite, beside one event a round trip."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

from tryggport.devices.link import Link
from tryggport.reception import open_database, views
from tryggport.reception.tenants import centre
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms

EVENTS = 1000
ALONE = 60  # of them, one for each round trip: the baseline
ROUND_TRIP_MS = 50.0
TIMEOUT_S = 240.0
# As firmware/main.py, with a backlog. The baseline is the same client, which sends the next event when the receipt has come.
MAIN = """
import gc
gc.threshold(4096)
import asyncio
from gateway import app, kinds, uplink

def alone(self):
    for seq, alarm, payload in self._journal.pending(1):
        if not self._in_flight:
            return alarm, [(seq, payload)]
    return None, []

if {alone}:
    uplink.Uplink._backlog = alone
gateway = app._start()
for i in range({events}):
    gateway.recorder.record(kinds.MAINS, i & 1 and kinds.STATE_CLEARED, sensor="mains")
print("backlog ready")
asyncio.run(gateway.run())
"""


def measure(events: int = EVENTS, alone: int = ALONE) -> dict[str, Any]:
    """{"events_per_s", "one_per_round_trip_per_s", "ratio", ...}: from the first envelope to the settling of the last event."""
    with tempfile.TemporaryDirectory() as folder, Chain(Path(folder), broker="mosquitto") as chain:
        chain.board.delay_ms(ROUND_TRIP_MS)
        single, single_p50 = _drain(chain, alone, True)
        drained, _ = _drain(chain, events, False)
    return {
        "events": events,
        "round_trip_ms": ROUND_TRIP_MS,
        "events_per_s": round(drained, 1),
        "one_per_round_trip_events": alone,
        "one_per_round_trip_per_s": round(single, 1),
        "one_per_round_trip_ms": round(single_p50, 1),
        "ratio": round(drained / single, 1),
    }


def _drain(chain: Chain, events: int, alone: bool) -> tuple[float, float]:
    """(events a second, ms for one) of a board that starts with so many in its journal."""
    before = _stored(chain)
    with Link(chain.board.tty) as link:
        link.write("/main.py", MAIN.format(alone=alone, events=events).encode())
        since = now_ms()
    deadline = time.monotonic() + TIMEOUT_S
    while _stored(chain) < before + events + 1 or not _quiet(chain):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the backlog was not drained; the gateway's console:\n{chain.board.console()}")
        time.sleep(0.2)
    moments = [m for m in chain.timeline.since(since) if m.source == "gateway"]
    connected = next(m.t_ms for m in moments if m.name == "connected")
    settled = [m.t_ms for m in moments if m.name == "settle.end"]
    seconds = (settled[-1] - connected) / 1000
    return events / seconds, 1000 * seconds / events


def _quiet(chain: Chain) -> bool:
    return not any(m.source == "gateway" and m.name == "settle.end" for m in chain.timeline.since(now_ms() - 1000))


def _stored(chain: Chain) -> int:
    with contextlib.closing(open_database(chain.database_url)) as database:
        return len(views.list_events(centre(database), limit=100_000))
