"""An alarm that meets a full heap is journalled all the same."""

import gc

from gateway import cbor, kinds
from gateway.app import App
from gateway.home import Home
from test_uplink import Gateway

HEAPSIZE = "1M"
RESERVE = 4096  # as in gateway.app


class Paths:
    switch_ms = 0


def made(reserve):
    """What `App.record` works with, on a real journal, and `reserve` bytes for a full heap."""
    gateway = Gateway()
    app = object.__new__(App)
    app.recorder, app.journal, app.clock, app.uplink = gateway.recorder, gateway.journal, gateway.clock, gateway.uplink
    app.home, app.paths, app.show = Home(), Paths(), lambda: None
    app.reserve = bytearray(reserve)
    app.record(kinds.HELP)  # what is loaded or made once is there now
    return app


def fill():
    """Leaves no room; returns what has to be let go again."""
    blocks = None
    gc.collect()
    for size in (4096, 512, 64):
        try:
            while True:
                blocks = [blocks, bytearray(size)]  # a list of them all would itself need a large piece
        except MemoryError:
            pass
    return blocks


def test_an_alarm_that_meets_a_full_heap_is_journalled_once():
    fall = {kinds.DATA_GRACE_MS: 20_000, kinds.DATA_EVIDENCE: (1812, -340, 95, 60, 2210, 14, 180, 77)}
    for kind, data in ((kinds.HELP, None), (kinds.FALL, fall)):
        met_by(kind, data)


def met_by(kind, data):
    without, app = made(0), made(RESERVE)
    first = app.journal.next_seq
    blocks = fill()
    for each in (without, app):
        try:
            each.record(kind, sensor="belt", location=21, data=data)
        except MemoryError:
            pass
    recorded = without.journal.next_seq - first, app.journal.next_seq - first
    del blocks
    gc.collect()
    assert recorded == (0, 1), "without the reserve it does not fit"
    assert app.reserve is None and app.home.newest_open() == (first, kind)
    assert cbor.decode(app.journal.read(first))[13] == "belt"
