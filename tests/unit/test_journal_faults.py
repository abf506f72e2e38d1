"""What damage, foreign flash and a second witness do to the journal."""

import random

from gateway.journal import Journal, UnknownFormatError
from journal_rig import KEY, Mark, chip, cut_in_append, fill, opened, opened_in, raises, seqs
from nor import BlockDevice, PowerCut

HEAPSIZE = "8M"  # most of it is the flash


def test_TP_JRN_009_damage_behind_the_last_good_record_begins_a_new_epoch():
    for key in (b"", KEY):
        nor = chip(key=key)
        journal = opened(nor)
        epoch = journal.epoch
        fill(journal, 3)
        for _ in range(3):
            journal = opened(nor)
            assert journal.epoch == epoch, "a clean power-on begins none"
            fill(journal, 40)
        cut_in_append(nor, journal, 4, b"x" * 15)
        assert opened(nor).epoch != epoch


def test_TP_JRN_009_newest_block_rots_after_its_event_was_receipted():
    for erased in (False, True):
        nor = chip(key=KEY)
        journal = opened(nor)
        fill(journal, 10)
        journal, head = opened_in(nor)
        epoch = journal.epoch
        seq = journal.append(b"receipted by the centre", True)
        if erased:
            nor.erase(head * 4096)
        for addr in range(head * 4096, head * 4096 + 4096, 3):
            nor.flip(addr, addr % 8)
        journal = opened(nor)
        assert journal.next_seq == seq, "the journal has forgotten it"
        assert journal.epoch != epoch, "so the seq may only come again in another epoch"


def test_TP_JRN_017_a_rotten_block_header_loses_no_event():
    for readable_ones_between in (0, 1):
        nor = chip()
        journal, head = opened_in(nor)
        for _ in range(5):
            for _ in range(readable_ones_between):
                journal, head = opened_in(nor)
            fill(journal, 7)
            nor.flip(head * 4096 + 20, 3)
            journal, head = opened_in(nor)
            assert seqs(journal) == list(range(1, journal.next_seq))
        assert journal.next_seq == 36


def test_TP_JRN_010_nvs_and_journal_disagree():
    nor = chip()
    mark = Mark()
    journal = opened(nor, mark)
    epoch = journal.epoch
    fill(journal, 200)
    assert 3 <= mark.writes <= 5, "one write covers 64 seqs"
    assert opened(nor, mark).epoch == epoch
    cases = (
        None,  # NVS was erased
        (bytes(8), mark.value[1]),  # another epoch
        (epoch, 150),  # an older NVS: more was used than it knows
        (epoch, mark.value[1] + 64),  # an older journal: it has lost what NVS knows
    )
    before = nor.snapshot()
    for value in cases:
        twin = chip()
        twin.program(0, before)
        twin.power_on()
        other = Mark(value)
        journal = opened(twin, other)
        assert journal.epoch != epoch, value
        assert journal.previous_epoch == epoch
        assert seqs(journal) == list(range(1, 201)), "nothing is lost by it"
        assert opened(twin, other).epoch == journal.epoch, "and it is settled then"


def test_TP_JRN_010_partition_swapped_with_another_gateways():
    ours, theirs = chip(16), chip(16)
    our_mark, their_mark = Mark(), Mark()
    fill(opened(ours, our_mark), 5)
    other = opened(theirs, their_mark)
    fill(other, 9)
    journal = opened(theirs, our_mark)
    assert journal.epoch != other.epoch
    assert journal.previous_epoch == other.epoch
    assert seqs(journal) == list(range(1, 10)), "another home's alarms are not thrown away"
    assert {journal.epoch_of(seq) for seq in seqs(journal)} == {other.epoch}


def test_TP_JRN_010_an_append_does_not_fail_with_nvs():
    class Broken(Mark):
        def put(self, epoch, high_water):
            raise OSError(5)

    nor = chip(16)
    journal = opened(nor, Broken())
    assert fill(journal, 100, alarm=True)[-1] == 100
    assert opened(nor, Broken()).epoch != journal.epoch


def test_TP_JRN_011_unknown_newer_format_is_left_alone():
    from binascii import crc32

    nor = chip(8)
    unit = b"TPJ\x02" + bytes(8)
    nor.program(3 * 4096, unit + crc32(unit).to_bytes(4, "little"))
    before = nor.snapshot()
    assert raises(UnknownFormatError, opened, nor)
    assert nor.snapshot() == before
    assert nor.erases == 0


