"""One light with a red and a green pin, and one buzzer on PWM, showing a signal of events.toml."""

import asyncio
import time

from gateway.kinds import SIGNALS

_VOLUME = 32768  # duty_u16: half, the loudest of a piezo
_BEEP_MS = 120


class Lamp:
    """`red`, `green`: output pins; `pwm`: PWM of the buzzer, silent at duty 0."""

    def __init__(self, red, green, pwm):
        self._red, self._green, self._pwm = red, green, pwm
        self._name = None
        self._beeped_ms = 0
        self._changed = asyncio.Event()
        pwm.duty_u16(0)
        self._light(0)

    def show(self, name):
        """Shows signal `name` from now on; beeps when it is a new one."""
        if name != self._name:
            self._name = name
            self._changed.set()

    async def run_light(self, alive):
        while True:
            _, light, on_ms, off_ms, _, _, _ = SIGNALS[self._name or "idle"]
            self._light(light)
            await self._pause(on_ms if off_ms else 1000)
            if off_ms:
                self._light(0)
                await self._pause(off_ms)
            alive()

    async def run_sound(self, alive):
        sounded = None
        while True:
            name = self._name
            _, _, _, _, tone_hz, beeps, again_s = SIGNALS[name or "idle"]
            again = again_s and time.ticks_diff(time.ticks_ms(), self._beeped_ms) >= again_s * 1000
            if name != sounded or again:
                sounded = name
                self._beeped_ms = time.ticks_ms()
                for _ in range(beeps):
                    self._pwm.freq(tone_hz)
                    self._pwm.duty_u16(_VOLUME)
                    await asyncio.sleep_ms(_BEEP_MS)
                    self._pwm.duty_u16(0)
                    await asyncio.sleep_ms(_BEEP_MS)
            await asyncio.sleep_ms(100)
            alive()

    async def _pause(self, ms):
        """Waits `ms`, less when the signal changes."""
        try:
            await asyncio.wait_for_ms(self._changed.wait(), ms)
            self._changed.clear()
        except asyncio.TimeoutError:
            pass

    def _light(self, light):
        self._red(light & 1)
        self._green(light >> 1)
