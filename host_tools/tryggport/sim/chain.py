"""The whole chain on one machine: keys, broker, reception, and a virtual gateway that is flashed and provisioned like a real one."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self

from tryggport import pki
from tryggport.board import VirtualBoard
from tryggport.board.host import Event
from tryggport.devices import boards, image
from tryggport.devices.configuration import Placement
from tryggport.devices.provision import provision
from tryggport.errors import TryggError
from tryggport.reception.service import Reception
from tryggport.sim import broker as brokers
from tryggport.sim import home
from tryggport.sim.timeline import Timeline, now_ms
from tryggport.wire.kinds import Signal

BROKER_NAME = "localhost"  # TLS has no server name indication for bare addresses (RFC 6066 section 3)
LOOK_S = 0.05
ONLINE_S = 30.0
FIRST_EVENTS = 2  # the boot, and the clock that its receipt has set


class Chain:
    """A gateway that is online when the context is entered. `timeline` collects what all parts do.

    broker: "mosquitto", "iotcore", or "auto" for Mosquitto where it is installed. `others`: (name, port) of brokers that are the
    gateway's further paths; the reception serves them too. Further options go to VirtualBoard.
    """

    def __init__(
        self, folder: Path, *, gateway: str = "demo-0001", broker: str = "auto", placement: dict[str, Any] | None = None,
        others: Sequence[tuple[str, int]] = (), tell: Callable[[str], None] = lambda text: None, **board_options: Any,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.gateway = gateway
        self.pki_folder = folder / "pki"
        self.database_url = f"sqlite:///{folder / 'reception.db'}"
        self.timeline = Timeline()
        self.broker_kind = _choose(broker)
        self._placement = placement or {}
        self._others = tuple(others)
        self._tell = tell
        self._board_options = board_options
        self._stack = ExitStack()
        self._reception: Reception | None = None
        self._broker: AbstractContextManager[brokers.Broker] | None = None
        self._light: Signal | None = None
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        if not self.pki_folder.exists():
            pki.init(self.pki_folder)
        self._tell("keys and certificates made")
        self._port = brokers.free_port()
        self.start_broker()
        self._stack.callback(self.stop_broker)
        self._tell(f"broker {self.broker_kind} on 127.0.0.1:{self.broker.port}, TLS with client certificates")
        self.start_reception()
        self._stack.callback(self.stop_reception)
        self._tell("reception connected, database opened")
        flash = self.folder / "virtual.bin"
        flash.write_bytes(image.flash_image(boards.load("virtual")))
        known = (
            self.folder / "board" / "flash.bin"
        ).exists()  # a chain that is set up again keeps its journal and keys
        self.board = VirtualBoard(self.folder / "board", image=None if known else flash, **self._board_options)
        self.board.events(self._on_board)
        self._stack.enter_context(self.board)
        self._tell(f"gateway flashed ({flash.stat().st_size >> 20} MiB) and switched on, serial port {self.board.tty}")
        placement = Placement(self.gateway, ((BROKER_NAME, self.broker.port), *self._others), **self._placement)
        since = now_ms()
        report = provision(self.board.tty, placement, self.pki_folder)
        self._tell(f"gateway {self.gateway} provisioned through mpremote, key {report['kid']} made on it")
        resident = threading.Thread(target=self._watch_light, name="resident", daemon=True)
        resident.start()
        self._stack.callback(resident.join)
        self._stack.callback(self._closing.set)
        if self.timeline.wait("gateway", "settle.end", since=since, timeout_s=ONLINE_S, seq=FIRST_EVENTS) is None:
            raise TryggError(
                f"The gateway did not come on line in {ONLINE_S:g} s; its console:\n{self.board.console()}"
            )

    def start_broker(self, pki_folder: Path | None = None) -> None:
        """The broker, always on the same port; with the certificates of another PKI where that is asked for."""
        start = brokers.mosquitto if self.broker_kind == "mosquitto" else brokers.iotcore_broker
        self._broker = start(self.folder / "broker", pki_folder or self.pki_folder, self._port)
        self.broker = self._broker.__enter__()

    def stop_broker(self) -> None:
        """Ends the broker's process; harmless when it has ended."""
        if self._broker is not None:
            running, self._broker = self._broker, None
            running.__exit__(None, None, None)

    def start_reception(self) -> None:
        """A reception on this chain's database and broker."""
        self._reception = Reception(
            self.pki_folder, self.database_url, self.broker.host, self.broker.port,
            on_step=self._on_reception, say=lambda sentence: None, others=self._others,
        )  # fmt: skip
        self._reception.__enter__()

    def stop_reception(self) -> None:
        """Stops it as a service manager would; harmless when it has stopped."""
        if self._reception is not None:
            reception, self._reception = self._reception, None
            reception.__exit__()

    # What happens.

    def _on_board(self, event: Event) -> None:
        t_ms = now_ms()
        if event.kind == "step":
            self.timeline.add("gateway", str(event.detail["name"]), t_ms, event.detail)
        elif event.kind in ("cut", "power", "reset", "network", "crash", "watchdog"):
            self.timeline.add("board", event.kind, t_ms, event.detail)

    def _on_reception(self, name: str, detail: dict[str, Any]) -> None:
        self.timeline.add("reception", name, detail=detail)

    def _watch_light(self) -> None:
        """Looks at the lamp as a resident would, and notes each new signal with the time it began."""
        while not self._closing.wait(LOOK_S):
            history = self.board.outputs().history
            board_ms = self.board.now_ms()
            lamp = [(t_ms, pin, value) for t_ms, pin, value in history if isinstance(value, int)]
            seen = home.recognise(lamp, board_ms)
            if seen and seen[1] is not self._light:
                self._light = seen[1]
                self.timeline.add("home", seen[1].name, now_ms() - (board_ms - seen[0]))

    def light(self) -> str | None:
        """The name of the signal that was seen last."""
        return self._light.name if self._light else None

    def wait_light(self, name: str, timeout_s: float = 15.0) -> bool:
        """Whether the home shows `name` within the time."""
        deadline = time.monotonic() + timeout_s
        while self.light() != name and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return self.light() == name


def _choose(broker: str) -> str:
    if broker == "auto":
        found = shutil.which("mosquitto", path=brokers.SEARCH_PATH)
        return "mosquitto" if found else "iotcore"
    if broker not in ("mosquitto", "iotcore"):
        raise TryggError(f"There is no broker {broker}.", "Say auto, mosquitto or iotcore.", usage=True)
    return broker
