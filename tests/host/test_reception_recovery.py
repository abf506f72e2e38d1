"""The reception asks for what has not arrived (TP-REC-280 to TP-REC-284): when, for what, how often, and when it stops."""

from itertools import pairwise

import pytest
from reception_databases import database_url, each_database_url, postgres  # noqa: F401
from reception_world import DAY, EPOCH, HOUR, MINUTE, SECOND, World
from tryggport import pki
from tryggport.pki import files
from tryggport.reception import orders, recovery, supervision, views
from tryggport.reception.asked import PAUSES_MS
from tryggport.reception.findings import HEARTBEAT_MS, Limits
from tryggport.reception.keyring import ReceiptKey
from tryggport.wire import kinds, order, topics
from tryggport.wire.envelope import Envelope
from tryggport.wire.order import Command, Result

HOME = "kitchen-7"
NEXT_EPOCH = bytes.fromhex("fedcba9876543210")


class Asking(World):
    """A world in which supervision looks and the reception asks. `journal`: (epoch, seq) of what the gateway still holds."""

    def __init__(self, url, folder):
        super().__init__(url)
        self.folder = folder
        self.journal = {}
        self.asked = []
        self.said = {}

    def open(self):
        """Also what a restart of the reception does."""
        super().open()
        self.supervisor = supervision.Supervisor(self.db, self.clock, Limits())

    def say(self, gateway=HOME, **fields):
        """Each gateway that is on line says it again every 5 minutes."""
        self.said[gateway] = (fields, self.now_ms)
        super().say(gateway, **fields)

    def look(self):
        for gateway, (fields, at_ms) in self.said.items():
            if fields.get("online", True) and self.now_ms - at_ms >= HEARTBEAT_MS:
                self.say(gateway, **fields)
        self.supervisor.tick()
        return recovery.Recovery(self.db, ReceiptKey(self.folder), self.clock).tick()

    def due(self):
        """Publishes what is due: the commands."""
        found = orders.due(self.db, self.now_ms)
        orders.mark_sent(self.db, [order_id for order_id, _, _ in found], self.now_ms)
        envelopes = [Envelope.from_bytes(envelope) for _, _, envelope in found]
        public = files.load_key(self.folder / "receipt.key").public_key()
        for envelope, (_, gateway, _) in zip(envelopes, found, strict=True):
            envelope.verify(public, topics.topic(gateway, topics.COMMAND))
        return [Command.from_bytes(envelope.payload) for envelope in envelopes]

    def answer(self, command, code=order.DONE, silent=False):
        """The gateway's result, and what it sends again."""
        epoch, first, last = command.arguments
        self.asked.append((epoch, first, last))
        if silent:
            return
        there = [seq for seq in range(first, last + 1) if (epoch, seq) in self.journal]
        gone = [[seq, seq] for seq in range(first, last + 1) if seq not in there]
        details = {1: last, 2: gone, 3: len(there)} if code == order.DONE else {}
        result = Result(
            gateway=command.gateway, epoch=command.epoch, kind=order.REQUEST, number=command.counter, code=code, details=details
        )  # fmt: skip
        orders.keep_results(self.db, [result], self.now_ms)
        for seq in there:
            self.arrive(self.journal[epoch, seq])

    def holds(self, *events):
        self.journal |= {(event.epoch, event.seq): event for event in events}

    def pass_time(self, ms, step_ms=5 * SECOND, **how):
        """The reception looks at each step, and the gateway answers what it is asked."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.later(min(step_ms, end_ms - self.now_ms))
            self.look()
            for command in self.due():
                self.answer(command, **how)

    def lines(self):
        self.supervisor.tick()
        return [row["sentence"] for row in views.work_list(self.centre) if row["kind"] == "withheld"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pki") / "pki"
    pki.init(made)
    return made


def settled_in(url, folder):
    made = Asking(url, folder)
    made.town("Asker")
    made.install("Asker", "A-1", HOME)
    return made


@pytest.fixture
def world(database_url, folder):  # noqa: F811
    made = settled_in(database_url, folder)
    yield made
    made.close()


@pytest.fixture
def each_world(each_database_url, folder):  # noqa: F811
    made = settled_in(each_database_url, folder)
    yield made
    made.close()


def test_TP_REC_281_what_is_missing_for_a_minute_is_asked_for_run_by_run_and_then_the_line_goes(each_world):
    world = each_world
    events = [world.event(seq, test=True) for seq in range(1, 12)]
    world.holds(*events)
    world.arrive(*[events[seq - 1] for seq in (1, 2, 5, 6)])
    world.say(next_seq=12)
    assert world.look() == 0
    world.later(59 * SECOND)
    assert world.look() == 0, "it may be on its way"
    world.later(SECOND)
    assert world.look() == 1
    (command,) = world.due()
    assert (command.what, command.arguments, command.epoch) == (order.RESEND, (EPOCH, 3, 4), EPOCH)
    assert command.not_after_ms == world.now_ms + recovery.ANSWER_MS
    assert world.look() == 0 and world.due() == [], "one at a time"
    world.answer(command)
    world.pass_time(10 * SECOND)
    assert world.asked == [(EPOCH, 3, 4), (EPOCH, 7, 11)], "exactly what is missing; the second run need not wait"
    assert world.lines() == []
    assert sorted(row["seq"] for row in views.list_events(world.centre)) == list(range(1, 12))
    world.pass_time(DAY, HOUR)
    assert len(world.asked) == 2


def test_TP_REC_281_what_the_gateway_has_yet_to_send_and_who_is_off_line_is_not_asked(world):
    world.alarm(1, test=True)
    world.say(next_seq=4, alarms=1, events=1)
    world.pass_time(10 * MINUTE)
    assert world.asked == [] and len(world.lines()) == 1
    world.say(next_seq=4)
    world.say(next_seq=4, online=False)
    world.pass_time(10 * MINUTE)
    assert world.asked == []
    world.say(next_seq=4, connect=2)
    world.said.clear()
    world.later(15 * MINUTE)  # without a word, and without a will that the reception saw
    world.pass_time(10 * MINUTE)
    assert world.asked == []
    world.say(next_seq=4, connect=3)
    world.pass_time(10 * SECOND)
    assert world.asked == [(EPOCH, 2, 3)]


def test_TP_REC_281_a_command_asks_for_no_more_than_a_gateway_looks_at(world):
    world.alarm(1, test=True)
    world.say(next_seq=6000)
    world.pass_time(90 * SECOND)
    assert world.asked == [(EPOCH, 2, 4097), (EPOCH, 4098, 5999)]


def test_TP_REC_282_TP_BND_028_what_is_not_answered_is_asked_after_longer_and_longer_and_then_a_person_is_left_with_it(
    world,
):
    world.alarm(1, test=True)
    world.say(next_seq=4)
    world.supervisor.tick()
    began_ms, times = world.now_ms, []
    while world.now_ms - began_ms < DAY:
        world.later(MINUTE if len(times) < 4 else 10 * MINUTE)
        world.look()
        for command in world.due():
            world.answer(command, silent=True)
            times.append(world.now_ms - began_ms)
        if len(times) in (1, 4):
            world.close()
            world.open()  # a restart changes nothing
    waits = [after - before for before, after in pairwise(times)]
    assert times[0] == MINUTE and waits == list(PAUSES_MS)
    assert world.asked == [(EPOCH, 2, 3)] * 6
    (line,) = world.lines()
    assert line.startswith(
        "2 events from 2 to 3 of the gateway kitchen-7 in home A-1 have not arrived: events are withheld."
    )
    assert "It was asked for them 6 times, last at 2027-01-15 1" in line
    assert line.endswith(
        "not asked any more; to ask again: "
        "tryggport reception resend kitchen-7 --epoch 0123456789abcdef --first 2 --last 3"
    )


def test_TP_REC_282_what_the_gateway_no_longer_holds_is_not_asked_for_again_and_shown_for_a_month(world):
    world.alarm(1, test=True)
    world.holds(world.event(3, test=True))
    world.say(next_seq=5)
    world.pass_time(90 * SECOND)
    assert world.asked == [(EPOCH, 2, 4)]
    (line,) = world.lines()
    assert line.startswith(
        "2 events from 2 to 4 of the gateway kitchen-7 in home A-1 have not arrived: the gateway no longer holds them, "
        "so they are lost. Ask the home what happened. It was asked for them once"
    )
    world.alarm(5, test=True)
    world.say(next_seq=8)
    world.pass_time(90 * SECOND)
    assert world.asked[1:] == [(EPOCH, 6, 7)], "later ones are asked for all the same"
    world.pass_time(29 * DAY, DAY)
    assert len(world.lines()) == 1
    world.pass_time(3 * DAY, DAY)
    assert world.lines() == [] and len(world.asked) == 2


def test_TP_REC_282_an_order_of_a_person_goes_before_a_request_and_waits_no_longer_than_20_seconds_for_one(each_world):
    world = each_world
    world.alarm(1, test=True)
    world.say(next_seq=3)
    world.supervisor.tick()
    world.later(MINUTE)
    assert world.look() == 1
    of_person = orders.queue(world.db, HOME, order.COMMAND, 7, b"signed elsewhere", what=order.RESTART)
    later = orders.queue(world.db, HOME, order.TRUST, 2, b"signed elsewhere")

    def due():
        found = [row[0] for row in orders.due(world.db, world.now_ms)]
        orders.mark_sent(world.db, found, world.now_ms)
        return found

    assert due() == [of_person], "the request was not on its way yet"
    done = {"gateway": HOME, "epoch": EPOCH, "code": order.DONE}
    orders.keep_results(world.db, [Result(kind=order.COMMAND, number=7, **done)], world.now_ms)
    assert due() == [later]
    orders.keep_results(world.db, [Result(kind=order.TRUST, number=2, **done)], world.now_ms)
    (request,) = due()
    another = orders.queue(world.db, HOME, order.COMMAND, 8, b"signed elsewhere", what=order.RESTART)
    assert due() == [], "never two at once"
    world.later(recovery.ANSWER_MS)
    assert due() == [another] and request != another


def test_TP_BND_029_many_gateways_are_asked_some_at_a_time_and_each_so_often_a_day(world):
    for number in range(recovery.MOST_AT_ONCE + 6):
        name = f"home-{number:04}"
        world.alarm(1, gateway=name, test=True)
        world.say(name, next_seq=3)
    world.supervisor.tick()
    world.later(MINUTE)
    assert (world.look(), world.look()) == (recovery.MOST_AT_ONCE, 0)
    world.later(recovery.ANSWER_MS)
    assert world.look() == 6, "those that were not asked yet"


def test_TP_BND_029_a_gateway_is_asked_so_often_a_day(world):
    world.arrive(*[world.event(seq, test=True) for seq in range(1, 2 * recovery.MOST_A_DAY + 10, 2)])
    world.say(next_seq=2 * recovery.MOST_A_DAY + 10)
    world.pass_time(MINUTE)
    world.pass_time((recovery.MOST_A_DAY + 5) * 20 * SECOND, 20 * SECOND, silent=True)
    assert len(world.asked) == recovery.MOST_A_DAY


@pytest.mark.parametrize("boot_is_there", [True, False])
def test_TP_REC_283_the_end_of_an_epoch_and_the_beginning_of_the_next_are_asked_for(world, boot_is_there):
    """The database is of yesterday; since then the gateway has begun a new epoch, and all of that was settled."""
    world.arrive(*[world.event(seq, test=True) for seq in range(1, 11)])
    world.say(next_seq=11)
    world.supervisor.tick()
    old = [world.event(seq, test=True) for seq in range(11, 15)]
    new = {"epoch": NEXT_EPOCH, "boot": 2}
    boot = world.event(15, kinds.BOOT, data={kinds.DATA_PREVIOUS_EPOCH: EPOCH}, **new)
    later = [world.event(seq, test=True, **new) for seq in range(16, 21)]
    world.holds(*old, boot, *later)
    if boot_is_there:
        world.arrive(boot, alarm=False)
    world.say(next_seq=21, epoch=NEXT_EPOCH, boot=2)
    world.pass_time(10 * MINUTE)
    assert world.lines() == []
    found = {(row["epoch"], row["seq"]) for row in views.list_events(world.centre)}
    expected = {(EPOCH.hex(), seq) for seq in range(1, 15)} | {(NEXT_EPOCH.hex(), seq) for seq in range(15, 21)}
    assert found == expected
    if boot_is_there:
        assert set(world.asked) == {(NEXT_EPOCH, 16, 20), (EPOCH, 11, 14)}
    else:
        assert world.asked == [(NEXT_EPOCH, 11, 20), (EPOCH, 11, 14)]
    world.pass_time(HOUR, MINUTE)
    assert len(world.asked) == 2


def test_TP_REC_283_what_a_new_epoch_says_was_dropped_of_the_one_before_is_not_asked_for(world):
    world.arrive(*[world.event(seq, test=True) for seq in range(1, 11)])
    world.say(next_seq=11)
    world.supervisor.tick()
    new = {"epoch": NEXT_EPOCH, "boot": 2}
    boot = world.event(15, kinds.BOOT, data={kinds.DATA_PREVIOUS_EPOCH: EPOCH}, **new)
    drop = world.event(16, kinds.DROP, data={kinds.DATA_FIRST: 11, kinds.DATA_LAST: 13}, **new)
    world.holds(world.event(14, test=True))
    world.arrive(boot, drop, alarm=False)
    world.say(next_seq=17, epoch=NEXT_EPOCH, boot=2)
    world.pass_time(10 * MINUTE)
    assert world.asked == [(EPOCH, 14, 14)] and world.lines() == []


def test_TP_REC_283_an_epoch_between_of_which_nothing_is_there_is_found_by_its_name(world):
    world.arrive(world.event(1, kinds.BOOT), alarm=False)
    world.say(next_seq=2)
    world.supervisor.tick()
    middle, last = bytes(range(8)), bytes(range(8, 16))
    world.holds(
        world.event(2, test=True),
        world.event(3, kinds.BOOT, epoch=middle, data={kinds.DATA_PREVIOUS_EPOCH: EPOCH}),
        world.event(4, test=True, epoch=middle),
    )
    world.arrive(world.event(5, kinds.BOOT, epoch=last, data={kinds.DATA_PREVIOUS_EPOCH: middle}), alarm=False)
    world.say(next_seq=6, epoch=last)
    world.pass_time(10 * MINUTE)
    assert {row["seq"] for row in views.list_events(world.centre)} == {1, 2, 3, 4, 5}
    assert world.lines() == [] and world.asked == [(middle, 2, 4), (EPOCH, 2, 2)]


def test_a_gateway_that_comes_from_elsewhere_is_not_asked_for_what_was_before(world):
    world.arrive(world.event(500, test=True))
    world.say(next_seq=501)
    world.pass_time(10 * MINUTE)
    world.arrive(world.event(501, kinds.BOOT, epoch=NEXT_EPOCH, data={kinds.DATA_PREVIOUS_EPOCH: EPOCH}), alarm=False)
    world.say(next_seq=502, epoch=NEXT_EPOCH)
    world.pass_time(10 * MINUTE)
    assert world.asked == [] and world.lines() == []
