"""The virtual board with the real interpreter: processor, pins, sensor, clock, flash, power."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import board_port
import pytest
from board_port import leave_running, port, start_main
from tryggport.board import VirtualBoard
from tryggport.board.clock import libfaketime
from tryggport.errors import TryggError
from tryggport.paths import interpreter

PWRON, HARD, WDT, SOFT = 1, 2, 3, 5


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    with VirtualBoard(tmp_path_factory.mktemp("board")) as board:
        board.wait_for(lambda b: b.booted)
        yield board


@pytest.fixture
def board(shared: VirtualBoard) -> Iterator[VirtualBoard]:
    """The module's board, at the prompt and without main.py."""
    yield shared
    shared.plan_cut(None)
    shared.network(True)
    shared.delay_ms(0)
    shared.power_on()
    board_port.remove_main(shared)


def kinds(board: VirtualBoard) -> list[str]:
    return [event.kind for event in board.log]


def test_the_host_file_system_is_out_of_sight(board: VirtualBoard) -> None:
    with port(board) as run:
        assert run("import os; print(os.listdir('/'))").strip() == "['boot.py']"
        assert run("import sys; print(sys.path)").strip() == "['', '.frozen', '/lib']"


def test_the_modules_leave_room_in_the_heap(board: VirtualBoard) -> None:
    """An ESP32 has these modules in ROM; here they live in the heap that the firmware is judged by."""
    board.reset()
    board.wait_for(lambda b: b.booted)
    with port(board) as run:
        free = int(run("import gc; gc.collect(); print(gc.mem_free())"))
    assert free > 168_000


def test_reset_causes(board: VirtualBoard) -> None:
    cause = "import machine; print(machine.reset_cause())"
    board.power_cut()
    board.power_on()
    board.wait_for(lambda b: b.booted)
    with port(board) as run:
        assert int(run(cause)) == PWRON
    board.reset()
    board.wait_for(lambda b: b.booted)
    with port(board) as run:
        assert int(run(cause)) == HARD


def test_the_firmware_can_reset_itself(board: VirtualBoard) -> None:
    start_main(board, "import machine\nif machine.reset_cause() == 2 and not machine.Pin(2).value(): machine.reset()")
    board.wait_for(lambda b: b.booted)
    board.mains(False)
    board.reset()
    resets = kinds(board).count("reset")
    board.wait_for(lambda b: kinds(b).count("reset") >= resets + 2)
    board.mains(True)
    board.wait_for(lambda b: b.booted)


def test_a_late_watchdog_resets_and_a_fed_one_does_not(board: VirtualBoard) -> None:
    start_main(
        board,
        "import machine, time\nprint('cause', machine.reset_cause())\n"
        "if machine.reset_cause() == 2:\n  w = machine.WDT(timeout=600)\n"
        "  for i in range(8): time.sleep_ms(200); w.feed()\n  print('fed')\n  while True: pass\n",
    )
    board.wait_for(lambda b: f"cause {WDT}" in b.console())
    text = board.console()
    assert text.index("fed") < text.index(f"cause {WDT}")
    assert kinds(board).count("watchdog") == 1


def test_the_firmware_finds_as_much_heap_as_an_interpreter_without_the_modules_has(board: VirtualBoard) -> None:
    free = "import gc; gc.collect(); print(gc.mem_free())"
    bare = subprocess.run(
        [interpreter(), "-X", "heapsize=192k", "-c", free], capture_output=True, text=True, check=True
    )
    with port(board) as run:
        assert 0.99 * int(bare.stdout) < int(run(free)) <= int(bare.stdout)


def test_the_id_stays_with_the_folder(board: VirtualBoard, tmp_path: Path) -> None:
    with port(board) as run:
        first = run("import machine; print(machine.unique_id().hex())").strip()
    board.reset()
    board.wait_for(lambda b: b.booted)
    with port(board) as run:
        assert run("import machine; print(machine.unique_id().hex())").strip() == first
    assert len(bytes.fromhex(first)) == 6


