"""Pending events in the order of seq, however often they were copied: a few at a time, so the backlog costs no RAM."""

from gateway.journal import layout


def pending(log, alarm):
    """Yield (seq, block, offset, rank, source, size) of the pending events of one class, lowest seq first.

    The log may change while the generator waits.
    """
    after = -1
    start = log.tail
    while True:
        best = _lowest(log, alarm, after, start)
        if not best:
            return
        tail = log.tail
        for item in best:
            after = item[0]
            if log.index.has(item[1], item[2]):
                yield item
                if log.tail != tail:  # places may have changed
                    break
        else:
            start = max([item[1] for item in best if not log.index.moved(item[1])] or [start])


def _lowest(log, alarm, after, start, count=8):
    """The `count` lowest pending seqs above `after`; originals before block `start` are done with."""
    best = []
    full_at = None
    for number in range(log.tail, log.head + 1):
        moved = log.index.moved(number)
        if not moved and (number < start or full_at is not None):
            continue
        if alarm and not log.index.pending_alarms(number):
            continue
        for _, off, kind, rank, source, seq, size in log.in_block(number, after + 1):
            if bool(kind & 1) == alarm:
                entered = _enter(best, (seq, number, off, rank, source, size), count)
                if not kind & layout.MOVED and not entered:
                    full_at = number
    return best


def _enter(best, item, count):
    """Insert `item` into the sorted list of at most `count`; False when it is above them all."""
    if len(best) == count and item[0] > best[-1][0]:
        return False
    if all(item[0] != other[0] for other in best):
        best.append(item)
        best.sort()
        del best[count:]
    return True
