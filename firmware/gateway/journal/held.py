"""Which events are still in flash, settled or not: loaded when the receiver asks for events again."""

from gateway.journal import layout


def seqs(journal, first, last):
    """Yield the seqs within first…last that are in flash undamaged, in no order and some twice; None after each block."""
    log = journal._log
    for number in range(max(log.head - log.flash.blocks + 1, 0), log.head + 1):
        for _, kind, _, _, seq, _ in log.flash.records(number):
            if kind < layout.SETTLE and first <= seq <= last:
                yield seq
        yield None
