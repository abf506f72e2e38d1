"""The payload of a drop record: what was given up since ever, what of it is not reported yet, what is given up by it.

payload = events u32 | alarms u32 (totals) | ranges: first, last, count, alarms u32 each | runs: first, count u32 each
The record's `source` is the number of ranges. Ranges are what the app has to report: exact until there are more than 16,
then the closest are joined, and `count` says how many seqs inside are lost. Runs are exact: they make the records dead.
"""

from struct import pack, unpack_from

from micropython import const

_MAX_RANGES = const(16)
MAX_RECORD = 16 + 8 + 16 * 16 + 8 * 16  # bytes, header included


def parse(payload, ranges):
    """([events, alarms] given up since ever, [[first, last, count, alarms]] not reported)"""
    totals = list(unpack_from("<II", payload))
    return totals, [list(unpack_from("<IIII", payload, 8 + 16 * i)) for i in range(ranges)]


def runs(payload, ranges):
    """Yield (first, count) of the seqs that the record gives up."""
    for at in range(8 + 16 * ranges, len(payload), 8):
        yield unpack_from("<II", payload, at)


def encode(totals, table, new):
    """`new`: list of [first, count]."""
    parts = [pack("<II", *totals)]
    parts.extend(pack("<IIII", *entry) for entry in table)
    parts.extend(pack("<II", *run) for run in new)
    return b"".join(parts)


def add(totals, table, new, seq, alarm):
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


def reported(table, first, last, count, alarms):
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
