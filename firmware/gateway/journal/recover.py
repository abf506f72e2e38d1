"""What the flash says at power-on. Reads only; its time is bounded by the size of the flash, whatever is in it."""

from micropython import const

from gateway.journal import layout

_MIN_FREE = const(2)  # blocks outside the log that every power-on leaves
_READS = const(8)  # that agree: then bits do not read either way


def newest(flash):
    """(number, header) of the newest block that can be read; (highest number seen or None, None) without one. Raises
    UnknownFormatError."""
    best = highest = None
    for place in range(flash.blocks):
        stamp = flash.stamp(place)
        if stamp and stamp[0] % flash.blocks == place:
            highest = max(highest or 0, stamp[0])
            head = flash.header(stamp[0]) if best is None or stamp[0] > best[0] else None
            if head:
                best = stamp[0], head
    return best or _without_header(flash, highest)


def _without_header(flash, highest):
    """The same when no header is readable: records tell their block too. The epoch is unknown then, and the log is taken to
    reach back as far as there are stamps: blocks that were given up hold nothing that later ones do not overrule."""
    if highest is None:
        return None, None
    first = highest
    while highest - first < flash.blocks - 1 and _stamped(flash, first - 1):
        first -= 1
    for number in range(highest, first - 1, -1):
        if _read(flash, number, 1)[2][1] is not None:
            stamp = flash.stamp(number)
            return number, (1, number - first, 0, 0, 0, stamp[2] if stamp else 0, 1, None)
    return highest, None


def _stamped(flash, number):
    stamp = flash.stamp(number)
    return bool(stamp) and stamp[0] == number


def end(flash, number, head):
    """The end of the log whose newest readable block is `number` with header `head`: (next_seq, boot, sound, previous epoch, last record).

    `sound` means: nothing was ever written behind the last good record, so no seq from next_seq on was ever used. It
    has to be proven (TP-JRN-009). Otherwise a block whose header is damaged may follow; its records still count.
    The last record is (block, offset, kind), the latter two None when there is none.
    """
    boot = head[5]
    next_seq, previous, last = _read(flash, number, head[0])
    sound = flash.untouched(number) and _unused(flash, number + 1, head[3])
    stamp = flash.stamp(number + 1)
    if stamp and stamp[0] == number + 1:  # erased for a boot that came no further
        later = stamp[2] - boot & 0xFFFF
        boot += later if later < 0x8000 else 0
    while not sound and last[0] - number < flash.blocks:
        next_seq, _, beyond = _read(flash, last[0] + 1, next_seq)
        if beyond[1] is None:
            break
        last = beyond
    return next_seq, boot, sound, previous if next_seq == head[6] else None, last


def tail(flash, number, span, last):
    """Where the log begins whose newest readable header, of block `number`, says `span`: a later record may say more."""
    first = number - span
    for block in range(number, last + 1):
        for _, kind, _, _, seq, length in flash.records(block):
            if kind == layout.SETTLE and not length and first < seq <= block:
                first = seq
    return first


def _read(flash, number, next_seq):
    """(next_seq after the block's records, previous epoch of its boot record or None, its last record)."""
    previous = None
    last = number, None, None
    for off, kind, _, _, seq, _ in flash.records(number):
        last = number, off, kind
        if kind == layout.EVENT or kind == layout.ALARM:
            next_seq = max(next_seq, seq + 1)
        elif kind > layout.SETTLE:
            next_seq = max(next_seq, seq)
        if kind == layout.BOOT:
            taken = flash.take(number, off)
            previous = layout.parse_boot(taken[1])[0] if taken else None
    return next_seq, previous, last


def bound(flash, number, head):
    """Events that were appended in block `number` count below this seq. One at or above it was torn: its seq was given anew."""
    while number < head:
        number += 1
        header = flash.header(number)
        if header:
            return header[0]
    return 0xFFFFFFFF


def limit(flash, number, head):
    """Records of block `number` count below this offset: what the boot records behind it say was found at power-on."""
    end = flash.size
    block = number
    while block < head:
        block += 1
        taken = flash.take(block, layout.FIRST)
        if taken:
            _, last, limit = layout.parse_boot(taken[1]) if taken[0][0] == layout.BOOT else (None, block, 0)
            if last > number:
                break
            end = limit if last == number else 0
    return end


def doubtful(flash, last, lowest):
    """Where the last record lies that is more than a boot record: its write may have been cut so late that it reads well
    today and badly tomorrow, and nobody can tell. None when there is no such record."""
    newest, off, kind = last
    number = newest
    while number > lowest and (off is None or kind == layout.BOOT):
        number -= 1
        end, above = limit(flash, number, newest), bound(flash, number, newest)
        off = None
        for at, what, _, _, seq, _ in flash.records(number):
            if at < end and (what > layout.ALARM or seq < above):
                off, kind = at, what
    return None if off is None or kind == layout.BOOT else (number, off)


def fate(flash, doubt, lowest):
    """Decides about the doubtful record, for good: ((record, payload) to be written anew or None, block, limit), the last
    two for the boot record."""
    if doubt is None:
        return None, lowest, layout.FIRST
    block, off = doubt
    taken = flash.take(block, off)
    return taken, block, off + layout.footprint(taken[0][0], taken[0][4]) if taken else off


def usable(flash, last, lowest, next_seq):
    """(last record behind which the log may go on, next_seq then). Where power-ons that were cut have left hardly a free
    block, theirs are used again."""
    while last[0] > lowest and last[0] - lowest >= flash.blocks - _MIN_FREE and _only_copies(flash, last[0], lowest):
        next_seq, _, last = _read(flash, last[0] - 1, next_seq)
    return last, next_seq


def _only_copies(flash, number, lowest):
    """Whether block `number` holds nothing but boot records and copies of what is still in a block before it."""
    return all(rec[1] == layout.BOOT or _earlier(flash, rec, number, lowest) for rec in flash.records(number))


def _earlier(flash, record, number, lowest):
    off, kind, _, _, seq, length = record
    for block in range(lowest, number):
        for at, what, _, _, other, size in flash.records(block):
            alike = what | layout.MOVED == kind if kind < layout.SETTLE else (what, size) == (kind, length)
            if other == seq and alike and all(_same(flash, block, at, number, off) for _ in range(_READS)):
                return True
    return False


def _same(flash, block, at, number, off):
    first, second = flash.take(block, at), flash.take(number, off)
    return first and second and first[1] == second[1]


def _unused(flash, number, seen):
    """Whether block `number` was never begun: still as it was when the one before was opened, or erased and stamped only."""
    if flash.look(number, 0) == seen:
        return True
    stamp = flash.stamp(number)
    return bool(stamp) and stamp[0] == number and flash.look(number, layout.HEADER) == stamp[1]
