"""The built-in `select`, whose poll also watches the hardware: Pin interrupts run inside asyncio."""

import _hub
import uselect


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
        """As the built-in one; an interrupt ends the wait early, with nothing ready."""
        self._ready = self._poll.ipoll(timeout, flags)
        return self

    def __iter__(self):
        return self

    def __next__(self):
        ready = next(self._ready)
        if ready[0] is _hub.wire:
            _hub.pump()
            ready = next(self._ready)
        return ready
