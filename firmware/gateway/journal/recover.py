"""What the flash says at power-on. Reads only; its time is bounded by the size of the flash, whatever is in it."""

from gateway.journal import layout


def newest(flash):
    """Number of the newest block that has a readable header, or None. Raises UnknownFormatError."""
    best = None
    for place in range(flash.blocks):
        stamp = flash.stamp(place)
        if stamp and stamp[0] % flash.blocks == place and (best is None or stamp[0] > best) and flash.header(stamp[0]):
            best = stamp[0]
    return best


def end(flash, number):
    """The end of the log whose newest readable block is `number`: (last block, next_seq, boot, sound, previous epoch).

    `sound` means: nothing was ever written behind the last good record, so no seq from next_seq on was ever used. It
    has to be proven (TP-JRN-009). Otherwise a block whose header is damaged may follow; its records still count.
    """
    head = flash.header(number)
    boot = head[5]
    next_seq, previous, _ = _read(flash, number, head[0])
    sound = flash.untouched(number) and _unused(flash, number + 1, head[3])
    stamp = flash.stamp(number + 1)
    if stamp and stamp[0] == number + 1:  # erased for a boot that came no further
        later = stamp[2] - boot & 0xFFFF
        boot += later if later < 0x8000 else 0
    last = number
    while not sound and last - number < flash.blocks:
        next_seq, _, found = _read(flash, last + 1, next_seq)
        if not found:
            break
        last += 1
    return last, next_seq, boot, sound, previous if next_seq == head[6] else None


def _read(flash, number, next_seq):
    """(next_seq after the block's records, previous epoch of its boot record or None, whether it holds any record)."""
    previous = None
    found = False
    for off, kind, _, _, seq, length in flash.records(number):
        found = True
        if kind == layout.EVENT or kind == layout.ALARM:
            next_seq = max(next_seq, seq + 1)
        elif kind > layout.SETTLE:
            next_seq = max(next_seq, seq)
        if kind == layout.BOOT:
            payload = flash.payload(number, off, length)
            previous = payload[:8] if payload and payload[8] else None
    return next_seq, previous, found


def _unused(flash, number, seen):
    """Whether block `number` was never begun: still as it was when the one before was opened, or erased and stamped only."""
    if flash.look(number, 0) == seen:
        return True
    stamp = flash.stamp(number)
    return bool(stamp) and stamp[0] == number and flash.look(number, layout.HEADER) == stamp[1]
