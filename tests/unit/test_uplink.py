"""Receipts settle what they prove and nothing else; batches keep to their bounds (protocols/wire.md)."""

import asyncio
import hashlib
import time

from gateway import cbor, cose, kinds, p256
from gateway.bounds import AGAIN_MS
from gateway.clock import Clock
from gateway.event import Recorder
from gateway.home import Home
from gateway.journal import Journal
from gateway.mqtt import Client
from gateway.recall import recall
from gateway.uplink import Uplink
from memory_store import Memory
from nor import BlockDevice, Nor

GATEWAY = "home-0001"
TOPIC = "trygg/1/home-0001/receipt"
RECEPTION = b"\x21" * 32
STRANGER = b"\x22" * 32
NOW_MS = 1795300000000


async def no_network(attempt):
    await asyncio.sleep(3600)


class Gateway:
    """Everything from the recorder to the home, with a client that has no network."""

    def __init__(self):
        self.journal = Journal(BlockDevice(Nor(16 * 4096)))
        self.clock = Clock(lambda fields: None, Memory(), 1795219200000)
        self.clock.on_change = lambda before: None
        self.home = Home()
        self.recorder = Recorder(GATEWAY, self.journal, self.clock)
        self.client = Client(GATEWAY, no_network)
        public = p256.public_key(RECEPTION)
        sign = b"\x23" * 32
        kid = cose.kid(p256.public_key(sign))
        self.uplink = Uplink(
            GATEWAY, self.journal, self.client, lambda payload, aad: cose.sign1_steps(payload, aad, sign, kid),
            {cose.kid(public): public}, self.clock, self.home,
        )  # fmt: skip

    def alarm(self):
        seq, _, _ = self.recorder.record(kinds.HELP)
        self.home.raised(seq, kinds.HELP, self.clock.uptime_ms())
        return seq

    def digest(self, first, last):
        hashes = b"".join(hashlib.sha256(self.journal.read(seq)).digest() for seq in range(first, last + 1))
        return hashlib.sha256(hashes).digest()[:8]

    def receipt(self, ranges, outcome=kinds.OUTCOME_STORED, gateway=GATEWAY, secret=RECEPTION, topic=TOPIC, more=None):
        """Hands over a receipt as the broker would, and lets the loop verify it."""
        self.uplink.message(TOPIC, self.envelope(ranges, outcome, gateway, secret, topic, more))
        asyncio.run(self._verify())

    def envelope(self, ranges, outcome=kinds.OUTCOME_STORED, gateway=GATEWAY, secret=RECEPTION, topic=TOPIC, more=None):
        payload = {1: gateway, 2: self.journal.epoch, 3: ranges, 4: outcome, 5: NOW_MS}
        payload.update(more or {})
        return cose.sign1(cbor.encode(payload), topic.encode(), secret, cose.kid(p256.public_key(secret)))

    async def _verify(self):
        task = asyncio.create_task(self.uplink.run_receipts(lambda: None))
        while self.uplink._receipts:
            await asyncio.sleep(0)
        task.cancel()

    def pending(self):
        return [seq for seq, _, _ in self.journal.pending(1000)]


def test_TP_WIR_013_a_matching_receipt_settles_its_range():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(4)]
    gateway.receipt([[seqs[1], seqs[2], gateway.digest(seqs[1], seqs[2])]])
    assert gateway.pending() == [seqs[0], seqs[3]]
    assert gateway.uplink.refused_receipts == 0
    assert gateway.home.signal(gateway.clock.uptime_ms()) == "sending", "the newest alarm is not settled"


def test_TP_WIR_013_TP_BND_041_a_receipt_of_more_events_than_a_range_holds_settles_them_all():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(65)]
    gateway.receipt([[seqs[0], seqs[64], gateway.digest(seqs[0], seqs[64])]])
    assert gateway.pending() == seqs and gateway.uplink.refused_receipts == 1, "so long a range is not checked"
    gateway.receipt([[a, b, gateway.digest(a, b)] for a, b in ((seqs[0], seqs[63]), (seqs[64], seqs[64]))])
    assert gateway.pending() == []


