"""The journal's public interface: append, pending, settle, read, epochs."""

from gateway.journal import MAX_PAYLOAD, Journal
from journal_rig import chip, cut_in_append, fill, opened, raises, seqs
from nor import BlockDevice, Nor

HEAPSIZE = "8M"  # most of it is the flash


def test_TP_JRN_001_append_is_found_after_a_power_on():
    nor = chip()
    journal = opened(nor)
    assert journal.append(b"first", False) == 1
    assert journal.append(b"second", True) == 2
    journal = opened(nor)
    assert list(journal.pending(9)) == [(2, True, b"second"), (1, False, b"first")]
    assert (journal.next_seq, journal.boot, len(journal.epoch)) == (3, 2, 8)


def test_TP_JRN_002_writes_are_whole_aligned_units_and_none_twice():
    nor = chip(8)  # strict: raises otherwise
    journal = opened(nor)
    sizes = list(range(1, 80))
    sizes.extend((1000, 1327, 1328))
    for size in sizes:
        journal.append(bytes(size), size % 5 == 0)
        if size % 7 == 0:
            journal.settle(1, journal.next_seq - 1)
            journal.idle()
    assert nor.programs > 100


def test_TP_JRN_003_seqs_go_on_and_never_return_in_an_epoch():
    nor = chip()
    used = {}
    for boot in range(12):
        journal = opened(nor)
        for i in range(boot % 4):
            name = journal.epoch, journal.next_seq
            assert name not in used
            used[name] = journal.append(b"boot %d %d" % (boot, i), False)
        if boot % 3 == 2:
            cut_in_append(nor, journal, 9)
    assert len(used) == 18
    assert len({epoch for epoch, _ in used}) > 2


def test_TP_JRN_004_settled_stays_settled():
    nor = chip()
    journal = opened(nor)
    fill(journal, 60)
    fill(journal, 3, alarm=True)
    journal.settle(2, 40)
    journal.settle(62, 62)
    journal.settle(2, 40)
    expected = [61, 63, 1]
    expected.extend(range(41, 61))
    assert seqs(journal) == expected
    assert seqs(opened(nor)) == expected
    stats = opened(nor).stats()
    assert (stats["pending_alarms"], stats["pending_events"]) == (2, 21)


def test_TP_JRN_005_settle_refuses_what_was_never_appended():
    journal = opened(chip())
    fill(journal, 3)
    for first, last in ((1, 4), (4, 4), (3, 2), (-1, 2)):
        assert raises(ValueError, journal.settle, first, last)
    programmed = journal.stats()["programmed_bytes"]
    journal.settle(1, 3)
    assert journal.stats()["programmed_bytes"] == programmed + 16, "one unit a range"
    journal.settle(1, 3)
    assert journal.stats()["programmed_bytes"] == programmed + 16, "what is settled costs nothing"


def test_TP_JRN_006_pending_is_alarms_first_and_each_class_oldest_first():
    journal = opened(chip(16))
    expected = []
    for i in range(400):
        alarm = i % 60 == 0
        seq = journal.append(b"%d" % i * 60, alarm)
        if i % 20:
            journal.settle(seq, seq)
        else:
            expected.append((not alarm, seq))
    expected.sort()
    assert journal.stats()["erases"] > 16, "the log has rotated past what is pending"
    assert [(not alarm, seq) for seq, alarm, _ in journal.pending(1000)] == expected
    assert [seq for seq, _, _ in journal.pending(3)] == [seq for _, seq in expected[:3]]
    assert list(journal.pending(0)) == []


def test_TP_JRN_006_pending_goes_on_while_the_log_changes():
    journal = opened(chip(8))
    fill(journal, 30, alarm=True, size=100)
    seen = []
    for seq, _, _ in journal.pending(1000):
        seen.append(seq)
        journal.settle(seq, seq)
        if len(seen) <= 120:
            journal.append(b"more" * 30, True)
    assert seen == list(range(1, 151))


def test_TP_JRN_007_read_returns_settled_events_until_they_are_erased():
    nor = chip(8)
    journal = opened(nor)
    payload = b"stays readable"
    seq = journal.append(payload, True)
    journal.settle(seq, seq)
    assert journal.read(seq) == opened(nor).read(seq) == payload
    assert journal.read(seq + 1) is None
    journal = opened(nor)
    stuck = journal.append(b"stuck alarm", True)
    fill(journal, 400)
    assert journal.read(seq) is None
    assert journal.read(stuck) == b"stuck alarm", "moved, still readable"
    journal.settle(stuck, stuck)
    assert journal.read(stuck) == b"stuck alarm"


def test_TP_JRN_008_an_epoch_is_known_for_every_event_in_flash():
    nor = chip()
    journal = opened(nor)
    first = journal.epoch
    assert journal.previous_epoch is None
    fill(journal, 3)
    cut_in_append(nor, journal, 5)
    journal = opened(nor)
    assert journal.epoch != first
    assert journal.previous_epoch == first
    assert (journal.epoch_first, journal.next_seq) == (4, 4)
    assert opened(nor).previous_epoch == first, "told until the epoch's first event is there"
    journal = opened(nor)
    assert (journal.append(b"boot", False), journal.previous_epoch) == (4, None)
    assert opened(nor).previous_epoch is None
    assert [journal.epoch_of(seq) for seq in (1, 3, 4, 5)] == [first, first, journal.epoch, None]


def test_TP_JRN_018_sizes():
    journal = opened(chip(8))
    assert MAX_PAYLOAD >= 1300
    payload = bytes(i & 0xFF for i in range(MAX_PAYLOAD))
    seq = journal.append(payload, True)
    assert journal.read(seq) == payload
    assert raises(ValueError, journal.append, bytes(MAX_PAYLOAD + 1), True)
    assert raises(ValueError, journal.append, b"", True)
    assert journal.next_seq == seq + 1
    assert raises(ValueError, Journal, BlockDevice(Nor(5 * 4096)))


def test_clock_is_irrelevant():
    import time

    import gateway.journal.log

    for module in (gateway.journal, gateway.journal.log, gateway.journal.recover, gateway.journal.flash):
        assert not hasattr(module, "time")
        assert time not in [getattr(module, name) for name in dir(module)]


def test_TP_JRN_007_events_come_in_order_with_their_class_settled_moved_or_neither():
    nor = chip(8)
    journal = opened(nor)
    stuck = journal.append(b"stuck" * 20, True)
    for i in range(60):
        fill(journal, 6, i % 3 == 0)
        journal.settle(stuck + 1, journal.next_seq - 1)
    expected = [(seq, journal.read(seq)) for seq in range(stuck, journal.next_seq)]
    assert [(seq, payload) for seq, _, payload in journal.events(stuck, journal.next_seq - 1)] == expected
    assert expected[0][1] == b"stuck" * 20 and None in [payload for _, payload in expected]
    last = journal.next_seq - 1
    assert {alarm for _, alarm, _ in journal.events(last - 17, last)} == {True, False}
    assert list(journal.events(last, last)) == [(last, False, journal.read(last))]
    assert [seq for seq, _, _ in journal.events(last, last + 2)] == [last, last + 1, last + 2]
