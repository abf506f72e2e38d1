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
        self.store = store or Memory()
        self.clock = Clock(self.set_to.append, self.store, BUILT, now=lambda: self.rtc, ticks=lambda: self.ticks)


def test_TP_WIR_022_a_cold_clock_is_lifted_to_the_floor():
    world = World(Y2000)
    assert len(world.set_to) == 1 and world.set_to[0][:3] == (2026, 11, 21)
    assert World(BUILT + DAY).set_to == []


def test_TP_WIR_023_utc_is_unknown_until_a_receipt_told_it():
    world = World(BUILT + DAY)
    assert world.clock.utc_ms() is None and world.clock.quality() == QUALITY_NEVER
    assert world.clock.receipt_time(BUILT + 2 * DAY) is True
    world.ticks += 5000
    assert world.clock.utc_ms() == BUILT + 2 * DAY + 5000 and world.clock.quality() == QUALITY_SYNCED
    assert world.clock.receipt_time(BUILT + 2 * DAY + 5100) is False


def test_TP_WIR_022_a_receipt_below_the_floor_or_absurd_is_not_believed():
    world = World(BUILT + DAY)
    for time in (Y2000, BUILT - 1, 4102444800000):
        assert world.clock.receipt_time(time) is False
        assert world.clock.utc_ms() is None


def test_TP_WIR_022_the_floor_survives_a_reboot_and_spares_the_flash():
    store = Memory()
    first = World(BUILT, store)
    first.clock.receipt_time(BUILT + DAY)
    for minute in range(30):
        first.clock.receipt_time(BUILT + DAY + minute * 60_000)
    assert store.puts == 1
    second = World(Y2000, store)
    assert second.clock.floor_ms == BUILT + DAY
    assert second.set_to[0][:3] == (2026, 11, 22)


def test_uptime_counts_through_the_wrap_of_the_tick_counter():
    import time

    world = World(BUILT)
    before = world.clock.uptime_ms()
    half = time.ticks_add(0, -1) // 2
    for _ in range(5):
        world.ticks = time.ticks_add(world.ticks, half)
        world.clock.uptime_ms()
    assert world.clock.uptime_ms() - before == 5 * half


def test_quality_falls_to_holdover_a_day_after_the_last_receipt():
    world = World(BUILT)
    world.clock.receipt_time(BUILT + DAY)
    world.ticks += DAY - 1
    assert world.clock.quality() == QUALITY_SYNCED
    world.ticks += 1
    assert world.clock.quality() == QUALITY_HOLDOVER
