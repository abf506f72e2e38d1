import gc
from array import array
from math import cos, pi, sin

import micropython
from gateway.fall import FallDetector

HEAPSIZE = "192k"


def trial(rate_hz, kind="fall", after_s=6, limit_mg=16000, turn=lambda v: v):
    """Yields (x, y, z) in mg: walking upright for 5 s, then what `kind` says, then rest for `after_s`."""
    n = round(rate_hz * (5.7 + after_s))
    for i in range(n):
        t = i / rate_hz
        if t < 5:
            v = (100 * sin(11 * t), -1000 + 250 * sin(12 * t), 80 * cos(7 * t))
        elif kind == "stumble":
            v = (0, -1000 + (2200 * sin(pi * (t - 5.4) / 0.2) if 5.4 < t < 5.6 else 0), 0)
        elif kind == "lie_down":
            angle = min(1, (t - 5) / 3) * pi / 2
            v = (1000 * sin(angle), -1000 * cos(angle), 0)
        elif t < 5.4:
            v = (200, -400, 100)
        elif t < 5.6:
            v = (2800 * sin(pi * (t - 5.4) / 0.2) + 700, -500, 900 * sin(pi * (t - 5.4) / 0.1))
        else:
            v = (980, -80, 150)
        yield [max(-limit_mg, min(limit_mg, round(a))) for a in turn(v)]


def packed(samples):
    """The same samples in little memory: an array('h') of triplets."""
    flat = array("h")
    for v in samples:
        flat.extend(array("h", v))
    return flat


def triplets(flat):
    for i in range(0, len(flat), 3):
        yield flat[i : i + 3]


def verdicts(detector, samples):
    found = []
    for i, (x, y, z) in enumerate(samples):
        verdict = detector.feed(x, y, z)
        if verdict:
            found.append((verdict.kind, i, verdict.evidence))
    return found


def kinds(rate_hz, *args, **options):
    return [v[0] for v in verdicts(FallDetector(rate_hz), trial(rate_hz, *args, **options))]


def raises(action):
    try:
        action()
    except ValueError:
        return True
    return False


def test_TP_FAL_001_a_fall_is_found_within_4_s_at_every_rate_and_range():
    for rate_hz in (18, 20, 25, 31.25, 50, 62.5, 100):
        for limit_mg in (2000, 4000, 8000, 16000):
            found = verdicts(FallDetector(rate_hz), trial(rate_hz, limit_mg=limit_mg))
            assert [v[0] for v in found] == ["fallen"], (rate_hz, limit_mg, found)
            delay_s = found[0][1] / rate_hz - 5.5
            assert 0 < delay_s < 2.5, (rate_hz, delay_s)
            assert len(found[0][2]) == 8
            assert all(isinstance(n, int) for n in found[0][2])


def test_TP_FAL_001_a_stumble_and_lying_down_are_no_falls():
    for rate_hz in (18, 25, 50, 100):
        assert kinds(rate_hz, "stumble") == []
        assert kinds(rate_hz, "lie_down") == []


def test_TP_FAL_002_placements_and_rates_that_are_not_supported_are_refused():
    for placement in ("waist", "pocket", "pendant"):
        FallDetector(50, placement)
    for placement in ("wrist", "", "Waist", None):
        assert raises(lambda p=placement: FallDetector(50, p)), placement
    for rate_hz in (17, 101, 0, -50):
        assert raises(lambda r=rate_hz: FallDetector(r)), rate_hz


def test_TP_FAL_003_nothing_is_allocated_and_3_kib_suffice():
    samples = packed(trial(50, after_s=40))
    gc.collect()
    before = gc.mem_alloc()
    detector = FallDetector(50)
    gc.collect()
    assert gc.mem_alloc() - before <= 3072
    found = 0
    micropython.heap_lock()
    try:
        for i in range(0, len(samples), 3):
            if detector.feed(samples[i], samples[i + 1], samples[i + 2]):
                found += 1
        detector.gap(300)
        detector.gap(5000)
    finally:
        micropython.heap_unlock()
    assert found == 2


