"""The blocks from tail to head, as one log: records are added at the head, blocks are given up at the tail.

Idea: a record about an event (settled, dropped, moved) always lies behind the event, and blocks go oldest first; so
whatever is left of the log tells the whole truth about the events in it.
Free blocks: `spare` are kept while running and `_MIN_FREE` after power-on, so recovery always finds a block to begin
and one to copy into, however often it is cut (TP-JRN-012).
"""

from micropython import const

from gateway.journal import layout
from gateway.journal.index import Index

_MIN_FREE = const(2)
_LATE = const(4)
_ENOSPC = const(28)
_EIO = const(5)
_MAX_SEQ = const(0x3FFFFFFF)


def spare(blocks):
    """Free blocks kept while running: the more, the more power-ons in a row need not make room first."""
    return max(4, blocks >> 5)


class Log:
    """`owner.give_up()` must drop some events, when copying gains no room; `owner.write_off([(seq, alarm)])` is told what
    went with a block that had to be given up."""

    def __init__(self, flash, owner):
        self.flash = flash
        self.index = Index(flash.blocks, flash.size)
        self.tail = self.head = self.at = 0
        self.next_seq = 1
        # drop: (block, offset) of the newest drop record, or (None, the record) of a block given up
        self.epoch = self.drop = None
        self.epoch_first = self.boot = self._told = 0
        self._loaded = True
        self._prepared = self._certain = None
        self._cleaning = False
        self._owner = owner
        self._hint = (0, 1, 0)

    # Power-on.

    def begin(self, tail, last, certain):
        """Open a fresh block behind block `last`; the log before it begins at `tail`. Returns seqs that had to go.

        `certain` is (block, offset): what lies behind may read well today and badly tomorrow, so no block is given up for it.
        """
        self.tail, self.head, self._loaded, self._certain = tail, last, False, certain
        lost = []
        if self.free() <= _MIN_FREE:
            self.load()  # the log may have become shorter than its newest header says
        while not self._open_next():
            self.load()
            lost.extend(self._abandon_tail())
        self._unload()
        self._certain = None
        return lost

    def settle_in(self):
        """Bring the number of free blocks back to what the next power-on needs."""
        if self.free() < _MIN_FREE:
            self.load()
            self._clean(_MIN_FREE)
            self.tell_tail(0)  # also: this power-on is complete, so its block must stay

    def load(self):
        """Read which events are pending: put off until it matters, so that the first append need not wait for it."""
        if self._loaded:
            return
        settled = [1, 0]
        before = None
        for number in range(self.tail, self.head + 1):
            before = self._load_block(number, settled, before)
        self.forget(settled[0], settled[1])
        self._loaded = True
        self._forget_copied()

    def _load_block(self, number, settled, before):
        """`settled` gathers adjoining ranges: most receipts follow each other, and looking up each would take long.
        `before` is the event record before this block; the last one is returned."""
        from gateway.journal import recover

        bound = recover.bound(self.flash, number, self.head)
        limit = recover.limit(self.flash, number, self.head)
        if self._certain and number >= self._certain[0]:
            limit = min(limit, self._certain[1]) if number == self._certain[0] else 0
        for off, kind, _, _, seq, length in self.flash.records(number):
            if off >= limit:  # its fate was decided at a power-on: it does not count
                break
            if kind < layout.SETTLE:
                before = self._load_event(number, off, kind, seq, length, bound, before)
            elif kind == layout.SETTLE and length:
                if seq != settled[1] + 1:
                    self.forget(settled[0], settled[1], number)
                    settled[0] = seq
                settled[1] = seq + length - 1
            elif kind == layout.DROP:
                self._load_drop(number, off)
        return before

    def _load_event(self, number, off, kind, seq, length, bound, before):
        if kind & layout.MOVED:
            self.index.set_moved(number)
            if before and before[0] == seq:  # copied at a power-on
                self.index.remove(*before[1:])
        elif seq >= bound:
            return before
        place = number, off, kind & 1, layout.footprint(kind, length)
        self.index.add(*place)
        return (seq,) + place

    def _load_drop(self, number, off):
        taken = self.flash.take(number, off)
        if taken:
            from gateway.journal import drops

            self.drop = (number, off)
            for first, count in drops.runs(taken[1], taken[0][2]):
                self.forget(first, first + count - 1, number)

    def forget(self, first, last, until=None):
        """First…last are settled or given up: not pending any more."""
        for number, off, kind, _, _, _, size in self.matching(first, last, until):
            self.index.remove(number, off, kind & 1, size)

    def _forget_copied(self):
        """Of an event that was being copied from the tail when the power went, only the copy counts."""
        while True:
            self.trim()
            tail = self.tail
            if not self.index.moved_blocks:
                return
            waiting = {item[5]: item for item in self.in_block(tail)}
            found = 0
            for number in range(tail + 1, self.head + 1):
                if self.index.moved(number):
                    for item in self.in_block(number):
                        original = waiting.pop(item[5], None) if item[2] & layout.MOVED else None
                        if original:
                            found += 1
                            self.index.remove(original[0], original[1], original[2] & 1, original[6])
            if not found or waiting:
                return

    def _abandon_tail(self):
        if self.tail >= self.head:
            raise OSError(_ENOSPC)
        if self._holds_drops(self.tail):
            self.drop = None, self.flash.take(*self.drop)
        lost = [(item[5], item[2] & 1) for item in self.in_block(self.tail)]
        for number, off, kind, _, _, _, size in self.in_block(self.tail):
            self.index.remove(number, off, kind & 1, size)
        self._leave_tail()
        return lost

    def _unload(self):
        self.index.reset()
        self._loaded = False

    # Reading.

    def block_of(self, seq, until, low=None):
        """The block in low…until where `seq` was appended, or the readable one before it."""
        low = self.tail if low is None else low
        number, first, bound = self._hint
        if low <= number <= until and first <= seq < bound:
            return number
        high = until
        first = None
        while low < high:
            middle = probe = (low + high + 1) // 2
            head = self.flash.header(probe)
            while head is None and probe < high:
                probe += 1
                head = self.flash.header(probe)
            if head and head[0] <= seq:
                low, first = probe, head[0]
            else:
                high = middle - 1
        following = self.flash.header(low + 1) if low < until and first is not None else None
        if following:
            self._hint = (low, first, following[0])
        return low

    def matching(self, first, last, until=None):
        """Yield (block, offset, kind, rank, source, seq, size) of what is pending of first…last."""
        until = self.head if until is None else until
        start = number = self.block_of(first, until)
        while number <= until:
            head = self.flash.header(number) if number > start else None
            if head and head[0] > last:
                break
            yield from self.in_block(number, first, last)
            number += 1
        if self.index.moved_blocks:
            for other in range(self.tail, until + 1):
                if self.index.moved(other) and not start <= other < number:
                    yield from self.in_block(other, first, last)

    def in_block(self, number, first=0, last=_MAX_SEQ, begin=layout.FIRST):
        """The same of one block from offset `begin` on, whatever its seqs' order."""
        if not self.index.pending(number):
            return
        rising = not self.index.moved(number)
        for off, kind, rank, source, seq, length in self.flash.records(number, True, begin):
            if kind < layout.SETTLE:
                if first <= seq <= last and self.index.has(number, off):
                    yield number, off, kind, rank, source, seq, layout.footprint(kind, length)
                elif seq > last and rising:
                    return

    # Writing.

    def write(self, kind, rank, source, seq, payload, length=None):
        """Add a record; durable when it returns. Returns (block, offset)."""
        length = len(payload) if length is None else length
        size = layout.footprint(kind, length)
        for _ in range(self.flash.blocks):
            self.room(size)
            off = self.at
            self.at = self.flash.size  # until proven: what is half written is never written again
            try:
                written = self.flash.write(self.head, off, kind, rank, source, seq, length, payload)
            except OSError:
                continue
            if written:
                self.at = off + size
                self._enter_index(off, kind, size)
                return self.head, off
        raise OSError(_EIO)

    def room(self, size):
        """Make the block at the head take a record of `size` bytes."""
        laps = 0
        while self.at + size > self.flash.size:
            if laps > self.flash.blocks:  # what is copied always fills the new block: too little fits beside it
                self._give_up()
                laps = 0
            self._advance()
            laps += 1

    def _enter_index(self, off, kind, size):
        if kind < layout.SETTLE:
            self.index.add(self.head, off, kind & 1, size)
            if kind & layout.MOVED:
                self.index.set_moved(self.head)

    def _advance(self):
        self.load()
        lost = []
        while not self._open_next():
            lost.extend(self._abandon_tail())
        if lost or self.homeless():
            self._owner.write_off(lost)
        if not self._cleaning:
            self._clean(spare(self.flash.blocks))

    def _open_next(self):
        """Begin the next block that can be programmed; False when there is none before the tail."""
        number = self.head + 1
        while number - self.tail < self.flash.blocks:
            span = number - self.tail
            try:
                ready = self._prepared == number or self.flash.prepare(number, self.boot)
                if ready and self.flash.open(number, self.next_seq, span, self.boot, self.epoch_first, self.epoch):
                    self.head, self.at, self._told = number, layout.FIRST, self.tail
                    return True
            except OSError:
                pass
            self.index.set_dead(number)
            number += 1
        return False

    def prepare(self):
        """Erase one block ahead. True when there was something to do."""
        number = self.head + 1
        if self._prepared == number or self.index.dead(number) or number - self.tail >= self.flash.blocks:
            return False
        try:
            if self.flash.prepare(number, self.boot):
                self._prepared = number
        except OSError:
            pass
        if self._prepared != number:
            self.index.set_dead(number)
        return True

    def tell_tail(self, late=_LATE):
        """Write down where the log begins when the header at its head is `late` blocks behind: less to read at power-on."""
        if self.tail - self._told >= late:
            self.write(layout.SETTLE, 0, 0, self.tail, b"", 0)
            self._told = self.tail

    def write_anew(self, record, payload):
        """The doubtful last record of the power-on before, once more."""
        kind, rank, source, seq, length, _ = record
        self.write(kind if kind >= layout.SETTLE else kind | layout.MOVED, rank, source, seq, payload, length)

    # Making room.

    def free(self):
        """Blocks outside the log that are not known to be dead."""
        after = range(self.head + 1, self.tail + self.flash.blocks)
        return len(after) - sum(1 for number in after if self.index.dead(number))

    def trim(self):
        """Give up the blocks at the tail in which nothing is pending."""
        while self.tail < self.head and not self.index.pending(self.tail) and not self._holds_drops(self.tail):
            self._leave_tail()

    def homeless(self):
        """Whether the drop record went with its block and is to be written anew."""
        return self.drop is not None and self.drop[0] is None

    def _holds_drops(self, number):
        return self.drop is not None and self.drop[0] == number

    def _leave_tail(self):
        self.index.clear_moved(self.tail)
        self.tail += 1

    def _clean(self, target):
        self.trim()
        laps = 0
        while self.free() < target and self.tail < self.head:
            if laps == self.flash.blocks:
                self._give_up()
                laps = 0
            self._cleaning = True
            try:
                self._copy_tail()
            finally:
                self._cleaning = False
            self.trim()
            laps += 1

    def _give_up(self):
        self._cleaning = True
        try:
            self._owner.give_up()
        finally:
            self._cleaning = False

    def _copy_tail(self):
        """Copy what is pending in the oldest block to the head and give the block up."""
        tail = self.tail
        if self._holds_drops(tail):
            self._copy_drops()
        for _, off, kind, rank, source, seq, size in self.in_block(tail):
            taken = self.flash.take(tail, off)
            self.index.remove(tail, off, kind & 1, size)
            if taken is None:
                self.index.rotten += 1
            else:
                self.write(kind | layout.MOVED, rank, source, seq, taken[1])
        damaged = self.index.pending(tail)
        if self.tail == tail:
            self._leave_tail()
        if damaged:
            self.reread()

    def reread(self):
        """A record that was good is not any more: find out what is left."""
        self.index.rotten += 1
        self._unload()
        self.load()

    def _copy_drops(self):
        taken = self.flash.take(*self.drop)
        self.drop = None
        if taken:
            ranges = taken[0][2]
            self.drop = self.write(layout.DROP, 0, ranges, self.next_seq, taken[1][: 8 + 16 * ranges])
