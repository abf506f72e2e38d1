"""A virtual board in the foreground, and the commands that act on it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from board_port import port
from tryggport import paths
from tryggport.board import VirtualBoard, control
from tryggport.board.hub import Op
from tryggport.errors import TryggError

TRYGGPORT = str(Path(sys.executable).with_name("tryggport"))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    with VirtualBoard(tmp_path_factory.mktemp("board")) as board:
        board.wait_for(lambda b: b.booted)
        yield board


def test_both_ends_of_the_hub_number_the_operations_alike() -> None:
    child = set()
    for module in (paths.folder("boards") / "virtual" / "modules").glob("*.py"):
        source = module.read_text()
        numbers = dict(re.findall(r"^_([A-Z][A-Z0-9_]+) = const\((\d+)\)", source, re.M))
        child |= {(name, int(numbers[name])) for name in re.findall(r"\bcall\(_([A-Z0-9_]+)", source)}
    assert child == {(op.name, op.value) for op in Op}


def test_every_verb_acts(board: VirtualBoard) -> None:
    def ask(verb: str, *args: object) -> dict[str, object]:
        control.ask(board.folder, verb, *args)
        state = control.ask(board.folder, "state")
        assert isinstance(state, dict)
        return state

    assert ask("hold", "help")["pins"]["help_button"] == 0
    assert ask("release", "help")["pins"]["help_button"] == 1
    control.ask(board.folder, "press", "cancel", "60")
    board.wait_for(lambda b: [v for _, name, v in b.outputs().history if name == "cancel_button"][-2:] == [0, 1])
    assert ask("mains", "off")["pins"]["mains"] == 0
    assert ask("mains", "on")["pins"]["mains"] == 1
    assert (ask("network", "down")["network"], ask("network", "down")["link"]) == (False, False)
    assert (ask("network", "silent")["network"], ask("network", "silent")["link"]) == (False, True)
    assert ask("network", "up")["network"] is True
    assert ask("delay", "40")["delay_ms"] == 40
    assert ask("power", "cut", "step:here:2")["cut_planned"] == "step:here:2"
    assert ask("power", "cut")["powered"] is False
    assert ask("power", "on")["powered"] is True
    board.wait_for(lambda b: b.booted)
    resets = sum(event.kind == "reset" for event in board.log)
    ask("reset")
    board.wait_for(lambda b: sum(event.kind == "reset" for event in b.log) == resets + 1 and b.booted)


def test_a_csv_moves_the_sensor(board: VirtualBoard, tmp_path: Path) -> None:
    (tmp_path / "fall.csv").write_text("x,y,z\n500,0,-500\n500.4,0,-500\n")
    control.ask(board.folder, "feed", control.read_samples(tmp_path / "fall.csv"), 50)
    with port(board) as run:
        run("from machine import I2C, Pin\ni = I2C(0, scl=Pin(0), sda=Pin(1))\ni.writeto_mem(0x19, 0x20, b'\\x47')")
        run("import time; time.sleep_ms(300)")
        assert run("print(i.readfrom_mem(0x19, 0xA8, 6).hex())").strip() == "401f0000c0e0"
    (tmp_path / "bad.csv").write_text("1,2\n")
    for name in ("bad.csv", "none.csv"):
        with pytest.raises(TryggError):
            control.ask(board.folder, "feed", control.read_samples(tmp_path / name))


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("fly", []),
        ("press", []),
        ("press", ["nose"]),
        ("network", ["sideways"]),
        ("power", ["cut", "erase:0"]),
        ("delay", ["x"]),
    ],
)
def test_what_makes_no_sense_is_refused(board: VirtualBoard, verb: str, args: list[str]) -> None:
    with pytest.raises(TryggError) as refused:
        control.ask(board.folder, verb, *args)
    assert refused.value.hint or refused.value.message
    assert board.booted


def test_only_the_owner_can_use_the_socket(board: VirtualBoard) -> None:
    assert stat.S_IMODE((board.folder / "ctl.sock").stat().st_mode) == 0o600


def test_two_boards_do_not_share_a_flash(board: VirtualBoard) -> None:
    with pytest.raises(TryggError, match="already"):
        VirtualBoard(board.folder).start()
    assert control.ask(board.folder, "state")["powered"] is True


def test_no_board_no_answer(tmp_path: Path) -> None:
    with pytest.raises(TryggError, match="No virtual board runs"):
        control.ask(tmp_path, "state")
    deep = tmp_path / ("d" * 100)
    with pytest.raises(TryggError, match="cannot be a socket"):
        VirtualBoard(deep).start()


def test_without_an_interpreter_there_is_a_line_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROPYTHON", str(tmp_path / "nothing"))
    with pytest.raises(TryggError, match="no MicroPython interpreter"):
        VirtualBoard(tmp_path).start()


def test_run_and_ctl_from_the_command_line(tmp_path: Path) -> None:
    def ctl(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TRYGGPORT, "board", "ctl", "--dir", folder, *args], capture_output=True, text=True, timeout=60
        )

    folder = str(tmp_path / "b")
    command = [TRYGGPORT, "board", "run", "--dir", folder, "--heap", "256k"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        tty = process.stdout.readline().split()[1]
        assert os.path.samefile(tty, Path(folder) / "tty")
        state = json.loads(ctl("state", "--json").stdout)
        assert state["powered"] is True
        assert ctl("press", "help").returncode == 0
        assert ctl("power", "cut", "--at", "program:1:5").returncode == 0
        assert "program:1:5" in ctl("state").stdout
        refused = ctl("press", "nose")
        assert (refused.returncode, "no button nose" in refused.stderr) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not (Path(folder) / "ctl.sock").exists()
    assert ctl("state").returncode == 1
