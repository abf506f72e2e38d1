"""What the journal gives up when it is full, and the record that tells of it.

payload = events u32 | alarms u32 (totals) | ranges: first, last, count, alarms u32 each | runs: first, count u32 each
The record's `source` is the number of ranges. Ranges are what the app has to report: exact until there are more than 16,
then the closest are joined, and `count` says how many seqs inside are lost. Runs are exact: they make the records dead.
"""

from array import array
from struct import pack, unpack_from

from micropython import const

from gateway.journal import RANK_PERSON, layout, order

_MAX_RANGES = const(16)
_AT_ONCE = const(16)


def victims(log):
    """[(seq, 1 for an alarm)] to drop: information, oldest first; when there is none, the alarm that is needed least."""
    log.load()
    log.room(layout.MAX_DROP)
    found = []
    if log.index.events:
        for item in order.pending(log, False):
            found.append((item[0], 0))
            if len(found) == _AT_ONCE:
                break
    else:
        found.append((_least(log), 1))
    return found


def _least(log):
    """The alarm that goes first."""
    count = array("H", [0] * (3 * 256))  # of updates and automatic alarms of each source
    for _, _, _, rank, source, _, _ in _alarms(log):
        if rank != RANK_PERSON:
            count[rank * 256 + source] += 1
    best = None
    for _, _, _, rank, source, seq, _ in _alarms(log):
        stage = 2 * rank
        if 0 < rank < RANK_PERSON and not (source and count[rank * 256 + source] > 1):
            stage = 2 * RANK_PERSON - 1
        if best is None or (stage, seq) < best:
            best = (stage, seq)
    return best[1]


def _alarms(log):
    for number in range(log.tail, log.head + 1):
        if log.index.pending_alarms(number):
            for item in log.in_block(number):
                if item[2] & 1:
                    yield item


def write_off(log, victims):
    """Enter `victims`, (seq, 1 for an alarm), lowest first, into a new drop record. There must be room for it."""
    totals, table = read(log)
    runs = []
    for seq, alarm in victims:
        _add(totals, table, runs, seq, alarm)
    _put(log, totals, table, runs)


def report(log, journal):
    """Yield (first, last, alarms) of what is not reported yet, and remember which event the caller appends about it.

    A range is struck off when that event is settled; when it was dropped itself, the range is told again."""
    journal.reports = [told for told in journal.reports if not _struck_off(log, *told)]
    if journal.reports:
        return
    for first, last, count, alarms in read(log)[1]:
        seq = log.next_seq
        yield first, last, alarms
        if log.next_seq > seq:
            journal.reports.append((seq, first, last, count, alarms))


def _struck_off(log, seq, first, last, count, alarms):
    """Whether the report `seq` is on its way no more: then its range is struck off, or is to be told again."""
    for _ in log.matching(seq, seq):
        return False
    if not any(entry[0] <= seq <= entry[1] for entry in read(log)[1]):
        log.room(layout.MAX_DROP)
        totals, table = read(log)
        _reported(table, first, last, count, alarms)
        _put(log, totals, table, [])
    return True


def read(log):
    """([events, alarms] given up since ever, [[first, last, count, alarms]] not reported)"""
    if log.drop:
        taken = log.drop[1] if log.homeless() else log.flash.take(*log.drop)
        if taken:
            return _parse(taken[1], taken[0][2])
    return [0, 0], []


def _put(log, totals, table, runs):
    log.drop = log.write(layout.DROP, 0, len(table), log.next_seq, _encode(totals, table, runs))
    for first, count in runs:
        log.forget(first, first + count - 1)


def _parse(payload, ranges):
    totals = list(unpack_from("<II", payload))
    return totals, [list(unpack_from("<IIII", payload, 8 + 16 * i)) for i in range(ranges)]


def runs(payload, ranges):
    """Yield (first, count) of the seqs that the record gives up."""
    for at in range(8 + 16 * ranges, len(payload), 8):
        yield unpack_from("<II", payload, at)


def _encode(totals, table, new):
    """`new`: list of [first, count]."""
    parts = [pack("<II", *totals)]
    parts.extend(pack("<IIII", *entry) for entry in table)
    parts.extend(pack("<II", *run) for run in new)
    return b"".join(parts)


def _add(totals, table, new, seq, alarm):
    """Enter the loss of `seq` into all three."""
    totals[alarm] += 1
    if new and new[-1][0] + new[-1][1] == seq:
        new[-1][1] += 1
    else:
        new.append([seq, 1])
    at = 0
    while at < len(table) and table[at][1] < seq:
        at += 1
    if at < len(table) and table[at][0] <= seq:  # inside a range that was joined
        table[at][2] += 1
        table[at][3] += alarm
        return
    table.insert(at, [seq, seq, 1, int(alarm)])
    _join(table, at)
    _join(table, at - 1)
    while len(table) > _MAX_RANGES:
        _, closest = min((table[i + 1][0] - table[i][1], i) for i in range(len(table) - 1))
        _merge(table, closest)


def _reported(table, first, last, count, alarms):
    """Take out what was reported. A range that has grown at its end keeps the rest; one that was joined is kept whole."""
    for at, entry in enumerate(table):
        if entry[0] == first:
            rest = [last + 1, entry[1], entry[2] - count, entry[3] - alarms]
            table[at : at + 1] = [rest] if rest[2] else []
            return


def _join(table, at):
    if 0 <= at < len(table) - 1 and table[at][1] + 1 == table[at + 1][0]:
        _merge(table, at)


def _merge(table, at):
    low, high = table[at], table.pop(at + 1)
    table[at] = [low[0], high[1], low[2] + high[2], low[3] + high[3]]
