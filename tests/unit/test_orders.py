"""Commands: the counter's window, what is refused, resend by ranges (protocols/commands.md)."""

import asyncio
import time
from collections import namedtuple

from gateway import cbor, commands, resend
from gateway.journal import Journal
from nor import BlockDevice, Nor
from test_uplink import GATEWAY, Gateway

EPOCH = b"12345678"
DONE, MALFORMED, UNKNOWN, WRONG_GATEWAY, WRONG_EPOCH, EXPIRED, REPLAYED, TOO_OLD = range(8)


def test_TP_CMD_005_a_counter_is_taken_once():
    code, kept = commands.admit(None, EPOCH, 1000)
    assert code == DONE and len(kept) == 24
    assert commands.admit(kept, EPOCH, 1000) == (REPLAYED, kept)
    assert commands.admit(kept, b"other ep", 1000)[0] == DONE, "another epoch begins anew"


def test_TP_CMD_005_TP_BND_022_the_window_is_64_wide():
    _, kept = commands.admit(None, EPOCH, 1000)
    for counter in (999, 937):
        code, kept = commands.admit(kept, EPOCH, counter)
        assert code == DONE
        assert commands.admit(kept, EPOCH, counter)[0] == REPLAYED
    assert commands.admit(kept, EPOCH, 936) == (TOO_OLD, kept)
    code, kept = commands.admit(kept, EPOCH, 1001)
    assert code == DONE
    assert [commands.admit(kept, EPOCH, c)[0] for c in (1001, 1000, 999, 938, 937)] == [
        REPLAYED,
        REPLAYED,
        REPLAYED,
        DONE,
        TOO_OLD,
    ]
    code, kept = commands.admit(kept, EPOCH, 1_767_225_600_000)
    assert code == DONE and commands.admit(kept, EPOCH, 1001)[0] == TOO_OLD
    assert commands.admit(kept, EPOCH, 1_767_225_600_000 - 63)[0] == DONE


def test_TP_CMD_005_any_order_of_counters_is_taken_once_each():
    state = 7
    kept = None
    used = set()
    top = 0
    for _ in range(3000):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        counter = top + 1 + (state >> 8) % 100 if state % 5 == 0 else max(0, top - (state >> 8) % 80)
        code, kept = commands.admit(kept, EPOCH, counter)
        expected = TOO_OLD if top - counter >= 64 else REPLAYED if counter in used else DONE
        assert code == expected, (counter, top)
        if code == DONE:
            used.add(counter)
            top = max(top, counter)


Config = namedtuple("Config", ("gateway", "location"))


class App:
    """What a command finds: a journal, a clock, a store."""

    def __init__(self):
        self.config = Config(GATEWAY, 2)
        self.parts = Gateway()
        self.journal = self.parts.journal
        self.clock = self.parts.clock
        self.uplink = self.parts.uplink
        from memory_store import Memory

        self.store = Memory()
        self.results = ()
        self.recorded = []
        self.commands = 0

    def record(self, kind, **what):
        self.recorded.append((kind, what))
        return self.parts.recorder.record(kind, **what)[0]

    def command(self, kind=0, **changes):
        """(code, details, what follows) of a command with `changes`: field number -> value, None to leave it out."""
        self.commands += 1
        command = {1: GATEWAY, 2: self.journal.epoch, 3: self.commands, 4: 3}
        for key, value in changes.items():
            command[int(key[1:])] = value
        command = {key: value for key, value in command.items() if value is not None}
        then = asyncio.run(commands.take(self, kind, cbor.decode(cbor.encode(command)), b""))
        result = cbor.decode(self.results[-1][1])
        assert result[1] == GATEWAY and result[2] == self.journal.epoch and result[3] == [kind, command[3]]
        return result[4], result.get(5), then