def test_TP_WIR_013_a_receipt_that_proves_nothing_is_ignored_and_counted():
    gateway = Gateway()
    seq = gateway.alarm()
    good = gateway.digest(seq, seq)
    tries = (
        ([[seq, seq, b"\0" * 8]], {}),
        ([[seq, seq + 1, good]], {}),
        ([[seq + 1, seq, good]], {}),
        ([[seq, seq, good]], {"gateway": "home-0002"}),
        ([[seq, seq, good]], {"secret": STRANGER}),
        ([[seq, seq, good]], {"topic": "trygg/1/home-0002/receipt"}),
        ([[seq - 100, seq, good]], {}),
        ([[seq, seq]], {}),
        (7, {}),
        ([["x", seq, good]], {}),
    )
    for count, (ranges, options) in enumerate(tries, 1):
        gateway.receipt(ranges, **options)
        assert gateway.pending() == [seq], ranges
        assert gateway.uplink.refused_receipts == count, (ranges, options)
        assert gateway.clock.utc_ms() is None, "and its time is not believed"
    gateway.receipt([[seq, seq, good]])
    assert gateway.pending() == []


def losing(gateway, lost):
    """The gateway's journal no longer holds these events."""
    events = gateway.journal.events
    gateway.journal.events = lambda first, last: (
        (seq, None, None) if seq in lost else (seq, alarm, payload) for seq, alarm, payload in events(first, last)
    )


def test_TP_WIR_013_TP_WIR_019_what_is_no_longer_held_voids_no_other_range():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(5)]
    single = [[seq, seq, gateway.digest(seq, seq)] for seq in seqs[:3]]
    joined = [seqs[3], seqs[4], gateway.digest(seqs[3], seqs[4])]
    losing(gateway, (seqs[1], seqs[4]))
    gateway.receipt(single + [joined], kinds.OUTCOME_TAKEN)
    told = [gateway.home._alarms[i][0] for i in range(5) if gateway.home._alarms[i][1]]
    assert told == [seqs[0], seqs[2]]
    assert gateway.uplink.refused_receipts == 0
    gateway.receipt(single + [joined])
    assert gateway.pending() == [seqs[1], seqs[3], seqs[4]], "what is not proven is not settled"
    gateway.receipt([single[1], joined])
    gateway.receipt([single[1], [seqs[4], seqs[4], None]])
    assert gateway.uplink.refused_receipts == 2, "and what proves nothing at all is refused"
    assert gateway.pending() == [seqs[1], seqs[3], seqs[4]]


def test_TP_WIR_013_one_wrong_digest_voids_its_receipt():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(2)]
    gateway.receipt([[seqs[0], seqs[0], gateway.digest(seqs[0], seqs[0])], [seqs[1], seqs[1], bytes(8)]])
    assert gateway.pending() == seqs and gateway.uplink.refused_receipts == 1


def test_TP_WIR_022_only_a_receipt_for_an_event_in_flight_tells_the_time():
    gateway = Gateway()
    seq = gateway.alarm()
    good = gateway.digest(seq, seq)
    gateway.receipt([[seq, seq, good]])
    assert gateway.pending() == [], "it settles"
    assert gateway.clock.utc_ms() is None, "but may have waited at the broker since the last boot"
    seq = gateway.alarm()
    asyncio.run(gateway.uplink._send([(seq, gateway.journal.read(seq))], True))
    gateway.receipt([[seq, seq, gateway.digest(seq, seq)]])
    assert 0 <= gateway.clock.utc_ms() - NOW_MS < 1000


def test_TP_WIR_022_TP_BND_045_the_receipt_of_what_was_published_twice_may_be_as_old_as_its_first_try():
    hour_ms = 3600_000
    for runs_ahead_ms, is_left_alone in (
        (-1000, False),
        (30 * 60_000, True),
        (hour_ms, True),
        (hour_ms + 60_000, False),
    ):
        gateway = Gateway()
        gateway.clock.set(NOW_MS + runs_ahead_ms)
        seq = gateway.alarm()
        for _ in range(2):
            asyncio.run(gateway.uplink._send([(seq, gateway.journal.read(seq))], True))
            tried = gateway.uplink._in_flight[seq]
            gateway.uplink._in_flight[seq] = time.ticks_ms()  # no answer in time
            gateway.uplink._expire()
        gateway.uplink._in_flight[seq] = tried  # under way for the third time
        gateway.receipt([[seq, seq, gateway.digest(seq, seq)]])
        moved_ms = gateway.clock.utc_ms() - NOW_MS - runs_ahead_ms
        assert (abs(moved_ms) < 500) is is_left_alone, (runs_ahead_ms, moved_ms)


