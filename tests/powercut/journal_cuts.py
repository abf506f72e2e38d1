"""Cuts the power at every program and erase of the journal; run by MicroPython, started by test_journal_cuts.py.

Arguments: the scenario (or "all"); every how many cuts the recovery that follows is itself cut at every operation, two
levels deep (0: never); the number of the one cut to replay (0: all). A cut is made on a copy of the flash just before the
operation happens on the original, so one run of a scenario tries them all; its number does not depend on the rest.
Prints one JSON line a scenario: {"scenario", "last": the highest number, "cuts", "nested", "positions": {where in the
operation: cuts}, "failed": [..]}.

What must hold after each cut and a fresh open, and again after more appends and another open:
  an event whose append returned is pending, settled or inside a reported drop range: exactly one of them, unchanged, once;
  what was settled is not pending; (epoch, seq) names one payload for ever; alarms are dropped only when no information is left.
"""

import io
import json
import sys

from gateway.journal import Journal
from nor import BlockDevice, Nor, PowerCut

BLOCKS = 8
BLOCK = 2048
DEPTH = 2
KEYS = (b"", bytes(i * 37 + 11 & 0xFF for i in range(241)))


class Story:
    """What the world knows: appended events, what is under way, what was settled."""

    def __init__(self):
        self.events = {}  # seq -> (payload, alarm)
        self.names = {}  # (epoch, seq) -> payload
        self.settled = set()
        self.under_way = None  # ("append", payload, alarm) or ("settle", first, last)
        self.reported = set()  # seqs inside the ranges that drops() gave out
        self.sacrifices = False  # whether there are more alarms than fit

    def copy(self):
        twin = Story()
        twin.events, twin.names, twin.settled = dict(self.events), dict(self.names), set(self.settled)
        twin.reported, twin.under_way = set(self.reported), self.under_way
        twin.sacrifices = self.sacrifices
        return twin

    def append(self, journal, payload, alarm, rank=3, source=0):
        epoch, seq = journal.epoch, journal.next_seq
        name = (epoch, seq)
        if self.names.get(name, payload) != payload:
            raise AssertionError(f"seq {seq} used twice in an epoch")
        self.under_way = ("append", payload, alarm, epoch)
        got = journal.append(payload, alarm, rank=rank, source=source)
        assert got == seq, "append returned another seq"
        self.appended(name, payload, alarm)

    def appended(self, name, payload, alarm):
        assert self.names.get(name, payload) == payload, f"seq {name[1]} used twice in an epoch"
        self.names[name] = payload
        self.events[name[1]] = (payload, alarm)
        self.under_way = None

    def settle(self, journal, first, last):
        self.under_way = ("settle", first, last)
        journal.settle(first, last)
        self.settled.update(range(first, last + 1))
        self.under_way = None

    def check(self, journal):
        """Compares the journal with the story; takes over what was under way as the journal shows it."""
        pending = list(journal.pending(100_000))
        stats = journal.stats()
        self._check_order(pending)
        seen = {seq: (payload, alarm) for seq, alarm, payload in pending}
        assert len(seen) == len(pending), "doubled"
        lost = set()
        for first, last in stats["dropped_ranges"]:
            lost.update(range(first, last + 1))
        self._take_over(journal, seen, lost)
        for seq, event in seen.items():
            assert self.events.get(seq) == event, f"pending {seq} is not what was appended"
            assert seq not in self.settled, f"settled {seq} is pending"
            assert seq < journal.next_seq, f"pending {seq}, next is {journal.next_seq}"
        for seq in self.events:
            if seq not in seen and seq not in self.settled:
                assert seq in lost or seq in self.reported, f"lost {seq}"
        assert stats["pending_alarms"] + stats["pending_events"] == len(pending), "count"
        assert self.sacrifices or not stats["dropped_alarms"], "alarm before information"

    def _check_order(self, pending):
        order = [(not alarm, seq) for seq, alarm, _ in pending]
        assert order == sorted(order), "order"

    def _take_over(self, journal, seen, lost):
        if self.under_way and self.under_way[0] == "append":
            _, payload, alarm, epoch = self.under_way
            for seq in list(seen) + list(lost):
                if seq not in self.events and (seq in lost or seen[seq] == (payload, alarm)):
                    self.appended((epoch, seq), payload, alarm)
                    break
        elif self.under_way:
            _, first, last = self.under_way
            self.settled.update(
                s for s in range(first, last + 1) if s in self.events and s not in seen and s not in lost
            )
        self.under_way = None


