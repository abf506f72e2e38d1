"""What a board does first: greet the hardware and mount the file system of the flash at /."""

import struct
import sys

import _hub
import esp32
import machine
import vfs
from micropython import const

_HELLO = const(1)

for _name in ("board_trace", "network", "select", "socket", "time"):
    __import__(_name)


def hello():
    """Takes reset cause, raw REPL, RTC offset in ms and the unique id; returns whether the REPL is to be raw."""
    told = _hub.call(_HELLO)
    machine._reset_cause, raw, _hub.rtc_offset_ms = struct.unpack_from("<BBq", told)
    machine._unique_id = bytes(told[10:])
    return raw


def mount():
    """The LittleFS of the partition `vfs`; a blank one is formatted, a damaged one is left alone, as inisetup does."""
    vfs.umount("/")
    flash = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="vfs")[0]
    try:
        vfs.mount(vfs.VfsLfs2(flash), "/")
    except OSError:
        sector = bytearray(4096)
        flash.readblocks(0, sector)
        if any(byte != 0xFF for byte in sector):
            print("The filesystem appears to be corrupted.")
            return
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(vfs.VfsLfs2(flash), "/")
        with open("boot.py", "w") as f:
            f.write("# This file is executed on every boot (including wake-boot from deepsleep)\n")
    sys.path[:] = ["", ".frozen", "/lib"]