def test_TP_WIR_022_a_receipt_that_waited_while_another_path_was_tried_sets_no_clock():
    gateway = Gateway()
    gateway.clock.set(NOW_MS + 30 * 60_000)
    seq = gateway.alarm()
    for _ in range(3):  # path 0, where the receipt is left waiting; path 1, where nobody answers; path 0 again
        asyncio.run(gateway.uplink._send([(seq, gateway.journal.read(seq))], True))
        way = gateway.uplink._in_flight[seq]
        gateway.uplink.moved()
    gateway.uplink._in_flight[seq] = way
    gateway.receipt([[seq, seq, gateway.digest(seq, seq)]])
    assert abs(gateway.clock.utc_ms() - NOW_MS - 30 * 60_000) < 500


class Worn:
    """NVS that is worn out: no power-on finds its witness, so each begins an epoch."""

    def get(self):
        return None

    def put(self, epoch, high_water):
        raise OSError(5)


def test_TP_WIR_009_each_of_several_old_epochs_goes_in_envelopes_of_its_own():
    gateway = Gateway()
    nor = Nor(16 * 4096)
    for _ in range(4):
        gateway.journal = gateway.uplink._journal = Journal(BlockDevice(nor), Worn())
        gateway.recorder = Recorder(GATEWAY, gateway.journal, gateway.clock)
        gateway.alarm()
        gateway.alarm()
    epochs = []
    while True:
        _, batch = gateway.uplink._backlog()
        if not batch:
            break
        (epoch,) = {cbor.decode(payload)[2] for _, payload in batch}
        epochs.append((epoch, len(batch)))
        gateway.journal.settle(batch[0][0], batch[-1][0])
    assert [count for _, count in epochs] == [2, 2, 2, 2] and len(set(epochs)) == 4


def test_TP_BND_044_sixteen_receipts_wait_to_be_verified_and_what_one_more_was_for_stays_pending():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(17)]
    for seq in seqs[:-1]:
        gateway.uplink.message(TOPIC, gateway.envelope([[seq, seq, gateway.digest(seq, seq)]]))
    gateway.receipt([[seqs[-1], seqs[-1], gateway.digest(seqs[-1], seqs[-1])]])
    assert gateway.pending() == seqs[-1:]
    gateway.receipt([[seqs[-1], seqs[-1], gateway.digest(seqs[-1], seqs[-1])]])
    assert gateway.pending() == []


def test_TP_WIR_013_garbage_is_counted_and_leaves_the_task_alive():
    gateway = Gateway()
    seq = gateway.alarm()
    for junk in (b"", b"\xd2", bytes(1300), b"\xff" * 700):
        gateway.uplink.message(TOPIC, junk)
    gateway.uplink.message("trygg/1/home-0001/command", b"not a receipt")
    gateway.receipt([[seq, seq, gateway.digest(seq, seq)]])
    assert gateway.uplink.refused_receipts == 4
    assert gateway.pending() == []


def test_TP_WIR_015_each_outcome_settles_or_does_not():
    for outcome in range(9):
        gateway = Gateway()
        seq = gateway.alarm()
        gateway.receipt([[seq, seq, gateway.digest(seq, seq)]], outcome)
        assert gateway.pending() == ([] if outcome in kinds.SETTLING else [seq]), outcome


def test_TP_WIR_015_retry_later_holds_the_backlog_and_not_for_ever():
    gateway = Gateway()
    seq = gateway.alarm()
    gateway.receipt([[seq, seq, gateway.digest(seq, seq)]], kinds.OUTCOME_RETRY_LATER, more={6: 50})
    assert gateway.uplink._held()
    import time

    time.sleep_ms(60)
    assert not gateway.uplink._held()


def test_TP_BND_013_batches_are_one_class_fit_and_leave_a_bounded_number_in_flight():
    gateway = Gateway()
    for i in range(60):
        gateway.recorder.record(kinds.BOOT, data={kinds.DATA_FIRMWARE: "x" * (i % 50)})
    alarms = [gateway.alarm() for _ in range(20)]
    sent = []
    while True:
        alarm, batch = gateway.uplink._backlog()
        if not batch:
            break
        assert len(cbor.head(4, len(batch))) + sum(len(event) for _, event in batch) <= 1214
        assert all((seq in alarms) == alarm for seq, _ in batch), "one class an envelope"
        for seq, _ in batch:
            gateway.uplink._in_flight[seq] = time.ticks_add(time.ticks_ms(), AGAIN_MS)
            sent.append(seq)
    assert sent[:20] == alarms, "alarms first"
    assert 48 < len(sent) <= 64 and sent[20:] == sorted(sent[20:])