class Tearing(BlockDevice):
    """Before each operation, tries on a copy of the flash what a cut in it does."""

    def __init__(self, nor, campaign, depth):
        super().__init__(nor)
        self._campaign, self._depth = campaign, depth

    def writeblocks(self, n, buf, off=None):
        self._campaign.cut_here(self.nor, self._depth, lambda nor: BlockDevice(nor).writeblocks(n, buf, off), len(buf))
        super().writeblocks(n, buf, off)

    def ioctl(self, op, arg):
        if op == 6:
            self._campaign.cut_here(self.nor, self._depth, lambda nor: BlockDevice(nor).ioctl(6, arg), self.nor.block)
        return super().ioctl(op, arg)


class Campaign:
    def __init__(self, name, key, nest_every, only):
        self.name, self.key, self.nest_every, self.only = name, key, nest_every, only
        self.story = Story()
        self.cuts = self.nested = self.number = self._inner = 0
        self.positions = {}
        self.failed = []
        self._random = 1
        self._twins = [Nor(BLOCKS * BLOCK, BLOCK, key=key, strict=True) for _ in range(DEPTH + 1)]

    def rng(self, n):
        out = bytearray(n)
        for i in range(n):
            self._random = self._random * 1103515245 + 12345 & 0x7FFFFFFF
            out[i] = self._random >> 16 & 0xFF
        return bytes(out)

    def cut_here(self, nor, depth, operate, length):
        """All variants of a cut in the operation, each on its own copy."""
        story = self.story
        for cut in self._variants(length, depth):
            if self.only and depth == 0 and self.number != self.only:
                continue
            if depth == 0:
                self._inner = 0  # what follows must be the same in a replay
            twin = self._twins[depth]
            twin.copy_from(nor)
            twin.plan_cut(0, cut[0], "any", cut[1], cut[2])
            try:
                operate(twin)
            except PowerCut:
                self._count(depth, cut[0], length)
            twin.power_on()
            self.story = story.copy()
            self._recover(twin, depth, (length, cut[0], cut[1], cut[2]))
        self.story = story

    def _variants(self, length, depth):
        """Yield (byte, noise, weak)."""
        if depth:
            self._inner += 1
            seed = self.number + 17 * self._inner
            yield (
                (0, 0, False), (length, 0, False), (length - 1, 0, True), (seed % length, seed, False)
            )[seed % 4]  # fmt: skip
            return
        for byte in sorted({0, 1, length // 2, length - 1, length}):
            self.number += 1
            yield byte, 0, False
        self.number += 1
        yield self.number % length, self.number, False
        self.number += 1
        yield length - 1, 0, True  # complete, but for bits that read either way

    def _count(self, depth, byte, length):
        self.cuts += 1
        self.nested += depth > 0
        where = "first" if byte == 0 else "none left" if byte == length else "last" if byte == length - 1 else "inside"
        self.positions[where] = self.positions.get(where, 0) + 1

    def _recover(self, twin, depth, cut):
        try:
            self._live_on(twin, depth)
        except Exception as e:
            trace = io.StringIO()
            sys.print_exception(e, trace)
            failure = {"cut": self.number, "depth": depth, "length, byte, noise, weak": cut, "error": trace.getvalue()}
            self.failed.append(failure)

    def _live_on(self, twin, depth):
        story = self.story
        nested = depth < DEPTH and self.nest_every and (self.number + self._inner) % self.nest_every == 0
        journal = Journal(Tearing(twin, self, depth + 1) if nested else BlockDevice(twin), rng=self.rng)
        story.check(journal)
        if depth:
            return
        story.append(journal, b"after the cut, alarm", True)
        story.append(journal, b"after the cut", False)
        epoch, next_seq = journal.epoch, journal.next_seq
        journal = Journal(BlockDevice(twin), rng=self.rng)
        story.check(journal)
        assert (journal.epoch, journal.next_seq) == (epoch, next_seq), "a clean power-on began a new epoch"


def fill(story, journal, count, alarm, size, start=0, **kw):
    for i in range(count):
        story.append(journal, b"%c%05d" % (65 + alarm, start + i) + b"." * (size + 13 * i % 40), alarm, **kw)


def appending(story, journal):
    """Events of all sizes, over several blocks."""
    for size in (1, 10, 42, 43, 58, 200, 600, 1051):
        fill(story, journal, 2, size % 3 == 0, size, size)


def settling(story, journal):
    """Ranges, single ones, across blocks, twice, and in any order."""
    fill(story, journal, 10, False, 150)
    fill(story, journal, 5, True, 100, 50)
    for first, last in ((3, 5), (1, 1), (12, 15), (4, 9), (4, 9), (2, 2), (10, 11)):
        story.settle(journal, first, last)
    fill(story, journal, 4, False, 150, 100)
    story.settle(journal, 16, 18)


def overflowing(story, journal):
    """Information until it overflows, with alarms that must stay."""
    fill(story, journal, 4, True, 150)
    for lap in range(9):
        fill(story, journal, 4, False, 180, 100 * lap)
    fill(story, journal, 8, True, 150, 50)


def rotating(story, journal):
    """Several laps past alarms that nobody settles."""
    fill(story, journal, 2, True, 120)
    for lap in range(11):
        first = journal.next_seq
        fill(story, journal, 5, lap % 3 == 0, 160, 100 * lap)
        story.settle(journal, first, first + 4)
        if lap % 4 == 3:
            fill(story, journal, 1, False, 90, 9000 + lap)


def idling(story, journal):
    """Erasing ahead in quiet seconds."""
    for lap in range(8):
        first = journal.next_seq
        fill(story, journal, 3, True, 200, 10 * lap)
        while journal.idle():
            pass
        story.settle(journal, first, first + 1)


def sacrificing(story, journal):
    """Alarms only, more than fit: what is given up is counted, help and fall stay."""
    story.sacrifices = True
    for i in range(30):
        fill(story, journal, 1, True, 160, i, rank=i % 4, source=i % 3)
    kept = [payload for seq, alarm, payload in journal.pending(1000)]
    people = [story.events[seq][0] for seq in story.events if int(story.events[seq][0][1:6]) % 4 == 3]
    assert all(payload in kept for payload in people), "help or fall given up before others"


def reporting(story, journal):
    """What was dropped is reported at least once."""
    for lap in range(2):
        fill(story, journal, 16, False, 180, 100 * lap)
        for first, last, _ in journal.drops():
            story.append(journal, b"dropped %d %d" % (first, last), False)
            story.reported.update(range(first, last + 1))


def restarting(story, journal):
    """Power-ons one after another, with a little data or none between them."""
    for lap in range(9):
        fill(story, journal, lap % 3, lap % 2 == 0, 200, lap)
        journal = story.reopen()


SCENARIOS = (appending, settling, overflowing, rotating, idling, sacrificing, reporting, restarting)


def run(scenario, key, nest_every, only):
    campaign = Campaign(scenario.__name__, key, nest_every, only)
    nor = Nor(BLOCKS * BLOCK, BLOCK, key=key, strict=True)
    device = Tearing(nor, campaign, 0)
    story = campaign.story
    story.reopen = lambda: Journal(device, rng=campaign.rng)
    scenario(story, story.reopen())
    story.check(Journal(BlockDevice(nor), rng=campaign.rng))
    return campaign


def main(wanted, nest_every, only):
    for scenario in SCENARIOS:
        for encrypted, key in enumerate(KEYS):
            name = scenario.__name__ + (".encrypted" if encrypted else "")
            if wanted in ("all", name):
                campaign = run(scenario, key, nest_every, only)
                report = {"scenario": name, "last": campaign.number, "cuts": campaign.cuts, "nested": campaign.nested,
                          "positions": campaign.positions, "failed": campaign.failed}  # fmt: skip
                print(json.dumps(report))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
