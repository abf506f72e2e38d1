"""The built-in `select`, whose poll also watches the hardware: Pin interrupts run inside asyncio."""

import _hub
import uselect
import utime


def __getattr__(name):
    return getattr(uselect, name)


class poll:
    def __init__(self):
        self._poll = poll = uselect.poll()
        self.register = poll.register
        self.modify = poll.modify
        self.unregister = poll.unregister
        poll.register(_hub.wire, uselect.POLLIN)

    def poll(self, timeout=-1):
        return list(self.ipoll(timeout))

    def ipoll(self, timeout=-1, flags=0):
        """As the built-in one: an interrupt runs its handler, and the wait goes on for what is left of `timeout`."""
        start = utime.ticks_ms()
        left = timeout
        while True:
            self._ready = self._poll.ipoll(left, flags)
            self._first = self._next()
            if self._first or not left:
                return self
            if timeout > 0:
                left = max(0, timeout - utime.ticks_diff(utime.ticks_ms(), start))

    def __iter__(self):
        return self

    def __next__(self):
        ready = self._first
        if ready:
            self._first = None
            return ready
        ready = self._next()
        if ready is None:
            raise StopIteration
        return ready

    def _next(self):
        ready = next(self._ready, None)
        if ready and ready[0] is _hub.wire:
            _hub.pump()
            ready = next(self._ready, None)
        return ready
