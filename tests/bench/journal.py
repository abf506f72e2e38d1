"""The journal beside LittleFS append and flush on the same NOR model, in the same run: ``python tests/bench/journal.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).with_name("micropython")))


def measure() -> dict[str, Any]:
    """{"journal": {..}, "littlefs": {..}, "littlefs_over_journal": ratios}: erases and programmed bytes an event of 206 bytes
    (settled in ranges of 20, past one alarm that stays), flash time of an append, recovery of a full 1 MiB, RAM."""
    path = f"{ROOT / 'firmware'}:{ROOT / 'host_tools/tryggport/board'}:.frozen"
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=16M", str(ROOT / "tests/bench/journal_on_nor.py")],
        env=os.environ | {"MICROPYPATH": path}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    ours, theirs = result["journal"], result["littlefs"]
    names = ("erases_per_event", "programmed_bytes_per_event", "append_flash_ms_p99")
    result["littlefs_over_journal"] = {name: round(theirs[name] / ours[name], 1) for name in names}
    return result


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
