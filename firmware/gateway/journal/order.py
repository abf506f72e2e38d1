"""Pending events in the order of seq, however often they were copied: a few at a time, so the backlog costs no RAM."""

from gateway.journal import layout


def pending(log, alarm):
    """Yield (seq, block, offset, rank, source, size) of the pending events of one class, lowest seq first.

    The log may change while the generator waits.
    """
    after = -1
    start = log.tail, layout.FIRST
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
            start = max([item[1:3] for item in best if not log.index.moved(item[1])] or [start])


def _lowest(log, alarm, after, start, count=16):
    """The `count` lowest pending seqs above `after`; originals before `start`, (block, offset), are done with."""
    best = []
    full = False
    for number in range(log.tail, log.head + 1):
        moved = log.index.moved(number)
        if not moved and (number < start[0] or full):
            continue
        if alarm and not log.index.pending_alarms(number):
            continue
        begin = start[1] if number == start[0] and not moved else layout.FIRST
        for _, off, kind, rank, source, seq, size in log.in_block(number, after + 1, begin=begin):
            if bool(kind & 1) == alarm and not _enter(best, (seq, number, off, rank, source, size), count):
                full = full or not kind & layout.MOVED
                if not moved:
                    break
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
