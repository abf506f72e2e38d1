"""The parent of several workers: what it does when one dies, when one cannot be replaced, and when it is told to end."""

import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from tryggport.reception import crew

CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if os.path.exists(sys.argv[1]):
    sys.exit(1)
print("worker", os.getpid(), flush=True)
print("one: ready", flush=True)
time.sleep(60)
"""
PARENT = """
import sys
from tryggport.errors import TryggError
from tryggport.reception.crew import Crew
try:
    Crew(2, [sys.executable, "-c", sys.argv[1], sys.argv[2]], lambda sentence: print("reception:", sentence, flush=True)).run()
except TryggError as e:
    print(e.message, flush=True)
    sys.exit(1)
"""


class Parent:
    """`broken`: a file; while it is there no worker can serve."""

    def __init__(self, folder):
        self.broken = folder / "broken"
        self.lines = []
        self._changed = threading.Condition()

    def __enter__(self):
        command = [sys.executable, "-c", PARENT, CHILD, str(self.broken)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self._reader.join()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()

    def wait_line(self, pattern, count=1):
        def found():
            return [line for line in self.lines if re.search(pattern, line)]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, 20), (pattern, self.lines)
            return found()

    def pids(self, count):
        return [int(line.split()[1]) for line in self.wait_line("^worker", count)]


@pytest.fixture
def parent(tmp_path):
    with Parent(tmp_path) as made:
        yield made


def alive(pid):
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip() not in ("", "Z")


def test_TP_REC_200_a_dead_worker_is_begun_again_after_a_pause_that_grows(parent):
    assert crew.PAUSE_S == (1.0, 30.0)  # TP-BND-246
    first, second = parent.pids(2)
    parent.wait_line("reception: all 2 workers are ready")
    parent.broken.touch()
    subprocess.run(["kill", "-9", str(first)], check=True)
    began_s = time.monotonic()
    parent.wait_line("a worker ended with -9; another one begins in 1 s")
    parent.wait_line("a worker ended with 1; another one begins in 2 s")
    parent.broken.unlink()
    third = parent.pids(3)[2]
    assert time.monotonic() - began_s >= 3
    assert alive(second) and alive(third)
    parent.process.send_signal(signal.SIGTERM)
    assert parent.process.wait(20) == 0
    assert not alive(second) and not alive(third)


def test_TP_REC_206_workers_that_cannot_be_replaced_go_on(parent):
    old = parent.pids(2)
    parent.wait_line("all 2 workers are ready")
    parent.broken.touch()
    parent.process.send_signal(signal.SIGHUP)
    parent.wait_line("the new worker does not get ready: the old ones go on")
    assert all(map(alive, old))
    parent.broken.unlink()
    parent.process.send_signal(signal.SIGHUP)
    parent.wait_line("all 2 workers are new")
    assert not any(map(alive, old))
    assert all(map(alive, parent.pids(4)[2:]))


def test_TP_REC_200_when_the_first_one_cannot_serve_none_does(tmp_path):
    (tmp_path / "broken").touch()
    with Parent(tmp_path) as parent:
        assert parent.process.wait(20) == 1
        parent.wait_line("A worker cannot serve, so none does: it says above why.")