def test_TP_CMD_004_TP_BND_024_what_is_refused_and_with_which_code():
    app = App()
    for changes, code in (
        ({"f1": "home-0002"}, WRONG_GATEWAY), ({"f1": None}, WRONG_GATEWAY), ({"f2": bytes(8)}, WRONG_EPOCH),
        ({"f2": 7}, WRONG_EPOCH), ({"f4": 99}, UNKNOWN), ({"f4": "x"}, MALFORMED), ({"f5": 3}, MALFORMED),
        ({"f6": "soon"}, MALFORMED), ({"f7": 1}, MALFORMED), ({"f5": [1]}, MALFORMED), ({"f4": 2, "f5": [0]}, MALFORMED),
        ({"f4": 4}, MALFORMED), ({"f4": 4, "f5": [1]}, MALFORMED), ({"f4": 1, "f5": [app.journal.epoch, 5]}, MALFORMED),
        ({"f4": 1, "f5": [app.journal.epoch, 5, 4]}, MALFORMED), ({"f4": 1, "f5": [app.journal.epoch, 1, 4097]}, MALFORMED),
    ):  # fmt: skip
        assert app.command(**changes) == (code, None, None), changes
    assert app.recorded == []
    for counter in (None, -1, "1", 1 << 63):
        try:
            app.command(f3=counter)
        except (ValueError, KeyError):
            continue
        raise AssertionError(counter)
    assert app.command(f20="later")[0] == DONE, "keys above 15 belong to a later version"


def test_TP_CMD_006_expiry_is_judged_by_a_synced_clock_only():
    app = App()
    late = 1795219300000
    assert app.command(f6=late)[0] == DONE, "the clock has never been set"
    app.clock.receipt_time(late + 5000, 0)
    assert app.command(f6=late)[0] == EXPIRED
    assert app.command(f6=late + 60_000)[0] == DONE


def test_TP_CMD_005_the_counter_is_kept_before_the_command_is_acted_on():
    app = App()
    seen = []
    app.record = lambda *_, **__: seen.append(app.store.get("orders")) or 1
    app.command(f3=5)
    assert seen[0] and commands.admit(seen[0], app.journal.epoch, 5)[0] == REPLAYED


def test_TP_REC_280_a_request_may_be_resend_only_and_uses_up_no_counter_of_commands():
    app = App()
    seq = app.parts.alarm()
    for what, arguments in ((2, None), (3, None), (4, [True]), (99, None)):
        try:
            app.command(3, f3=7, f4=what, f5=arguments)
        except ValueError:
            continue
        raise AssertionError(what)
    assert app.results == () and app.recorded == [] and app.store.get("asked") is None
    arguments = [app.journal.epoch, seq, seq]
    top = (1 << 63) - 1
    assert app.command(3, f3=top, f4=1, f5=arguments)[:2] == (DONE, {1: seq, 2: [], 3: 1})
    assert app.command(3, f3=top, f4=1, f5=arguments)[0] == REPLAYED
    assert app.command(3, f3=5, f4=1, f5=arguments)[0] == TOO_OLD
    assert app.command(3, f3=top, f2=bytes(8), f4=1, f5=arguments)[0] == WRONG_EPOCH
    assert app.command(f3=5)[0] == DONE, "commands count for themselves"


def test_TP_CMD_013_a_test_alarm_is_a_help_event_with_the_test_flag():
    app = App()
    code, details, _ = app.command()
    event = cbor.decode(app.journal.read(details[1]))
    assert code == DONE and event[8] == 2 and event[10] is True and event[13] == "command"


def test_TP_CMD_014_factory_reset_waits_for_pending_alarms_unless_forced():
    app = App()
    app.parts.alarm()
    assert app.command(f4=4, f5=[False]) == (10, None, None)
    code, _, then = app.command(f4=4, f5=[True])
    assert code == DONE and then is not None


def found(journal, epoch, first, last):
    return asyncio.run(resend.find(journal, epoch, first, last))


def test_TP_CMD_011_resend_names_what_is_no_longer_held():
    app = App()
    seqs = [app.parts.alarm() for _ in range(30)]
    first, last = seqs[0], seqs[-1]
    app.journal.settle(first, last)
    assert found(app.journal, app.journal.epoch, first - 3, last + 2) == (
        last + 2, [[first - 3, first - 1], [last + 1, last + 2]], [[first, last]],
    )  # fmt: skip
    code, details, then = app.command(f4=1, f5=[app.journal.epoch, first + 2, last])
    assert code == DONE and details == {1: last, 2: [], 3: 28}
    then()
    assert app.uplink.again.runs == [[first + 2, last]]
    assert app.parts.pending() == [], "the settled marks stay"


def test_TP_CMD_011_resend_of_another_epoch_finds_nothing_of_this_one():
    app = App()
    seq = app.parts.alarm()
    assert found(app.journal, b"12345678", seq, seq) == (seq, [[seq, seq]], [])


