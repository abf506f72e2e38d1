"""The real mpremote, as a technician types it, on the port of a virtual board."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tryggport.board import VirtualBoard

MPREMOTE = str(Path(sys.executable).with_name("mpremote"))
LOOP = """
import asyncio
from machine import Pin
async def blink(led):
    while True:
        led.value(1 - led.value())
        await asyncio.sleep_ms(20)
async def main():
    print("loop runs")
    asyncio.create_task(blink(Pin(7, Pin.OUT, value=0)))
    while True:
        await asyncio.sleep(3600)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    with VirtualBoard(tmp_path_factory.mktemp("board")) as board:
        board.wait_for(lambda b: b.booted)
        yield board


def mpremote(board: VirtualBoard, *args: str, timeout_s: float = 60) -> str:
    done = subprocess.run([MPREMOTE, "connect", board.tty, *args], capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_files_go_there_and_back(board: VirtualBoard, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "big.bin").write_bytes(data)
    mpremote(board, "mkdir", ":lib")
    mpremote(board, "cp", str(tmp_path / "big.bin"), ":lib/big.bin")
    assert hashlib.sha256(data).hexdigest() in mpremote(board, "sha256sum", ":lib/big.bin")
    mpremote(board, "cp", ":lib/big.bin", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == data
    assert "100000 big.bin" in mpremote(board, "ls", ":lib")
    (tmp_path / "note.txt").write_text("blåbær\nsyltetøy\n")
    mpremote(board, "cp", str(tmp_path / "note.txt"), ":")
    assert mpremote(board, "cat", ":note.txt") == "blåbær\nsyltetøy\n"
    mpremote(board, "rm", ":lib/big.bin", ":note.txt")
    mpremote(board, "rmdir", ":lib")
    assert mpremote(board, "ls").split()[1:] == [":", "75", "boot.py"]


def test_code_runs(board: VirtualBoard, tmp_path: Path) -> None:
    assert mpremote(board, "exec", "print(6 * 7)") == "42\n"
    assert mpremote(board, "eval", "1 + 1") == "2\n"
    (tmp_path / "script.py").write_text("for i in range(3):\n    print('line', i)\n")
    assert mpremote(board, "run", str(tmp_path / "script.py")) == "line 0\nline 1\nline 2\n"
    failed = subprocess.run(
        [MPREMOTE, "connect", board.tty, "exec", "1 / 0"], capture_output=True, text=True, timeout=60
    )
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stdout + failed.stderr


def test_the_file_system_is_that_of_the_flash(board: VirtualBoard) -> None:
    assert "<VfsLfs2>   1835008" in mpremote(board, "df")


def test_a_long_output_arrives_whole(board: VirtualBoard) -> None:
    out = mpremote(board, "exec", "for i in range(4000): print(i, 'x' * 40)")
    assert out == "".join(f"{i} {'x' * 40}\n" for i in range(4000))


def test_soft_reset_forgets_and_resume_does_not(board: VirtualBoard) -> None:
    mpremote(board, "exec", "x = 5")
    assert mpremote(board, "resume", "exec", "print(x)") == "5\n"
    mpremote(board, "soft-reset")
    assert mpremote(board, "resume", "exec", "print('x' in globals())") == "False\n"


def test_reset_is_a_hard_one(board: VirtualBoard) -> None:
    mpremote(board, "reset")
    board.wait_for(lambda b: b.log[-1].kind == "booted" and any(e.detail.get("cause") == "reset" for e in b.log[-4:]))
    assert mpremote(board, "resume", "exec", "import machine; print(machine.reset_cause())") == "2\n"


def test_a_running_loop_is_interrupted_and_starts_again(board: VirtualBoard, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(LOOP)
    mpremote(board, "cp", str(tmp_path / "main.py"), ":main.py", "+", "reset")
    for _ in range(3):
        runs = board.console().count("loop runs")
        board.wait_for(lambda b: b.outputs().levels.get("led_green") == 1)
        assert "main.py" in mpremote(board, "ls")
        board.reset()
        board.wait_for(lambda b, runs=runs: b.console().count("loop runs") > runs)
    assert mpremote(board, "exec", "print('still here')") == "still here\n"
    mpremote(board, "rm", ":main.py")
    assert mpremote(board, "exec", "print('and after')") == "and after\n"


def test_a_friendly_prompt_reboots_on_ctrl_d(board: VirtualBoard) -> None:
    with open(board.tty, "r+b", buffering=0) as port:
        time.sleep(0.1)
        port.write(b"\r\x03\x02")
        time.sleep(0.1)
        reboots = board.console().count("soft reboot")
        port.write(b"\x04")
        board.wait_for(lambda b: b.console().count("soft reboot") > reboots and b.booted)
        board.wait_for(lambda b: b.console().endswith(">>> "))
        port.write(b"print(40 + 2)\r")
        board.wait_for(lambda b: "\n42\r\n" in b.console() or "\n42\n" in b.console())


def test_mounting_a_folder_of_the_host(board: VirtualBoard, tmp_path: Path) -> None:
    (tmp_path / "fromhost.py").write_text("print('hello from the host')\n")
    assert "hello from the host" in mpremote(board, "mount", str(tmp_path), "exec", "import fromhost")
