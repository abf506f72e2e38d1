"""What is never answered stops nobody, and a brake is none for a fresh alarm (TP-WIR-035, TP-WIR-036)."""

import asyncio
import time

from gateway import kinds, resend
from gateway import uplink as gateway_uplink
from gateway.bounds import AGAIN_MS, ALARM_PAUSE_MS, EVENT_PAUSE_MS
from test_uplink import Gateway
from ticks import Ticks

HEAPSIZE = "64M"


class Clocked:
    """A gateway whose uplink lives by a clock of ours; `published` are the seqs of each envelope, with its time in ms."""

    def __init__(self):
        self.gateway = Gateway()
        self.uplink = self.gateway.uplink
        self.published = []
        self.uplink._suspect_at = self.uplink._answered_at = 0
        self.uplink.publish_signed = self.take
        self._ticks = gateway_uplink.time = Ticks()

    @property
    def now_ms(self):
        return self._ticks.now_ms

    @now_ms.setter
    def now_ms(self, now_ms):
        self._ticks.now_ms = now_ms

    async def take(self, name, payload, retain, seq, done, urgent):
        self.sent_now = name, done

    def run(self, for_ms, answers=lambda seqs: True, kills=lambda seqs: False):
        """A receiver that answers the envelopes for which `answers(seqs)`; `kills`: the connection breaks over them, fate unknown."""
        end = self.now_ms + for_ms
        while self.now_ms < end:
            while True:
                before = dict(self.uplink._in_flight)
                if not asyncio.run(self.uplink._send_next()):
                    break
                name, done = self.sent_now
                seqs = sorted(
                    seq for seq, at in self.uplink._in_flight.items() if before.get(seq) != at or seq not in before
                )
                self.published.append((self.now_ms, name, seqs))
                killed = kills(seqs)
                done(Message(None if killed else 0))
                if killed:
                    break
                if answers(seqs):
                    self.uplink._settle(seqs[0], seqs[-1], kinds.OUTCOME_STORED, 0)
                    self.uplink._heard()
            self.now_ms += 5000

    def times(self, seq):
        return [at for at, _, seqs in self.published if seq in seqs]


def waits(times):
    return [times[i + 1] - times[i] for i in range(len(times) - 1)]


class Message:
    def __init__(self, reason):
        self.reason = reason


def info(clocked, count):
    return [clocked.gateway.recorder.record(kinds.BOOT)[0] for _ in range(count)]


def test_TP_WIR_035_TP_BND_038_a_poison_event_goes_alone_and_its_pause_grows():
    clocked = Clocked()
    seqs = info(clocked, 40)
    poison = seqs[5]
    clocked.run(3600_000, answers=lambda batch: poison not in batch)
    assert clocked.gateway.pending() == [poison], "all others are settled, and it is still there"
    settled = max(at for at, _, batch in clocked.published if poison not in batch)
    assert settled <= 40_000, settled
    tries = clocked.times(poison)
    assert tries[:4] == [0, 10_000, 20_000, 30_000], tries
    assert all(batch == [poison] for at, _, batch in clocked.published if poison in batch and at >= 30_000)
    pauses = waits(tries[3:])
    assert pauses[:6] == [20_000, 40_000, 80_000, 160_000, 320_000, 600_000], pauses
    assert max(pauses) == EVENT_PAUSE_MS


def test_TP_WIR_035_an_alarm_that_is_poison_is_tried_every_minute_and_fresh_ones_pass_it():
    clocked = Clocked()
    poison = clocked.gateway.alarm()
    clocked.run(600_000, answers=lambda batch: poison not in batch)
    tries = clocked.times(poison)
    pauses = waits(tries)
    assert pauses[:3] == [10_000] * 3 and max(pauses) == ALARM_PAUSE_MS, pauses
    fresh = clocked.gateway.alarm()
    clocked.uplink.fresh(fresh, clocked.gateway.journal.read(fresh), True)
    others = info(clocked, 100)
    since = clocked.now_ms
    clocked.run(2000, answers=lambda batch: poison not in batch)
    assert clocked.times(fresh) == [since]
    assert clocked.gateway.pending() == [poison], "and the events behind it"
    assert others[-1] not in clocked.gateway.pending()


def test_TP_WIR_035_an_event_over_which_the_connection_breaks_takes_no_other_with_it():
    clocked = Clocked()
    seqs = info(clocked, 30)
    poison = seqs[0]
    clocked.run(1800_000, kills=lambda batch: poison in batch)
    assert clocked.gateway.pending() == [poison]
    assert len(clocked.times(poison)) < 15


