"""`make demo` as a newcomer sees it: the one line at the end, and the keys on a real terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRYGGPORT = Path(sys.executable).with_name("tryggport")
OK = re.compile(r"^demo: ok kind=fall verified=1 stored=1 receipted=1 latency_ms=\d+$")


@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"])
def test_once_plays_a_fall_through_a_power_cut_within_a_minute(broker: str) -> None:
    start = time.monotonic()
    done = subprocess.run([TRYGGPORT, "demo", "--once", "--broker", broker], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert OK.match(lines[-1])
    assert any("power cut at step:puback:1" in line for line in lines), "the power was cut before the receipt"
    assert any("Help is informed" in line for line in lines)
    assert done.stderr.replace("WARNING rustls", "") == "" or broker == "iotcore"
    assert time.monotonic() - start < 60


def test_without_a_terminal_it_says_what_to_type() -> None:
    done = subprocess.run([TRYGGPORT, "demo"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (
        2,
        "tryggport: The demo needs a terminal for its keys.\n  Without one: make demo ONCE=1\n",
    )


class Typist:
    """Types on a terminal and reads what appears."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
        self.process = subprocess.Popen([TRYGGPORT, "demo"], stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._seen = ""

    def see(self, text: str, timeout_s: float = 20) -> None:
        """Waits for `text` behind what was seen before."""
        deadline = time.monotonic() + timeout_s
        while text not in self._seen:
            assert time.monotonic() < deadline, f"{text!r} does not appear:\n{self._seen[-3000:]}"
            try:
                self._seen += re.sub(r"\x1b\[[0-9;]*m", "", os.read(self._master, 65536).decode(errors="replace"))
            except BlockingIOError:
                time.sleep(0.05)
        self._seen = self._seen[self._seen.index(text) + len(text) :]

    def press(self, key: str) -> None:
        os.write(self._master, key.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


def test_the_keys_of_the_walk() -> None:
    typist = Typist()
    try:
        typist.see("provisioned through mpremote", 40)
        typist.see("F fall", 40)
        typist.press("f")
        typist.see("a sensor or button asks for help")
        typist.see("journalled")
        typist.see("settled")
        typist.see("Sent")
        typist.press("t")
        typist.see("takes case 1")
        typist.see("Help is informed")
        typist.press("n")
        typist.see("network is gone")
        typist.press("h")
        typist.see("journalled")
        typist.press("p")
        typist.see("power cut")
        typist.press("p")
        typist.see("MicroPython starts")
        typist.press("n")
        typist.see("network is back")
        typist.see("● Sent", 60)
        typist.press("t")  # the new alarm has joined the case that Kari has, who sees it now
        typist.see("Help is informed")
        typist.press("q")
        assert typist.process.wait(timeout=20) == 0
    finally:
        typist.close()
