"""The course of things: an agenda in virtual time, and the asyncio loop that follows it.

Whatever is not the gateway (the broker, the reception, people, the weather) is a callable on the agenda. The loop's wait for
input runs the agenda on, so nothing ever waits in real time, and everything that happens follows from the seed."""

import time
from asyncio import core
from heapq import heappop, heappush

_PASSES_PER_MS = 8  # turns of the loop in a virtual millisecond, so that work takes time


class Cut(BaseException):
    """The gateway's power is gone. No `except Exception` of the firmware may live on after it."""


class World:
    """`at`, `later`: plan something; `pass_ms`: let it happen. `begin_loop` makes asyncio follow."""

    def __init__(self):
        self._agenda = []
        self._planned = 0
        self._passes = 0
        self.power = True

    def later(self, ms, act):
        """Calls `act()` in `ms` virtual milliseconds."""
        self._planned += 1
        heappush(self._agenda, (time.now_us + int(ms * 1000), self._planned, act))

    def now_ms(self):
        return time.now_us // 1000

    def pass_ms(self, ms):
        """Lets so much time pass with the gateway switched off."""
        end = time.now_us + ms * 1000
        while self._next(end):
            pass
        time.now_us = max(time.now_us, end)

    def _next(self, end_us):
        """Runs what comes next on the agenda, if it comes by `end_us`."""
        if not self._agenda or self._agenda[0][0] > end_us:
            return False
        at_us, _, act = heappop(self._agenda)
        time.now_us = max(time.now_us, at_us)
        act()
        return True

    def begin_loop(self):
        """A new asyncio loop that waits by this world. What the last one ran is gone, as at a power cut."""
        core.new_event_loop()
        core._io_queue = self
        self.map = {0: None}  # the loop must not think that nobody waits for input
        self._readers = []

    # asyncio's IOQueue.

    def queue_read(self, stream):
        core.cur_task.data = self
        self._readers.append((core.cur_task, stream))
        if stream.ready():
            self.heard(stream)

    def queue_write(self, stream):
        core._task_queue.push(core.cur_task)

    def heard(self, stream):
        """`stream` has something to read, or has failed: wakes who waits for it."""
        for entry in self._readers:
            if entry[1] is stream:
                self._readers.remove(entry)
                core._task_queue.push(entry[0])
                return

    def remove(self, task):
        self._readers = [entry for entry in self._readers if entry[0] is not task]

    def wait_io_event(self, wait_ms):
        """Called before each task: lets the agenda run for `wait_ms`, or until it has made a task ready (-1: for ever)."""
        if wait_ms == 0:
            self._passes += 1
            if self._passes % _PASSES_PER_MS == 0:
                time.now_us += 1000
            self._next(time.now_us)
        elif wait_ms > 0:
            end = time.now_us + wait_ms * 1000
            if not self._next(end):
                time.now_us = end
        else:
            while core._task_queue.peek() is None:
                self._next(self._agenda[0][0])
        if not self.power:
            raise Cut
