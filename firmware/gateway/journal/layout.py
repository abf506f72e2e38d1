"""Bytes of the journal's log (protocols/journal.md is normative): stamp, block header, record header.

block  = stamp 16 | header 32 | records
record = header 16 | payload | padding to 16; an event takes at least one cell of 64

Checks are salted with the block's number, so nothing from an earlier use of the block is ever taken for a record, and a
record can be read although its block's header is damaged. *Look* is how an erased unit reads: under flash encryption
that is anything, but it is known before the unit is used, so a unit that still looks so was never programmed.
"""

from binascii import crc32
from struct import pack, unpack_from

from micropython import const

VERSION = 1
UNIT = 16
HEADER = 16  # offset of the block header
FIRST = 48  # offset of the first record
CELL = 64
MAX_DROP = 408  # bytes of the largest drop record: header, totals, 16 ranges, 16 runs
MAX_PAYLOAD = 1328  # three records of this size fill a block of 4,096

EVENT = 0
ALARM = 1  # kind & 1: alarm class, for the first four
MOVED = 2  # EVENT | MOVED, ALARM | MOVED: copied forward, so not in the order of seq
SETTLE = 4
DROP = 5
BOOT = 6

_MAGIC = b"TPJ"
_LENGTH = const(0x7FF)
_MAX_COUNT = const(0x7FF)
MAX_COUNT = _MAX_COUNT


class UnknownFormatError(Exception):
    """A newer firmware has written this journal. Nothing was changed; install that firmware again."""


def look(unit):
    return crc32(unit) & 0xFFFF


def stamp(number, boot, header_look):
    """Marks an erased block as number `number` of the log."""
    unit = pack("<3sBIHH", _MAGIC, VERSION, number, header_look, boot & 0xFFFF)
    return unit + pack("<I", crc32(unit))


def parse_stamp(unit):
    """(number, look of the header's first unit, low 16 bits of boot) or None; UnknownFormatError for a newer version."""
    magic, version, number, header_look, boot = unpack_from("<3sBIHH", unit)
    if magic != _MAGIC or unpack_from("<I", unit, 12)[0] != crc32(unit[:12]):
        return None
    if version != VERSION:
        raise UnknownFormatError(version)
    return number, header_look, boot


def header(number, first_seq, span, looks, boot, epoch_first, epoch):
    """`first_seq` is next_seq when the block is opened, `span` how many blocks before it the log begins, `looks` those of
    the first record's place here and of the next block's stamp."""
    body = pack("<IHHHHII8s", first_seq, span, looks[0], looks[1], 0, boot, epoch_first, epoch)
    return body + pack("<I", crc32(body, number))


def parse_header(number, body):
    """(first_seq, span, look, next block's look, 0, boot, epoch_first, epoch) or None."""
    if unpack_from("<I", body, 28)[0] != crc32(body[:28], number):
        return None
    return unpack_from("<IHHHHII8s", body)


def footprint(kind, length):
    """Bytes of flash from one record to the next; `length` as in the record header."""
    if kind == SETTLE:
        return UNIT
    size = UNIT + length + 15 & ~15
    return size if kind > SETTLE else max(CELL, size)


def record(number, kind, rank, source, seq, length, next_look, payload):
    """The 16 bytes before `payload`. SETTLE has none: its `length` is how many seqs from `seq` on are settled."""
    head = pack("<HHIBB", length | kind << 11 | rank << 14, next_look, seq, source, 0)
    head += pack("<H", crc32(head, number) & 0xFFFF)
    return head + pack("<I", crc32(payload, crc32(head, number)))


def boot(previous_epoch, block, limit):
    """Payload of a boot record: of what lies before it, only what lies before offset `limit` of `block` counts."""
    return pack("<8sBxHI", previous_epoch or bytes(8), previous_epoch is not None, limit, block)


def parse_boot(payload):
    """(previous epoch or None, block, limit)"""
    previous, known, limit, block = unpack_from("<8sBxHI", payload)
    return previous if known else None, block, limit


def parse_record(number, unit):
    """(kind, rank, source, seq, length, look of the next record's place) or None; the payload is not checked."""
    tag, next_look, seq, source, _, check = unpack_from("<HHIBBH", unit)
    if check != crc32(unit[:10], number) & 0xFFFF:
        return None
    return tag >> 11 & 7, tag >> 14, source, seq, tag & _LENGTH, next_look