def test_TP_CMD_011_two_epochs_in_one_range_are_told_apart():
    from memory_store import Memory

    class Mark(Memory):
        def get(self):
            return None  # a witness that has forgotten: a new epoch at every power-on

        def put(self, *_):
            pass

    nor = Nor(16 * 4096)
    epochs = []
    for _ in range(2):
        journal = Journal(BlockDevice(nor), Mark())
        epochs.append((journal.epoch, journal.next_seq))
        for _ in range(10):
            journal.append(cbor.encode({1: GATEWAY, 2: journal.epoch, 3: journal.next_seq, 8: 2}), True)
    (old, first), (new, middle) = epochs
    assert old != new
    last = middle + 9
    assert found(journal, old, first, last) == (
        last,
        [[middle, last]] if middle == first + 10 else [[first + 10, last]],
        [[first, first + 9]],
    )
    assert found(journal, new, first, last) == (last, [[first, middle - 1]], [[middle, last]])


def test_TP_CMD_012_TP_BND_025_what_waits_is_ranges_and_they_are_bounded():
    app = App()
    uplink = app.uplink
    resend.add(uplink, [[i * 10, i * 10 + 5] for i in range(10)])
    assert resend.fits(uplink, [[i * 10, i * 10 + 5] for i in range(20, 26)])
    assert not resend.fits(uplink, [[i * 10, i * 10 + 5] for i in range(20, 27)])
    again = uplink.again
    assert again.settled(52, 53) and [50, 51] in again.runs and [54, 55] in again.runs
    assert not again.settled(52, 53)
    assert again.settled(0, 10_000) and again.runs == []


def test_TP_BND_026_what_gets_no_receipt_is_given_up():
    app = App()
    seq = app.parts.alarm()
    resend.add(app.uplink, [[seq, seq]])
    again = app.uplink.again
    assert list(again.pending(app.journal, {}))
    again.until = time.ticks_add(time.ticks_ms(), -1)
    assert list(again.pending(app.journal, {})) == [] and again.runs == []


def test_TP_CMD_012_what_is_sent_again_follows_the_backlog_and_ends_with_its_receipt():
    app = App()
    gateway = app.parts
    old = [gateway.alarm() for _ in range(3)]
    event = gateway.recorder.record(16)[0]
    gateway.journal.settle(old[0], event)
    gateway.home._alarms.clear()
    resend.add(gateway.uplink, [[old[0], event]])
    fresh = gateway.alarm()
    assert gateway.uplink._backlog() == (True, [(fresh, gateway.journal.read(fresh))])
    gateway.journal.settle(fresh, fresh)
    again = gateway.uplink.again

    def batch():
        return gateway.uplink._backlog(again.pending(gateway.journal, gateway.uplink._in_flight))

    assert batch() == (True, [(seq, gateway.journal.read(seq)) for seq in old])
    far = time.ticks_add(time.ticks_ms(), 60_000)
    gateway.uplink._in_flight = dict.fromkeys(old, far)
    assert batch() == (False, [(event, gateway.journal.read(event))])
    gateway.uplink._in_flight = dict.fromkeys(range(1000, 1064), far)
    assert len(batch()[1]) == 3, "what waits long takes no room"
    gateway.uplink._in_flight.clear()
    gateway.receipt([[old[0], event, gateway.digest(old[0], event)]])
    assert gateway.uplink.again is None
    assert [alarm[0] for alarm in gateway.home._alarms] == [fresh], "the home has heard of the old ones long ago"


def test_TP_CMD_012_TP_WIR_051_what_is_sent_again_fills_its_envelopes_as_the_backlog_does():
    gateway = App().parts
    seqs = []
    while len(seqs) < 40:
        seqs.append(gateway.alarm())
    _, backlog = gateway.uplink._backlog()
    payload = cbor.array([payload for _, payload in backlog])
    assert 1214 - len(backlog[0][1]) < len(payload) <= 1214
    gateway.journal.settle(seqs[0], seqs[-1])
    resend.add(gateway.uplink, [[seqs[0], seqs[-1]]])
    assert gateway.uplink._backlog(gateway.uplink.again.pending(gateway.journal, {})) == (True, backlog)
