"""A push button to ground on a pin with pull-up: debounced, and latched from boot on, so a press during a restart counts."""

import time

from micropython import const

_DEBOUNCE_MS = const(30)


class Button:
    """`pin`: input, 0 while pressed. The interrupt only latches the edge; `pressed` is to be asked every 10 ms or so."""

    def __init__(self, pin):
        self._pin = pin
        self._latched = False
        self._told = False
        self._closed_ms = self._opened_ms = None
        if not pin():
            self._edge(pin)
        pin.irq(self._edge, pin.IRQ_FALLING)

    def _edge(self, pin):
        if not self._latched:
            self._closed_ms = time.ticks_ms()
            self._latched = True

    def pressed(self):
        """True once a press: when the contact has been closed for 30 ms. It must open for 30 ms before the next one."""
        if not self._latched:
            return False
        now_ms = time.ticks_ms()
        if self._pin():
            if self._opened_ms is None:
                self._opened_ms = now_ms
            if not self._told or time.ticks_diff(now_ms, self._opened_ms) >= _DEBOUNCE_MS:  # a spike, or the end
                self._latched = self._told = False
                self._opened_ms = None
            return False
        self._opened_ms = None
        if self._told or time.ticks_diff(now_ms, self._closed_ms) < _DEBOUNCE_MS:
            return False
        self._told = True
        return True
