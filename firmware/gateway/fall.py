"""Fall detection with one accelerometer worn on the trunk.

Idea: samples are averaged to 25 Hz, so that neither the sensor's rate nor its bandwidth matters. Each peak of the
smoothed magnitude is judged 1.8 s later by what carries from one sensor to the next: how far and how fast gravity
turned round the impact, how the three axes spread, how the wearer lies just after it. What follows decides nothing:
some people stand up after three seconds. From 8 s on the wearer may have `recovered` (upright and moving); at 30 s
without that it is a `long_lie`.
Invariants
  I1  feed() allocates nothing, whatever it returns.                              (TP-FAL-003)
  I2  all integers stay below 2**30, so that a 32-bit board makes no big integer. (TP-FAL-003)
  I3  no verdict depends on the direction in which the sensor is worn.            (TP-FAL-004)
Why these features: protocols/decisions/0004-fall-detector.md.
"""

from array import array

from micropython import const

PLACEMENTS = ("waist", "pocket", "pendant")
FEATURES = (
    "peak_mg",
    "turn_early_deg",
    "turn_deg",
    "swing_early_deg",
    "swing_deg",
    "rotation_deg",
    "tilt_deg",
    "path_deg",
    "spread_mg",
    "rest_mg",
)

_RATE_HZ = const(25)
_STEP = const(200)  # weight of one input sample: _RATE_HZ in eighths of a hertz
_RING = const(128)
_MASK = const(127)
_LIMIT_MG = const(8000)  # bounds every sum of squares below 2**30
_LAG = const(44)  # samples from a peak to its judgement
_HALF = const(12)  # a peak is the highest of +- this many samples
_PEAK = const(950_000)  # (0.75 * 1300 mg) ** 2: the energy of the sum of three samples, over four
_BRIDGE_MS = const(1000)
_REST_SAMPLES = const(200)  # 8 s after the impact the wearer's fate is watched
_LIE_SAMPLES = const(750)
_BLOCK = const(32)
_UPRIGHT_DEG = const(40)
_MOVING_MG = const(60)


class Verdict:
    """What the detector found; the same object is used again for the next verdict of its kind.

    `kind` is "fallen", "recovered" or "long_lie"; `evidence` a tuple of ints: for a fall the values of `FEATURES`,
    else (milliseconds since the impact, degrees from the posture before it, movement in mg).
    """

    def __init__(self, kind, size):
        self.kind = kind
        self._values = array("i", bytes(4 * size))

    @property
    def evidence(self):
        return tuple(self._values)


