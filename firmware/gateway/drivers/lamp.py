"""One light with a red and a green pin, and one buzzer on PWM, showing a signal of events.toml."""

from micropython import const

from gateway.kinds import SIGNALS

_VOLUME = const(32768)  # duty_u16: half, the loudest of a piezo
_BEEP_MS = const(120)


class Lamp:
    """`red`, `green`: output pins; `pwm`: PWM of the buzzer, silent at duty 0; `again_ms`: how often a signal that repeats
    its sound does. Times are uptime in ms."""

    def __init__(self, red, green, pwm, again_ms=600_000):
        self._red, self._green, self._pwm = red, green, pwm
        self._again_ms = again_ms
        self._name = "idle"
        self._since_ms = 0
        self._light = self._sound = 0
        pwm.duty_u16(0)

    def show(self, name, now_ms):
        """Shows signal `name` from now on; beeps when it is a new one."""
        if name != self._name:
            self._name = name
            self._since_ms = now_ms

    def update(self, now_ms):
        """Sets pins and buzzer to what they are to be now: to be called every 20 ms or less."""
        _, light, on_ms, off_ms, tone_hz, beeps, again_s = SIGNALS[self._name]
        shown_ms = now_ms - self._since_ms
        if again_s and shown_ms >= self._again_ms:
            self._since_ms = now_ms
            shown_ms = 0
        if off_ms and shown_ms % (on_ms + off_ms) >= on_ms:
            light = 0
        if light != self._light:
            self._light = light
            self._red(light & 1)
            self._green(light >> 1)
        beep = shown_ms // _BEEP_MS
        sound = tone_hz if beep < 2 * beeps and not beep & 1 else 0
        if sound != self._sound:
            self._sound = sound
            if sound:
                self._pwm.freq(sound)
            self._pwm.duty_u16(_VOLUME if sound else 0)
