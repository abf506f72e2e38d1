"""The watchdog is fed only while every task is alive; who was late is remembered across the reset it causes."""

import asyncio
import time

from micropython import const

_LATE_MS = const(30_000)  # TP-BND-017
_FEED_MS = const(1_000)


class Watch:
    """`wdt`: machine.WDT or None; `store` keeps the name of the task that stopped."""

    def __init__(self, wdt, store):
        self._wdt = wdt
        self._store = store
        self._seen = {}

    def alive(self, name):
        """A function that task `name` calls at least every 30 s."""
        seen = self._seen
        seen[name] = time.ticks_ms()

        def alive():
            seen[name] = time.ticks_ms()

        return alive

    def ended(self, name):
        """Task `name` has ended, and must not have: it is late from now on."""
        self._seen[name] = None

    def late(self):
        """The name of a task that has ended or has not been alive for 30 s, or None."""
        now = time.ticks_ms()
        for name, seen in self._seen.items():
            if seen is None or time.ticks_diff(now, seen) > _LATE_MS:
                return name
        return None

    def culprit(self):
        """The task that made the last reset, or None; asked once."""
        name = self._store.get("culprit")
        self._store.remove("culprit")
        return name and name.decode()

    async def run(self):
        told = False
        while True:
            name = self.late()
            if name is None:
                if self._wdt:
                    self._wdt.feed()
            elif not told:
                told = True
                self._store.put("culprit", name.encode())
            await asyncio.sleep_ms(_FEED_MS)
