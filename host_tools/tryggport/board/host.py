"""What a virtual board is made of, inside the board's event loop: power, processor, pins, sensor, flash, clock, network, port."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import struct
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tryggport import paths
from tryggport.board import child as children
from tryggport.board import operations
from tryggport.board.clock import Clock, sweep
from tryggport.board.cuts import Cut, Step, Tear
from tryggport.board.flash import Flash
from tryggport.board.forwarder import Network
from tryggport.board.hub import KEYBOARD, Hub, Later, Request, Result
from tryggport.board.lis3dh import Lis3dh, Motion
from tryggport.board.nor import PowerCut
from tryggport.board.nvs import Nvs
from tryggport.board.pins import Pins, Value
from tryggport.board.terminal import Terminal
from tryggport.devices.boards import Board
from tryggport.errors import TryggError

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
CAUSES = {PWRON_RESET: "power on", HARD_RESET: "reset", WDT_RESET: "watchdog", SOFT_RESET: "soft reset"}
_CRASH_PAUSE_S = 0.2
MODULES_BYTES = 19 * 1024  # of heap, by boards/virtual/modules
_BOOT = "import _start;_start.start(globals())"


@dataclass(frozen=True)
class Event:
    """`t_ms` is the board's own clock, ms since it was made; `detail` depends on `kind` (see boards/virtual/README.md)."""

    t_ms: float
    kind: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How a board is run: see VirtualBoard."""

    heap: str = "192k"
    flash_time: bool = False
    cold_clock: bool = False
    halfopen_s: float = 0.0
    hosts: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    image: Path | None = None


class BoardHost:
    """One board. Everything here runs in its event loop; `note(event)` is told what happens."""

    def __init__(self, folder: Path, definition: Board, options: Options, note: Callable[[Event], None]) -> None:
        self.folder, self.definition, self.options = folder, definition, options
        self._note = note
        self._started = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self.clock = Clock(folder, options.cold_clock)
        self.unique_id = _unique_id(folder / "board.json")
        self.flash = Flash(folder / "flash.bin", definition.flash_bytes, definition.partitions, options.image)
        self.nvs: Nvs | None = None
        names = {number: name for name, number in definition.wiring["pins"].items()}
        names[definition.wiring["accelerometer"]["int1"]] = "accelerometer_int1"
        self.pins = Pins(names, self.now_ms, self._interrupt, self._pin_changed)
        self.motion = Motion()
        self.sensor = Lis3dh(self.motion, time.monotonic, self._int1)
        self.network = Network(options.hosts, options.halfopen_s)
        self.terminal = Terminal(folder / "console.log", self._child_ended, self._ask_interrupt)
        self.child: children.Child | None = None
        self.cut: Cut | None = None
        self.cut_happened: dict[str, Any] | None = None
        self.cause = PWRON_RESET
        self.booted = False
        self._hub: Hub | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchdog_ms = 0
        self._watchdog: asyncio.TimerHandle | None = None
        self._sampling: asyncio.TimerHandle | None = None
        for name, number in definition.wiring["pins"].items():
            if name.endswith("_button") or name == "mains":
                self.pins.drive(number, 1)

    def now_ms(self) -> float:
        return (time.monotonic() - self._started) * 1000

    def note(self, kind: str, **detail: Any) -> None:
        self._note(Event(self.now_ms(), kind, detail))

    async def close(self) -> None:
        self._end_child()
        self._stop_watchdog()
        if self._sampling:
            self._sampling.cancel()
        for task in self._tasks:
            task.cancel()
        self.terminal.close()
        await self.network.close()
        self.flash.close()

    # Power and resets.

    def power_on(self) -> None:
        if self.child is None:
            self.clock.power_on()
            self.flash.nor.power_on()
            self.note("power", on=True)
            self._start(PWRON_RESET)

    def power_cut(self, at: str = "now", **reached: Any) -> None:
        """The supply fails: nothing that is not in flash survives."""
        self.cut_happened = {"at": at, "t_ms": self.now_ms(), **reached}
        self.cut = None
        self.network.drop_board()
        self._end_child()
        self._stop_watchdog()
        self.pins.reset()
        self.sensor.power_cycle()
        self.nvs = None
        self.terminal.raw = False
        self.note("cut", **self.cut_happened)

    def plan_cut(self, cut: Cut | None) -> None:
        """Cut the power there; None forgets the plan. A cut of a flash operation replaces an earlier one."""
        self.cut, self.cut_happened = cut, None
        self.flash.nor.power_on()
        if isinstance(cut, Tear):
            self.flash.nor.plan_cut(cut.nth - 1, cut.byte, cut.kind)

    def reset(self, cause: int = HARD_RESET) -> None:
        """As by the reset button, the watchdog, or Ctrl-D."""
        if self.child is None:
            return
        raw = self.terminal.raw and cause == SOFT_RESET
        self._end_child()
        if cause != SOFT_RESET:
            self._stop_watchdog()
            self.pins.reset()
        self.terminal.raw = raw
        self._start(cause)

    def _start(self, cause: int) -> None:
        if cause == SOFT_RESET:
            self.terminal.say(b"MPY: soft reboot\r\n")
        self.cause, self.booted = cause, False
        self.note("reset", cause=CAUSES[cause])
        if cause != SOFT_RESET or self.nvs is None:
            area = self.flash.partition("nvs")
            self.nvs = Nvs(self.flash.nor, area.offset, area.size) if area else None
        modules = children.compile_modules(
            paths.folder("boards") / self.definition.name / "modules", self.folder / "modules"
        )
        env = {"PATH": os.environ.get("PATH", ""), "MICROPYPATH": f"{modules.name}:.frozen"}
        argv = [paths.interpreter(), "-X", f"heapsize={_heapsize(self.options.heap)}", "-i", "-c", _BOOT]
        self.child = children.Child(argv, env | self.clock.environment() | self.options.env, self.folder)
        self._hub = Hub(self.child.hub, self._handle)
        self._loop.add_reader(self.child.hub, self._on_hub)
        self.terminal.attach(self.child)

    def _end_child(self) -> int:
        if self.child is None:
            return 0
        child, self.child = self.child, None
        status = child.kill()
        sweep(child.process.pid)
        self._loop.remove_reader(child.hub)
        if self._hub:
            self._hub.open = False
            self._hub = None
        self.terminal.detach()
        child.close()
        return status

    def _child_ended(self) -> None:
        """The interpreter has left by itself: by Ctrl-D or SystemExit, or because it crashed."""
        if self.child is None:
            return
        if self.child.process.wait() == 0:
            self.reset(SOFT_RESET)
            return
        status = self._end_child()
        self.note("crash", status=status)
        self._loop.call_later(_CRASH_PAUSE_S, self._start_after_crash)

    def _start_after_crash(self) -> None:
        if self.child is None and self.cut_happened is None:
            self.pins.reset()
            self._start(HARD_RESET)

    # Requests of the firmware.

    def _on_hub(self) -> None:
        hub, child = self._hub, self.child
        if hub is None or child is None:
            return
        hub.on_readable()
        if not hub.open and child is self.child:
            self._loop.remove_reader(child.hub)

    def _handle(self, request: Request) -> Result:
        busy_us = self.flash.nor.busy_us
        try:
            result = operations.HANDLERS[request.op](self, request)
        except PowerCut:
            cut = self.cut
            self.power_cut(str(cut), operation=request.op.name, address=request.a, length=len(request.data))
            raise Later from None
        if self.options.flash_time:
            ms = self.flash.spent_ms(busy_us)
            if ms:
                self._loop.call_later(ms / 1000, request.reply, result)
                raise Later
        return result

    def hello(self) -> bytes:
        self._loop.call_soon(self.terminal.listening)
        raw = self.terminal.raw and self.cause == SOFT_RESET
        return struct.pack("<BBq", self.cause, raw, self.clock.offset_ms) + self.unique_id

    def later_ms(self, ms: float, function: Callable[..., None], *args: object) -> None:
        self._loop.call_later(ms / 1000, function, *args)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def boot_done(self) -> None:
        self.booted = True
        self.terminal.booted(self.terminal.raw and self.cause == SOFT_RESET)
        self.note("booted")

    def step(self, name: str, seq: int) -> None:
        self.note("step", name=name, seq=seq)
        if isinstance(self.cut, Step) and self.cut.passed(name):
            self.power_cut(str(self.cut), step=name)
            raise Later

    # Time.

    def watchdog(self, timeout_ms: int) -> None:
        """Start it with a time-out, feed it with 0."""
        self._watchdog_ms = timeout_ms or self._watchdog_ms
        if self._watchdog:
            self._watchdog.cancel()
        if self._watchdog_ms:
            self._watchdog = self._loop.call_later(self._watchdog_ms / 1000, self._bite)

    def _bite(self) -> None:
        self.note("watchdog", timeout_ms=self._watchdog_ms)
        self.reset(WDT_RESET)

    def _stop_watchdog(self) -> None:
        self._watchdog_ms = 0
        if self._watchdog:
            self._watchdog.cancel()
            self._watchdog = None

    # Pins and the sensor.

    def _interrupt(self, number: int, level: int) -> None:
        if self._hub:
            self._hub.event(number, level)

    def _ask_interrupt(self) -> None:
        if self._hub:
            self._hub.event(KEYBOARD, 0)

    def _pin_changed(self, name: str, value: Value) -> None:
        self.note("pin", pin=name, value=value)

    def _int1(self, level: int) -> None:
        self.pins.drive(self.definition.wiring["accelerometer"]["int1"], level)

    def sensor_moved(self) -> None:
        """The sensor has been set up or read: look when INT1 may change next."""
        if self._sampling:
            self._sampling.cancel()
            self._sampling = None
        due = self.sensor.next_sample_s
        if due is not None:
            self._sampling = self._loop.call_later(max(0.0, due - time.monotonic()), self._sample)

    def _sample(self) -> None:
        self.sensor.sync()
        self.sensor_moved()


def _heapsize(heap: str) -> int:
    """Bytes of which `heap` (such as 192k) is left once the modules are there that an ESP32 has in its ROM. Raises TryggError."""
    size = re.fullmatch(r"(\d{1,6})([kKmM]?)", heap)
    if not size:
        raise TryggError(f"{heap} is no size of a heap.", "Give it in KiB, as 192k.")
    return (int(size[1]) << {"": 0, "k": 10, "m": 20}[size[2].lower()]) + MODULES_BYTES


def _unique_id(path: Path) -> bytes:
    """The board's own six bytes, drawn once a folder."""
    if not path.exists():
        path.write_text(json.dumps({"unique_id": secrets.token_hex(6)}))
    return bytes.fromhex(json.loads(path.read_text())["unique_id"])
