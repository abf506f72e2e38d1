"""Heap of the whole gateway with TLS open, high-water mark over 50 alarms, and the bytes of .mpy by package."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tryggport.devices import boards, image
from tryggport.devices.link import Link
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from test_memory import MAIN, live_bytes, press

ALARMS = 50


def measure() -> dict[str, Any]:
    """{"heap_bytes", "connected_bytes", "high_water_bytes", "mpy_bytes": {package: bytes}, "mpy_bytes_total"}."""
    with tempfile.TemporaryDirectory() as folder, Chain(Path(folder), broker="mosquitto") as chain:
        with Link(chain.board.tty) as link:
            link.write("/main.py", MAIN)
        since = now_ms()
        chain.board.reset()
        if chain.timeline.wait("gateway", "connected", since=since, timeout_s=30) is None:
            raise RuntimeError(f"the gateway did not connect; its console:\n{chain.board.console()}")
        time.sleep(3)
        connected = live_bytes(chain)[-1]
        press(chain, ALARMS)
        time.sleep(3)
        high = max(live_bytes(chain))
    sizes: Counter[str] = Counter()
    for path, data in image.compile_firmware(boards.load("virtual").native).items():
        parts = path.removeprefix("/lib/gateway/").split("/")
        sizes[parts[0] if len(parts) > 1 else parts[0].split(".")[0]] += len(data)
    return {
        "heap_bytes": 192 * 1024,
        "connected_bytes": connected,
        "high_water_bytes": high,
        "mpy_bytes": dict(sizes.most_common()),
        "mpy_bytes_total": sum(sizes.values()),
    }
