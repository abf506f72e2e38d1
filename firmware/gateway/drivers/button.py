"""A push button to ground on a pin with pull-up: debounced, and latched from boot on, so a press during a restart counts."""

import time

from micropython import const

_DEBOUNCE_MS = const(30)


class Button:
    """`pin`: input, 0 while pressed; `ticks`: milliseconds as of time.ticks_ms.

    A press is a contact that stays closed for 30 ms, after it was open for 30 ms. The interrupt takes the times of both edges,
    so a press counts even when nobody asked before it was over; and one of which both edges came while C code kept every
    interrupt of Python waiting (an erasure of flash, a step of a handshake) counts for 30 ms or more.
    """

    def __init__(self, pin, ticks=time.ticks_ms):
        self._pin = pin
        self._ticks = ticks
        self._closed_ms = None  # since when, None while it is open
        self._opened_ms = time.ticks_add(ticks(), -_DEBOUNCE_MS)
        self._asked_ms = None
        self._told = False  # the press that lasts, or has just ended, was told
        self._over = False  # a press has ended and was not told
        pin.irq(self._edge, pin.IRQ_FALLING | pin.IRQ_RISING)
        self._edge(pin)

    def _edge(self, pin):
        now_ms = self._ticks()
        if pin():
            if self._lasted(now_ms) or self._passed(now_ms):
                self._over = self._told = True
            self._closed_ms = None
            self._opened_ms = now_ms
        elif self._closed_ms is None:
            self._closed_ms = now_ms
            if time.ticks_diff(now_ms, self._opened_ms) >= _DEBOUNCE_MS:
                self._told = False

    def _lasted(self, now_ms):
        closed_ms = self._closed_ms
        return not self._told and closed_ms is not None and time.ticks_diff(now_ms, closed_ms) >= _DEBOUNCE_MS

    def _passed(self, now_ms):
        """Whether an edge that is heard of with the contact open may be of a press that nobody could see."""
        if self._asked_ms is None or self._closed_ms is not None:
            return False
        rested = time.ticks_diff(now_ms, self._opened_ms) >= _DEBOUNCE_MS
        return rested and time.ticks_diff(now_ms, self._asked_ms) >= _DEBOUNCE_MS

    def pressed(self):
        """True once a press; to be asked every 10 ms or so."""
        self._asked_ms = now_ms = self._ticks()
        if self._closed_ms is None and time.ticks_diff(now_ms, self._opened_ms) >= _DEBOUNCE_MS:
            self._told = False
            self._opened_ms = time.ticks_add(now_ms, -_DEBOUNCE_MS)  # ticks of days ago would say nothing
        if self._over:
            self._over = False
            return True
        if self._lasted(now_ms) and not self._pin():
            self._told = True
            return True
        return False
