"""ST LIS3DH accelerometer at register level (datasheet DocID17530 rev 2): output data rate, FIFO, INT1, in real time.

Modelled: WHO_AM_I, CTRL_REG1...6, STATUS, OUT_X/Y/Z, FIFO_CTRL, FIFO_SRC, INT1 by data ready, watermark, overrun and motion (any
high event, with the high-pass filter at its highest cut-off or without, latched or not; no INT1_DURATION).
Other registers keep what is written to them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Sample = tuple[int, int, int]

_STATUS, _WHO_AM_I, _CTRL1, _CTRL2, _CTRL3, _CTRL4, _CTRL5, _CTRL6 = 0x07, 0x0F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25
_INT1_CFG, _INT1_SRC, _INT1_THS = 0x30, 0x31, 0x32
_STATUS_REG, _OUT, _OUT_END, _FIFO_CTRL, _FIFO_SRC = 0x27, 0x28, 0x2D, 0x2E, 0x2F
_AUTO_INCREMENT = 0x80
_FIFO_DEPTH = 32
_RATES_HZ = (0, 1, 10, 25, 50, 100, 200, 400, 1620, 1344)
_RESET_VALUES = {_WHO_AM_I: 0x33, 0x1E: 0x10, _CTRL1: 0x07}
# (mg per digit of full scale 2, 4, 8, 16 g; unused low bits) of the low-power, normal and high-resolution modes
_LOW_POWER, _NORMAL, _HIGH_RESOLUTION = ((16, 32, 64, 192), 8), ((4, 8, 16, 48), 6), ((1, 2, 4, 12), 4)
_FIFO_SHIFT = 6  # the FIFO holds 10 bits of each axis
_BYPASS, _STOP_WHEN_FULL = 0, 1
_HIGH_EVENTS, _ACTIVE, _LATCHED = 0x2A, 0x40, 0x08
_THRESHOLD_MG = (16, 32, 62, 186)  # one step of INT1_THS at full scale 2, 4, 8, 16 g
_HIGH_PASS = 1 / (1 + 2 * math.pi / 50)  # cut-off at a 50th of the data rate


@dataclass(frozen=True)
class _Segment:
    start_s: float
    rate_hz: float
    samples: Sequence[Sample]

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / self.rate_hz


class Motion:
    """What the sensor is moved by: queued recordings in mg, in real time; the last sample stays."""

    def __init__(self) -> None:
        self._queue: deque[_Segment] = deque()
        self._rest: Sample = (0, 0, 1000)

    def feed(self, samples: Sequence[Sample], rate_hz: float, now_s: float) -> float:
        """Queue a recording. Returns the time in s at which its first sample acts."""
        start = max([now_s, *[segment.end_s for segment in self._queue]])
        self._queue.append(_Segment(start, rate_hz, samples))
        return start

    def at(self, t_s: float) -> Sample:
        """The acceleration at `t_s`; calls must not go back in time."""
        while self._queue and t_s >= self._queue[0].end_s:
            self._rest = self._queue.popleft().samples[-1]
        if self._queue and t_s >= self._queue[0].start_s:
            segment = self._queue[0]
            return segment.samples[min(int((t_s - segment.start_s) * segment.rate_hz), len(segment.samples) - 1)]
        return self._rest


class Lis3dh:
    """`now_s` is the clock, `int1(level)` the pin. `sync()` brings the FIFO up to now; `next_sample_s` says when to call it."""

    def __init__(self, motion: Motion, now_s: Callable[[], float], int1: Callable[[int], None]) -> None:
        self._motion, self._now_s, self._int1 = motion, now_s, int1
        self.power_cycle()

    def power_cycle(self) -> None:
        self._registers = bytearray(128)
        for register, value in _RESET_VALUES.items():
            self._registers[register] = value
        self._fifo: deque[bytes] = deque()
        self._latest = bytes(6)
        self._new = self._lost = self._overrun = False
        self._pointer = 0
        self._since_s = 0.0
        self._taken = 0
        self._line = -1
        self._before: Sample = (0, 0, 0)
        self._passed = [0.0, 0.0, 0.0]
        self._motion_source = 0
        self._update_line()

    @property
    def rate_hz(self) -> int:
        rate = _RATES_HZ[min(self._registers[_CTRL1] >> 4, 9)]
        return 5376 if rate == 1344 and self._low_power else rate

    @property
    def next_sample_s(self) -> float | None:
        """When the next sample may move INT1; None when nothing can."""
        if not self.rate_hz or not self._registers[_CTRL3] & 0x56:
            return None
        return self._since_s + (self._taken + 1) / self.rate_hz

    def write(self, data: bytes) -> None:
        """An I2C write: register address (bit 7: increment), then values."""
        self.sync()
        self._pointer = data[0]
        for value in data[1:]:
            self._set(self._pointer & 0x7F, value)
            self._advance()
        self._update_line()

    def read(self, n: int) -> bytes:
        """An I2C read from the register that was addressed last."""
        self.sync()
        result = bytearray()
        for _ in range(n):
            result.append(self._get(self._pointer & 0x7F))
            self._advance()
        self._update_line()
        return bytes(result)

    def sync(self) -> None:
        """Take all samples that were due until now."""
        rate = self.rate_hz
        if not rate:
            return
        due = int((self._now_s() - self._since_s) * rate + 1e-6)
        while self._taken < due:
            self._taken += 1
            moved = self._motion.at(self._since_s + self._taken / rate)
            self._watch_motion(moved)
            self._sample(self._encode(moved))
        self._update_line()

    @property
    def _low_power(self) -> bool:
        return bool(self._registers[_CTRL1] & 8)

    @property
    def _fifo_mode(self) -> int:
        """0 is bypass, also while FIFO_EN is off."""
        return self._registers[_FIFO_CTRL] >> 6 if self._registers[_CTRL5] & 0x40 else _BYPASS

    def _encode(self, sample: Sample) -> bytes:
        scale = self._registers[_CTRL4] >> 4 & 3
        high = self._registers[_CTRL4] & 8
        mg, shift = _LOW_POWER if self._low_power else _HIGH_RESOLUTION if high else _NORMAL
        limit = 1 << (15 - shift)
        axes = self._registers[_CTRL1] & 7
        digits = [
            max(-limit, min(limit - 1, round(value / mg[scale]))) if axes >> axis & 1 else 0
            for axis, value in enumerate(sample)
        ]
        if self._fifo_mode != _BYPASS and shift < _FIFO_SHIFT:
            digits = [digit >> _FIFO_SHIFT - shift << _FIFO_SHIFT - shift for digit in digits]
        return b"".join((digit << shift).to_bytes(2, "little", signed=True) for digit in digits)

    def _watch_motion(self, sample: Sample) -> None:
        filtered = self._registers[_CTRL2] & 1
        threshold = (self._registers[_INT1_THS] & 0x7F) * _THRESHOLD_MG[self._registers[_CTRL4] >> 4 & 3]
        source = 0
        for axis, (value, before) in enumerate(zip(sample, self._before, strict=True)):
            self._passed[axis] = _HIGH_PASS * (self._passed[axis] + value - before)
            if abs(self._passed[axis] if filtered else value) > threshold:
                source |= 2 << 2 * axis
        self._before = sample
        source &= self._registers[_INT1_CFG] & _HIGH_EVENTS
        if source or not self._registers[_CTRL5] & _LATCHED:
            self._motion_source = source and source | _ACTIVE

    def _sample(self, raw: bytes) -> None:
        self._lost = self._lost or self._new
        self._new = True
        if self._fifo_mode == _BYPASS:
            self._latest = raw
            return
        if len(self._fifo) == _FIFO_DEPTH:
            self._overrun = True
            if self._fifo_mode == _STOP_WHEN_FULL:
                return
            self._fifo.popleft()
        self._fifo.append(raw)
        self._overrun = self._overrun or len(self._fifo) == _FIFO_DEPTH

    def _set(self, register: int, value: int) -> None:
        if register in (_STATUS, _WHO_AM_I, _STATUS_REG, _FIFO_SRC, _INT1_SRC) or _OUT <= register <= _OUT_END:
            return
        before = self.rate_hz
        self._registers[register] = value
        if self.rate_hz != before:
            self._since_s, self._taken = self._now_s(), 0
        if self._fifo_mode == _BYPASS:
            self._fifo.clear()
            self._overrun = False

    def _get(self, register: int) -> int:
        if register == _STATUS_REG:
            return (0x0F if self._new else 0) | (0xF0 if self._lost else 0)
        if register == _FIFO_SRC:
            return self._fifo_source()
        if register == _INT1_SRC:
            source, self._motion_source = self._motion_source, 0
            return source
        if not _OUT <= register <= _OUT_END:
            return self._registers[register]
        current = self._fifo[0] if self._fifo else self._latest
        value = current[register - _OUT]
        if register == _OUT_END:
            self._new = self._lost = False
            if self._fifo:
                self._latest = self._fifo.popleft()
                self._overrun = False
        return value

    def _fifo_source(self) -> int:
        level = len(self._fifo)
        watermark = self._fifo_mode != _BYPASS and level > self._registers[_FIFO_CTRL] & 0x1F
        return watermark << 7 | self._overrun << 6 | (level == 0) << 5 | min(level, 31)

    def _advance(self) -> None:
        """The outputs wrap round, so that one read takes several samples from the FIFO."""
        if self._pointer & _AUTO_INCREMENT:
            wraps = self._pointer & 0x7F == _OUT_END
            self._pointer = _AUTO_INCREMENT | (_OUT if wraps else (self._pointer + 1) & 0x7F)

    def _update_line(self) -> None:
        enabled, source = self._registers[_CTRL3], self._fifo_source()
        active = (
            (enabled & 0x10 and self._new)
            or (enabled & 4 and source & 0x80)
            or (enabled & 2 and source & 0x40)
            or (enabled & 0x40 and self._motion_source)
        )
        line = bool(active) ^ bool(self._registers[_CTRL6] & 2)
        if line != self._line:
            self._line = line
            self._int1(int(line))