def test_TP_BND_039_many_poison_events_leave_room_for_the_others():
    clocked = Clocked()
    seqs = info(clocked, 200)
    poison = set(seqs[:30])
    clocked.run(1200_000, answers=lambda batch: not poison.intersection(batch))
    assert clocked.gateway.pending() == sorted(poison)
    assert len([n for n in clocked.uplink._tries.values() if n >= 3]) <= 32


def test_TP_WIR_035_what_the_journal_gives_up_takes_no_place_among_the_unanswered():
    clocked = Clocked()
    gateway = clocked.gateway
    gone = info(clocked, 64)
    clocked.run(15_000, answers=lambda batch: False)
    assert sorted(clocked.uplink._tries) == gone
    while gateway.journal.stats()["pending_events"]:  # until it is full: information goes first
        gateway.alarm()
    assert clocked.uplink._tries == {} and not any(seq <= gone[-1] for seq in clocked.uplink._in_flight)
    for seq in gateway.pending():
        gateway.journal.settle(seq, seq)
    poison = info(clocked, 1)[0]
    clocked.run(60_000, answers=lambda batch: poison not in batch)
    assert clocked.uplink._tries[poison] >= 3, "so the next one is set apart"


def test_TP_WIR_035_TP_BND_026_what_is_not_sent_again_any_more_takes_no_place_among_the_unanswered():
    clocked = Clocked()
    gateway = clocked.gateway
    seqs = info(clocked, 64)
    gateway.journal.settle(seqs[0], seqs[-1])
    resend.add(clocked.uplink, [[seqs[0], seqs[-1]]])
    clocked.run(60_000, answers=lambda batch: False)
    assert len(clocked.uplink._tries) == 64
    clocked.uplink.again.until = time.ticks_add(time.ticks_ms(), -1)
    clocked.run(10_000)
    assert clocked.uplink.again is None
    assert clocked.uplink._tries == {} and clocked.uplink._in_flight == {}


def test_TP_WIR_035_after_a_silence_of_the_receiver_nothing_waits_out_its_pause():
    clocked = Clocked()
    alarm = clocked.gateway.alarm()
    seqs = info(clocked, 150)
    clocked.run(3600_000, answers=lambda batch: False)
    back = clocked.now_ms
    clocked.run(120_000)
    assert clocked.gateway.pending() == []
    assert clocked.times(alarm)[-1] - back <= ALARM_PAUSE_MS
    assert max(clocked.times(seq)[-1] for seq in seqs) - back <= ALARM_PAUSE_MS + AGAIN_MS


def test_TP_WIR_036_retry_later_holds_what_it_names_and_never_a_fresh_alarm():
    clocked = Clocked()
    gateway = clocked.gateway
    gateway_uplink.time = time
    named = gateway.alarm()
    events = info(clocked, 3)
    gateway.receipt([[named, named, gateway.digest(named, named)]], kinds.OUTCOME_RETRY_LATER, more={6: 60_000})
    other = gateway.alarm()  # recorded while the connection was gone: not in `_fresh`
    alarm, batch = clocked.uplink._backlog()
    assert alarm and [seq for seq, _ in batch] == [other], "an alarm that it does not name goes out"
    clocked.uplink._in_flight[other] = time.ticks_add(time.ticks_ms(), 60_000)
    assert asyncio.run(clocked.uplink._send_next()) is False, "the events wait"
    fresh = gateway.alarm()
    clocked.uplink.fresh(fresh, gateway.journal.read(fresh), True)
    assert asyncio.run(clocked.uplink._send_next()) is True
    assert gateway.pending() == [named, other, fresh] + events, "and it settles nothing"


def test_TP_WIR_050_an_alarm_goes_at_once_after_an_outage_of_any_length():
    """Published without a receipt, as one under way or as a suspect; then there is no network for days."""
    for unanswered_ms in (5000, 200_000):
        for days in (1, 6, 7, 10, 12, 13, 19):
            clocked = Clocked()
            alarm = clocked.gateway.alarm()
            clocked.run(unanswered_ms, answers=lambda seqs: False)
            for _ in range(24 * days):
                clocked.now_ms += 3600_000
                asyncio.run(offline(clocked.uplink))
            since = clocked.now_ms
            clocked.published.clear()
            clocked.run(5000)
            assert clocked.times(alarm) == [since], (unanswered_ms, days)


async def offline(uplink):
    """The uplink's loop, once, without a connection."""
    task = asyncio.create_task(uplink.run(lambda: None))
    uplink.tick()
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
