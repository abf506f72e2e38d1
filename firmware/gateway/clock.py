"""What time it is, and how far that can be trusted.

The clock has a floor (TP-WIR-022): mbedTLS refuses certificates by date, so a clock that starts in 2000 would mute the gateway.
Uptime is what events are ordered by; UTC is an addition."""

import time

from micropython import const

from gateway.kinds import QUALITY_HOLDOVER, QUALITY_NEVER, QUALITY_SYNCED

_EPOCH_MS = 0 if time.gmtime(0)[0] == 1970 else 946684800000
_SAVE_EVERY_MS = const(3600_000)  # NVS wear: the floor is saved at most once an hour
_HOLDOVER_AFTER_MS = const(86_400_000)
_LATEST_MS = 4102444800000  # 2100-01-01


class Clock:
    """`set_rtc(tuple)` takes machine.RTC's 8-tuple; `store` keeps the floor; `now` gives the RTC in ms since 1970."""

    def __init__(self, set_rtc, store, floor_ms, now=None, ticks=time.ticks_ms):
        self._set_rtc = set_rtc
        self._store = store
        self._ticks = ticks
        self._now = now or (lambda: time.time() * 1000 + _EPOCH_MS)
        self._last_ticks = ticks()
        self._uptime_ms = 0
        self._base_ms = None  # UTC at uptime 0, once known
        self._synced_at = 0
        saved = store.get("floor")
        self.floor_ms = max(floor_ms, int.from_bytes(saved, "big") if saved else 0)
        self._saved_ms = self.floor_ms
        if self._now() < self.floor_ms:
            self._write_rtc(self.floor_ms)

    def uptime_ms(self):
        """Milliseconds since boot; counts on through the wrap of ticks_ms when asked at least every six days."""
        now = self._ticks()
        self._uptime_ms += time.ticks_diff(now, self._last_ticks)
        self._last_ticks = now
        return self._uptime_ms

    def utc_ms(self):
        """UTC in ms, or None when the clock has not been set in this boot (TP-WIR-023)."""
        return None if self._base_ms is None else self._base_ms + self.uptime_ms()

    def quality(self):
        if self._base_ms is None:
            return QUALITY_NEVER
        return QUALITY_SYNCED if self.uptime_ms() - self._synced_at < _HOLDOVER_AFTER_MS else QUALITY_HOLDOVER

    def receipt_time(self, utc_ms):
        """Takes the receiver's time from a verified receipt that is bound to an event of ours. True when it was the first of this boot."""
        if not self.floor_ms <= utc_ms < _LATEST_MS:
            return False
        first = self._base_ms is None
        uptime = self.uptime_ms()
        self._base_ms = utc_ms - uptime
        self._synced_at = uptime
        self.floor_ms = utc_ms
        if abs(self._now() - utc_ms) > 1000:
            self._write_rtc(utc_ms)
        if utc_ms - self._saved_ms >= _SAVE_EVERY_MS:
            self._saved_ms = utc_ms
            self._store.put("floor", utc_ms.to_bytes(8, "big"))
        return first

    def _write_rtc(self, utc_ms):
        t = time.gmtime((utc_ms - _EPOCH_MS) // 1000)
        self._set_rtc((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))
