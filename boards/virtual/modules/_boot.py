"""What a board does before the REPL: mount the file system of the flash at /, run boot.py and main.py."""

import gc
import os
import struct
import sys

import _hub
import esp32
import machine
import network
import vfs

for _name in ("board_trace", "select", "socket", "time"):
    __import__(_name)


def _hello():
    """Takes reset cause, raw REPL, RTC offset in ms and the unique id; returns whether the REPL is to be raw."""
    told = _hub.call(_hub.HELLO)
    machine._reset_cause, raw, _hub.rtc_offset_ms = struct.unpack_from("<BBq", told)
    machine._unique_id = bytes(told[10:])
    network._settings["mac"] = machine._unique_id
    return raw


def _mount():
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


def _run(name, names):
    """Whether the file ended without an error; a missing one did. A SystemExit is a soft reset."""
    try:
        os.stat(name)
    except OSError:
        return True
    try:
        execfile(name, names)
        return True
    except SystemExit:
        raise
    except BaseException as e:
        sys.print_exception(e)
        return False


def boot(names):
    raw = _hello()
    _mount()
    del sys.modules["_boot"], names["_boot"]
    sys.path[:] = ["", ".frozen", "/lib"]
    gc.collect()
    try:
        if _run("boot.py", names) and not raw:
            _run("main.py", names)
    except SystemExit:
        _hub.call(_hub.RESET, machine.SOFT_RESET)
    _hub.call(_hub.BOOTED)