def test_TP_WIR_051_envelopes_are_as_few_as_the_size_of_the_events_allows():
    """Information and alarms, at the sizes where one more byte makes one more envelope."""
    for kind in (kinds.BOOT, kinds.HELP):
        for size, count in ((19, 63), (60, 20), (61, 19), (110, 11), (121, 10), (122, 9), (606, 2), (607, 1)):
            gateway = Gateway()
            alarm = kinds.KINDS[kind][1]
            for i in range(2 * count + 1):
                gateway.journal.append(bytes([i]) * size, alarm)
            sizes = []
            while True:
                of_alarms, batch = gateway.uplink._backlog()
                if not batch:
                    break
                assert of_alarms == alarm
                envelope = cose.sign1(cbor.array([event for _, event in batch]), b"topic", b"\x23" * 32, bytes(8))
                assert len(envelope) <= 1300
                sizes.append(len(batch))
                gateway.journal.settle(batch[0][0], batch[-1][0])
            assert sizes == [count, count, 1], (size, sizes)


def test_TP_WIR_051_a_short_envelope_is_not_sent_for_want_of_room_in_flight():
    gateway = Gateway()
    for i in range(80):
        gateway.journal.append(bytes([i]) * 60, False)
    for count in (20, 20, 20):
        _, batch = gateway.uplink._backlog()
        assert len(batch) == count
        gateway.uplink._in_flight.update({seq: time.ticks_add(time.ticks_ms(), AGAIN_MS) for seq, _ in batch})
    assert gateway.uplink._backlog() == (None, []), "there is room for four"
    gateway.journal.settle(1, 20)
    for seq in range(1, 21):
        del gateway.uplink._in_flight[seq]
    assert [seq for seq, _ in gateway.uplink._backlog()[1]] == list(range(61, 81))


def test_TP_WIR_036_what_waits_long_keeps_no_other_from_going():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(70)]
    later = time.ticks_add(time.ticks_ms(), 3600_000)
    gateway.uplink._in_flight.update({seq: later for seq in seqs[:64]})
    assert [seq for seq, _ in gateway.uplink._backlog()[1]] == seqs[64:]


def test_TP_WIR_036_TP_BND_006_alarms_that_are_held_take_no_room_of_others():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(64)]
    gateway.receipt(
        [[seqs[0], seqs[63], gateway.digest(seqs[0], seqs[63])]], kinds.OUTCOME_RETRY_LATER, more={6: 3600_000}
    )
    assert gateway.uplink._backlog() == (None, []), "they wait"
    away = gateway.alarm()  # recorded while the connection was gone
    assert [seq for seq, _ in gateway.uplink._backlog()[1]] == [away]
    gateway.client.connected = True
    seq, payload, alarm = gateway.recorder.record(kinds.HELP)
    gateway.uplink.fresh(seq, payload, alarm)
    gateway.uplink._in_flight[seq] = time.ticks_ms()  # published, and nobody has answered
    gateway.uplink._expire()
    assert [seq for seq, _ in gateway.uplink._backlog()[1]] == [away, seq]


def test_TP_WIR_036_TP_BND_040_no_more_are_held_than_there_is_room_to_remember():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(192)]
    for at in (0, 64, 128):
        first, last = seqs[at], seqs[at + 63]
        gateway.receipt([[first, last, gateway.digest(first, last)]], kinds.OUTCOME_RETRY_LATER, more={6: 3600_000})
    assert sorted(gateway.uplink._in_flight) == seqs[:128]
    assert gateway.uplink._backlog()[1][0][0] == seqs[128], "the others are published again"


def test_TP_WIR_036_retry_later_that_comes_late_holds_nothing_that_is_settled():
    gateway = Gateway()
    seqs = [gateway.alarm() for _ in range(3)]
    whole = [[seqs[0], seqs[2], gateway.digest(seqs[0], seqs[2])]]
    gateway.receipt([[seqs[0], seqs[1], gateway.digest(seqs[0], seqs[1])]])
    gateway.receipt(whole, kinds.OUTCOME_RETRY_LATER, more={6: 3600_000})
    assert sorted(gateway.uplink._in_flight) == seqs[2:]


class Slices:
    """Counts the slices of what is signed and verified, in the order in which the loop runs them."""

    def __init__(self):
        self.order = []

    def of(self, name, steps):
        while True:
            self.order.append(name)
            try:
                next(steps)
            except StopIteration as e:
                return e.value
            yield


