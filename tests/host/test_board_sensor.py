"""The LIS3DH model against its datasheet, on a clock that the test turns."""

from __future__ import annotations

import pytest
from tryggport.board.lis3dh import Lis3dh, Motion

WHO_AM_I, CTRL1, CTRL2, CTRL3, CTRL4, CTRL5, CTRL6 = 0x0F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25
INT1_CFG, INT1_SRC, INT1_THS = 0x30, 0x31, 0x32
STATUS, OUT, FIFO_CTRL, FIFO_SRC = 0x27, 0x28, 0x2E, 0x2F
RATE_50_HZ, STREAM, FIFO, BYPASS = 0x47, 0x80, 0x40, 0
WATERMARK, OVERRUN, EMPTY = 0x80, 0x40, 0x20


class Bench:
    """A sensor, its clock in s, and the levels that INT1 has had."""

    def __init__(self) -> None:
        self.now = 0.0
        self.int1: list[int] = []
        self.motion = Motion()
        self.chip = Lis3dh(self.motion, lambda: self.now, self.int1.append)

    def set(self, register: int, value: int) -> None:
        self.chip.write(bytes([register, value]))

    def get(self, register: int, n: int = 1) -> bytes:
        self.chip.write(bytes([register | 0x80]))
        return self.chip.read(n)

    def samples(self, n: int) -> list[tuple[int, ...]]:
        raw = self.get(OUT, 6 * n)
        words = [int.from_bytes(raw[i : i + 2], "little", signed=True) for i in range(0, len(raw), 2)]
        return list(zip(*[iter(words)] * 3, strict=True))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def stream(bench: Bench, watermark: int = 10) -> None:
    bench.set(CTRL1, RATE_50_HZ)
    bench.set(CTRL4, 0x08)
    bench.set(CTRL5, FIFO)
    bench.set(FIFO_CTRL, STREAM | watermark)


def test_identity_and_reset_values(bench: Bench) -> None:
    assert bench.get(WHO_AM_I) == b"\x33"
    bench.set(WHO_AM_I, 0)
    assert bench.get(WHO_AM_I) == b"\x33"
    assert bench.get(CTRL1) == b"\x07"
    bench.set(CTRL1, RATE_50_HZ)
    bench.chip.power_cycle()
    assert bench.get(CTRL1) == b"\x07"


@pytest.mark.parametrize(
    ("ctrl1", "ctrl4", "digits"),
    [
        (0x47, 0x08, 1000 << 4),  # +-2 g, high resolution: 1 mg a digit
        (0x47, 0x28, 250 << 4),  # +-8 g, high resolution: 4 mg
        (0x47, 0x00, 250 << 6),  # +-2 g, normal: 4 mg
        (0x4F, 0x10, 31 << 8),  # +-4 g, low power: 32 mg
        (0x43, 0x08, 0),  # axis z off
    ],
)
def test_scale_and_resolution(bench: Bench, ctrl1: int, ctrl4: int, digits: int) -> None:
    bench.set(CTRL4, ctrl4)
    bench.set(CTRL1, ctrl1)
    bench.now += 0.1
    assert bench.samples(1)[0] == (0, 0, digits)


def test_beyond_full_scale_it_saturates(bench: Bench) -> None:
    bench.motion.feed([(9000, -9000, 0)], 50, 0.0)
    bench.set(CTRL4, 0x08)
    bench.set(CTRL1, RATE_50_HZ)
    bench.now += 0.1
    assert bench.samples(1)[0] == (2047 << 4, -2048 << 4, 0)


def test_the_fifo_fills_at_the_data_rate_and_keeps_the_newest(bench: Bench) -> None:
    stream(bench)
    assert bench.get(FIFO_SRC)[0] == EMPTY
    bench.now += 0.2
    assert bench.get(FIFO_SRC)[0] == 10
    bench.now += 0.02
    assert bench.get(FIFO_SRC)[0] == WATERMARK | 11
    bench.motion.feed([(4 * n, 0, 0) for n in range(50)], 50, bench.now)
    bench.now += 1
    assert bench.get(FIFO_SRC)[0] == WATERMARK | OVERRUN | 31
    xs = [x >> 6 for x, _, _ in bench.samples(32)]
    assert xs[-1] in (49, 48)
    assert xs == [*list(range(xs[0], xs[0] + 31)), xs[-1]]
    assert bench.get(FIFO_SRC)[0] == EMPTY


