"""What is pending, in RAM: one bit for each cell of 64 bytes, for the event that begins in it. 2.3 KiB for 1 MiB of flash.

Everything else about an event stays in flash and is read when it is needed, so the backlog costs no memory.
"""

from gateway.journal import layout

_CELL_BYTES = 8 * layout.CELL  # of flash for one byte of bits


class Index:
    def __init__(self, blocks, size):
        self._row = size // _CELL_BYTES
        self._bits = bytearray(blocks * self._row)
        self._alarms = bytearray(blocks)  # pending alarms of each; bit 7: it holds moved records; bit 6: it is dead
        self._blocks = blocks
        self.rotten = 0  # records found damaged that were good
        self.reset()

    def reset(self):
        for place in range(len(self._bits)):
            self._bits[place] = 0
        for block in range(self._blocks):
            self._alarms[block] &= 0x40
        self.moved_blocks = 0
        self.events = self.alarms = 0
        self.event_bytes = self.alarm_bytes = 0

    def has(self, number, off):
        place = number % self._blocks * self._row + off // _CELL_BYTES
        return self._bits[place] >> (off // layout.CELL & 7) & 1

    def add(self, number, off, alarm, size):
        if not self.has(number, off):
            self._turn(number, off, alarm, 1, size)

    def remove(self, number, off, alarm, size):
        if self.has(number, off):
            self._turn(number, off, alarm, -1, size)

    def charge(self, size):
        """Bytes that a record of `size` takes of the room: its own, and its share of what is left empty at the end of blocks."""
        return size + 3 * size * size // (2 * self._row * _CELL_BYTES)

    def _turn(self, number, off, alarm, one, size):
        block = number % self._blocks
        size = one * self.charge(size)
        self._bits[block * self._row + off // _CELL_BYTES] ^= 1 << (off // layout.CELL & 7)
        if alarm:
            self._alarms[block] += one
            self.alarms += one
            self.alarm_bytes += size
        else:
            self.events += one
            self.event_bytes += size

    def pending(self, number):
        """Whether any event of the block is pending."""
        at = number % self._blocks * self._row
        return any(self._bits[at : at + self._row])

    def pending_alarms(self, number):
        return self._alarms[number % self._blocks] & 0x3F

    def moved(self, number):
        """Whether the block may hold moved records."""
        return self._alarms[number % self._blocks] & 0x80

    def set_moved(self, number):
        self.moved_blocks += not self.moved(number)
        self._alarms[number % self._blocks] |= 0x80

    def clear_moved(self, number):
        self.moved_blocks -= self.moved(number) >> 7
        self._alarms[number % self._blocks] &= 0x7F

    def dead(self, number):
        """Whether the block was found not to take programs or erases."""
        return self._alarms[number % self._blocks] & 0x40

    def set_dead(self, number):
        self._alarms[number % self._blocks] |= 0x40
