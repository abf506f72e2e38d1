"""A virtual board for tests and the demo: the real MicroPython on simulated hardware, driven from any thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self, TypeVar

from tryggport.board import cuts
from tryggport.board.control import Control
from tryggport.board.host import BoardHost, Event, Options
from tryggport.board.pins import Outputs
from tryggport.devices import boards
from tryggport.errors import TryggError

T = TypeVar("T")
_POLL_S = 0.02
_ANSWER_S = 30.0
EVENTS = 50_000


class VirtualBoard:
    """A board whose flash and port live in `folder`: flash.bin, tty (the port), console.log, ctl.sock.

    heap        what the firmware has to itself, as -X heapsize takes it; the modules of the board come on top
    flash_time  erases and programs take the time that NOR flash takes
    clock       "host": the RTC is right at power-on · "cold": it starts at 2000-01-01, for mbedTLS too (needs libfaketime)
    image       a flash image to start from, copied over flash.bin
    hosts       names that the board's network knows besides the host's, name to dotted quad
    halfopen_s  how long the far side of a connection hears nothing after a power cut before it is reset
    env         further environment of the interpreter

    Used as a context manager or by `start` and `stop`. Methods may be called from any thread; callbacks run in the board's.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        board: str = "virtual",
        heap: str = "192k",
        flash_time: bool = False,
        clock: str = "host",
        image: Path | None = None,
        hosts: dict[str, str] | None = None,
        halfopen_s: float = 0.0,
        env: dict[str, str] | None = None,
    ) -> None:
        if clock not in ("host", "cold"):
            raise TryggError(f"The clock of a virtual board is host or cold, not {clock}.", usage=True)
        self.folder = Path(folder).resolve()
        self.definition = boards.load(board)
        self._options = Options(heap, flash_time, clock == "cold", halfopen_s, hosts or {}, env or {}, image)
        self._callbacks: list[Callable[[Event], None]] = []
        self._log: list[Event] = []
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._host: BoardHost | None = None
        self._control: Control | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Make the board and switch it on; its port can be opened when this returns. Raises TryggError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="virtual board", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._make(), self._loop).result(_ANSWER_S)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Switch it off for good; flash.bin and console.log stay."""
        if self._thread is None or self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._unmake(), self._loop).result(_ANSWER_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._thread = None

    async def _make(self) -> None:
        self._host = BoardHost(self.folder, self.definition, self._options, self._note)
        link = self.folder / "tty"
        link.unlink(missing_ok=True)
        link.symlink_to(self._host.terminal.path)
        self._control = Control(self, self.folder / "ctl.sock")
        await self._control.open()
        self._host.power_on()

    async def _unmake(self) -> None:
        if self._control:
            await self._control.close()
            self._control = None
        if self._host:
            await self._host.close()
            self._host = None
            (self.folder / "tty").unlink(missing_ok=True)

    @property
    def _board(self) -> BoardHost:
        if self._host is None:
            raise TryggError("The virtual board has not been started.")
        return self._host

    def _in_loop(self, function: Callable[[BoardHost], T]) -> T:
        """The function's result, run in the board's own thread. Raises TryggError when the board is not there."""
        if self._loop is None or threading.current_thread() is self._thread:
            return function(self._board)
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(function(self._board))
            except BaseException as e:
                answer.set_exception(e)

        self._loop.call_soon_threadsafe(run)
        return answer.result(_ANSWER_S)

    # What happens.

    def _note(self, event: Event) -> None:
        with self._changed:
            self._log.append(event)
            del self._log[:-EVENTS]
            self._changed.notify_all()
        for callback in self._callbacks:
            callback(event)

    def events(self, callback: Callable[[Event], None]) -> None:
        """Have every further event told, in the board's thread: it must not wait."""
        self._callbacks.append(callback)

    @property
    def log(self) -> list[Event]:
        """The latest 50,000 events, oldest first."""
        with self._changed:
            return list(self._log)

    def wait_for(self, predicate: Callable[[VirtualBoard], T], timeout_s: float = 10.0) -> T:
        """What `predicate(board)` returns as soon as it is true; asked after every event. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._changed:
                seen = len(self._log)
            result = predicate(self)
            if result:
                return result
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the board did not get there in {timeout_s:g} s; its console:\n{self.console()[-2000:]}"
                )
            with self._changed:
                if len(self._log) == seen:
                    self._changed.wait(_POLL_S)

    def now_ms(self) -> float:
        """The board's own clock, which stamps events and the history of its outputs."""
        return self._board.now_ms()

    # The port.

    @property
    def tty(self) -> str:
        return self._board.terminal.path

    def console(self) -> str:
        """The last 64 KiB that the board has printed."""
        return self._in_loop(lambda board: bytes(board.terminal.console)).decode("utf-8", "replace")

    # Power.

    @property
    def powered(self) -> bool:
        return self._in_loop(lambda board: board.child is not None)

    @property
    def booted(self) -> bool:
        """Whether boot.py and main.py have ended and the prompt is there."""
        return self._in_loop(lambda board: board.child is not None and board.booted)

    def power_cut(self) -> None:
        self._in_loop(lambda board: board.power_cut())

    def power_on(self) -> None:
        self._in_loop(lambda board: board.power_on())

    def reset(self) -> None:
        """Press the reset button."""
        self._in_loop(lambda board: board.reset())

    def plan_cut(self, spec: str | None) -> None:
        """Cut the power at `program:N:K`, `erase:N` or `step:NAME[:NTH]`, counted from now; None forgets the plan."""
        cut = cuts.parse(spec) if spec else None
        self._in_loop(lambda board: board.plan_cut(cut))

    @property
    def cut_happened(self) -> dict[str, object] | None:
        """Where the last cut struck: `at`, `t_ms`, and the operation or step that it reached. None since it was planned."""
        return self._in_loop(lambda board: board.cut_happened)

    # The world around it.

    def hold(self, name: str) -> None:
        """Press a button and keep it pressed: "help" or "help_button"."""
        self._button(name, 0)

    def release(self, name: str) -> None:
        self._button(name, 1)

    def press(self, name: str, ms: float = 80) -> None:
        """Press a button for `ms`; returns at once."""
        self.hold(name)
        self._in_loop(lambda board: board.later_ms(ms, self._button, name, 1))

    def _button(self, name: str, level: int) -> None:
        number = self.definition.wiring["pins"].get(name if name.endswith("_button") else f"{name}_button")
        if number is None:
            raise TryggError(f"This board has no button {name}.", usage=True)
        self._in_loop(lambda board: board.pins.drive(number, level))

    def mains(self, on: bool) -> None:
        self._in_loop(lambda board: board.pins.drive(self.definition.wiring["pins"]["mains"], int(on)))

    def network(self, up: bool, *, link: bool | None = None) -> None:
        """Down: nothing passes and nothing ends. `link` is what the interface reports, by default the same as `up`."""

        def switch(board: BoardHost) -> None:
            board.network.switch(up, up if link is None else link)
            board.note("network", up=up, link=board.network.link)

        self._in_loop(switch)

    def delay_ms(self, round_trip_ms: float) -> None:
        """The network's round trip time from now on."""

        def delay(board: BoardHost) -> None:
            board.network.delay_ms = round_trip_ms

        self._in_loop(delay)

    def feed(self, samples: Sequence[tuple[int, int, int]], rate_hz: float) -> float:
        """Queue motion, (x, y, z) in mg. Returns the time.monotonic() at which its first sample acts on the sensor."""
        if not samples or rate_hz <= 0:
            raise TryggError("Motion needs at least one sample and a rate above 0.", usage=True)
        return self._in_loop(lambda board: board.motion.feed(samples, rate_hz, time.monotonic()))

    def outputs(self) -> Outputs:
        """What the board shows: lamps, buzzer and their history."""
        return self._in_loop(lambda board: board.pins.outputs())

    def state(self) -> dict[str, object]:
        """Power, network, port, outputs in one JSON-able table."""

        def collect(board: BoardHost) -> dict[str, object]:
            shown = board.pins.outputs()
            return {
                "powered": board.child is not None,
                "booted": board.booted,
                "tty": board.terminal.path,
                "network": board.network.up,
                "link": board.network.link,
                "delay_ms": board.network.delay_ms,
                "rtc_s": round(board.clock.utc_s(), 3),
                "pins": shown.levels,
                "pwm": {name: list(value) for name, value in shown.pwm.items()},
                "cut_planned": str(board.cut) if board.cut else None,
                "cut_happened": board.cut_happened,
                "flash": {
                    "erases": board.flash.nor.erases,
                    "programs": board.flash.nor.programs,
                    "programmed_bytes": board.flash.nor.programmed_bytes,
                },
            }

        return self._in_loop(collect)
