"""The journal when it is full: reserve, sacrifice, drop ranges, wear, memory."""

import gc

from journal_rig import chip, fill, opened, seqs
from nor import Nor

HEAPSIZE = "8M"  # most of it is the flash


def test_TP_JRN_013_alarms_have_a_reserve_of_500():
    nor = chip(64)
    journal = opened(nor)
    assert journal.reserve_alarms >= 500
    fill(journal, 1500)
    before = journal.stats()
    assert before["dropped"] > 0
    fill(journal, journal.reserve_alarms, alarm=True, size=208)
    after = journal.stats()
    assert after["dropped"] == before["dropped"], "the reserve costs no information"
    assert after["pending_alarms"] == journal.reserve_alarms


def test_TP_JRN_013_information_overflows_oldest_first_and_leaves_its_range():
    nor = chip(16)
    journal = opened(nor)
    alarm = journal.append(b"in the middle", True)
    fill(journal, 300)
    stats = journal.stats()
    pending = seqs(journal)
    assert pending[0] == alarm
    assert pending[1:] == list(range(pending[1], 302))
    assert stats["dropped_ranges"] == [(2, pending[1] - 1)]
    assert stats["dropped"] == pending[1] - 2
    assert opened(nor).stats()["dropped_ranges"] == stats["dropped_ranges"]


def test_TP_JRN_014_order_of_sacrifice_when_only_alarms_remain():
    nor = chip(8)
    journal = opened(nor)
    test = fill(journal, 2, alarm=True, rank=0)
    update = fill(journal, 3, alarm=True, rank=1, source=7)  # the last is not superseded
    automatic = fill(journal, 3, alarm=True, rank=2, source=9)
    alone = fill(journal, 1, alarm=True, rank=2, source=10)
    people = fill(journal, 2, alarm=True)
    information = fill(journal, 5)
    gone = []
    while len(gone) < 15:
        present = set(seqs(journal))
        people += fill(journal, 1, alarm=True)
        left = present - set(seqs(journal))
        gone += sorted(left)
    order = information + test + update[:2] + automatic[:2]
    rest = sorted(update[2:] + automatic[2:] + alone)
    assert gone == order + rest + people[: len(gone) - len(order) - len(rest)]
    assert journal.stats()["dropped_alarms"] == len(gone) - 5
    assert journal.append(bytes(206), False) not in seqs(journal), "alarms outlive information"
    assert opened(nor).stats()["dropped"] == len(gone) + 1


def test_TP_JRN_015_drops_are_reported_until_a_report_is_settled():
    nor = chip(8)
    journal = opened(nor)
    fill(journal, 100)
    told = [(first, last, alarms) for first, last, alarms in journal.drops() if journal.append(b"dropped", False)]
    assert told[0][0] == 1
    assert told[0][2] == 0
    assert list(journal.drops()) == [], "the report is on its way"
    report = journal.next_seq - len(told)
    journal.settle(report, report)
    assert all(first > told[0][1] for first, _, _ in journal.drops()), "a told one is not told again"
    fill(journal, 100)
    total = journal.stats()["dropped"]
    for _ in journal.drops():
        break  # the power goes before the report is appended
    journal = opened(nor)
    assert journal.stats()["dropped_ranges"], "so it is still to be told"
    assert journal.stats()["dropped"] == total


def test_TP_JRN_015_a_report_that_was_dropped_is_given_again():
    nor = chip(8)
    journal = opened(nor)
    fill(journal, 60)
    for _ in journal.drops():
        report = journal.append(b"dropped", False)
    fill(journal, 60)
    assert report not in seqs(journal), "the report is gone"
    told = [(first, last) for first, last, _ in journal.drops() if journal.append(b"dropped", False)]
    assert told[0][0] == 1 and told[0][1] >= report
    for seq in range(report, journal.next_seq):
        journal.settle(seq, seq)
    assert list(journal.drops()) == [] and journal.stats()["dropped_ranges"] == []


def test_TP_JRN_015_nothing_is_reported_into_a_journal_that_would_drop_it():
    nor = chip(8)
    journal = opened(nor)
    fill(journal, 200, alarm=True)
    assert journal.stats()["dropped_alarms"] > 0
    assert list(journal.drops()) == []
    seq = seqs(journal)[0]
    journal.settle(seq, seq + 4)
    assert len(list(journal.drops())) > 0


def test_TP_JRN_015_many_small_ranges_are_joined_and_counted():
    nor = chip(16)
    journal = opened(nor)
    for i in range(900):
        seq = journal.append(b"%d" % i * 40, i % 4 == 0)
        if i % 4 == 0:
            journal.settle(seq, seq)
    stats = journal.stats()
    assert len(stats["dropped_ranges"]) == 16
    assert sum(last - first + 1 for first, last in stats["dropped_ranges"]) > stats["dropped"]
    assert stats["dropped"] == 675 - stats["pending_events"]
    assert sum(alarms for _, _, alarms in journal.drops()) == 0


def test_TP_JRN_016_wear_is_levelled():
    nor = chip(16)
    journal = opened(nor)
    journal.append(b"a stuck alarm" * 10, True)
    for _ in range(300):
        first = journal.next_seq
        fill(journal, 20)
        journal.settle(first, first + 19)
    wear = sorted(nor.wear)
    assert wear[0] > 15
    assert wear[-1] - wear[0] <= 1


def test_TP_JRN_016_blocks_are_erased_ahead_in_quiet_seconds():
    nor = chip(16)
    journal = opened(nor)
    slow = 0
    for _ in range(40):
        assert journal.idle() or True
        assert not journal.idle(), "one block ahead is enough"
        for _ in range(9):
            before = nor.erases
            journal.append(bytes(206), True)
            slow += nor.erases > before
        journal.settle(1, journal.next_seq - 1)
    assert nor.erases > 20
    assert slow == 0


def test_TP_JRN_019_ram_does_not_grow_with_the_backlog():
    nor = Nor(1 << 20)
    used = []
    gc.collect()
    before = gc.mem_alloc()
    journal = opened(nor)
    fill(journal, 1)
    for _ in range(2):
        journal.stats()
        gc.collect()
        used.append(gc.mem_alloc() - before)
        while journal.stats()["dropped"] == 0:
            fill(journal, 500)
            fill(journal, 50, alarm=True)
    assert journal.stats()["pending_events"] > 3000
    print("journal: RAM empty and full:", used)
    assert max(used) <= 4096


def test_TP_JRN_016_room_is_made_in_bounded_work_whatever_the_sizes():
    for block in (2048, 4096):
        for sizes in ((1300, 1000), (1300, 100), (1000,), (680,), (1300, 30, 206, 600)):
            nor = Nor(16 * block, block)
            journal = opened(nor)
            payload = 0
            for i in range(150):
                size = sizes[i % len(sizes)]
                journal.append(bytes((i,)) * size, i % 2 == 0)
                payload += size
            stats = journal.stats()
            assert stats["dropped"] + stats["pending_alarms"] + stats["pending_events"] == 150
            assert stats["pending_alarms"] >= 8
            assert stats["programmed_bytes"] < 4 * payload, (block, sizes)
