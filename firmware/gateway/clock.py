"""What time it is, and how far that can be trusted.

The clock has a floor (TP-WIR-022): mbedTLS refuses certificates by date, so a clock that starts in 2000 would mute the gateway.
Uptime is what events are ordered by; UTC is an addition. Two may tell it. A receipt is signed: it moves the floor, and the
quality is *synced*. Nobody signs the answer of a time server (gateway.sntp): it sets the running clock and nothing else, and the
quality is *holdover* until a receipt confirms it."""

import time

from micropython import const

from gateway.kinds import QUALITY_HOLDOVER, QUALITY_NEVER, QUALITY_SYNCED

_EPOCH_MS = 0 if time.gmtime(0)[0] == 1970 else 946684800000
_SAVE_EVERY_MS = const(3600_000)  # NVS wear: the floor is saved at most once an hour
_DAY_MS = const(86_400_000)  # TP-BND-071: without a receipt, holdover
_STEP_MS = const(5000)  # TP-BND-070
_LEAP_DAYS = const(400)  # TP-BND-072
_LATEST_MS = 4102444800000  # 2100-01-01


class Clock:
    """`set_rtc(tuple)` takes machine.RTC's 8-tuple; `store` keeps the floor; `now` gives the RTC in ms since 1970.

    `base_ms`: UTC at uptime 0, None when unknown · `synced_at`: uptime of the last receipt that told the time.
    `on_change(before)` is called when UTC has become known, was dropped, or has moved by more than 5 s; `before`: UTC ms or None.
    `back_ms`: None, or where the RTC was (ms at uptime 0) before it was set by what may be wrong; a handshake makes it None.
    `ask_at_ms`: uptime before which gateway.sntp asks no time server; `asking`: its task, or None."""

    ask_at_ms = 0
    asking = None

    def __init__(self, set_rtc, store, floor_ms, now=None, ticks=time.ticks_ms):
        self._set_rtc = set_rtc
        self._store = store
        self._ticks = ticks
        self.rtc_ms = now or (lambda: time.time() * 1000 + _EPOCH_MS)
        self._last_ticks = ticks()
        self._uptime_ms = 0
        self.base_ms = self.synced_at = self.back_ms = None
        saved = store.get("floor")
        self.floor_ms = max(floor_ms, int.from_bytes(saved, "big") if saved else 0)
        self._saved_ms = self.floor_ms
        if self.rtc_ms() < self.floor_ms:
            self.write_rtc(self.floor_ms)

    def uptime_ms(self):
        """Milliseconds since boot; counts on through the wrap of ticks_ms when asked at least every six days."""
        now = self._ticks()
        self._uptime_ms += time.ticks_diff(now, self._last_ticks)
        self._last_ticks = now
        return self._uptime_ms

    def utc_ms(self):
        """UTC in ms, or None when the clock has not been set in this boot (TP-WIR-023)."""
        return None if self.base_ms is None else self.base_ms + self.uptime_ms()

    def quality(self):
        if self.base_ms is None:
            return QUALITY_NEVER
        if self.synced_at is None or self.uptime_ms() - self.synced_at >= _DAY_MS:
            return QUALITY_HOLDOVER
        return QUALITY_SYNCED

    def receipt_time(self, utc_ms, age_ms):
        """Takes the receiver's time from a verified receipt for an event that was published `age_ms` ago.

        It is utc_ms … utc_ms + age_ms by now, and a clock that reads so is left alone. A time that leaps moves the floor only
        once a handshake has succeeded at it: a receiver with a wrong clock must not make every certificate expire (TP-WIR-041).
        """
        if not self.floor_ms <= utc_ms < _LATEST_MS:
            return
        before = self.utc_ms()
        self.synced_at = self.uptime_ms()
        told_ms = utc_ms if before is None else max(utc_ms, min(before, utc_ms + age_ms))
        if (utc_ms - self.floor_ms) // _DAY_MS < _LEAP_DAYS:
            self.back_ms = None
        elif before is None or abs(before - told_ms) > _STEP_MS:
            self.back_ms = self.rtc_ms() - self.synced_at
        if self.back_ms is None:
            self.floor_ms = utc_ms
            if utc_ms - self._saved_ms >= _SAVE_EVERY_MS:
                self._saved_ms = utc_ms
                try:
                    self._store.put("floor", utc_ms.to_bytes(8, "big"))
                except OSError:
                    pass  # worn flash: the receipt matters more, and the floor of this boot has moved
        self.set(told_ms)

    def set(self, utc_ms):
        before = self.utc_ms()
        self.base_ms = utc_ms - self.uptime_ms()
        if abs(self.rtc_ms() - utc_ms) > 1000:
            self.write_rtc(utc_ms)
        if before is None or abs(before - utc_ms) > _STEP_MS:
            self.on_change(before)

    def write_rtc(self, utc_ms):
        t = time.gmtime((utc_ms - _EPOCH_MS) // 1000)
        self._set_rtc((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))
