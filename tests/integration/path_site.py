"""A gateway with two paths: two Mosquittos, the reception on both, and the board's timing table divided where a test needs it."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tryggport import paths, pki
from tryggport.devices.link import Link
from tryggport.sim.broker import Broker, free_port, mosquitto
from tryggport.sim.chain import BROKER_NAME, Chain
from tryggport.sim.timeline import now_ms


class TwoPaths:
    """`chain` with its broker as the primary path; the second broker can be stopped and started too."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self._second: contextlib.AbstractContextManager[Broker] | None = None
        self._port = free_port()
        pki.init(folder / "pki")
        self.chain = Chain(folder, broker="mosquitto", others=[(BROKER_NAME, self._port)], **options)

    @contextlib.contextmanager
    def running(self) -> Iterator[TwoPaths]:
        self.start_second()
        try:
            with self.chain:
                yield self
        finally:
            self.stop_second()

    def start_second(self) -> None:
        self._second = mosquitto(self.folder / "second", self.folder / "pki", self._port)
        self.second = self._second.__enter__()

    def stop_second(self) -> None:
        if self._second is not None:
            running, self._second = self._second, None
            running.__exit__(None, None, None)

    @contextlib.contextmanager
    def silent_primary(self) -> Iterator[None]:
        """The primary takes TCP connections and whatever comes over them, closes nothing and says nothing."""
        pid = self.chain.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def install_bounds(self, divisor: int, **others: int) -> None:
        """The board has its timing table divided from now on, but for `others`; it restarts."""
        table = runpy.run_path(str(paths.folder("firmware") / "gateway" / "bounds.py"))
        lines = []
        for name, value in table.items():
            if name.endswith("_MS"):
                short = tuple(ms // divisor for ms in value) if isinstance(value, tuple) else value // divisor
                lines.append(f"{name} = {others.get(name, short)}\n")
        with Link(self.chain.board.tty) as link:
            link.write("/lib/gateway/bounds.py", "".join(lines).encode())
        self.restart()

    def restart(self) -> None:
        since = now_ms()
        self.chain.board.power_cut()
        self.chain.board.power_on()
        assert self.chain.timeline.wait("gateway", "connected", since=since, timeout_s=30), self.chain.board.console()

    def wait_reception(self, timeout_s: float = 20, brokers: int = 2) -> bool:
        """Whether the reception is connected to so many brokers in time."""
        deadline = time.monotonic() + timeout_s
        reception = self.chain._reception
        assert reception is not None
        while (
            len([link for link in reception._links._links if link.connected]) < brokers and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        return time.monotonic() < deadline

    def wait_path(self, path: int, timeout_s: float = 20) -> bool:
        """Whether the gateway's last connection is over `path` in time."""
        return self.wait_line(f"path {path}", timeout_s)

    def wait_line(self, end: str, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            lines = [line for line in self.chain.board.console().splitlines() if "mqtt: " in line]
            if lines and lines[-1].endswith(end):
                return True
            time.sleep(0.05)
        return False

    def press(self) -> tuple[float, int]:
        """Presses help; when, and the seq of the alarm."""
        since = now_ms()
        self.chain.board.press("help")
        appended = self.chain.timeline.wait("gateway", "append.end", since=since)
        assert appended is not None
        return since, appended.detail["seq"]

    def settled_ms(self, since: float, seq: int, timeout_s: float = 30) -> float:
        """How long after `since` the receipt that settles `seq` was verified."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for moment in self.chain.timeline.since(since):
                if (moment.source, moment.name) == ("gateway", "settle.end") and moment.detail["seq"] >= seq:
                    return moment.t_ms - since
            time.sleep(0.02)
        raise AssertionError(f"{seq} is not settled; the console:\n{self.chain.board.console()[-3000:]}")
