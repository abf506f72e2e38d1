"""The serial port of a virtual board: a pseudo-terminal for the technician's tool, joined to the terminal of the interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import select
import tty
from collections.abc import Callable
from pathlib import Path

from tryggport.board.child import Child

CONSOLE_BYTES = 64 * 1024
_BUFFERED = 64 * 1024
_STALLED_S = 5.0  # without a byte taken: nobody reads
_CLIENT_POLL_S = 0.02
_PROMPT_POLL_S = 0.002
_HOLD_S = 5.0
_ASKED_S = 0.1
_INTERRUPT = b"\x03"
_RAW = b"raw REPL; CTRL-B to exit\r\n"
_PROMPT = b">>> "
_BANNER = b"MicroPython "


class Terminal:
    """`path` is the port. Bytes that nobody reads are dropped; the last 64 KiB stay in `console`.

    `ask_interrupt` asks the code that runs to raise KeyboardInterrupt between two of its steps, as a microcontroller does: this
    port's own signal raises it in the midst of anything, and after one within a garbage collection the heap stays locked.
    """

    def __init__(self, log: Path, ended: Callable[[], None], ask_interrupt: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._ended = ended
        self._ask_interrupt = ask_interrupt
        self._asked: asyncio.TimerHandle | None = None
        self._log = log
        self._log_bytes = log.stat().st_size if log.exists() else 0
        self.console = bytearray()
        self.raw = False
        self._child: Child | None = None
        self._client = False
        self._to_child = bytearray()
        self._to_client = bytearray()
        self._held_until = 0.0
        self._at_prompt = 0
        self._awaiting_prompt: bytearray | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._watch = self._loop.call_soon(self._look_for_client)

    def close(self) -> None:
        self.detach()
        self._watch.cancel()
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        os.close(self._master)

    # The interpreter's side.

    def attach(self, child: Child) -> None:
        """A new life of the interpreter; what is typed waits until it listens."""
        self._child = child
        self._held_until = self._loop.time() + _HOLD_S
        self._loop.add_reader(child.terminal, self._from_child)

    def detach(self) -> None:
        """The interpreter is dead: take what it has printed, forget what it was to read."""
        if self._child:
            self._loop.remove_reader(self._child.terminal)
            self._loop.remove_writer(self._child.terminal)
            while data := _read(self._child.terminal):
                self._receive(data)
        self._child = None
        self.take_interrupt()
        self._to_child.clear()
        self._awaiting_prompt = None

    def listening(self) -> None:
        """The interpreter has begun to run boot.py, so that Ctrl-C reaches it, or is at its prompt."""
        self.take_interrupt()
        self._held_until = 0.0
        self._advance()

    def booted(self, raw: bool) -> None:
        """The prompt comes next. With `raw`, hide it and its banner and ask for the raw REPL in its place."""
        self._awaiting_prompt = bytearray() if raw else None
        self._hold()

    def say(self, text: bytes) -> None:
        """What the board itself prints."""
        self._record(text)
        self._send(text)

    def _from_child(self) -> None:
        child = self._child
        if child is None:
            return
        data = _read(child.terminal)
        if data:
            self._receive(data)
        elif data == b"":
            self._loop.remove_reader(child.terminal)
            self._ended()

    def _receive(self, data: bytes) -> None:
        self._record(data)
        if self._awaiting_prompt is None or self._child is None:
            self._send(data)
            return
        self._awaiting_prompt += data
        if self._awaiting_prompt.endswith(_PROMPT):
            before = self._awaiting_prompt.rpartition(_BANNER)[0]
            self._awaiting_prompt = None
            self._send(bytes(before))
            with contextlib.suppress(OSError):
                os.write(self._child.terminal, b"\x01")

    def _record(self, data: bytes) -> None:
        seam = bytes(self.console[-len(_RAW) :]) + data
        raw, friendly = seam.rfind(_RAW), seam.rfind(_PROMPT)
        if raw != friendly:
            self.raw = raw > friendly
        self.console += data
        del self.console[:-CONSOLE_BYTES]
        self._log_bytes += len(data)
        if self._log_bytes > 2 * CONSOLE_BYTES:
            self._log.write_bytes(self.console)
            self._log_bytes = len(self.console)
        else:
            with self._log.open("ab") as log:
                log.write(data)

    # The client's side.

    def _look_for_client(self) -> None:
        """A pseudo-terminal tells by a hang-up that nobody has it open."""
        poll = select.poll()
        poll.register(self._master, 0)
        open_now = not poll.poll(0)
        if open_now and not self._client:
            self._client = True
            self._loop.add_reader(self._master, self._from_client)
        self._watch = self._loop.call_later(_CLIENT_POLL_S, self._look_for_client)

    def _client_gone(self) -> None:
        self._client = False
        self._loop.remove_reader(self._master)
        self._drop_output()

    def _from_client(self) -> None:
        data = _read(self._master)
        if data == b"":
            self._client_gone()
        elif data and self._child:
            self._to_child += data
            self._advance()

    def _advance(self) -> None:
        """Pass on what was typed. Ctrl-C interrupts code that runs, and what follows it waits for the prompt."""
        child = self._child
        while child and self._to_child and not self._held():
            at = self._to_child.find(_INTERRUPT)
            if at == 0 and child.interruptible():
                del self._to_child[0]
                self._ask_interrupt()
                self._asked = self._loop.call_later(_ASKED_S, self._signal)
                self._hold()
                continue
            n = 1 if at == 0 else at if at > 0 else len(self._to_child)
            try:
                n = os.write(child.terminal, self._to_child[:n])
            except BlockingIOError:
                self._loop.add_writer(child.terminal, self._writable)
                return
            except OSError:
                return
            del self._to_child[:n]

    def take_interrupt(self) -> bool:
        """Whether an interrupt that was asked for is still to come; whoever asks this has it."""
        asked, self._asked = self._asked, None
        if asked:
            asked.cancel()
        return asked is not None

    def _signal(self) -> None:
        """Code that neither sleeps nor speaks with hardware does not hear that it was asked."""
        self._asked = None
        if self._child and self._child.interruptible():
            self._child.interrupt()

    def _writable(self) -> None:
        if self._child:
            self._loop.remove_writer(self._child.terminal)
            self._advance()

    def _hold(self) -> None:
        self._held_until = self._loop.time() + _HOLD_S
        self._at_prompt = 0
        self._loop.call_later(_PROMPT_POLL_S, self._look_for_prompt)

    def _held(self) -> bool:
        return self._loop.time() < self._held_until

    def _look_for_prompt(self) -> None:
        """Input typed before the prompt would be flushed by the interpreter: release it when it has listened twice in a row."""
        if not self._child or not self._held():
            self._advance()
            return
        ready = self._awaiting_prompt is None and self._child.at_prompt()
        self._at_prompt = self._at_prompt + 1 if ready else 0
        if self._at_prompt >= 2:
            self.listening()
        else:
            self._loop.call_later(_PROMPT_POLL_S, self._look_for_prompt)

    def _send(self, data: bytes) -> None:
        if not self._client or not data:
            return
        self._to_client += data
        self._flush()
        if len(self._to_client) > _BUFFERED and self._child and self._stall is None:
            self._loop.remove_reader(self._child.terminal)
            self._wait_for_client()

    def _wait_for_client(self) -> None:
        if self._stall:
            self._stall.cancel()
        self._stall = self._loop.call_later(_STALLED_S, self._drop_output)

    def _flush(self) -> None:
        try:
            n = os.write(self._master, self._to_client)
        except BlockingIOError:
            n = 0
        except OSError:
            n = len(self._to_client)
        del self._to_client[:n]
        if self._to_client:
            self._loop.add_writer(self._master, self._flush)
            if n and self._stall:
                self._wait_for_client()
            return
        self._loop.remove_writer(self._master)
        self._resume()

    def _drop_output(self) -> None:
        """Nobody reads: the board must not wait for that."""
        self._to_client.clear()
        self._loop.remove_writer(self._master)
        self._resume()

    def _resume(self) -> None:
        if self._stall:
            self._stall.cancel()
            self._stall = None
            if self._child:
                with contextlib.suppress(ValueError):
                    self._loop.add_reader(self._child.terminal, self._from_child)


def _read(fd: int) -> bytes | None:
    """What is there; None when nothing is, b"" when the other end is closed."""
    try:
        return os.read(fd, 4096)
    except BlockingIOError:
        return None
    except OSError:
        return b""
