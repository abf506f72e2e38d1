"""Which events of a range are still in flash, settled or not: for a receiver that was restored from an older copy (TP-CMD-011).

Loaded when a `resend` arrives, and forgotten when what it found is handed over to `again`.
"""

import asyncio

from micropython import const

from gateway import cbor
from gateway.journal import held

_MAX_RANGE = const(4096)  # TP-BND-024
_MAX_RUNS = const(16)  # TP-BND-025


def possible(first, last):
    return 0 <= last - first < _MAX_RANGE


async def find(journal, epoch, first, last):
    """(last seq looked at, missing runs, held runs) of the events first…last of `epoch`: [[first, last], …].

    A range in too many pieces is not looked at to its end: the receiver asks again from there on.
    """
    there = bytearray((last - first) // 8 + 1)
    for seq in held.seqs(journal, first, last):
        if seq is None:
            await asyncio.sleep(0)
        else:
            there[seq - first >> 3] |= 1 << (seq - first & 7)
    await _trim(journal, epoch, first, range(first, last + 1), there)
    await _trim(journal, epoch, first, range(last, first - 1, -1), there)
    runs = ([], [])
    before = None
    for seq in range(first, last + 1):
        here = there[seq - first >> 3] >> (seq - first & 7) & 1
        if here != before:
            if len(runs[here]) == _MAX_RUNS:
                return seq - 1, runs[0], runs[1]
            runs[here].append([seq, seq])
        runs[here][-1][1] = seq
        before = here
    return last, runs[0], runs[1]


async def _trim(journal, epoch, first, seqs, there):
    """Takes out, from one end, what is of another epoch: within a journal the seqs of an epoch follow each other."""
    for seq in seqs:
        at, bit = seq - first >> 3, 1 << (seq - first & 7)
        if there[at] & bit:
            payload = journal.read(seq)
            if payload and cbor.decode(payload)[2] == epoch:
                return
            there[at] &= ~bit
            await asyncio.sleep(0)


def fits(uplink, runs):
    """Whether there is room for the runs beside those that wait."""
    return len(runs) + len(uplink.again.runs if uplink.again else ()) <= _MAX_RUNS


def add(uplink, runs):
    """Hands the runs to the uplink."""
    if runs:
        from gateway import again

        uplink.again = uplink.again or again.Again(uplink)
        uplink.again.add(runs)
        uplink.tick()
