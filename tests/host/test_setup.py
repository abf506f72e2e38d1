"""What a newcomer's machine lacks is told in one line to type."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_missing_system_packages_are_named_in_one_line(tmp_path: Path) -> None:
    for tool in ("id", "sh"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    done = subprocess.run(
        ["sh", ROOT / "tests/system-packages.sh"], env={"PATH": str(tmp_path)}, capture_output=True, text=True,
        timeout=30, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    line = done.stderr.strip()
    assert "\n" not in line and "Type: sudo sh -c 'apt-get update && apt-get install -y" in line
    assert "faketime" in line and "valgrind" in line


def test_an_old_python_is_told() -> None:
    old = Path(os.environ.get("TMPDIR", "/tmp"))
    done = subprocess.run(
        ["make", "-n", "setup", "PYTHON=true", f"VENV={old}/none"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert "Tryggport needs Python 3.11 or newer" in done.stdout


def test_make_help_lists_the_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    for target in ("setup", "demo", "test", "test-long", "lint", "bench", "firmware"):
        assert f"make {target} " in done.stdout


def test_every_locked_requirement_has_a_hash() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        entries = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
        assert entries and all("--hash=sha256:" in entry for entry in entries if entry and not entry.startswith("#"))


def test_help_goes_from_the_technician_on():
    shown = subprocess.run(
        [Path(sys.executable).with_name("tryggport"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    users = ["Technician", "Municipality", "Alarm centre", "QA", "Everyone"]
    assert sorted(users, key=shown.index) == users
