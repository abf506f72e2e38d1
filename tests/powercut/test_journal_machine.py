"""A hypothesis state machine drives the journal in the real MicroPython and compares it with a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

ROOT = Path(__file__).parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).parent / "micropython"))


class PowerCutError(Exception):
    """The power went while the journal was at work."""


class Board:
    """The MicroPython process with the journal in it."""

    def __init__(self) -> None:
        path = f"{ROOT / 'firmware'}:{ROOT / 'host_tools/tryggport/board'}:.frozen"
        self._process = subprocess.Popen(
            [MICROPYTHON, "-X", "heapsize=4M", str(ROOT / "tests/powercut/journal_server.py")],
            env=os.environ | {"MICROPYPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def __call__(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        line = self._process.stdout.readline()
        assert line.startswith("{"), line + self._process.stdout.read()
        answer = json.loads(line)
        assert "bug" not in answer, answer["bug"]
        if "cut" in answer:
            raise PowerCutError
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class JournalMachine(RuleBasedStateMachine):
    board: Board
    cuts = 0

    @initialize(blocks=st.integers(6, 12), key=st.sampled_from([0, 37]))
    def new_flash(self, blocks: int, key: int) -> None:
        self.blocks = blocks
        self.events: dict[int, tuple[str, bool]] = {}
        self.names: dict[tuple[str, int], str] = {}
        self.settled: set[int] = set()
        self.under_way: tuple[Any, ...] = ()
        self.sacrificed = self.clean = False
        self.dead = False
        self.epoch, self.next_seq = "", 1
        self.board("flash", blocks=blocks, key=key)
        self.power_on()

    def attempt(self, do: str, **arguments: Any) -> Any:
        """The call's value; a cut in it is followed by a power-on, then None."""
        try:
            return self.board(do, **arguments)
        except PowerCutError:
            type(self).cuts += 1
            self.clean = False
            self.power_on()
            return None

    def power_on(self) -> None:
        while True:
            try:
                epoch, next_seq, boot = self.board("open")
                break
            except PowerCutError:
                type(self).cuts += 1
        if epoch == self.epoch:
            assert next_seq >= self.next_seq
        if self.clean:
            assert (epoch, next_seq) == (self.epoch, self.next_seq), "a clean power-on changes nothing"
        self.epoch, self.next_seq, self.boot = epoch, next_seq, boot
        self.clean = not self.dead

    @rule(
        size=st.one_of(st.integers(1, 100), st.integers(150, 260), st.integers(1000, 1328)),
        alarm=st.booleans(), rank=st.integers(0, 3), source=st.integers(0, 2), count=st.integers(1, 12),
    )  # fmt: skip
    def append(self, size: int, alarm: bool, rank: int, source: int, count: int) -> None:
        for _ in range(count):
            payload = f"{self.next_seq}{self.epoch}{'x' * size}"[:size]
            assert self.names.setdefault((self.epoch, self.next_seq), payload) == payload
            expected, epoch = self.next_seq, self.epoch
            self.under_way = ("append", expected, payload, alarm)
            seq = self.attempt("append", payload=payload, alarm=alarm, rank=rank, source=source)
            if seq is None:
                if self.epoch != epoch or self.next_seq == expected:
                    self.names.pop((epoch, expected), None)
                return
            assert seq == expected
            self.under_way = ()
            self.events[seq] = (payload, alarm)
            self.next_seq = seq + 1

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(0, max(self.next_seq - 1, 0)))
        last = data.draw(st.integers(first, min(first + 40, max(self.next_seq - 1, first))))
        if last >= self.next_seq:
            with pytest.raises(ValueError, match="ValueError"):
                self.board("settle", first=first, last=last)
            return
        self.under_way = ("settle", first, last)
        boot = self.boot
        self.attempt("settle", first=first, last=last)
        if self.boot == boot:
            self.settled.update(range(first, last + 1))
            self.under_way = ()

    @rule(count=st.integers(1, 30))
    def settle_as_the_uplink_does(self, count: int) -> None:
        pending = self.attempt("pending", limit=count) or []
        for seq, _, _ in pending:
            self.under_way = ("settle", seq, seq)
            boot = self.boot
            self.attempt("settle", first=seq, last=seq)
            if self.boot != boot:
                return
            self.settled.add(seq)
            self.under_way = ()

    @rule(
        op=st.integers(0, 30), byte=st.integers(0, 300), kind=st.sampled_from(["any", "program", "erase"]),
        noise=st.integers(0, 5), weak=st.booleans(),
    )  # fmt: skip
    def plan_a_cut(self, op: int, byte: int, kind: str, noise: int, weak: bool) -> None:
        self.board("cut", op=op, byte=byte, kind=kind, noise=noise, weak=weak)

    @rule()
    def restart(self) -> None:
        self.board("power_off")
        self.power_on()

    @rule(op=st.integers(0, 4), byte=st.integers(0, 48), weak=st.booleans())
    def restart_and_cut_the_recovery(self, op: int, byte: int, weak: bool) -> None:
        self.clean = False
        self.board("cut", op=op, byte=byte, kind="any", noise=0, weak=weak)
        self.power_on()

    @rule()
    def idle(self) -> None:
        self.attempt("idle")

    @rule(data=st.data(), how=st.sampled_from(["silent", "error"]))
    def a_block_dies(self, data: st.DataObject, how: str) -> None:
        if not self.dead and self.blocks >= 10:
            self.dead = True  # a dead block may look unsound for ever after: then epochs are not compared
            self.clean = False
            self.board("kill", block=data.draw(st.integers(0, self.blocks - 1)), how=how)

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        seq = data.draw(st.integers(0, self.next_seq))
        payload = self.attempt("read", seq=seq)
        if seq in self.events and payload is not None:
            assert payload == self.events[seq][0]

    @invariant()
    def journal_is_the_model(self) -> None:
        pending = self.attempt("pending", limit=100_000)
        stats = self.attempt("stats")
        if pending is None or stats is None:
            return
        assert pending == sorted(pending, key=lambda item: (not item[1], item[0]))
        seen = {seq: (payload, alarm) for seq, alarm, payload in pending}
        assert len(seen) == len(pending) == stats["pending_alarms"] + stats["pending_events"]
        lost = {seq for first, last in stats["dropped_ranges"] for seq in range(first, last + 1)}
        self.take_over(seen, lost)
        for seq, event in seen.items():
            assert self.events.get(seq) == event
            assert seq not in self.settled
        for seq in self.events.keys() - seen.keys() - self.settled:
            assert seq in lost, f"lost {seq}"
        if stats["dropped_alarms"] and not self.sacrificed:
            assert not stats["pending_events"], "alarms outlive information"
            self.sacrificed = True

    def take_over(self, seen: dict[int, tuple[str, bool]], lost: set[int]) -> None:
        """What was under way when the power went is as the journal shows it."""
        if self.under_way and self.under_way[0] == "append":
            _, seq, payload, alarm = self.under_way
            if seq not in self.events and (seen.get(seq) == (payload, alarm) or seq in lost):
                self.events[seq] = (payload, alarm)
        elif self.under_way:
            _, first, last = self.under_way
            self.settled.update(seq for seq in range(first, last + 1) if seq in self.events and seq not in seen)
        self.under_way = ()


def drive(examples: int, steps: int, derandomize: bool) -> None:
    JournalMachine.board = Board()
    JournalMachine.cuts = 0
    try:
        run_state_machine_as_test(
            JournalMachine,
            settings=settings(
                max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=derandomize, database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
    finally:
        JournalMachine.board.close()
    print(f"\njournal: {JournalMachine.cuts} power cuts in {examples} random stories")
    assert JournalMachine.cuts > examples // 2


def test_TP_JRN_001_003_004_006_journal_behaves_as_its_model() -> None:
    drive(200, 40, True)


@pytest.mark.long
def test_TP_JRN_001_003_004_006_journal_behaves_as_its_model_for_long() -> None:
    drive(3000, 80, False)