def _isqrt(n):
    root = 16384
    while root * root > n:
        root = (root + n // root) >> 1
    return root


class FallDetector:
    """Feed it every sample; it answers None or a `Verdict`.

    rate_hz: 18 to 100, need not be whole. placement: one of `PLACEMENTS`; ValueError for another, because a detector
    for the trunk is useless on a wrist.
    """

    def __init__(self, rate_hz, placement="waist"):
        if placement not in PLACEMENTS:
            raise ValueError("placement must be one of " + ", ".join(PLACEMENTS))
        if not 18 <= rate_hz <= 100:
            raise ValueError("rate_hz must be 18 to 100")
        self._period = round(rate_hz * 8)
        self._x = array("h", bytes(2 * _RING))
        self._y = array("h", bytes(2 * _RING))
        self._z = array("h", bytes(2 * _RING))
        self._energy = array("i", bytes(4 * _RING))
        self._unit = array("h", bytes(2 * 3 * 7))  # see _mean
        self._found = array("i", bytes(4 * len(FEATURES)))
        self._fallen = Verdict("fallen", len(FEATURES))
        self._recovered = Verdict("recovered", 3)
        self._long_lie = Verdict("long_lie", 3)
        self._down = 0  # samples since the impact of the fall that is being watched, 0 for none
        self._upright = 0
        self._lying = False
        self._restart()

    def _restart(self):
        self._empty = True
        self._at = 0
        self._room = self._period
        self._sum_x = self._sum_y = self._sum_z = 0

    def gap(self, ms):
        """Tell of `ms` milliseconds of lost samples. Up to a second is bridged, and may bring a `Verdict` due
        meanwhile; after more the past is forgotten.
        """
        if self._empty:
            return None
        if ms > _BRIDGE_MS:
            if self._down:
                self._down = min(self._down + ms * _RATE_HZ // 1000, _LIE_SAMPLES)
            self._restart()
            return None
        verdict = None
        i = (self._at - 1) & _MASK
        for _ in range(ms * _RATE_HZ // 1000):
            verdict = self._step(self._x[i], self._y[i], self._z[i]) or verdict
        return verdict

    def feed(self, x, y, z):
        """One sample in mg. Returns None or a `Verdict`."""
        verdict = None
        left = _STEP
        while left:
            room = self._room
            part = left if left < room else room
            self._sum_x += x * part
            self._sum_y += y * part
            self._sum_z += z * part
            left -= part
            self._room = room - part
            if part == room:
                period = self._period
                found = self._step(self._sum_x // period, self._sum_y // period, self._sum_z // period)
                verdict = found or verdict
                self._room = period
                self._sum_x = self._sum_y = self._sum_z = 0
        return verdict

    def _step(self, x, y, z):
        x = max(-_LIMIT_MG, min(_LIMIT_MG, x))
        y = max(-_LIMIT_MG, min(_LIMIT_MG, y))
        z = max(-_LIMIT_MG, min(_LIMIT_MG, z))
        xs = self._x
        ys = self._y
        zs = self._z
        energy = self._energy
        if self._empty:
            self._empty = False
            for i in range(_RING):
                xs[i] = x
                ys[i] = y
                zs[i] = z
                energy[i] = 0
        i = self._at
        xs[i] = x
        ys[i] = y
        zs[i] = z
        self._at = (i + 1) & _MASK
        j = (i - 1) & _MASK
        k = (i - 2) & _MASK
        x = (x + xs[j] + xs[k]) >> 2
        y = (y + ys[j] + ys[k]) >> 2
        z = (z + zs[j] + zs[k]) >> 2
        energy[j] = x * x + y * y + z * z
        if self._down:
            self._down += 1
            if self._down < _REST_SAMPLES:
                return None
        peak = (i - _LAG) & _MASK
        if energy[peak] >= _PEAK and self._is_peak(peak) and self._judge(peak):
            return self._fallen
        if self._down and not i % _BLOCK:
            return self._watch(i)
        return None

    def _is_peak(self, peak):
        energy = self._energy
        top = energy[peak]
        k = 1
        while k <= _HALF and energy[(peak - k) & _MASK] < top and energy[(peak + k) & _MASK] <= top:
            k += 1
        return k > _HALF

    def _judge(self, peak):
        found = self._found
        found[0] = _isqrt(self._energy[peak]) * 4 // 3
        self._mean(0, peak - 50, 28)
        self._mean(1, peak - 20, 14)
        self._mean(2, peak + 8, 15)
        self._mean(3, peak + 18, 25)
        found[1] = self._angle(0, 2)
        found[2] = self._angle(0, 3)
        found[3] = self._angle(1, 2)
        found[4] = self._angle(1, 3)
        self._mean(4, peak - 12, 5)
        self._mean(5, peak + 8, 5)
        found[5] = self._angle(4, 5)
        tilt = path = 0
        self._mean(4, peak - 22, 5)
        for t in range(peak - 19, peak + 37, 3):
            now = 4 + ((t - peak) & 1)
            self._mean(now, t, 5)
            path += self._angle(4, 5)
            tilt = max(tilt, self._angle(0, now))
        found[6] = tilt
        found[7] = path
        found[8] = self._spread(peak - 12, 25)
        found[9] = self._spread(peak + 18, 25)
        if not self._decide(found):
            return False
        values = self._fallen._values
        for i in range(len(FEATURES)):
            values[i] = found[i]
        for i in range(3):
            self._unit[18 + i] = self._unit[i]
        self._down = _LAG
        self._upright = 0
        self._lying = False
        return True

    def _decide(self, f):
        return f[0] > 1500 and f[1] > 50 and f[2] > 40 and f[6] > 70 and f[8] > 550 and f[9] < 600

    def _watch(self, i):
        """Recovered or lying long? Looks at the last `_BLOCK` samples."""
        self._mean(4, i - _BLOCK + 1, _BLOCK)
        angle = self._angle(6, 4)
        moving = self._spread(i - _BLOCK + 1, _BLOCK)
        self._upright = self._upright + 1 if angle <= _UPRIGHT_DEG and moving >= _MOVING_MG else 0
        if self._upright == 2:
            verdict = self._recovered
        elif self._down >= _LIE_SAMPLES and not self._lying:
            verdict = self._long_lie
        else:
            return None
        found = verdict._values
        found[0] = self._down * 1000 // _RATE_HZ
        found[1] = angle
        found[2] = moving
        self._lying = True
        if verdict is self._recovered:
            self._down = 0
        return verdict

    def _mean(self, slot, start, n):
        """Write the direction of the mean of `n` samples from ring index `start` as unit vector of 1024.

        Slots: 0 before, 1 near, 2 first and 3 after the impact, 4 and 5 passing, 6 the posture before the last fall.
        """
        xs = self._x
        ys = self._y
        zs = self._z
        x = y = z = 0
        for i in range(start, start + n):
            i &= _MASK
            x += xs[i]
            y += ys[i]
            z += zs[i]
        x //= n
        y //= n
        z //= n
        length = _isqrt(x * x + y * y + z * z) or 1
        unit = self._unit
        slot *= 3
        unit[slot] = (x << 10) // length
        unit[slot + 1] = (y << 10) // length
        unit[slot + 2] = (z << 10) // length

    def _angle(self, a, b):
        """Degrees between two unit vectors (Abramowitz and Stegun 4.4.45)."""
        unit = self._unit
        a *= 3
        b *= 3
        c = (unit[a] * unit[b] + unit[a + 1] * unit[b + 1] + unit[a + 2] * unit[b + 2]) >> 10
        x = min(abs(c), 1024)
        series = 4255 - (x * 1073 >> 10)
        series = 12153 - (x * series >> 10)
        series = 89996 - (x * series >> 10)
        degrees = _isqrt((1024 - x) << 10) * series // 1_024_000
        return degrees if c >= 0 else 180 - degrees

    def _spread(self, start, n):
        """Root of the summed variance of the three axes, mg, over `n` samples from ring index `start`."""
        xs = self._x
        ys = self._y
        zs = self._z
        x = y = z = 0
        for i in range(start, start + n):
            i &= _MASK
            x += xs[i]
            y += ys[i]
            z += zs[i]
        x //= n
        y //= n
        z //= n
        total = 0
        for i in range(start, start + n):
            i &= _MASK
            dx = (xs[i] - x) >> 2
            dy = (ys[i] - y) >> 2
            dz = (zs[i] - z) >> 2
            total += dx * dx + dy * dy + dz * dz
        return _isqrt(total // n) * 4