def test_a_press_is_seen_by_level_and_by_interrupt_inside_asyncio(board: VirtualBoard) -> None:
    start_main(
        board,
        "import asyncio\nfrom machine import Pin\nflag = asyncio.ThreadSafeFlag()\n"
        "led = Pin(6, Pin.OUT, value=0)\nbutton = Pin(4, Pin.IN, Pin.PULL_UP)\n"
        "def edge(pin):\n  led.value(1 - pin.value())\n  flag.set()\n"
        "button.irq(edge, Pin.IRQ_FALLING | Pin.IRQ_RISING)\n"
        "async def main():\n  print('armed', button.value())\n  for i in range(2):\n    await flag.wait()\n    print('edge')\n"
        "asyncio.run(main())\n",
    )
    board.wait_for(lambda b: "armed 1" in b.console())
    at = len(board.outputs().history)
    board.press("help", ms=120)
    board.wait_for(lambda b: b.console().count("edge\r") + b.console().count("edge\n") == 2)
    changes = board.outputs().history[at:]
    assert [(name, value) for _, name, value in changes] == [
        ("help_button", 0), ("led_red", 1), ("help_button", 1), ("led_red", 0)
    ]  # fmt: skip
    pressed, lit, released, dark = (t_ms for t_ms, _, _ in changes)
    assert released - pressed >= 119
    assert lit - pressed < 1000
    assert dark - released < 1000


def test_a_button_held_during_a_reboot_is_seen_at_boot(board: VirtualBoard) -> None:
    start_main(board, "from machine import Pin\nprint('level', Pin(5, Pin.IN, Pin.PULL_UP).value())")
    board.wait_for(lambda b: "level 1" in b.console())
    board.power_cut()
    board.hold("cancel")
    board.power_on()
    board.wait_for(lambda b: "level 0" in b.console())
    board.release("cancel")
    with pytest.raises(TryggError):
        board.press("doorbell")


def test_lamps_and_buzzer_leave_a_history_and_go_out_with_the_power(board: VirtualBoard) -> None:
    with port(board) as run:
        run(
            "from machine import Pin, PWM\nimport time\nled = Pin(7, Pin.OUT)\n"
            "for i in range(3): led.on(); time.sleep_ms(50); led.off(); time.sleep_ms(50)\n"
            "led.on(); p = PWM(Pin(10), freq=2700, duty_u16=20000); p.duty_u16(100)"
        )
    shown = board.outputs()
    assert shown.levels["led_green"] == 1
    assert shown.pwm == {"buzzer": (2700, 100)}
    blinks = [t for t, name, value in shown.history if name == "led_green" and value == 1]
    assert len(blinks) == 4
    assert all(later - earlier >= 99 for earlier, later in itertools.pairwise(blinks))
    assert [value for _, name, value in shown.history if name == "buzzer"] == [(2700, 20000), (2700, 100)]
    board.power_cut()
    shown = board.outputs()
    assert shown.levels["led_green"] == 0
    assert shown.pwm == {}
    assert shown.history[-1][2] in (0, (0, 0))


