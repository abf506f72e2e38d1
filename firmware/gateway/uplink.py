"""Takes events from the journal to the receiver, and its receipts back.

Idea: the journal is the only truth. A fresh alarm goes out at once from RAM, on its own; everything else is read from
`journal.pending`, alarms first, in batches. What is *in flight* (published, no receipt yet) is a set of seqs with a
deadline: when it passes, the connection breaks or the broker refuses, the seq leaves the set, and so is simply pending
again. Only a verified receipt whose digest matches settles (TP-WIR-012, TP-WIR-013). An event that stays unanswered may be
poison: it goes alone, behind the others of its class, after a growing pause (TP-WIR-035)."""

import asyncio
import gc
import hashlib
import time

from micropython import const

from gateway import cbor, cose
from gateway.bounds import AGAIN_MS, ALARM_PAUSE_MS, EVENT_PAUSE_MS
from gateway.kinds import (
    OUTCOME_CONFLICT,
    OUTCOME_QUARANTINED,
    OUTCOME_RETRY_LATER,
    SETTLING,
)
from gateway.trace import step

_BATCH_BYTES = const(1214)  # payload of a full envelope (TP-COS-002)
_LEAST_BYTES = const(150)
_MAX_HUNGRY = const(60)
_STARVED_MS = const(500)
_MAX_IN_FLIGHT = const(64)  # TP-BND-013
_MAX_HELD = const(128)  # TP-BND-040
_MAX_ENVELOPES = const(3)  # TP-BND-012
_TRIES = const(3)  # TP-BND-038: in vain, before an event goes alone
_MOST_TRIES = const(12)
_MAX_SUSPECTS = const(32)  # TP-BND-039
_MAX_RECEIPTS = const(16)  # TP-BND-044
_MAX_OUTCOME = const(8)
_REFUSED_PAUSE_MS = const(1000)
_NOBODY_THERE = (0x10, 0x87)  # no matching subscribers, not authorized
_RETRY_LATER_MAX_MS = const(3600_000)
_WAITED_MS = const(3600_000)  # TP-BND-045