def test_TP_FAL_004_the_direction_in_which_it_is_worn_does_not_matter():
    turns = (
        lambda v: (v[1], v[2], v[0]),
        lambda v: (-v[0], v[1], -v[2]),
        lambda v: (0.6 * v[0] - 0.8 * v[1], 0.8 * v[0] + 0.6 * v[1], v[2]),
        lambda v: (v[2], 0.707 * (v[0] + v[1]), 0.707 * (v[1] - v[0])),
    )
    for turn in turns:
        assert kinds(50, turn=turn) == ["fallen"]
        assert kinds(50, "stumble", turn=turn) == []


def test_TP_FAL_005_who_gets_up_has_recovered_and_who_does_not_lies_long():
    detector = FallDetector(50)
    assert [v[0] for v in verdicts(detector, trial(50, after_s=5))] == ["fallen"]
    walk = [v for i, v in enumerate(trial(50)) if i < 250]
    assert [v[0] for v in verdicts(detector, walk + walk)] == ["recovered"]

    detector = FallDetector(50)
    found = verdicts(detector, trial(50, after_s=90))
    assert [v[0] for v in found] == ["fallen", "long_lie"]
    assert 30_000 <= found[1][2][0] <= 33_000
    assert [v[0] for v in verdicts(detector, walk + walk)] == ["recovered"]


def test_TP_FAL_005_quiet_lying_or_standing_still_is_no_recovery():
    detector = FallDetector(50)
    assert [v[0] for v in verdicts(detector, trial(50, after_s=9))] == ["fallen"]
    assert verdicts(detector, [(0, -1000, 0)] * 500) == []


def rising(seconds, bump_mg):
    """From lying as `trial` ends to upright at 50 Hz; half-way up a blow of `bump_mg` for 0.1 s."""
    n = round(50 * seconds)
    for i in range(n):
        angle = (1 - i / n) * pi / 2
        blow = bump_mg if 0 <= i - n // 2 < 5 else 0
        yield round(1000 * sin(angle)) + blow, round(-1000 * cos(angle)) - blow, 150


def test_TP_FAL_005_getting_up_with_a_bump_is_no_second_fall_but_falling_again_is():
    detector = FallDetector(50)
    assert [v[0] for v in verdicts(detector, trial(50, after_s=10))] == ["fallen"]
    assert verdicts(detector, rising(1.5, 2200)) == []
    assert verdicts(detector, [(0, -1000, 0)] * 250) == []
    at_once = [v for i, v in enumerate(trial(50, after_s=4)) if i > 240]
    assert [v[0] for v in verdicts(detector, at_once)] == ["fallen"]

    detector = FallDetector(50)  # the same blow when nobody is known to be down
    assert verdicts(detector, [(980, -80, 150)] * 250) == []
    assert verdicts(detector, rising(1.5, 2200)) == []
    assert [v[0] for v in verdicts(detector, [(0, -1000, 0)] * 250)] == ["fallen"]


def test_TP_FAL_006_a_short_gap_is_bridged_and_a_long_one_forgets_the_past():
    samples = packed(trial(50))
    for start in (100, 255, 300, 330):
        detector = FallDetector(50)
        found = verdicts(detector, triplets(samples[: 3 * start]))
        verdict = detector.gap(400)
        found += [(verdict.kind,)] if verdict else []
        found += verdicts(detector, triplets(samples[3 * (start + 20) :]))
        assert [v[0] for v in found] == ["fallen"], start

    detector = FallDetector(50)
    assert verdicts(detector, triplets(samples[: 3 * 290])) == []  # 300 ms after the impact
    assert detector.gap(60_000) is None
    assert verdicts(detector, [(1000, 0, 0)] * 500) == []


def test_TP_FAL_006_time_lying_goes_on_through_a_gap():
    detector = FallDetector(50)
    assert [v[0] for v in verdicts(detector, trial(50, after_s=5))] == ["fallen"]
    detector.gap(40_000)
    assert [v[0] for v in verdicts(detector, [(980, -80, 150)] * 200)] == ["long_lie"]
