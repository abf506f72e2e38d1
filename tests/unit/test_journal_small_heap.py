"""The journal on 1 MiB of flash with the heap of the gateway. The flash is a file."""

import gc
import os

from gateway.journal import Journal, drops, recover  # noqa: F401  the code is not what is measured
from nor import BlockDevice, Nor

HEAPSIZE = "192k"


def on_file(use):
    name = "journal-test.bin"
    try:
        with open(name, "w+b") as file:
            use(Nor(1 << 20, file=file))
    finally:
        os.remove(name)


def test_TP_JRN_019_a_full_mebibyte_in_the_gateways_heap():
    def use(nor):
        gc.collect()
        before = gc.mem_alloc()
        journal = Journal(BlockDevice(nor))
        payload = bytes(206)
        while not journal.stats()["dropped"]:
            for _ in range(100):
                journal.append(payload, journal.next_seq % 8 == 0)
        journal = None
        journal = Journal(BlockDevice(nor))
        count = sum(1 for _ in journal.pending(100_000))
        stats = journal.stats()
        assert count == stats["pending_alarms"] + stats["pending_events"] > 3500
        stats = None
        gc.collect()
        assert gc.mem_alloc() - before <= 4096
        journal.settle(1, journal.next_seq - 1)
        assert sum(1 for _ in journal.pending(1)) == 0

    on_file(use)
