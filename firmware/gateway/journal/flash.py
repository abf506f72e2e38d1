"""Numbered blocks on a block device, and records in them.

Block `number` lies at `number % blocks`: numbers only rise, so each use of a block is known from every other.
Only `readblocks(n, buf, off)`, `writeblocks(n, buf, off)` and `ioctl(4 | 5 | 6, n)` are used; writes are whole units of
16 bytes, none twice between erases (TP-JRN-002).
"""

from binascii import crc32
from struct import unpack_from

from micropython import const

from gateway.journal import layout

_WINDOW = const(224)  # a header and the payload of a usual event


class Flash:
    def __init__(self, bdev):
        self.blocks = bdev.ioctl(4, 0)
        self.size = bdev.ioctl(5, 0)
        self.erases = self.programmed_bytes = 0
        self._bdev = bdev
        self._window = memoryview(bytearray(_WINDOW))

    def read(self, number, off, length):
        """A view of at most _WINDOW bytes, good until the next call."""
        view = self._window[: min(length, _WINDOW, self.size - off)]
        self._bdev.readblocks(number % self.blocks, view, off)
        return view

    def look(self, number, off):
        return layout.look(self.read(number, off, layout.UNIT)) if off < self.size else 0

    def stamp(self, number):
        """(number, look, boot) of whatever now lies at the place of block `number`, or None."""
        return layout.parse_stamp(self.read(number, 0, layout.UNIT))

    def header(self, number):
        """The header fields of block `number`, or None when this block is not readable or not there."""
        view = self.read(number, 0, layout.FIRST)
        stamp = layout.parse_stamp(view)
        if stamp is None or stamp[0] != number:
            return None
        return layout.parse_header(number, view[layout.HEADER :])

    def prepare(self, number, boot):
        """Erase and stamp; False when the block is dead."""
        self.erases += 1
        if self._bdev.ioctl(6, number % self.blocks):
            return False
        return self._program(number, 0, layout.stamp(number, boot, self.look(number, layout.HEADER)))

    def open(self, number, first_seq, span, boot, epoch_first, epoch):
        """Write the header of a prepared block; False when the block is dead."""
        looks = self.look(number, layout.FIRST), self.look(number + 1, 0)
        head = layout.header(number, first_seq, span, looks, boot, epoch_first, epoch)
        return self._program(number, layout.HEADER, head)

    def write(self, number, off, kind, rank, source, seq, length, payload):
        """Program one record and read it back; False when it is not there. The header comes last: it commits."""
        next_look = self.look(number, off + layout.footprint(kind, length))
        head = layout.record(number, kind, rank, source, seq, length, next_look, payload)
        view = memoryview(payload)
        whole = len(payload) & ~15
        if whole:
            self._put(number, off + layout.UNIT, view[:whole])
        if whole < len(payload):
            last = bytearray(layout.UNIT)
            last[: len(payload) - whole] = view[whole:]
            self._put(number, off + layout.UNIT + whole, last)
        return self._program(number, off, head) and self.intact(number, off)

    def record(self, number, off):
        """(kind, rank, source, seq, length, look) of the header at `off`, or None."""
        return layout.parse_record(number, self.read(number, off, layout.UNIT))

    def intact(self, number, off):
        """The same when header and payload are undamaged, else None."""
        view = self.read(number, off, _WINDOW)
        record = layout.parse_record(number, view)
        if record is None:
            return None
        want = unpack_from("<I", view, 12)[0]
        crc = crc32(view[:12], number)
        left = 0 if record[0] == layout.SETTLE else record[4]
        if off + layout.UNIT + left > self.size:
            return None
        at = layout.UNIT
        while left:
            part = view[at : at + left]
            crc = crc32(part, crc)
            left -= len(part)
            if left:
                off += at + len(part)
                at = 0
                view = self.read(number, off, left)
        return record if crc == want else None

    def take(self, number, off):
        """(record, payload) at `off`, or None when it is damaged. What is returned is what was checked."""
        view = self.read(number, off, _WINDOW)
        record = layout.parse_record(number, view)
        end = layout.UNIT + (0 if record is None or record[0] == layout.SETTLE else record[4])
        if record is None or off + end > self.size:
            return None
        if end > len(view):
            view = memoryview(bytearray(end))
            self._bdev.readblocks(number % self.blocks, view, off)
        if unpack_from("<I", view, 12)[0] != crc32(view[16:end], crc32(view[:12], number)):
            return None
        return layout.parse_record(number, view), bytes(view[16:end])

    def records(self, number, quick=False, off=layout.FIRST):
        """Yield (off, kind, rank, source, seq, length) of the records of block `number`, from the one at `off` on.

        Damage is stepped over unit by unit. `quick` reads headers only: for those who know from elsewhere that the
        record is good.
        """
        head = self.header(number) if off == layout.FIRST else None
        clean = head and head[2]
        while off < self.size:
            record = self.record(number, off) if quick else self.intact(number, off)
            if record:
                yield off, record[0], record[1], record[2], record[3], record[4]
                off += layout.footprint(record[0], record[4])
                clean = record[5]
            elif clean is not None and clean == self.look(number, off):
                return
            else:
                off += layout.UNIT
                clean = None

    def untouched(self, number):
        """Whether block `number` ends in erased bytes: (next record's offset, nothing was begun behind the last one)."""
        head = self.header(number)
        clean = head and head[2]
        off = layout.FIRST
        for at, kind, _, _, _, length in self.records(number):
            off = at + layout.footprint(kind, length)
            record = self.record(number, at)
            clean = record and record[5]
        return clean is not None and (off >= self.size or clean == self.look(number, off))

    def _put(self, number, off, data):
        self._bdev.writeblocks(number % self.blocks, data, off)
        self.programmed_bytes += len(data)

    def _program(self, number, off, data):
        self._put(number, off, data)
        return self.read(number, off, len(data)) == data
