"""Append-only event log on NOR flash.

Idea: events are written once, in order, into erased blocks; what is settled, lost or pending follows from reading.
Invariants (protocols/journal.md)
  TP-JRN-001  append() has returned  =>  the event is found, once and unchanged, after any power cut.
  TP-JRN-003  a seq is used at most once in an epoch.
  TP-JRN-004  what is settled stays settled.
  TP-JRN-013  alarms outlive information.
Layers: layout (bytes) < flash (records in blocks) < log (head, tail, pending) < order < Journal (seqs, classes, limits).
Only a power-on needs `recover`, only a journal that was full needs `drops`: they are loaded then, and `recover` may be
forgotten again.
"""

import os

from micropython import const

from gateway.journal import layout, order
from gateway.journal.flash import Flash
from gateway.journal.layout import MAX_PAYLOAD, UnknownFormatError
from gateway.journal.log import Log, spare

__all__ = ["MAX_PAYLOAD", "Journal", "UnknownFormatError"]

RANK_TEST = const(0)
RANK_UPDATE = const(1)
RANK_AUTOMATIC = const(2)
RANK_PERSON = const(3)

_RESERVE = const(500)  # alarms of up to 208 bytes that information leaves room for
_ALARM_BYTES = const(224)
_MARK_STEP = const(64)  # seqs that one write to `nvs` covers
_MIN_BLOCKS = const(6)


