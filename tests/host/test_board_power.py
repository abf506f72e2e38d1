"""Power cuts of the virtual board: where they strike, what the flash shows afterwards, and that the firmware never goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from board_port import leave_running, port
from hypothesis import given
from hypothesis import strategies as st
from tryggport.board import VirtualBoard, cuts
from tryggport.errors import TryggError

JOURNAL = 0x3C0000
PREPARE = (
    "import esp32, board_trace\np = esp32.Partition.find(1, label='journal')[0]\n"
    "for n in range(3): p.ioctl(6, n)\np.writeblocks(2, b'\\x00' * 4096, 0)\n"
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    with VirtualBoard(tmp_path_factory.mktemp("board")) as board:
        board.wait_for(lambda b: b.booted)
        yield board


@pytest.fixture
def board(shared: VirtualBoard) -> Iterator[VirtualBoard]:
    """The module's board with three journal blocks prepared: two erased, the third all zeros."""
    with port(shared) as run:
        run(PREPARE)
    yield shared
    shared.plan_cut(None)
    shared.power_on()
    shared.wait_for(lambda b: b.booted)


def flash(board: VirtualBoard, offset: int, n: int) -> bytes:
    with (board.folder / "flash.bin").open("rb") as f:
        f.seek(JOURNAL + offset)
        return f.read(n)


def cut_during(board: VirtualBoard, spec: str, code: str) -> dict[str, object]:
    """Run code that the planned cut must stop; the file `after` would prove that it went on."""
    board.plan_cut(spec)
    assert board.cut_happened is None
    leave_running(board, f"{code}\nopen('after', 'w').close()")
    happened = board.wait_for(lambda b: b.cut_happened)
    assert not board.powered
    board.power_on()
    board.wait_for(lambda b: b.booted)
    with port(board) as run:
        assert run("import os; print('after' in os.listdir())").strip() == "False"
    assert happened["at"] == spec
    return happened


def test_a_torn_program_shows_in_the_flash(board: VirtualBoard) -> None:
    data = "bytes(range(64))"
    happened = cut_during(board, "program:2:20", f"p.writeblocks(0, {data}, 0); p.writeblocks(0, {data}, 256)")
    assert (happened["operation"], happened["address"]) == ("FLASH_PROGRAM", JOURNAL + 256)
    assert flash(board, 0, 64) == bytes(range(64))
    assert flash(board, 256, 20) == bytes(range(20))
    torn = flash(board, 276, 1)[0]
    assert torn & 20 == 20
    assert torn not in (20, 0xFF)
    assert flash(board, 277, 43) == b"\xff" * 43


def test_a_half_erase_leaves_half_of_the_block(board: VirtualBoard) -> None:
    happened = cut_during(board, "erase:1", "p.ioctl(6, 2)")
    assert happened["operation"] == "FLASH_ERASE"
    assert flash(board, 2 * 4096, 2048) == b"\xff" * 2048
    assert flash(board, 2 * 4096 + 2050, 2046) == b"\0" * 2046


def test_a_write_without_an_offset_erases_first(board: VirtualBoard) -> None:
    cut_during(board, "program:1:0", "p.writeblocks(2, bytes(4096))")
    assert flash(board, 2 * 4096 + 1, 4095) == b"\xff" * 4095


def test_a_step_is_noted_and_the_power_goes_just_there(board: VirtualBoard) -> None:
    happened = cut_during(
        board,
        "step:append.end:2",
        "for n in range(3):\n  board_trace.step('append.begin'); p.writeblocks(0, bytes([n] * 16), 16 * n); board_trace.step('append.end')",
    )
    assert happened["step"] == "append.end"
    assert flash(board, 0, 48) == b"\0" * 16 + b"\1" * 16 + b"\xff" * 16
    assert [e.detail["name"] for e in board.log if e.kind == "step"][-4:] == ["append.begin", "append.end"] * 2


def test_a_cut_inside_nvs_leaves_the_old_value_or_the_new(board: VirtualBoard) -> None:
    code = "import esp32; n = esp32.NVS('t'); n.set_blob('b', b'{}' * 40)"
    with port(board) as run:
        run(code.format("a"))
    for nth, byte in ((1, 0), (1, 40), (2, 0), (3, 9), (4, 0), (5, 1)):
        cut_during(board, f"program:{nth}:{byte}", code.format("b"))
        with port(board) as run:
            found = run(
                "import esp32; b = bytearray(99); n = esp32.NVS('t').get_blob('b', b); print(set(b[:n]), n)"
            ).strip()
            run(code.format("a"))
        assert found in ("{97} 40", "{98} 40")


def test_the_power_can_go_at_any_time_and_stays_off(board: VirtualBoard) -> None:
    leave_running(board, "while True: pass")
    board.power_cut()
    assert board.cut_happened is not None
    assert board.cut_happened["at"] == "now"
    assert not board.powered
    board.reset()
    assert not board.powered


def test_flash_takes_its_time_when_asked(tmp_path: Path) -> None:
    with VirtualBoard(tmp_path, flash_time=True) as board:
        board.wait_for(lambda b: b.booted)
        with port(board) as run:
            took = run(
                "import esp32, time\np = esp32.Partition.find(1, label='journal')[0]\nt = time.ticks_ms()\n"
                "for n in range(4): p.ioctl(6, n)\nfor n in range(4): p.writeblocks(n, bytes(4096), 0)\n"
                "print(time.ticks_diff(time.ticks_ms(), t))"
            )
    assert int(took) >= 4 * (45 + 11)


def test_partitions_come_from_the_table_in_the_flash(board: VirtualBoard) -> None:
    with port(board) as run:
        rows = run("for p in esp32.Partition.find(1): print(p.info())").split("\n")
        assert (
            "(1, 129, 2097152, 1835008, 'vfs', False)\r" in rows or "(1, 129, 2097152, 1835008, 'vfs', False)" in rows
        )
        assert run("print(esp32.Partition(esp32.Partition.RUNNING).info()[4])").strip() == "factory"
        assert run("print(p.ioctl(4, 0), p.ioctl(5, 0))").strip() == "64 4096"
        assert "-260" in run("try: p.writeblocks(63, bytes(17), 4080)\nexcept OSError as e: print(e)")


@given(st.text(alphabet="progameste:-0123456789x", max_size=20))
def test_a_place_for_a_cut_is_understood_or_refused(text: str) -> None:
    try:
        cut = cuts.parse(text)
    except TryggError:
        return
    assert str(cuts.parse(str(cut))) == str(cut)


@pytest.mark.parametrize(
    "spec", ["program:0:1", "program:1", "program:1:-1", "erase", "erase:x", "step:", "step:a:0", ""]
)
def test_bad_places_are_refused(spec: str) -> None:
    with pytest.raises(TryggError):
        cuts.parse(spec)