class Uplink:
    """`client`: gateway.mqtt.Client; `sign_steps(payload, aad)`: generator returning an envelope; `keys`: {kid: public65} that may sign receipts."""

    def __init__(self, gateway, journal, client, sign_steps, keys, clock, home):
        self._base = "trygg/1/%s/" % gateway
        self._gateway = gateway
        self._journal = journal
        self._client = client
        self._sign_steps = sign_steps
        self._keys = keys
        self._clock = clock
        self._home = home
        self._fresh = []
        self._in_flight = {}  # seq: ticks_ms at which it is pending again
        self._answered = None  # deadline of an event in flight that the receipt answers
        self._tries = {}  # seq: how often it was published in vain
        self._suspect_at = self._answered_at = time.ticks_ms()
        self.alarm_ms = None  # uptime since when alarms have been published and none was answered
        self._alarms = 0  # pending when the last receipt came
        self.awaited = None  # seq of the event that tests the path
        self._envelopes = 0
        self._room = _BATCH_BYTES  # less while the heap has no room for a full envelope
        self._hungry = 0  # how often in a row it had none at all
        self._working = False  # on signing or verifying what is not urgent
        self._hold_until = None  # retry_later: ticks_ms before which no backlog is sent
        journal.on_drop = self.forget
        self._wake = asyncio.Event()
        self._receipts = []
        self._receipt_came = asyncio.Event()
        self.refused_receipts = 0
        self.again = None  # again.Again, one envelope at a time, while there is something to send once more
        self.on_order = None  # called with an envelope that came on the topic command
        self.on_bound = None  # called with the seqs in flight, and first and last of a range that a receipt is for
        self.on_fault = None  # called with OUTCOME_CONFLICT or OUTCOME_QUARANTINED
        # Called with "on_refused" when the broker has nobody to give an alarm to, "on_proof" when `awaited` is settled.
        self.on_path = None

    def fresh(self, seq, payload, alarm, first=False):
        """Hands over an event that was just appended: an alarm, and what is to go `first`, goes out at once, ahead of any backlog."""
        if (alarm or first) and self._client.connected:
            self._fresh.append((seq, payload, alarm))
            self._in_flight[seq] = time.ticks_add(time.ticks_ms(), AGAIN_MS)
            if len(self._fresh) == 1:
                asyncio.create_task(self._send_fresh())
        elif alarm:
            self._client.kick()
        self._wake.set()

    def message(self, topic, payload, properties=None):
        """The MQTT client's on_message: queues a receipt for verification."""
        if topic == self._base + "receipt" and len(self._receipts) < _MAX_RECEIPTS:
            self._receipts.append(bytes(payload))
            self._receipt_came.set()
        elif topic == self._base + "command" and self.on_order:
            self.on_order(bytes(payload))

    def connected(self):
        """The MQTT client is connected: there may be something to send."""
        self._wake.set()

    def moved(self):
        """The next connection is with another broker: all that is not settled is to be published there, once more."""
        for seq in self._in_flight:
            if len(self._tries) < _MAX_IN_FLIGHT:
                self._tries.setdefault(seq, 1)
        self._in_flight.clear()
        self.alarm_ms = self.awaited = None

    def forget(self, first, last):
        """The events first…last are not to be sent any more: they take no room among those that are."""
        for table in (self._tries, self._in_flight):
            for seq in [seq for seq in table if first <= seq <= last]:
                del table[seq]

    def tick(self):
        """To be called every second: looks after what has waited too long."""
        self._wake.set()
        self._receipt_came.set()

    async def publish_signed(self, name, payload, retain=False, seq=0, done=None, urgent=False):
        """Signs `payload` for topic `name` and queues it; `done(message)` is called when its fate is known."""
        topic = self._base + name
        step("sign.begin", seq)
        envelope = await self.work_off(self._sign_steps(payload, topic.encode()), urgent)
        step("sign.end", seq)
        step("publish.begin", seq)
        self._client.publish(topic, envelope, qos=1, retain=retain).done = done
        await asyncio.sleep(0)
        step("publish.end", seq)

    async def run(self, alive):
        """Sends for ever."""
        while True:
            alive()
            try:
                if self._client.connected:
                    if await self._send_next():
                        continue
                else:
                    self._expire()  # now: of what is older than six days ticks say nothing
            except MemoryError:
                self._starved()
                await asyncio.sleep_ms(_STARVED_MS)
                continue
            await self._wake.wait()
            self._wake.clear()

    async def _send_fresh(self):
        """Publishes what is fresh. All other signing and verifying stands still meanwhile (TP-WIR-052)."""
        try:
            while self._fresh:
                seq, payload, alarm = self._fresh[0]
                await self._send([(seq, payload)], alarm, True)
                self._fresh.pop(0)
        except MemoryError:
            self._starved()
        finally:
            for seq, _, _ in self._fresh:  # after a failure: they are in the journal, and `pending` yields them first
                self._in_flight.pop(seq, None)
            self._fresh.clear()

    async def work_off(self, steps, urgent=False):
        """Runs a generator of slices in the loop and returns its value: one generator at a time, since each takes much heap.
        What is urgent waits for none, and what is not stands still while there is something fresh."""
        while self._working and not urgent:
            await asyncio.sleep(0)
        self._working = self._working or not urgent
        try:
            while True:
                while self._fresh and not urgent:
                    await asyncio.sleep(0)
                try:
                    next(steps)
                except StopIteration as e:
                    return e.value
                await asyncio.sleep(0)
        finally:
            self._working = self._working and urgent

    async def _send_next(self):
        """Publishes one envelope when there is something to send and room in flight; True when it did."""
        self._expire()
        if self._envelopes >= _MAX_ENVELOPES:
            return False
        alarm, batch = self._backlog()
        if not batch and self.again and not self._envelopes:
            alarm, batch = self._backlog(self.again.pending(self._journal, self._in_flight))
        if not batch or (self._held() and not alarm):
            return False
        await self._send(batch, alarm)
        return True

    def _backlog(self, events=None):
        """(class, [(seq, payload)]) of the next batch of `events`, by default what is pending: of one class, as many as an
        envelope takes."""
        batch = []
        now = time.ticks_ms()
        size = 0
        batch_alarm = epoch = suspect = fewest = None
        # What waits for longer than an answer takes up no room of others.
        room = _MAX_IN_FLIGHT - sum(time.ticks_diff(at, now) <= AGAIN_MS for at in self._in_flight.values())
        if room <= 0:
            return None, batch
        for seq, alarm, payload in events or self._journal.pending(_MAX_SUSPECTS + room + 1, self._in_flight):
            tries = self._tries.get(seq, 0)
            if tries >= _TRIES:
                if suspect is None or (alarm == suspect[0] and tries < fewest):
                    suspect, fewest = (alarm, [(seq, payload)]), tries
                continue
            size += len(payload)
            of = seq >= self._journal.epoch_first or cbor.decode(payload)[2]
            # One envelope: one topic, one epoch (TP-WIR-009), and no more than fits.
            if batch and (
                alarm != batch_alarm
                or of != epoch
                or size + 1 + (len(batch) > 22) > self._room  # the array's head has a second byte from 24 events on
            ):
                break
            if len(batch) == room:
                if room < _MAX_IN_FLIGHT:
                    return None, []  # better a full envelope, a little later
                break
            batch_alarm = alarm
            epoch = of
            batch.append((seq, payload))
        # One suspect at a time: should it break the connection, it takes no other down with it.
        free = not 0 <= time.ticks_diff(now, self._suspect_at) < AGAIN_MS
        if suspect and free and (not batch or suspect[0] > batch_alarm):
            return suspect
        return batch_alarm, batch

    async def _send(self, batch, alarm, urgent=False):
        now = time.ticks_ms()
        wait_ms = AGAIN_MS
        tries = self._tries.get(batch[0][0], 0)
        if tries >= _TRIES:
            self._suspect_at = now
            wait_ms = min(wait_ms << tries - _TRIES + 1, ALARM_PAUSE_MS if alarm else EVENT_PAUSE_MS)
        for seq, _ in batch:
            self._in_flight[seq] = time.ticks_add(now, wait_ms)
        if alarm and self.alarm_ms is None:
            self.alarm_ms = self._clock.uptime_ms()
        seqs = [seq for seq, _ in batch]
        self._envelopes += 1
        try:
            payload = cbor.array([event for _, event in batch])
            batch.clear()  # there is little room while one signs
            await self.publish_signed(
                "alarm" if alarm else "event",
                payload,
                False,
                seqs[0],
                lambda message: self._done(message, seqs, alarm),
                urgent,
            )
            self._room = min(2 * self._room, _BATCH_BYTES)
            self._hungry = 0
        except (OSError, MemoryError) as e:  # the queue is full, the connection went, no room to sign: pending again
            self._envelopes -= 1
            for seq in seqs:
                self._in_flight.pop(seq, None)
            if isinstance(e, MemoryError):
                raise

    def _starved(self):
        """The heap had no room: less at a time from now on. Raises MemoryError where that does not help for half a minute, and the
        watchdog makes a fresh heap."""
        self._hungry += 1
        if self._hungry > _MAX_HUNGRY:
            raise MemoryError
        self._room = max(self._room >> 1, _LEAST_BYTES)
        gc.collect()

    def _done(self, message, seqs, alarm):
        """The PUBACK has come: a refusal makes the events pending again after a while, an unknown fate does so at once."""
        self._envelopes -= 1
        reason = message.reason
        if reason is not None and reason < 0x80:
            step("puback", seqs[0])
        else:
            pause = time.ticks_add(time.ticks_ms(), 0 if reason is None else _REFUSED_PAUSE_MS)
            for seq in seqs:
                if seq in self._in_flight and self._tries.get(seq, 0) < _TRIES:  # a suspect keeps its pause
                    self._in_flight[seq] = pause
        if alarm and reason in _NOBODY_THERE and self.on_path:
            self.on_path("on_refused")
        self._wake.set()

    def _expire(self):
        """What has had no answer in time is pending again, and the try was in vain."""
        now = time.ticks_ms()
        tries = self._tries
        self._held()
        for seq in [s for s, deadline in self._in_flight.items() if time.ticks_diff(now, deadline) >= 0]:
            del self._in_flight[seq]
            count = tries.get(seq, 0) + 1
            if count == _TRIES and sum(1 for n in tries.values() if n >= _TRIES) >= _MAX_SUSPECTS:
                continue
            if seq in tries or len(tries) < _MAX_IN_FLIGHT:
                tries[seq] = min(count, _MOST_TRIES)

    def _held(self):
        if self._hold_until is not None and time.ticks_diff(time.ticks_ms(), self._hold_until) >= 0:
            self._hold_until = None
        return self._hold_until is not None

    async def run_receipts(self, alive):
        """Verifies and applies receipts for ever."""
        aad = (self._base + "receipt").encode()
        while True:
            alive()
            await self._receipt_came.wait()
            self._receipt_came.clear()
            while self._receipts:
                try:
                    _, payload = await self.work_off(cose.verify1_steps(self._receipts[0], aad, self._keys))
                    self._apply(cbor.decode(payload))
                except MemoryError:
                    self._starved()
                    await asyncio.sleep_ms(_STARVED_MS)
                    continue
                except (ValueError, KeyError, TypeError):
                    self.refused_receipts += 1
                self._receipts.pop(0)

    def _apply(self, receipt):
        """Takes what a receipt proves. Raises ValueError, KeyError or TypeError for one that proves nothing, or something wrong."""
        if type(receipt) is not dict:
            raise ValueError("not a receipt")
        ranges, outcome, utc_ms = receipt[3], receipt[4], receipt[5]
        numbers = (outcome, utc_ms, receipt.get(6, 0))
        if receipt[1] != self._gateway or max(receipt) > 6 or len(receipt[2]) != 8 or not ranges:
            raise ValueError("not a receipt for this gateway")
        if not all(type(number) is int and number >= 0 for number in numbers) or outcome > _MAX_OUTCOME:
            raise ValueError("not an outcome")
        wait_ms = min(receipt.get(6, AGAIN_MS), _RETRY_LATER_MAX_MS)
        ranges = self._proven(ranges)
        self._answered = None
        for first, last in ranges:
            step("receipt", first)
            self._settle(first, last, outcome, wait_ms)
        if self._answered is not None:  # or it may have waited at the broker (TP-WIR-022)
            left_ms = time.ticks_diff(self._answered, time.ticks_ms())
            if left_ms <= AGAIN_MS:  # a longer pause says nothing of when it was sent
                self._clock.receipt_time(utc_ms, AGAIN_MS - left_ms)
        self._heard()
        if outcome == OUTCOME_RETRY_LATER:
            self._hold_until = time.ticks_add(time.ticks_ms(), wait_ms)
        elif outcome in (OUTCOME_CONFLICT, OUTCOME_QUARANTINED) and self.on_fault:
            self.on_fault(outcome)
        self._wake.set()

    def _proven(self, ranges):
        """[(first, last)] of the ranges of which the receiver has the very events that are in the journal; one of which some are
        no longer held voids no other. Raises ValueError when there is none, or one is wrong."""
        proven = []
        for first, last, digest in ranges:
            held = first <= last < self._journal.next_seq and self._digest(first, last)
            if held and held == digest:
                proven.append((first, last))
            elif held is not None:
                raise ValueError("digest")
        if not proven:
            raise ValueError("no event of it is held")
        return proven

    def _settle(self, first, last, outcome, wait_ms):
        if self.on_bound:
            self.on_bound(self._in_flight, first, last)
        self._home.outcome(first, last, outcome, self._clock.uptime_ms())  # before the journal forgets the alarm
        if outcome in SETTLING:
            step("settle.begin", first)
            self._journal.settle(first, last)
            step("settle.end", last)
            if self.awaited is not None and first <= self.awaited <= last:
                self.awaited = None
                self.on_path("on_proof")
            for seq in range(first, last + 1):
                deadline = self._in_flight.pop(seq, None)
                tries = self._tries.pop(seq, 0)
                if deadline and tries < _TRIES:  # the deadline of others says nothing of when they were sent
                    # Was it published before, this may be the receipt for that, and have waited at the broker.
                    self._answered = time.ticks_add(deadline, -_WAITED_MS) if tries else deadline
        if self.again:
            self.again.settled(first, last)
        if outcome == OUTCOME_RETRY_LATER:
            for seq in self._journal.waiting(first, last):  # it may come late, when some are settled
                self._tries.pop(seq, None)
                if len(self._in_flight) < _MAX_HELD:
                    self._in_flight[seq] = time.ticks_add(time.ticks_ms(), wait_ms)

    def _heard(self):
        """The receiver is there. After a silence the pauses of the suspects end; the next one may go at once in any case."""
        now = time.ticks_ms()
        self._suspect_at = time.ticks_add(now, -AGAIN_MS)
        if not 0 <= time.ticks_diff(now, self._answered_at) <= _TRIES * AGAIN_MS:
            for seq, tries in self._tries.items():
                if tries >= _TRIES:
                    self._tries[seq] = _TRIES
                    self._in_flight.pop(seq, None)
        self._answered_at = now
        alarms = self._journal.stats()["pending_alarms"]
        if not alarms:
            self.alarm_ms = None
        elif alarms < self._alarms:
            self.alarm_ms = self._clock.uptime_ms()
        self._alarms = alarms

    def _digest(self, first, last):
        """First 8 bytes of SHA-256 over the hashes of the events first..last; None when one is no longer held."""
        if last - first >= _MAX_IN_FLIGHT:  # TP-BND-041
            return None
        whole = hashlib.sha256()
        for _, _, payload in self._journal.events(first, last):
            if payload is None:
                return None
            whole.update(hashlib.sha256(payload).digest())
        return whole.digest()[:8]
