"""Light and buzzer do what events.toml says of a signal."""

from gateway.drivers.lamp import Lamp
from gateway.kinds import SIGNALS


class Outputs:
    """Two pins and a buzzer; `light` and `hz` are what a resident would notice."""

    def __init__(self):
        self.light = self.hz = self.tone = 0

    def red(self, level):
        self.light = self.light & 2 | level

    def green(self, level):
        self.light = self.light & 1 | level << 1

    def freq(self, hz):
        self.tone = hz

    def duty_u16(self, duty):
        self.hz = self.tone if duty else 0


def play(names, each_ms):
    """Yields (light, hz) every 10 ms while the signals are shown one after the other."""
    outputs = Outputs()
    lamp = Lamp(outputs.red, outputs.green, outputs)
    for number, name in enumerate(names):
        lamp.show(name, number * each_ms)
        for ms in range(0, each_ms, 10):
            lamp.show(name, number * each_ms + ms)
            lamp.update(number * each_ms + ms)
            yield outputs.light, outputs.hz


def beeps(seen):
    begun = []
    before = 0
    for _, hz in seen:
        if hz and not before:
            begun.append(hz)
        before = hz
    return begun


def test_each_signal_has_its_rhythm_and_its_beeps():
    for name, (_, light, on_ms, off_ms, tone_hz, count, _) in SIGNALS.items():
        seen = list(play([name], 10_000))
        lit = [shown == light for shown, _ in seen]
        period = (on_ms + off_ms) or 10
        share = on_ms / period if off_ms else 1
        assert abs(sum(lit) / len(lit) - share) < 0.01, name
        assert {shown for shown, _ in seen} <= {0, light}, name
        assert beeps(seen) == [tone_hz] * count, name


def test_a_new_signal_shows_at_once_and_ends_the_old_tone():
    seen = list(play(["sending", "idle"], 50))
    assert seen[4] == (1, 880)
    assert seen[5] == (0, 0)


def test_nobody_answered_sounds_again_every_ten_minutes():
    assert beeps(play(["nobody_answered"], 1_300_000)) == [440] * 9
