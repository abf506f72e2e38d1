"""ESP-IDF partition tables: the CSV that people write and the binary table at 0x8000 (ESP-IDF API guide, Partition Tables)."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from itertools import pairwise

from tryggport.errors import TryggError

TABLE_OFFSET = 0x8000
TABLE_BYTES = 0xC00
FIRST_OFFSET = 0x9000
FLAG_ENCRYPTED = 1

_ENTRY = struct.Struct("<2sBBII16sI")
_MAGIC = b"\xaa\x50"
_MD5_MAGIC = b"\xeb\xeb" + b"\xff" * 14
_TYPES = {"app": 0, "data": 1}
_SUBTYPES = {
    "app": {"factory": 0x00, "test": 0x20} | {f"ota_{n}": 0x10 + n for n in range(16)},
    "data": {
        "ota": 0x00, "phy": 0x01, "nvs": 0x02, "coredump": 0x03, "nvs_keys": 0x04, "efuse": 0x05, "undefined": 0x06,
        "esphttpd": 0x80, "fat": 0x81, "spiffs": 0x82, "littlefs": 0x83,
    },
}  # fmt: skip
_ALIGNMENT = {0: 0x10000, 1: 0x1000}


@dataclass(frozen=True)
class Partition:
    """One row; `type` and `subtype` are the numbers of the binary table, `offset` and `size` bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    flags: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.size


def parse_csv(text: str) -> list[Partition]:
    """The rows of a partition CSV; an empty offset means "after the row before". Raises TryggError."""
    rows: list[Partition] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        try:
            rows.append(_row([field.strip() for field in line.split(",")], rows[-1].end if rows else FIRST_OFFSET))
        except (ValueError, KeyError, IndexError) as e:
            raise TryggError(f"Line {number} of the partition table is not a partition: {line}", str(e)) from e
    _check(rows)
    return rows


def _row(fields: list[str], after: int) -> Partition:
    label, kind, subtype, offset, size = fields[:5]
    flags = fields[5] if len(fields) > 5 else ""
    if flags not in ("", "encrypted"):
        raise ValueError(f"flag {flags} is not known")
    number = _TYPES[kind] if kind in _TYPES else _number(kind)
    named = _SUBTYPES.get(kind, {})
    align = _ALIGNMENT.get(number, 0x1000)
    return Partition(
        label,
        number,
        named[subtype] if subtype in named else _number(subtype),
        _number(offset) if offset else -(-after // align) * align,
        _number(size),
        FLAG_ENCRYPTED if flags else 0,
    )


def _number(text: str) -> int:
    units = {"k": 1024, "m": 1024 * 1024}
    scale = units.get(text[-1:].lower(), 1)
    return int(text[:-1] if scale > 1 else text, 0) * scale


def _check(rows: list[Partition]) -> None:
    if len({row.label for row in rows}) != len(rows):
        raise TryggError("Two partitions bear the same name.")
    for row in rows:
        if not 0 < len(row.label.encode()) <= 16:
            raise TryggError(f"Partition name {row.label!r} must have 1 to 16 bytes.")
        if row.offset % _ALIGNMENT.get(row.type, 0x1000) or row.size <= 0:
            raise TryggError(f"Partition {row.label} is not aligned or is empty.")
    ordered = sorted(rows, key=lambda row: row.offset)
    for row, following in pairwise(ordered):
        if row.end > following.offset:
            raise TryggError(f"Partitions {row.label} and {following.label} overlap.")


def to_bytes(rows: list[Partition]) -> bytes:
    """The binary table: rows, MD5 row, 0xFF up to 0xC00 bytes."""
    body = b"".join(
        _ENTRY.pack(_MAGIC, row.type, row.subtype, row.offset, row.size, row.label.encode(), row.flags) for row in rows
    )
    table = body + _MD5_MAGIC + hashlib.md5(body, usedforsecurity=False).digest()
    if len(table) > TABLE_BYTES:
        raise TryggError(f"A partition table holds at most {TABLE_BYTES // _ENTRY.size - 1} partitions.")
    return table.ljust(TABLE_BYTES, b"\xff")


def from_bytes(table: bytes) -> list[Partition]:
    """The rows of a binary table. Raises TryggError when it is damaged or missing."""
    rows: list[Partition] = []
    for at in range(0, len(table) - _ENTRY.size + 1, _ENTRY.size):
        entry = table[at : at + _ENTRY.size]
        if entry[:16] == _MD5_MAGIC:
            if entry[16:] != hashlib.md5(table[:at], usedforsecurity=False).digest():
                break
            return rows
        magic, kind, subtype, offset, size, label, flags = _ENTRY.unpack(entry)
        if magic != _MAGIC:
            break
        rows.append(Partition(label.rstrip(b"\0").decode("utf-8", "replace"), kind, subtype, offset, size, flags))
    raise TryggError("There is no valid partition table at 0x8000.")
