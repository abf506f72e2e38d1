"""Events that are sent once more. What is queued is ranges of seqs; each event is read from the journal when its turn comes
(TP-CMD-012). The journal's settled marks stay as they are.

In memory from a `resend` on until its last event has been receipted.
"""

from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

from gateway import cbor
from gateway.kinds import KINDS

_GIVE_UP_MS = const(600_000)  # TP-BND-026


class Again:
    """What is to be sent again. `runs`: [[first, last], …] without a receipt yet."""

    def __init__(self, uplink):
        self._uplink = uplink
        self.runs = []
        self.until = 0

    def add(self, runs):
        self.runs = self.runs + runs
        self.until = ticks_add(ticks_ms(), _GIVE_UP_MS)

    def pending(self, journal, in_flight):
        """Yields (seq, alarm, payload) of what may go into one envelope: of one class and one epoch (TP-WIR-009), in order."""
        if ticks_diff(ticks_ms(), self.until) > 0:
            for first, last in self.runs:
                self.settled(first, last)
        before = None
        for first, last in self.runs:  # what is settled meanwhile makes another list
            for seq in range(first, last + 1):
                if seq in in_flight:
                    continue
                payload = journal.read(seq)
                if payload is None:
                    self.settled(seq, seq)
                    continue
                event = cbor.decode(payload)
                which = event[8] in KINDS and KINDS[event[8]][1], event[2]
                if which != (before or which):
                    return
                before = which
                yield seq, which[0], payload

    def settled(self, first, last):
        """A receipt has come for first…last; True when some of them were sent again."""
        before = self.runs
        self._set(
            [run for a, b in before for run in ([a, min(b, first - 1)], [max(a, last + 1), b]) if run[0] <= run[1]]
        )
        if self.runs != before:
            self._uplink.forget(first, last)
            return True
        return False

    def _set(self, runs):
        self.runs = runs
        if not runs:
            self._uplink.again = None
