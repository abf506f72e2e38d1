"""The clock's floor, and what may move it (protocols/wire.md)."""

from gateway.clock import Clock
from gateway.kinds import QUALITY_HOLDOVER, QUALITY_NEVER, QUALITY_SYNCED
from memory_store import Memory

BUILT = 1795219200000
Y2000 = 946684800000
DAY = 24 * 3600_000


class World:
    """A clock with its surroundings: `rtc` is UTC in ms, `ticks` the ms counter."""

    def __init__(self, rtc, store=None):
        self.rtc = rtc
        self.ticks = 100
        self.set_to = []
        self.changes = []
        self.store = store or Memory()
        self.clock = Clock(self.set_to.append, self.store, BUILT, now=lambda: self.rtc, ticks=lambda: self.ticks)
        self.clock.on_change = lambda before: self.changes.append((before, self.clock.utc_ms(), self.clock.quality()))


def test_TP_WIR_022_a_cold_clock_is_lifted_to_the_floor():
    world = World(Y2000)
    assert len(world.set_to) == 1 and world.set_to[0][:3] == (2026, 11, 21)
    assert World(BUILT + DAY).set_to == []


def test_TP_WIR_023_TP_WIR_045_utc_is_unknown_until_a_receipt_told_it():
    world = World(BUILT + DAY)
    assert world.clock.utc_ms() is None and world.clock.quality() == QUALITY_NEVER
    world.clock.receipt_time(BUILT + 2 * DAY, 100)
    world.ticks += 5000
    assert world.clock.utc_ms() == BUILT + 2 * DAY + 5000 and world.clock.quality() == QUALITY_SYNCED
    assert world.changes == [(None, BUILT + 2 * DAY, QUALITY_SYNCED)]


def test_TP_WIR_045_TP_BND_070_a_clock_that_a_receipt_does_not_contradict_is_left_alone_and_a_step_is_told():
    for reads, age, becomes, told in (
        (0, 0, 0, 0),
        (300, 400, 300, 0),
        (300, 100, 100, 0),
        (-4000, 100, 0, 0),
        (-5001, 100, 0, 1),
        (DAY, 100, 100, 1),
    ):
        world = World(BUILT)
        world.clock.set(BUILT + DAY + reads)
        del world.changes[:]
        world.clock.receipt_time(BUILT + DAY, age)
        assert world.clock.utc_ms() == BUILT + DAY + becomes, (reads, age)
        assert world.changes == [(BUILT + DAY + reads, BUILT + DAY + becomes, QUALITY_SYNCED)] * told


def test_TP_WIR_022_a_receipt_below_the_floor_or_absurd_is_not_believed():
    world = World(BUILT + DAY)
    for time in (Y2000, BUILT - 1, 4102444800000):
        world.clock.receipt_time(time, 0)
        assert world.clock.utc_ms() is None


def test_TP_WIR_022_the_floor_survives_a_reboot_and_spares_the_flash():
    store = Memory()
    first = World(BUILT, store)
    first.clock.receipt_time(BUILT + DAY, 0)
    for minute in range(30):
        first.clock.receipt_time(BUILT + DAY + minute * 60_000, 0)
    assert store.puts == 1
    second = World(Y2000, store)
    assert second.clock.floor_ms == BUILT + DAY
    assert second.set_to[0][:3] == (2026, 11, 22)


def test_TP_WIR_022_flash_that_is_worn_out_takes_no_floor_and_stops_nothing():
    class Worn(Memory):
        def put(self, name, value):
            self.puts += 1
            raise OSError(5)

    world = World(BUILT, Worn())
    for minute in range(61):
        world.clock.receipt_time(BUILT + DAY + minute * 60_000, 0)
    assert world.store.puts == 2, "and it is tried again an hour later"
    assert world.clock.floor_ms == world.clock.utc_ms() == BUILT + DAY + 3600_000


def test_TP_WIR_041_TP_BND_072_a_receiver_in_2099_moves_no_floor_before_a_handshake_has_succeeded_at_its_time():
    world = World(BUILT)
    wrong = 4099000000000
    world.clock.receipt_time(wrong, 0)
    world.clock.receipt_time(wrong + 1000, 0)
    assert world.clock.utc_ms() == wrong + 1000 and world.clock.back_ms is not None
    assert world.store.puts == 0 and world.clock.floor_ms == BUILT
    world.clock.back_ms = None  # what the app does when it is connected
    world.clock.receipt_time(wrong + 2000, 0)
    assert world.clock.floor_ms == wrong + 2000 and world.store.puts == 1


def test_TP_WIR_042_a_time_that_nobody_signed_moves_no_floor_and_is_holdover():
    world = World(BUILT)
    world.clock.back_ms = BUILT
    world.clock.set(BUILT + 200 * DAY)
    assert world.clock.quality() == QUALITY_HOLDOVER
    assert world.store.puts == 0 and world.clock.floor_ms == BUILT
    world.clock.receipt_time(BUILT + 200 * DAY + 100, 200)
    assert world.clock.quality() == QUALITY_SYNCED and world.clock.back_ms is None
    assert world.clock.floor_ms == BUILT + 200 * DAY + 100
    assert len(world.changes) == 1, "the receipt found it right"


def test_uptime_counts_through_the_wrap_of_the_tick_counter():
    import time

    world = World(BUILT)
    before = world.clock.uptime_ms()
    half = time.ticks_add(0, -1) // 2
    for _ in range(5):
        world.ticks = time.ticks_add(world.ticks, half)
        world.clock.uptime_ms()
    assert world.clock.uptime_ms() - before == 5 * half


def test_TP_BND_071_quality_falls_to_holdover_a_day_after_the_last_receipt():
    world = World(BUILT)
    world.clock.receipt_time(BUILT + DAY, 0)
    world.ticks += DAY - 1
    assert world.clock.quality() == QUALITY_SYNCED
    world.ticks += 1
    assert world.clock.quality() == QUALITY_HOLDOVER