def test_one_read_takes_several_samples(bench: Bench) -> None:
    stream(bench)
    bench.motion.feed([(n * 40, n * 4, -n * 4) for n in range(8)], 50, bench.now)
    bench.now += 0.1601
    samples = bench.samples(8)
    assert len({x for x, _, _ in samples}) >= 7
    assert all(y * 10 == x and z == -y for x, y, z in samples)


def test_the_fifo_holds_ten_bits(bench: Bench) -> None:
    bench.motion.feed([(1003, -1001, 7)], 50, bench.now)
    stream(bench)
    bench.now += 0.1
    assert [digit >> 4 for digit in bench.samples(1)[0]] == [1000, -1004, 4]


def test_fifo_mode_stops_when_full_and_bypass_empties(bench: Bench) -> None:
    stream(bench)
    bench.set(FIFO_CTRL, 0x40)
    bench.motion.feed([(n, 0, 0) for n in range(200)], 50, bench.now)
    bench.now += 2
    assert bench.get(FIFO_SRC)[0] & OVERRUN
    assert bench.samples(1)[0][0] >> 4 <= 4
    bench.set(FIFO_CTRL, BYPASS)
    assert bench.get(FIFO_SRC)[0] == EMPTY


def test_int1_follows_the_watermark_and_its_polarity(bench: Bench) -> None:
    stream(bench)
    bench.set(CTRL3, 0x04)
    assert bench.int1[-1] == 0
    due = bench.chip.next_sample_s
    assert due is not None
    while bench.int1[-1] == 0:
        bench.now = due + 1e-9
        bench.chip.sync()
        due = bench.chip.next_sample_s or 0
    assert bench.now == pytest.approx(11 / 50)
    bench.samples(5)
    assert bench.int1[-1] == 0
    bench.set(CTRL6, 0x02)
    assert bench.int1[-1] == 1


def test_data_ready_and_lost_samples(bench: Bench) -> None:
    bench.set(CTRL1, RATE_50_HZ)
    bench.set(CTRL3, 0x10)
    assert bench.get(STATUS)[0] == 0
    bench.now += 0.0201
    assert bench.get(STATUS)[0] == 0x0F
    assert bench.int1[-1] == 1
    bench.now += 0.02
    assert bench.get(STATUS)[0] == 0xFF
    bench.samples(1)
    assert bench.get(STATUS)[0] == 0
    assert bench.int1[-1] == 0


def test_int1_tells_motion_until_it_is_asked(bench: Bench) -> None:
    bench.set(CTRL1, RATE_50_HZ)
    bench.set(CTRL2, 0x01)
    bench.set(CTRL4, 0x28)
    bench.set(CTRL5, 0x08)
    bench.set(INT1_THS, 2)
    bench.set(INT1_CFG, 0x2A)
    bench.set(CTRL3, 0x40)
    bench.now += 1
    bench.get(INT1_SRC)  # the filter has settled
    bench.motion.feed([(100, 0, 1000)] * 50, 50, bench.now)
    bench.now += 1
    assert (bench.get(INT1_SRC)[0], bench.int1[-1]) == (0, 0)
    bench.motion.feed([*[(100, -200, 1000)] * 2, *[(100, 0, 1000)] * 48], 50, bench.now)
    bench.now += 1
    bench.chip.sync()
    assert bench.int1[-1] == 1
    assert bench.get(INT1_SRC)[0] == 0x48
    assert (bench.get(INT1_SRC)[0], bench.int1[-1]) == (0, 0)


def test_recordings_follow_one_another_and_the_last_sample_stays() -> None:
    motion = Motion()
    assert motion.at(0.5) == (0, 0, 1000)
    assert motion.feed([(1, 0, 0), (2, 0, 0)], 10, 1.0) == 1.0
    assert motion.feed([(3, 0, 0)], 1, 1.0) == pytest.approx(1.2)
    assert [motion.at(t)[0] for t in (0.9, 1.05, 1.15, 1.25, 2.1, 5.0)] == [0, 1, 2, 3, 3, 3]
