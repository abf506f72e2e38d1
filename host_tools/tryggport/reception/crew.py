"""Several workers on one machine: a parent that starts them, starts a dead one again, and replaces them one by one.

Each is a process of its own with the parent's own arguments. It ends when the parent does, however that ends.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url

from tryggport import pki
from tryggport.errors import TryggError

PAUSE_S = (1.0, 30.0)  # TP-BND-246: before a worker that died is started again; doubled while it dies within STEADY_S
STEADY_S = 60.0
READY_S = 60.0
STOP_S = 45.0  # an attempt at handing over may be under way; then it is killed
USAGE = 2
READY = ": ready\n"


class Child:
    """A worker's process. What it says goes through us, so that we know when it is ready."""

    def __init__(self, command: list[str], ended: queue.SimpleQueue[Child | None]) -> None:
        self.began_s = time.monotonic()
        self.ready = threading.Event()
        self.pause_s = PAUSE_S[0]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ended = ended
        threading.Thread(target=self._listen, name="child", daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            if line.endswith(READY):
                self.ready.set()
            print(line, end="", flush=True)
        self._process.wait()
        self._ended.put(self)

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Has it finish what it has in hand; returns when it has ended."""
        self._process.terminate()
        self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        self._process.terminate()


class Crew:
    """`run` returns after SIGTERM or SIGINT, when all have ended. Raises TryggError when the first ones cannot serve."""

    def __init__(self, count: int, command: list[str], say: Callable[[str], None]) -> None:
        self._count = count
        self._command = command
        self._say = say
        self._children: list[Child] = []
        self._ended: queue.SimpleQueue[Child | None] = queue.SimpleQueue()  # None: look at the flags
        self._stopping = False
        self._replacing = False
        self._told = False

    def run(self) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_replace)
        try:
            self._children = [self._start() for _ in range(self._count)]
            while not self._stopping:
                self._look()
        finally:
            for child in self._children:
                child.terminate()
            for child in self._children:
                child.wait(STOP_S)

    def _look(self) -> None:
        try:
            ended = self._ended.get(timeout=0.5)
        except queue.Empty:
            ended = None
        if ended in self._children and not self._stopping:
            self._restart(ended)
        if self._replacing and not self._stopping:
            self._replacing = False
            self._replace()
        if not self._told and all(child.ready.is_set() for child in self._children):
            self._told = True
            self._say(f"all {self._count} workers are ready")

    def _start(self) -> Child:
        return Child(self._command, self._ended)

    def _restart(self, child: Child) -> None:
        self._children.remove(child)
        if child.code == USAGE or not (child.ready.is_set() or self._told):
            raise TryggError("A worker cannot serve, so none does: it says above why.", usage=child.code == USAGE)
        lived_s = time.monotonic() - child.began_s
        pause_s = PAUSE_S[0] if lived_s >= STEADY_S else child.pause_s
        self._say(f"a worker ended with {child.code}; another one begins in {pause_s:g} s")
        self._pause(pause_s)
        if not self._stopping:
            fresh = self._start()
            fresh.pause_s = min(2 * pause_s, PAUSE_S[1])
            self._children.append(fresh)

    def _pause(self, pause_s: float) -> None:
        end_s = time.monotonic() + pause_s
        while not self._stopping and time.monotonic() < end_s:
            time.sleep(0.05)

    def _replace(self) -> None:
        """The new one serves before the old one goes. One that cannot serve replaces nobody."""
        for old in list(self._children):
            fresh = self._start()
            end_s = time.monotonic() + READY_S
            while not self._stopping and fresh.code is None and not fresh.ready.wait(0.05):
                if time.monotonic() > end_s:
                    break
            if not fresh.ready.is_set():
                self._say("the new worker does not get ready: the old ones go on")
                fresh.stop()
                return
            self._children[self._children.index(old)] = fresh
            old.stop()
        self._say(f"all {self._count} workers are new")

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _on_replace(self, *_: object) -> None:
        self._replacing = True


def run(count: int, pki_dir: Path, database_url: str, say: Callable[[str], None]) -> None:
    """`count` workers with the arguments of this process. Raises TryggError where the database serves one alone."""
    if not make_url(database_url).drivername.startswith("postgresql"):
        raise TryggError(
            "SQLite serves one worker.", "For more: --db postgresql+psycopg://…, or leave out --workers.", usage=True
        )
    pki.issue_workers(pki_dir)
    Crew(count, [sys.executable, *sys.argv, "--workers", "1", "--of-crew"], say).run()


def end_with_parent(stop: Callable[[], None]) -> None:
    """Stops when whoever started us has ended: then our standard input does."""

    def wait() -> None:
        os.read(0, 1)
        stop()

    threading.Thread(target=wait, name="parent", daemon=True).start()
