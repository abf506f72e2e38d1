"""All benchmarks: ``python -m tests.bench`` measures and writes tests/bench/results.md; with a name, prints that one
(`--json`: as JSON).

Ratios are against a named peer or limit in the same run; figures without one rank designs on this machine and nothing else.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.md")
BENCHES = {
    "latency": "Alarm edge to verified `stored` receipt: virtual board, TLS, Mosquitto, SQLite with synchronous=FULL",
    "drain": "Drain of 1,000 events at 50 ms round trip: virtual board, TLS, Mosquitto; beside one event a round trip, same client",
    "memory": "Heap that the firmware uses of 192 KiB (64-bit pointers) with TLS open, and what it weighs",
    "sign": "ES256 in MicroPython, instructions counted by callgrind; plain: 4-bit comb, two inversions by power",
    "mqtt": "QoS 1 publications a second, one interpreter, one broker, without TLS, 200-byte payloads",
    "falls": "Fall detector: instructions a second of accelerometer data at 50 Hz, counted by callgrind; ESP32-C3: an estimate",
    "reception": "Reception: single-event alarms verified, committed and receipted, flat out; p50 and p99 at 1,000 a second, open loop",
    "journal": "Journal beside LittleFS append and flush on the same NOR model",
}


def machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )


def measure(name: str) -> dict[str, Any]:
    result: dict[str, Any] = importlib.import_module(f"tests.bench.{name}").measure()
    return result


def main(names: list[str]) -> int:
    as_json = "--json" in names
    names = [name for name in names if name != "--json"]
    if len(names) > 1 or not set(names) <= set(BENCHES):
        print(f"Name one benchmark of {', '.join(BENCHES)}, or none for all.", file=sys.stderr)
        return 2
    if names:
        result = measure(names[0])
        print(
            json.dumps(result, indent=1) if as_json else "\n".join(f"{key:24} {value}" for key, value in result.items())
        )
        return 0
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    pages = [
        f"# Results\n\nMeasured {date} on {machine()}, by `make bench`. {' '.join(__doc__.split('.')[-2].split())}.\n"
    ]
    for name, title in BENCHES.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        pages.append(f"## {name}\n\n{title}.\n\n```json\n{json.dumps(measure(name), indent=1)}\n```\n")
        RESULTS.write_text("\n".join(pages))
    print(f"wrote {RESULTS}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