def busy_gateway():
    """A connected gateway with a backlog, whose slices are counted: (gateway, slices)."""
    gateway = Gateway()
    slices = Slices()
    sign = gateway.uplink._sign_steps
    gateway.uplink._sign_steps = lambda payload, aad: slices.of(aad.decode()[-5:], sign(payload, aad))
    gateway.client.connected = True
    for _ in range(30):
        gateway.recorder.record(kinds.BOOT)
    return gateway, slices


async def _fall_into(gateway, slices, after, receipt):
    """Starts the drain and, `after` slices later, makes an alarm: (the slices until it was published, those that followed)."""
    tasks = [asyncio.create_task(task(lambda: None)) for task in (gateway.uplink.run, gateway.uplink.run_receipts)]
    gateway.uplink.message(TOPIC, receipt)
    while len(slices.order) < after:
        await asyncio.sleep(0)
    seq, payload, alarm = gateway.recorder.record(kinds.HELP)
    begin = len(slices.order)
    queue = gateway.client._session.queue
    gateway.uplink.fresh(seq, payload, alarm)
    while not any(message.topic.endswith("alarm") for message in queue):
        await asyncio.sleep(0)
    between = slices.order[begin:]
    for _ in range(200):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    return between, slices.order[begin + len(between) :]


def test_TP_WIR_052_a_fresh_alarm_overtakes_the_signing_of_the_backlog_and_the_verifying_of_a_receipt():
    for after in range(1, 24):
        between, later = _interrupted(after)
        assert 5 < between.count("alarm") < 20
        assert set(between) == {"alarm"}, (after, between)
        assert "receipt" in later, "and the rest goes on"


def _interrupted(after):
    gateway, slices = busy_gateway()
    verify1_steps = cose.verify1_steps
    cose.verify1_steps = lambda *args: slices.of("receipt", verify1_steps(*args))
    try:
        receipt = gateway.envelope([[1, 1, gateway.digest(1, 1)]])
        return asyncio.run(_fall_into(gateway, slices, after, receipt))
    finally:
        cose.verify1_steps = verify1_steps


def test_TP_BND_001_fresh_alarms_that_the_heap_has_no_room_for_are_pending_at_once():
    gateway = Gateway()
    gateway.client.connected = True

    def no_room(payload, aad):
        raise MemoryError

    gateway.uplink._sign_steps = no_room
    seqs = []

    async def press():
        for _ in range(3):
            seq, payload, alarm = gateway.recorder.record(kinds.HELP)
            gateway.uplink.fresh(seq, payload, alarm)
            seqs.append(seq)
        while gateway.uplink._fresh:
            await asyncio.sleep(0)

    asyncio.run(press())
    assert gateway.uplink._hungry == 1 and gateway.uplink._in_flight == {}
    assert [seq for seq, _ in gateway.uplink._backlog()[1]] == seqs


def test_TP_BND_012_no_more_than_three_envelopes_wait_for_the_broker():
    gateway = Gateway()
    gateway.recorder.record(kinds.BOOT)
    gateway.uplink._envelopes = 3
    assert asyncio.run(gateway.uplink._send_next()) is False
    gateway.uplink._envelopes = 2
    assert asyncio.run(gateway.uplink._send_next()) is True


def test_TP_WIR_007_TP_BND_003_evidence_is_cut_and_the_alarm_is_not():
    gateway = Gateway()
    seq, payload, alarm = gateway.recorder.record(
        kinds.FALL, sensor="fall", location=2, data={kinds.DATA_EVIDENCE: list(range(100_000, 101_000))}
    )
    assert alarm and len(payload) <= 1100
    event = cbor.decode(payload)
    assert event[8] == kinds.FALL and event[3] == seq and 0 < len(event[15][kinds.DATA_EVIDENCE]) < 1000
    assert gateway.journal.read(seq) == payload


def test_TP_WIR_008_updates_and_cancels_ride_with_their_alarm():
    gateway = Gateway()
    first = gateway.alarm()
    for state in (kinds.STATE_UPDATED, kinds.STATE_CLEARED):
        _, payload, alarm = gateway.recorder.record(kinds.HELP, state, ref=first)
        assert alarm and cbor.decode(payload)[11] == first


def test_TP_WIR_019_after_a_restart_the_home_shows_what_is_not_settled():
    gateway = Gateway()
    first = gateway.alarm()
    gateway.recorder.record(kinds.HELP, kinds.STATE_CLEARED, ref=first)
    second = gateway.alarm()
    home = Home()
    recall(home, Memory(), gateway.journal, 0)
    assert home.newest_open() == (second, kinds.HELP)
    assert home.signal(1) == "sending"
