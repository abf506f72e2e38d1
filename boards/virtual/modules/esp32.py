"""`esp32` as on the chip: partitions of the flash and NVS, both in ESP-IDF's formats and both in the board host's flash model."""

import struct

from _hub import call
from micropython import const

# Reads need no round trip to the host: its model keeps what the flash reads as in this file of the board's folder.
_chip = open("flash.bin", "rb")  # noqa: SIM115

_PARTITIONS = const(15)
_FLASH_PROGRAM = const(17)
_FLASH_ERASE = const(18)
_NVS_SET = const(19)
_NVS_GET = const(20)
_NVS_ERASE = const(21)


class Partition:
    """A block device with the extended protocol. A write without an offset erases first, one with an offset only programs."""

    RUNNING = const(1)
    TYPE_APP = const(0)
    TYPE_DATA = const(1)

    def __init__(self, id):
        """`id`: a label, RUNNING, or what `info` returns. OSError(2) when there is none."""
        if not isinstance(id, tuple):
            wanted = Partition.find(Partition.TYPE_APP) if id == Partition.RUNNING else Partition.find(None, label=id)
            if not wanted:
                raise OSError(2)
            id = wanted[0].info()
        self._info = id

    @staticmethod
    def find(type=TYPE_APP, subtype=0xFF, label=None):
        return [
            Partition(row)
            for row in _rows()
            if type in (None, row[0]) and subtype in (0xFF, row[1]) and label in (None, row[4])
        ]

    def info(self):
        """(type, subtype, address, size, label, encrypted)"""
        return self._info

    def _address(self, block, offset, n):
        at = block * 4096 + offset
        if at < 0 or at + n > self._info[3]:
            raise OSError(-260)  # ESP_ERR_INVALID_SIZE
        return self._info[2] + at

    def readblocks(self, block, buf, offset=0):
        _chip.seek(self._address(block, offset, len(buf)))
        _chip.readinto(buf)

    def writeblocks(self, block, buf, offset=None):
        at = self._address(block, offset or 0, len(buf))
        if offset is None:
            for sector in range(at, at + len(buf), 4096):
                call(_FLASH_ERASE, 0, sector)
        call(_FLASH_PROGRAM, 0, at, 0, buf)

    def ioctl(self, op, arg):
        if op == 4:
            return self._info[3] // 4096
        if op == 5:
            return 4096
        if op == 6:
            call(_FLASH_ERASE, 0, self._address(arg, 0, 4096))
        return 0 if op in (1, 2, 3, 6) else None


def _rows():
    table = call(_PARTITIONS)
    rows = []
    for at in range(0, len(table), 32):
        kind, subtype, address, size, label, flags = struct.unpack_from("<BBII16sI", table, at + 2)
        rows.append((kind, subtype, address, size, label.rstrip(b"\0").decode(), bool(flags & 1)))
    return rows


class NVS:
    """A namespace of the `nvs` partition. Every set is durable when it returns; commit() is there for the name's sake."""

    def __init__(self, namespace):
        self._name = namespace.encode() + b"\0"

    def set_i32(self, key, value):
        self._set(0, key, struct.pack("<i", value))

    def get_i32(self, key):
        return struct.unpack("<i", self._get(0, key))[0]

    def set_blob(self, key, value):
        self._set(1, key, bytes(value))

    def get_blob(self, key, buffer):
        """Reads into `buffer`, returns the length. OSError(-4364) when the buffer is too short, (-4354) when not found."""
        value = self._get(1, key)
        if len(value) > len(buffer):
            raise OSError(-4364)
        buffer[: len(value)] = value
        return len(value)

    def erase_key(self, key):
        call(_NVS_ERASE, 0, 0, 0, self._name + key.encode())

    def commit(self):
        pass

    def _set(self, kind, key, value):
        call(_NVS_SET, kind, 0, 0, self._name + key.encode() + b"\0" + value)

    def _get(self, kind, key):
        return call(_NVS_GET, kind, 0, 0, self._name + key.encode())
