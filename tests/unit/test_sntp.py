"""Time servers: what is asked, which answers are believed, and what becomes of a time that a certificate contradicts."""

import time

from gateway import sntp
from gateway.clock import Clock
from gateway.kinds import QUALITY_HOLDOVER, QUALITY_NEVER, QUALITY_SYNCED
from memory_store import Memory

HEAPSIZE = "192k"
NONCE = b"\x11\x22\x33\x44\x55\x66\x77\x88"
FLOOR = 1795219200000  # 2026-11-21
DAY = 86_400_000
Y1999 = 915148800000
Y2036 = 2085978496000  # 2036-02-07T06:28:16Z, the first second of NTP era 1
Y2040 = 2208988800000
EXPIRED = "The certificate validity has expired"
FUTURE = "The certificate validity starts in the future"


def reply(utc_ms, first=0x24, stratum=2, kiss=b"\0\0\0\0", nonce=NONCE):
    seconds, ms = divmod(utc_ms, 1000)
    transmit = ((seconds + 2208988800) & 0xFFFFFFFF).to_bytes(4, "big") + (ms * 4294967296 // 1000).to_bytes(4, "big")
    return bytes((first, stratum, 6, 0xEC)) + bytes(8) + kiss + bytes(8) + nonce + transmit + transmit


def refusal(answer, floor=FLOOR):
    try:
        return sntp.utc_ms(answer, NONCE, floor)
    except sntp.Refused as e:
        return str(e)


def test_TP_WIR_042_the_question_tells_nothing_but_a_random_number():
    asked = sntp.question(NONCE)
    assert len(asked) == 48 and asked[0] == 0x23 and asked[40:] == NONCE and not any(asked[1:40])


def test_TP_WIR_042_a_sound_answer_tells_the_time():
    for utc_ms in (FLOOR, FLOOR + 1, FLOOR + 123_456_789):
        assert abs(sntp.utc_ms(reply(utc_ms), NONCE, FLOOR) - utc_ms) <= 1
    assert abs(sntp.utc_ms(reply(FLOOR + 999, first=0x1C) + bytes(20), NONCE, FLOOR) - FLOOR - 999) <= 1


def test_TP_WIR_042_what_answers_another_question_is_no_answer():
    good = reply(FLOOR + DAY)
    for wrong in (
        reply(FLOOR + DAY, nonce=bytes(8)),
        reply(FLOOR + DAY, first=0x23),  # a client's
        reply(FLOOR + DAY, first=0x25),  # broadcast
        reply(FLOOR + DAY, first=0x0C),  # version 1
        sntp.question(NONCE),
        good[:47],
        b"",
        b"\xff" * 48,
    ):
        assert sntp.utc_ms(wrong, NONCE, FLOOR) is None


def test_TP_WIR_042_a_server_that_does_not_know_the_time_is_not_believed():
    for answer in (reply(FLOOR + DAY, first=0xE4), reply(FLOOR + DAY, stratum=16), reply(FLOOR + DAY, stratum=255)):
        assert refusal(answer) == "does not know the time itself"
    assert refusal(reply(FLOOR + DAY)[:40] + bytes(8)) == "tells a time that cannot be"


def test_TP_WIR_042_kiss_of_death_is_heard_only_from_the_one_that_was_asked():
    for code in ("DENY", "RSTR", "RATE"):
        assert refusal(reply(FLOOR + DAY, stratum=0, kiss=code.encode())) == f"refuses ({code})"
    assert sntp.utc_ms(reply(FLOOR + DAY, stratum=0, kiss=b"DENY", nonce=bytes(8)), NONCE, FLOOR) is None


def test_TP_WIR_042_below_the_floor_and_20_years_above_it_nothing_is_believed():
    for utc_ms in (Y1999, 0, FLOOR - 1, FLOOR + 632_000_000_000):
        assert refusal(reply(utc_ms)) == "tells a time that cannot be", utc_ms


def test_TP_WIR_043_after_february_2036_the_floor_says_which_era_it_is():
    for utc_ms in (Y2036 - 1000, Y2036, Y2036 + 1, Y2036 + 1000, Y2040):
        if utc_ms != Y2036:  # all zero bits mean unknown
            assert abs(sntp.utc_ms(reply(utc_ms), NONCE, FLOOR) - utc_ms) <= 1
        assert abs(sntp.utc_ms(reply(utc_ms + 1500), NONCE, utc_ms - 1000) - utc_ms - 1500) <= 1
    assert refusal(reply(Y2036 - DAY), Y2036 + DAY) == "tells a time that cannot be"


def test_TP_WIR_044_more_than_half_of_the_servers_must_agree():
    for bases, servers, agreed in (
        ([5], 1, 5),
        ([], 1, None),
        ([5], 2, None),
        ([5, 4000], 2, 5),
        ([5, 90_000], 2, None),
        ([90_000, 5, 4000], 3, 5),
        ([5, 90_000], 3, None),
        ([5, 6, 90_000, 90_001], 4, None),
        ([5, 6, 90_000, 7], 4, 5),
    ):
        assert sntp.majority(bases, servers) == agreed, bases


class World:
    """A gateway's clock after a power-on, and what after_failure does with it."""

    def __init__(self, rtc):
        self.rtc = rtc
        self.ticks = 100
        self.said = []
        self.retries = 0
        self.clock = Clock(self.set_rtc, Memory(), FLOOR, now=lambda: self.rtc, ticks=lambda: self.ticks)
        self.changes = []
        self.clock.on_change = lambda before: self.changes.append((before, self.clock.utc_ms()))

    def set_rtc(self, fields):
        self.rtc = time.mktime((fields[0], fields[1], fields[2], fields[4], fields[5], fields[6], 0, 0)) * 1000

    def retry(self):
        self.retries += 1

    def failed(self, reason):
        sntp.after_failure(reason, self.clock, [], self.said.append, self.retry)

    def sntp_says(self, utc_ms):
        self.clock.back_ms = self.rtc - self.clock.uptime_ms()
        self.clock.set(utc_ms)


def test_TP_WIR_042_a_time_server_that_a_certificate_contradicts_is_dropped():
    for reason in (EXPIRED, FUTURE):
        world = World(FLOOR + DAY)
        world.sntp_says(FLOOR + 4000 * DAY)
        assert world.rtc == FLOOR + 4000 * DAY and world.clock.quality() == QUALITY_HOLDOVER
        world.failed("connection reset")
        assert world.clock.utc_ms() is not None
        world.failed(reason)
        assert world.clock.quality() == QUALITY_NEVER and world.clock.back_ms is None
        assert world.rtc == FLOOR + DAY, "where the RTC was"
        assert world.retries == 1
        assert world.changes == [(None, FLOOR + 4000 * DAY), (FLOOR + 4000 * DAY, None)]


def test_TP_WIR_042_an_rtc_that_kept_a_lie_over_a_reset_goes_to_the_floor():
    world = World(FLOOR + 4000 * DAY)
    world.failed(EXPIRED)
    assert world.rtc == FLOOR and world.retries == 0
    world.failed(FUTURE)
    assert world.rtc == FLOOR + 4000 * DAY, "the other way round the RTC may have been right"


def test_TP_WIR_041_a_signed_and_proven_time_stays_when_a_certificate_expires():
    world = World(FLOOR)
    world.clock.receipt_time(FLOOR + DAY, 0)
    world.failed(EXPIRED)
    assert world.clock.utc_ms() == FLOOR + DAY and world.clock.quality() == QUALITY_SYNCED
    assert world.said == [] and world.retries == 0


def test_TP_WIR_042_without_a_time_server_it_says_what_to_do():
    world = World(FLOOR)
    world.failed(FUTURE)
    assert world.said == ["time: unknown, and no time server is set: provision the gateway again, with --time-server"]