class Journal:
    """Opens or creates the journal on `bdev` and recovers it.

    bdev   extended block device (readblocks and writeblocks with an offset, ioctl 4, 5, 6), 6 blocks or more
    nvs    second witness outside this flash: get() -> (epoch, high-water mark) or None, put(epoch, high_water)
    rng    rng(n) -> n random bytes, for epochs

    epoch           8 random bytes; new when it is not certain that no seq from next_seq on was used
    epoch_first     the epoch's first seq; the numbering goes on over epochs, so a seq names one event of this journal
    previous_epoch  until the first event of an epoch is appended: the epoch before, else None
    next_seq        seq of the next event; the first is 1
    boot            how often the journal was opened
    reserve_alarms  alarms of up to 208 bytes that always find room beside information

    Raises UnknownFormatError when a newer firmware wrote here; OSError when no block can be programmed.
    """

    def __init__(self, bdev, nvs=None, rng=os.urandom):
        flash = Flash(bdev)
        if flash.blocks < _MIN_BLOCKS or not 2048 <= flash.size <= 4096 or flash.size % 512:
            raise ValueError("journal needs 6 blocks or more of 2048 to 4096 bytes")
        self._log = Log(flash, self)
        self._nvs = nvs
        self._limit = (flash.blocks - spare(flash.blocks) - 1) * (flash.size - layout.FIRST) * 31 // 32
        alarm = self._log.index.charge(_ALARM_BYTES)
        reserve = min(_RESERVE * alarm, self._limit * 5 // 8)
        self.reserve_alarms = reserve // alarm
        self._information_limit = self._limit - reserve
        self._mark = 0
        self.on_drop = None  # called with first and last of what was given up
        self.reports = ()  # (seq, first, last, count, alarms) of the events that tell of drops and are on their way
        self.previous_epoch = None
        self._open(rng)

    def _open(self, rng):
        from gateway.journal import recover

        log = self._log
        newest, head = recover.newest(log.flash)
        mark = self._nvs.get() if self._nvs else None
        if head is None:
            tail = newest or int.from_bytes(rng(3), "big")
            tail += log.flash.blocks  # above what a block may come to show that does not read well today
            last, doubt, sound = tail - 1, None, False
            self.previous_epoch = mark[0] if mark else None
        else:
            log.next_seq, log.boot, sound, self.previous_epoch, place = recover.end(log.flash, newest, head)
            _, span, _, _, _, _, log.epoch_first, log.epoch = head
            tail = recover.tail(log.flash, newest, span, place[0])
            place, log.next_seq = recover.usable(log.flash, place, tail, log.next_seq)
            last, doubt = place[0], recover.doubtful(log.flash, place, tail)
        kept, block, limit = recover.fate(log.flash, doubt, tail)
        sound = sound and log.epoch and (kept or not doubt) and (self._nvs is None or self._agrees(mark))
        if not sound:
            self.previous_epoch = log.epoch or self.previous_epoch
            log.epoch, log.epoch_first = rng(8), log.next_seq
        log.boot += 1
        lost = log.begin(tail, last, doubt or (block, limit))
        log.write(layout.BOOT, 0, 0, log.next_seq, layout.boot(self.previous_epoch, block, limit))
        if kept:
            log.write_anew(*kept)
        if lost or log.homeless():
            self.write_off(lost)
        log.settle_in()
        if self._nvs and not sound:
            self._raise_mark()
        elif mark:
            self._mark = mark[1]

    def _agrees(self, mark):
        """Whether `nvs` knows this epoch, and next_seq is where its mark allows."""
        return mark is not None and mark[0] == self.epoch and mark[1] - _MARK_STEP <= self.next_seq <= mark[1]

    def _raise_mark(self):
        self._mark = self.next_seq + _MARK_STEP
        try:
            self._nvs.put(self.epoch, self._mark)
        except OSError:
            self._mark = 0  # the event matters more; the next power-on will find a disagreement and begin a new epoch

    @property
    def epoch(self):
        return self._log.epoch

    @property
    def epoch_first(self):
        return self._log.epoch_first

    @property
    def next_seq(self):
        return self._log.next_seq

    @property
    def boot(self):
        return self._log.boot

    def append(self, payload, alarm, rank=RANK_PERSON, source=0):
        """Write one event of 1 to MAX_PAYLOAD bytes; durable when it returns its seq.

        rank    of an alarm, for a full journal: RANK_TEST goes first, then RANK_UPDATE and RANK_AUTOMATIC that a newer
                one of the same rank and source has overtaken, then the others of them, RANK_PERSON last
        source  1…255, which sensor (or which alarm is updated); 0: never overtaken
        """
        if not 0 < len(payload) <= MAX_PAYLOAD:
            raise ValueError("payload of 1 to %d bytes" % MAX_PAYLOAD)
        log = self._log
        seq = log.next_seq
        if self._nvs and seq >= self._mark:
            self._raise_mark()
        if self._room(bool(alarm), log.index.charge(layout.footprint(layout.EVENT, len(payload)))):
            log.write(layout.ALARM if alarm else layout.EVENT, rank, source, seq, payload)
            log.next_seq = seq + 1
        else:
            log.room(layout.MAX_DROP)
            log.next_seq = seq + 1
            self.write_off([(seq, 0)])
        self.previous_epoch = None
        return seq

    def pending(self, limit, skip=()):
        """Yield at most `limit` (seq, alarm, payload): alarms before events, each class oldest first, without those in `skip`."""
        self._log.load()
        for alarm in (True, False):
            for seq, number, off, _, _, _ in order.pending(self._log, alarm):
                if limit <= 0:
                    return
                if seq in skip:
                    continue
                payload = self._payload(number, off, seq)
                if payload is None:
                    self._log.reread()
                else:
                    limit -= 1
                    yield seq, alarm, payload

    def waiting(self, first, last):
        """Yield the seqs of first…last that are pending."""
        self._log.load()
        for item in self._log.matching(first, last):
            yield item[5]

    def settle(self, first, last):
        """Mark first…last as being at the receiver, durably. Raises ValueError for what was never appended."""
        if not 0 <= first <= last < self.next_seq:
            raise ValueError("settle")
        log = self._log
        log.load()
        low, high = last + 1, first
        for item in log.matching(first, last):
            low, high = min(low, item[5]), max(high, item[5])
        while low <= high:
            count = min(high - low + 1, layout.MAX_COUNT)
            log.write(layout.SETTLE, 0, 0, low, b"", count)
            for number, off, kind, _, _, _, size in log.matching(low, low + count - 1):
                log.index.remove(number, off, kind & 1, size)
            low += count
        log.trim()
        log.tell_tail()

    def read(self, seq):
        """The payload of `seq`, settled or not, or None when it is not in flash any more."""
        for _, _, payload in self.events(seq, seq):
            return payload

    def events(self, first, last):
        """Yield (seq, alarm, payload) of first…last, settled or not; alarm and payload are None when it is not in flash any more."""
        log = self._log
        low = max(log.head - log.flash.blocks + 1, 0)
        for number in range(log.block_of(first, log.head, low), log.head + 1):
            for off, kind, _, _, seq, _ in log.flash.records(number, True):
                if kind < layout.MOVED and seq >= first:
                    while first < seq and first <= last:
                        yield self._copy(first, low)
                        first += 1
                    if seq <= last:
                        taken = log.flash.take(number, off)
                        yield (seq, kind == layout.ALARM, taken[1]) if taken else self._copy(seq, low)
                        first += 1
                    if first > last:
                        return
        while first <= last:
            yield self._copy(first, low)
            first += 1

    def _copy(self, seq, low):
        """The same of an event that is nowhere but where it was copied to."""
        flash = self._log.flash
        for number in range(self._log.head, low - 1, -1):
            for off, kind, _, _, other, _ in flash.records(number, True):
                if other == seq and layout.MOVED <= kind < layout.SETTLE:
                    taken = flash.take(number, off)
                    if taken:
                        return seq, kind & 1 == 1, taken[1]
        return seq, None, None

    def epoch_of(self, seq):
        """The epoch in which `seq` was appended, or None when its block is not in flash any more."""
        log = self._log
        low = max(log.head - log.flash.blocks + 1, 0)
        head = log.flash.header(log.block_of(seq, log.head, low))
        return head[7] if head and head[0] <= seq < self.next_seq else None

    def drops(self):
        """Yield (first, last, alarms) of events given up and not reported: append the report of each before asking for the next.
        `alarms` of the events in it were alarms. Yields nothing while reports are pending; a range is told again until a
        report of it is settled."""
        log = self._log
        log.load()
        live = log.index.alarm_bytes + log.index.event_bytes
        if log.drop and (log.index.events or live + _ALARM_BYTES <= self._limit):
            from gateway.journal import drops

            yield from drops.report(log, self)

    def stats(self):
        """Counts and bytes, as a dict. `dropped_ranges` are the (first, last) of which no report is settled."""
        log = self._log
        log.load()
        totals, table = [0, 0], ()
        if log.drop:
            from gateway.journal import drops

            totals, table = drops.read(log)
        live = log.index.alarm_bytes + log.index.event_bytes
        return {
            "pending_alarms": log.index.alarms,
            "pending_events": log.index.events,
            "dropped": totals[0] + totals[1],
            "dropped_alarms": totals[1],
            "dropped_ranges": [(entry[0], entry[1]) for entry in table],
            "free_bytes": max(self._limit - live, 0),
            "reserve_alarms": self.reserve_alarms,
            "rotten": log.index.rotten,
            "erases": log.flash.erases,
            "programmed_bytes": log.flash.programmed_bytes,
        }

    def idle(self):
        """Use a quiet second to erase ahead, at most one block (45…400 ms). True when there was something to do."""
        self._log.load()
        return self._log.prepare()

    def _payload(self, number, off, seq):
        taken = self._log.flash.take(number, off)
        return taken[1] if taken and taken[0][3] == seq else None

    def _room(self, alarm, size):
        """Keep pending events within their limits; False when even the new one, information, has no place."""
        index = self._log.index
        while True:
            over = index.alarm_bytes + index.event_bytes + size - self._limit
            if not alarm:
                over = max(over, index.event_bytes + size - self._information_limit)
            if over <= 0 or (alarm and not index.events and not index.alarms):
                return True
            if not index.events and not alarm:
                return False
            self.give_up()

    def give_up(self):
        """Drop what is needed least."""
        from gateway.journal import drops

        self.write_off(drops.victims(self._log))

    def write_off(self, victims):
        """`victims`: (seq, 1 for an alarm), lowest first. With room made before: making room may drop too."""
        from gateway.journal import drops

        drops.write_off(self._log, victims)
        for seq, _ in victims if self.on_drop else ():
            self.on_drop(seq, seq)
