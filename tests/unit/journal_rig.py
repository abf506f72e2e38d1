"""A journal on modelled flash, for the tests of the journal."""

from gateway.journal import Journal
from nor import BlockDevice, Nor, PowerCut

KEY = bytes(i * 29 + 5 & 0xFF for i in range(251))


class Mark:
    """A second witness, as gateway.store.JournalMark."""

    def __init__(self, value=None):
        self.value = value
        self.writes = 0

    def get(self):
        return self.value

    def put(self, epoch, high_water):
        self.value = epoch, high_water
        self.writes += 1


def chip(blocks=64, **kw):
    return Nor(blocks * 4096, strict=True, **kw)


def opened(nor, mark=None):
    return Journal(BlockDevice(nor), mark)


def opened_in(nor):
    """(journal, number of the block that it has begun)"""
    before = list(nor.wear)
    journal = opened(nor)
    return journal, next(block for block in range(len(before)) if nor.wear[block] != before[block])


def seqs(journal):
    return [seq for seq, _, _ in journal.pending(100_000)]


def fill(journal, count, alarm=False, size=206, **kw):
    return [journal.append(bytes([i & 0xFF]) * size, alarm, **kw) for i in range(count)]


def raises(error, call, *args):
    try:
        call(*args)
    except error:
        return True
    return False


def cut_in_append(nor, journal, byte, payload=b"torn", kind="program", op=1):
    nor.plan_cut(op, byte, kind)
    assert raises(PowerCut, journal.append, payload, True), "the cut did not happen"
    nor.power_on()
