"""A push button to ground on a pin with pull-up: debounced, and latched from boot on, so a press during a restart counts."""

import asyncio
import time

_DEBOUNCE_MS = 30
_POLL_MS = 20


class Button:
    """`pin`: input, 0 while pressed; `pressed()` is called once a press. The interrupt only latches."""

    def __init__(self, pin, pressed):
        self._pin = pin
        self._pressed = pressed
        self._latched = pin() == 0
        self._flag = asyncio.ThreadSafeFlag()
        if self._latched:
            self._flag.set()
        pin.irq(self._edge, pin.IRQ_FALLING)

    def _edge(self, pin):
        self._latched = True
        self._flag.set()

    async def run(self, alive):
        while True:
            alive()
            try:
                await asyncio.wait_for_ms(self._flag.wait(), 5000)
            except asyncio.TimeoutError:
                continue
            if self._latched and await self._is_press():
                self._pressed()
                await self._released()
            self._latched = False

    async def _is_press(self):
        """True unless the contact opens again within the debounce time (a spike)."""
        start = time.ticks_ms()
        while time.ticks_diff(time.ticks_ms(), start) < _DEBOUNCE_MS:
            if self._pin():
                return False
            await asyncio.sleep_ms(5)
        return True

    async def _released(self):
        """Waits until the contact has been open for the debounce time, at most 10 s (a stuck button must not stop the task)."""
        for _ in range(10_000 // _POLL_MS):
            if self._pin():
                await asyncio.sleep_ms(_DEBOUNCE_MS)
                if self._pin():
                    return
            await asyncio.sleep_ms(_POLL_MS)
