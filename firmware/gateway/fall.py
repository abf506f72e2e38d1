"""Fall detection with one accelerometer worn on the trunk.

Idea: samples are averaged to 25 Hz, so that neither the sensor's rate nor its bandwidth matters. Each peak of the
smoothed magnitude is judged 1.8 s later by what carries from one sensor to the next: how far gravity turned round the
impact, how the three axes spread, how the wearer lies just after it. Trees that are monotone in each of these features
add up a score. What follows decides nothing: some people stand up after three seconds. From 8 s on the wearer may have
`recovered` (upright and moving); at 30 s without that it is a `long_lie`.
Invariants
  I1  feed() allocates nothing, whatever it returns.                              (TP-FAL-003)
  I2  all integers stay below 2**30, so that a 32-bit board makes no big integer. (TP-FAL-003)
  I3  no verdict depends on the direction in which the sensor is worn.            (TP-FAL-004)
Why these features and these trees: protocols/decisions/0004-fall-detector.md.
"""

from array import array

from micropython import const

from gateway.fall_trees import THRESHOLD, TREES

PLACEMENTS = ("waist", "pocket", "pendant")
# Features, in this order in the evidence; bytes of the trees:
#   peak_mg         magnitude, smoothed over 0.12 s
#   turn_early_deg  from the posture at -2.0..-0.9 s to that at 0.3..0.9 s
#   turn_deg        to that at 0.7..1.7 s
#   swing_deg       from -0.8..-0.25 s to 0.3..0.9 s
#   tilt_deg        the farthest from the posture before, -0.5..1.5 s
#   spread_mg       of the three axes within 0.5 s of the impact
#   rest_mg         the same at 0.7..1.7 s
_FEATURES = const(7)
SHIFTS = b"\x05\x00\x00\x00\x00\x04\x04"  # right shift that makes a feature one byte for the trees
DEPTH = const(3)
TREE_SIZE = const(22)  # 7 nodes (feature, threshold) breadth first, then 8 leaves (value + 128)

_RATE_HZ = const(25)
_STEP = const(200)  # weight of one input sample: _RATE_HZ in eighths of a hertz
_RING = const(128)
_MASK = const(127)
_LIMIT_MG = const(8000)  # bounds every sum of squares below 2**30
_LAG = const(44)  # samples from a peak to its judgement
_HALF = const(12)  # a peak is the highest of so many samples before and after it
_PEAK = const(950_625)  # (0.75 * 1300 mg) ** 2: the energy of a quarter of the sum of three samples
_PAST = const(50)
_PAST_MIN = const(16)  # 0.64 s: who has been known for less before an impact is not judged
_TURN_MIN_DEG = const(25)  # who did not turn did not fall; spares the work at each step of a walk
_POCKET_SPREAD_MG = const(720)  # sitting down turns a thigh as a fall does, but with less of a blow
_BRIDGE_MS = const(1000)
_WATCH = const(200)  # 8 s after the impact the wearer's fate is watched
_LIE = const(750)
_DOWN_MAX = const(15_000)  # 10 min
_LYING_DEG = const(45)
_BLOCK = const(32)
_UPRIGHT_DEG = const(40)
_MOVING_MG = const(60)

_BEFORE = const(0)  # slots of unit vectors, see _mean
_NEAR = const(1)
_EARLY = const(2)
_AFTER = const(3)
_PASSING = const(4)
_UPRIGHT = const(5)
_LYING = const(6)


class Verdict:
    """What the detector found; the same object is used again for the next verdict of its kind.

    `kind` is "fallen", "recovered" or "long_lie"; `evidence` a tuple of ints: for a fall the seven features and the
    score, else milliseconds since the impact, degrees from the posture before it, movement in mg.
    """

    def __init__(self, kind, size):
        self.kind = kind
        self.values = array("i", bytes(4 * size))

    @property
    def evidence(self):
        return tuple(self.values)


