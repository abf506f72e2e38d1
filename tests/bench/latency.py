"""Alarm edge to verified `stored` receipt: virtual board, TLS, Mosquitto, SQLite with synchronous=FULL."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms

PRESSES = 200
STEPS = ("append.end", "sign.end", "publish.end", "puback", "receipt", "settle.end")


def measure(presses: int = PRESSES) -> dict[str, Any]:
    """{"n", "p50_ms", "p99_ms", "max_ms", "steps_p50_ms": {step: ms since the edge}} of so many presses of the help button."""
    total: list[float] = []
    steps: dict[str, list[float]] = {step: [] for step in STEPS}
    with tempfile.TemporaryDirectory() as folder, Chain(Path(folder), broker="mosquitto") as chain:
        for _ in range(presses):
            since = now_ms()
            chain.board.press("help", 60)
            edge = chain.timeline.wait("gateway", "edge", since=since)
            seq = edge and chain.timeline.wait("gateway", "append.begin", since=edge.t_ms)
            if not edge or not seq:
                raise RuntimeError(f"a press was not seen; the gateway's console:\n{chain.board.console()}")
            for step in STEPS:
                moment = chain.timeline.wait("gateway", step, since=edge.t_ms, seq=seq.detail["seq"])
                if moment is None:
                    raise RuntimeError(
                        f"an alarm did not reach {step}; the gateway's console:\n{chain.board.console()}"
                    )
                steps[step].append(moment.t_ms - edge.t_ms)
            total.append(steps["settle.end"][-1])
            time.sleep(0.15)
    return {
        "n": presses,
        "p50_ms": round(statistics.median(total), 1),
        "p99_ms": round(statistics.quantiles(total, n=100)[98], 1),
        "max_ms": round(max(total), 1),
        "steps_p50_ms": {step: round(statistics.median(times), 1) for step, times in steps.items()},
    }
