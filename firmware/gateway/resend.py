"""Events that are settled and still in flash, sent once more: for a receiver that was restored from an older copy.

What is queued is ranges of seqs; each event is read from the journal when its turn comes (TP-CMD-012). The journal's settled
marks stay as they are. Loaded when a `resend` arrives, forgotten when its last event has been receipted.
"""

import asyncio
from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

from gateway import cbor
from gateway.journal import held
from gateway.kinds import KINDS

_MAX_RANGE = const(4096)  # TP-BND-024
_MAX_RUNS = const(16)  # TP-BND-025
_GIVE_UP_MS = const(600_000)  # TP-BND-026
_BATCH_BYTES = const(1200)
_MAX_IN_FLIGHT = const(64)  # TP-BND-013


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
    if not runs:
        return
    again = uplink.again or Again(uplink)
    again.runs += runs
    again.until = ticks_add(ticks_ms(), _GIVE_UP_MS)
    uplink.again = again
    uplink.tick()


class Again:
    """What is to be sent again. `runs`: [[first, last], …] without a receipt yet."""

    def __init__(self, uplink):
        self._uplink = uplink
        self.runs = []
        self.until = 0

    def batch(self, journal, in_flight):
        """(class, [(seq, payload)]) for one envelope: of one class and one epoch (TP-WIR-009), at most what may be in flight."""
        room = _MAX_IN_FLIGHT - len(in_flight)
        batch = []
        size = 3
        before = None
        if ticks_diff(ticks_ms(), self.until) > 0:
            self._set([])
        for seq in self._waiting(in_flight):
            payload = journal.read(seq)
            if payload is None:
                self.settled(seq, seq)
                continue
            event = cbor.decode(payload)
            size += len(payload)
            which = event[8] in KINDS and KINDS[event[8]][1], event[2]
            if len(batch) >= room or (batch and (which != before or size > _BATCH_BYTES)):
                break
            before = which
            batch.append((seq, payload))
        return before and before[0], batch

    def _waiting(self, in_flight):
        for first, last in list(self.runs):
            for seq in range(first, last + 1):
                if seq not in in_flight:
                    yield seq

    def settled(self, first, last):
        """A receipt has come for first…last; True when some of them were sent again."""
        before = self.runs
        self._set(
            [run for a, b in before for run in ([a, min(b, first - 1)], [max(a, last + 1), b]) if run[0] <= run[1]]
        )
        return self.runs != before

    def _set(self, runs):
        self.runs = runs
        if not runs:
            self._uplink.again = None