def test_the_accelerometer_answers_and_plays_what_it_is_fed(board: VirtualBoard) -> None:
    with port(board) as run:
        run(
            "from machine import I2C, Pin\nimport struct, time\ni2c = I2C(0, scl=Pin(0), sda=Pin(1))\n"
            "def w(r, v): i2c.writeto_mem(0x19, r, bytes([v]))\n"
            "def level(): return i2c.readfrom_mem(0x19, 0x2F, 1)[0] & 31\n"
        )
        assert run("print(i2c.scan(), i2c.readfrom_mem(0x19, 0x0F, 1))").strip() == "[25] b'3'"
        assert "ENODEV" in run("try: i2c.readfrom_mem(0x18, 0, 1)\nexcept OSError as e: print(e)")
        board.feed([(128 * n, -16 * n, 1000) for n in range(20)], 50)
        run("w(0x20, 0x47); w(0x23, 0xA8); w(0x24, 0x40); w(0x2E, 0x80 | 15)")
        board.wait_for(lambda b: int(run("print(level())")) >= 20)
        rows = eval(run("print([struct.unpack('<3h', i2c.readfrom_mem(0x19, 0xA8, 6)) for i in range(20)])"))
    digits = [tuple(value >> 4 for value in row) for row in rows]
    ramp = [x for x, _, _ in digits if 0 < x < 608]
    assert len(ramp) >= 15
    assert all(later - earlier in (0, 32, 64) for earlier, later in itertools.pairwise(ramp))
    assert digits[-1] == (19 * 128 // 4, -19 * 16 // 4, 248)


def test_watermark_interrupt_reaches_the_firmware(board: VirtualBoard) -> None:
    start_main(
        board,
        "from machine import I2C, Pin\nimport time\ni2c = I2C(0, scl=Pin(0), sda=Pin(1))\n"
        "def w(r, v): i2c.writeto_mem(0x19, r, bytes([v]))\n"
        "def full(pin):\n  n = i2c.readfrom_mem(0x19, 0x2F, 1)[0] & 31\n  i2c.readfrom_mem(0x19, 0xA8, 6 * n)\n  print('read', n)\n"
        "Pin(3, Pin.IN).irq(full, Pin.IRQ_RISING)\n"
        "w(0x20, 0x57); w(0x22, 4); w(0x24, 0x40); w(0x2E, 0x80 | 10)\ntime.sleep(1.5)\nprint('done')\n",
    )
    board.wait_for(lambda b: "done" in b.console())
    assert 4 <= board.console().count("read ") <= 15


def test_real_time_clock_moves_the_calendar(board: VirtualBoard) -> None:
    with port(board) as run:
        assert abs(int(run("import time; print(time.time())")) - time.time()) < 30
        run("import machine; machine.RTC().datetime((2031, 2, 3, 0, 4, 5, 6, 0))")
        assert (
            run("print(time.localtime()[:4], machine.RTC().datetime()[:5])").strip()
            == "(2031, 2, 3, 4) (2031, 2, 3, 0, 4)"
        )
    board.reset()
    board.wait_for(lambda b: b.booted)
    with port(board) as run:
        assert run("import time; print(time.localtime()[:3])").strip() == "(2031, 2, 3)"
    board.power_cut()
    board.power_on()
    board.wait_for(lambda b: b.booted)
    with port(board) as run:
        assert abs(int(run("import time; print(time.time())")) - time.time()) < 30


def test_a_cold_clock_starts_in_2000_for_the_c_library_too(tmp_path: Path) -> None:
    try:
        libfaketime()
    except TryggError as e:
        pytest.skip(str(e))
    with VirtualBoard(tmp_path, clock="cold") as board:
        board.wait_for(lambda b: b.booted)
        with port(board) as run:
            assert run("import time, utime; print(time.localtime()[0], utime.gmtime()[0])").strip() == "2000 2000"
            run("import machine; machine.RTC().datetime((2027, 5, 6, 0, 7, 8, 9, 0))")
            assert run("print(time.localtime()[:3], utime.gmtime()[:3])").strip() == "(2027, 5, 6) (2027, 5, 6)"
            took = run(
                "import select, socket\np = select.poll(); p.register(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 1)\nt = time.ticks_ms()\n"
                "time.sleep_ms(300); machine.RTC().datetime((2001, 1, 1, 0, 0, 0, 0, 0)); p.poll(200)\n"
                "print(time.ticks_diff(time.ticks_ms(), t))"
            )
            assert 490 <= int(took) < 5000
        board.power_cut()
        board.power_on()
        board.wait_for(lambda b: b.booted)
        with port(board) as run:
            assert run("import time, utime; print(time.localtime()[0], utime.gmtime()[0])").strip() == "2000 2000"


def test_a_crash_of_the_interpreter_is_a_reset(board: VirtualBoard) -> None:
    before = kinds(board).count("crash")
    leave_running(board, "import uctypes; uctypes.bytearray_at(8, 1)[0]")
    board.wait_for(lambda b: kinds(b).count("crash") == before + 1 and b.booted)


def test_ctrl_c_leaves_the_heap_usable(board: VirtualBoard) -> None:
    for _ in range(10):
        leave_running(board, "import gc, time\nwhile True:\n for _ in range(99): gc.collect()\n time.sleep_ms(0)")
        with port(board) as run:
            assert run("print(len(bytes(500)))").strip() == "500"


def test_ctrl_c_ends_a_loop_that_never_sleeps(board: VirtualBoard) -> None:
    leave_running(board, "while True: pass")
    with port(board) as run:
        assert run("print('free')").strip() == "free"


def test_a_long_output_without_a_reader_does_not_stop_the_board(board: VirtualBoard) -> None:
    start_main(board, "for i in range(3000): print('x' * 100)\nprint('end of output')")
    board.wait_for(lambda b: (text := b.console()).endswith(">>> ") and "end of output" in text)
    assert len(board.console()) <= 64 * 1024
    assert (board.folder / "console.log").stat().st_size <= 2 * 64 * 1024 + 4096
    assert (board.folder / "console.log").read_bytes().endswith(board.console().encode()[-1000:])