def _isqrt(n):
    root = 1024 if n < 1_048_576 else 16384
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
        self._spread_min_mg = _POCKET_SPREAD_MG if placement == "pocket" else 0
        self._x = array("h", bytes(2 * _RING))
        self._y = array("h", bytes(2 * _RING))
        self._z = array("h", bytes(2 * _RING))
        self._energy = array("i", bytes(4 * _RING))
        self._unit = array("h", bytes(2 * 3 * 7))
        self._found = array("i", bytes(4 * (_FEATURES + 1)))
        self._fallen = Verdict("fallen", _FEATURES + 1)
        self._recovered = Verdict("recovered", 3)
        self._long_lie = Verdict("long_lie", 3)
        self._down = 0  # samples since the impact of the last fall, 0 when nobody is down
        self._upright = 0  # blocks in a row
        self._lying_told = False
        self._due = None
        self._restart()

    def _restart(self):
        self._known = 0  # samples in the ring
        self._at = 0
        self._room = self._period
        self._sum_x = self._sum_y = self._sum_z = 0

    def gap(self, ms):
        """Tell of `ms` milliseconds of lost samples: up to a second is bridged, after more the past is forgotten."""
        if ms > _BRIDGE_MS:
            if self._down:
                self._down = min(self._down + ms * _RATE_HZ // 1000, _DOWN_MAX)
            self._restart()
        elif self._known:
            i = (self._at - 1) & _MASK
            for _ in range(ms * _RATE_HZ // 1000):
                self._due = self._step(self._x[i], self._y[i], self._z[i]) or self._due

    def feed(self, x, y, z):
        """One sample in mg. Returns None or a `Verdict`."""
        verdict = self._due
        self._due = None
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
                verdict = self._step(self._sum_x // period, self._sum_y // period, self._sum_z // period) or verdict
                self._room = period
                self._sum_x = self._sum_y = self._sum_z = 0
        return verdict

    def _step(self, x, y, z):
        """One sample at 25 Hz."""
        i = self._store(x, y, z)
        if self._down:
            self._down = min(self._down + 1, _DOWN_MAX)
            if self._down < _WATCH:
                return None
        peak = (i - _LAG) & _MASK
        if self._energy[peak] >= _PEAK and self._is_peak(peak) and self._judge(peak):
            return self._fallen
        if self._down and not i % _BLOCK:
            return self._watch(i)
        return None

    def _store(self, x, y, z):
        x = max(-_LIMIT_MG, min(_LIMIT_MG, x))
        y = max(-_LIMIT_MG, min(_LIMIT_MG, y))
        z = max(-_LIMIT_MG, min(_LIMIT_MG, z))
        xs = self._x
        ys = self._y
        zs = self._z
        energy = self._energy
        if not self._known:
            for i in range(_RING):
                xs[i] = x
                ys[i] = y
                zs[i] = z
                energy[i] = 0
        if self._known < _RING:
            self._known += 1
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
        return i

    def _is_peak(self, peak):
        energy = self._energy
        top = energy[peak]
        k = 1
        while k <= _HALF and energy[(peak - k) & _MASK] < top and energy[(peak + k) & _MASK] <= top:
            k += 1
        return k > _HALF

    def _judge(self, peak):
        past = min(self._known - _LAG - 1, _PAST)
        if past < _PAST_MIN:
            return False
        self._mean(_BEFORE, peak - past, max(8, past - 22))
        self._mean(_EARLY, peak + 8, 15)
        self._mean(_AFTER, peak + 18, 25)
        found = self._found
        found[1] = self._angle(_BEFORE, _EARLY)
        found[2] = self._angle(_BEFORE, _AFTER)
        if max(found[1], found[2]) < _TURN_MIN_DEG:
            return False
        if 0 < self._down < _DOWN_MAX and self._angle(_BEFORE, _LYING) < _LYING_DEG:
            return False  # getting up, or turning on the floor
        found[0] = _isqrt(self._energy[peak]) * 4 // 3
        self._mean(_NEAR, peak - 20, 14)
        found[3] = self._angle(_NEAR, _EARLY)
        tilt = 0
        for t in range(peak - 15, peak + 36, 3):
            self._mean(_PASSING, t, 5)
            tilt = max(tilt, self._angle(_BEFORE, _PASSING))
        found[4] = tilt
        found[5] = self._spread(peak - 12, 25)
        found[6] = self._spread(peak + 18, 25)
        found[7] = self._score(found)
        if found[7] < THRESHOLD or found[5] < self._spread_min_mg:
            return False
        self._fall()
        return True

    def _score(self, found):
        """The sum of the leaves that these features reach."""
        total = 0
        for base in range(0, len(TREES), TREE_SIZE):
            node = 0
            for _ in range(DEPTH):
                at = base + 2 * node
                feature = TREES[at]
                byte = min(255, found[feature] >> SHIFTS[feature])
                node = 2 * node + (2 if byte > TREES[at + 1] else 1)
            total += TREES[base + 7 + node] - 128
        return total

    def _fall(self):
        values = self._fallen.values
        for i in range(len(values)):
            values[i] = self._found[i]
        unit = self._unit
        for i in range(3):
            unit[3 * _UPRIGHT + i] = unit[3 * _BEFORE + i]
            unit[3 * _LYING + i] = unit[3 * _AFTER + i]
        self._down = _LAG
        self._upright = 0
        self._lying_told = False

    def _watch(self, i):
        """Recovered, or lying long? Looks at the last block of samples."""
        self._mean(_PASSING, i - _BLOCK + 1, _BLOCK)
        angle = self._angle(_UPRIGHT, _PASSING)
        moving = self._spread(i - _BLOCK + 1, _BLOCK)
        self._upright = self._upright + 1 if angle <= _UPRIGHT_DEG and moving >= _MOVING_MG else 0
        if self._upright == 2:
            verdict = self._recovered
        elif self._down >= _LIE and not self._lying_told:
            verdict = self._long_lie
        else:
            return None
        verdict.values[0] = self._down * 1000 // _RATE_HZ
        verdict.values[1] = angle
        verdict.values[2] = moving
        if verdict is self._recovered:
            self._down = 0
        self._lying_told = True
        return verdict

    def _mean(self, slot, start, n):
        """Write the direction of the mean of `n` samples from ring index `start` as a unit vector of length 1024."""
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