def test_TP_JRN_012_recovery_is_bounded_on_garbage():
    nor = chip(256)
    x = 1
    for addr in range(0, nor.size, 256):
        page = bytearray(256)
        for i in range(0, 256, 4):
            x = x * 1103515245 + 12345 & 0x7FFFFFFF
            page[i : i + 4] = x.to_bytes(4, "little")
        nor.program(addr, page)
    nor.power_on()

    class Counting(BlockDevice):
        reads = 0

        def readblocks(self, n, buf, off=0):
            self.reads += 1
            super().readblocks(n, buf, off)

    device = Counting(nor)
    journal = Journal(device)
    assert journal.append(b"works", True) == 1
    assert device.reads < 2 * 256
    assert nor.erases == 1
    assert seqs(opened(nor)) == [1]


class Restless(BlockDevice):
    """What was not programmed since the erase reads as something else each time."""

    def __init__(self, nor):
        super().__init__(nor)
        self.programmed = set()
        random.seed(1)
        self._noise = bytes(random.getrandbits(8) for _ in range(4096 + 16))

    def readblocks(self, n, buf, off=0):
        super().readblocks(n, buf, off)
        end = off + len(buf)
        for unit in range(off // 16, (end + 15) // 16):
            if (n, unit) not in self.programmed:
                first, last = max(off, 16 * unit), min(end, 16 * unit + 16)
                at = random.getrandbits(12)
                buf[first - off : last - off] = self._noise[at : at + last - first]

    def writeblocks(self, n, buf, off=None):
        super().writeblocks(n, buf, off)
        self.programmed.update((n, unit) for unit in range(off // 16, (off + len(buf)) // 16))

    def ioctl(self, op, arg):
        if op == 6:
            self.programmed = {unit for unit in self.programmed if unit[0] != arg}
        return super().ioctl(op, arg)


def test_TP_JRN_002_erased_bytes_that_never_read_alike_cost_no_event():
    device = Restless(chip(8))
    names = set()
    kept = []
    for _ in range(25):
        journal = Journal(device)
        assert seqs(journal) == kept
        for _ in range(7):
            name = journal.epoch, journal.next_seq
            assert name not in names
            names.add(name)
            kept.append(journal.append(bytes(100), True))
        while len(kept) > 20:
            journal.settle(kept[0], kept[0])
            kept.pop(0)


def test_TP_JRN_012_power_on_after_power_on_needs_no_room():
    nor = chip(6)
    journal = opened(nor)
    expected = fill(journal, 10, alarm=True, size=100)
    for boot in range(40):
        cut = boot % 5
        if cut:
            nor.plan_cut(cut, 8)
        try:
            opened(nor)
        except PowerCut:
            pass
        nor.power_on()
    assert seqs(opened(nor)) == expected


def test_TP_JRN_017_a_dead_block_is_skipped():
    for how in ("silent", "error"):
        nor = chip(12)
        for dead in (1, 4, 5):
            nor.kill_block(dead, how)
        journal = opened(nor)
        for i in range(200):
            seq = journal.append(b"%d" % i * 50, i % 50 == 0)
            if i % 50:
                journal.settle(seq, seq)
            if i == 100:
                nor.kill_block(8, how)
        assert seqs(journal) == seqs(opened(nor)) == [1, 51, 101, 151]


def test_TP_JRN_017_a_block_that_dies_in_use_takes_no_event():
    for how in ("silent", "error"):
        nor = chip(12)
        journal, head = opened_in(nor)
        fill(journal, 5)
        nor.kill_block(head, how)
        fill(journal, 5)
        assert seqs(journal) == seqs(opened(nor)) == list(range(1, 11))


def test_TP_JRN_017_rotten_records_are_skipped_and_never_altered():
    nor = chip(16)
    journal = opened(nor)
    payloads = {journal.append(b"%04d" % i * 50, i % 3 == 0): b"%04d" % i * 50 for i in range(60)}
    for addr in range(300, nor.size, 4099):
        nor.flip(addr, addr % 8)
    for again in (False, True):
        j = opened(nor) if again else journal
        seen = list(j.pending(1000))
        assert len(payloads) - 4 <= len(seen) < len(payloads)
        assert all(payloads[seq] == payload for seq, _, payload in seen)
        assert j.stats()["pending_alarms"] + j.stats()["pending_events"] == len(seen)
        assert j.append(b"goes on", True) not in payloads
        payloads[j.next_seq - 1] = b"goes on"
