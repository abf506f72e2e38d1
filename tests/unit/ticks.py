"""`time` as a board has it: ticks come round every 2**30 ms (12.4 days), where this interpreter's never do."""

_PERIOD_MS = 1 << 30


class Ticks:
    """Takes the place of a module's `time`; `now_ms` is moved by the test."""

    def __init__(self, now_ms=0):
        self.now_ms = now_ms

    def ticks_ms(self):
        return self.now_ms % _PERIOD_MS

    def ticks_add(self, ticks, delta):
        return (ticks + delta) % _PERIOD_MS

    def ticks_diff(self, end, start):
        return (end - start + _PERIOD_MS // 2) % _PERIOD_MS - _PERIOD_MS // 2
