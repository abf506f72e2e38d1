"""The journal and LittleFS on the same modelled flash; run by MicroPython, started by tests/bench/journal.py.

Prints one JSON object. Times of the flash are the model's (45 ms an erase, 0.7 ms per 256 bytes); recovery is wall time.
"""

import gc
import json
import os
import time

import vfs
from gateway.journal import Journal
from nor import BlockDevice, Nor

RECORD = bytes(i & 0xFF for i in range(206))
SIZE = 1 << 20
EVENTS = 10_000  # more than two laps round the flash
RANGE = 20
FILE_EVENTS = 1_000


def percentile(values, share):
    return sorted(values)[int(len(values) * share)]


def report(nor, took_us, recovery_us):
    return {
        "erases_per_event": round(nor.erases / EVENTS, 4),
        "programmed_bytes_per_event": round(nor.programmed_bytes / EVENTS, 1),
        "programmed_per_payload": round(nor.programmed_bytes / EVENTS / len(RECORD), 4),
        "append_flash_ms_p50": percentile(took_us, 0.5) / 1000,
        "append_flash_ms_p99": percentile(took_us, 0.99) / 1000,
        "append_flash_ms_max": max(took_us) / 1000,
        "recovery_s": round(percentile(recovery_us, 0.5) / 1e6, 4),
    }


def appended(nor, append):
    before = nor.busy_us
    append()
    return nor.busy_us - before


def recovered(reopen):
    gc.collect()
    start = time.ticks_us()
    reopen()
    return time.ticks_diff(time.ticks_us(), start)


def with_journal():
    nor = Nor(SIZE)
    journal = Journal(BlockDevice(nor))
    journal.append(RECORD, True)  # stuck: nobody settles it
    took_us = []
    for _ in range(EVENTS // RANGE):
        first = journal.next_seq
        took_us.extend(appended(nor, lambda: journal.append(RECORD, False)) for _ in range(RANGE))
        journal.settle(first, first + RANGE - 1)
        journal.idle()
    counted = report(nor, took_us, [0])
    while not journal.stats()["dropped"]:
        for _ in range(100):
            journal.append(RECORD, journal.next_seq % 8 == 0)
    backlog = journal.stats()

    def reopen():
        Journal(BlockDevice(nor)).append(RECORD, True)

    recovery_us = [recovered(reopen) for _ in range(9)]
    took_us = journal = None
    gc.collect()
    before = gc.mem_alloc()
    journal = Journal(BlockDevice(nor))
    journal.stats()
    gc.collect()
    counted["recovery_s"] = round(percentile(recovery_us, 0.5) / 1e6, 4)
    counted["recovery_s_max"] = round(max(recovery_us) / 1e6, 4)
    counted["backlog_events"] = backlog["pending_alarms"] + backlog["pending_events"]
    counted["ram_bytes_at_that_backlog"] = gc.mem_alloc() - before
    return counted


def with_littlefs():
    """A file is appended to and flushed for each event; a full one is deleted when the next is full, as settled."""
    nor = Nor(SIZE)
    device = BlockDevice(nor)
    vfs.VfsLfs2.mkfs(device)
    vfs.mount(device, "/log")
    file, took_us = None, []

    def append():
        file.write(RECORD)
        file.flush()

    for event in range(EVENTS):
        if event % FILE_EVENTS == 0:
            if file:
                file.close()
            number = event // FILE_EVENTS
            if number > 1:
                os.remove(f"/log/{number - 2}")
            file = open(f"/log/{number}", "ab")  # noqa: SIM115
        took_us.append(appended(nor, append))
    file.close()
    counted = report(nor, took_us, [0])
    while os.statvfs("/log")[3] > 16:
        with open("/log/rest", "ab") as file:
            file.write(RECORD * 16)

    def reopen():
        vfs.umount("/log")
        vfs.mount(BlockDevice(nor), "/log")
        with open("/log/rest", "ab") as file:
            file.write(RECORD)

    counted["recovery_s"] = round(percentile([recovered(reopen) for _ in range(9)], 0.5) / 1e6, 4)
    return counted


print(json.dumps({"journal": with_journal(), "littlefs": with_littlefs()}))
