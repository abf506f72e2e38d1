"""Real minutes over Mosquitto and TLS: the whole chain, its broker and reception restarted and killed, the network and the power cut.

Times of the timing table are divided by ten on the board. `TRYGG_CHAOS_SEED=n` makes the same choices again; what the machine
makes of them is its own."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tryggport.devices.link import Link
from tryggport.sim import movement
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms

ROOT = Path(__file__).parents[2]
BOUNDS = ROOT / "firmware/gateway/bounds.py"
TRYGGPORT = str(Path(sys.executable).parent / "tryggport")
DIVISOR = 10
QUIET_S = 3.0
END_S = 150.0
STEPS = ("append.begin", "append.end", "sign.end", "publish.end", "puback", "receipt", "settle.begin", "settle.end")
JOURNAL = """
import esp32, json
from hashlib import sha256
from gateway.journal import Journal
journal = Journal(esp32.Partition.find(esp32.Partition.TYPE_DATA, label="journal")[0])
stats = journal.stats()
for seq, alarm, payload in journal.events(1, journal.next_seq - 1):
    print(json.dumps([seq, payload and sha256(payload).digest().hex()]))
print(json.dumps([stats["pending_alarms"], stats["pending_events"], stats["dropped"]]))
"""


def divided(table: str, divisor: int) -> str:
    """The timing table with every time divided."""

    def part(value: Any) -> Any:
        return tuple(map(part, value)) if isinstance(value, tuple) else max(1, value // divisor)

    lines = []
    for node in ast.parse(table).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            lines.append(f"{node.targets[0].id} = {part(ast.literal_eval(node.value))!r}")
    return "\n".join(lines) + "\n"


class Storm:
    """What happens to a chain; `happened` counts it by name."""

    def __init__(self, chain: Chain, seed: int) -> None:
        self.chain = chain
        self.random = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self._reception: subprocess.Popen[bytes] | None = None
        self._mains = True

    # The reception is a process of its own here: only a process can be killed.

    def keep_reception(self) -> None:
        """Starts it if it is not running, as a service manager would."""
        if self._reception is None or self._reception.poll() is not None:
            self.happened["reception started"] += 1
            address = f"{self.chain.broker.host}:{self.chain.broker.port}"
            command = [TRYGGPORT, "reception", "run", "--pki", str(self.chain.pki_folder), "--broker", address]
            with (self.chain.folder / "reception.log").open("ab") as log:
                self._reception = subprocess.Popen(
                    [*command, "--db", self.chain.database_url], stdout=log, stderr=log
                )  # fmt: skip

    def end_reception(self, how: signal.Signals) -> None:
        if self._reception is not None:
            self._reception.send_signal(how)
            self._reception.wait(30)
            self._reception = None

    def kill_reception(self) -> None:
        self.end_reception(signal.SIGKILL)
        self._pause(2)

    def stop_reception(self) -> None:
        self.end_reception(signal.SIGTERM)
        self._pause(2)

    def kill_broker(self) -> None:
        assert self.chain.broker.pid is not None
        os.kill(self.chain.broker.pid, signal.SIGKILL)
        self._restart_broker()

    def stop_broker(self) -> None:
        self._restart_broker()

    def _restart_broker(self) -> None:
        self.chain.stop_broker()
        self._pause(3)
        self.chain.start_broker()

    def cut_network(self) -> None:
        self.chain.board.network(False, link=self.random.random() < 0.5)
        self._pause(4)
        self.chain.board.network(True)

    def cut_power(self) -> None:
        board = self.chain.board
        how = self.random.choice(["now", "program", "erase", "step", "step"])
        if how != "now":
            spec = {
                "program": f"program:{self.random.randint(1, 6)}:{self.random.randint(0, 200)}",
                "erase": "erase:1",
                "step": f"step:{self.random.choice(STEPS)}:{self.random.randint(1, 3)}",
            }[how]
            board.plan_cut(spec)
            deadline = time.monotonic() + 3
            while board.powered and time.monotonic() < deadline:
                self._someone_presses()
                time.sleep(0.1)
        self.happened[f"power cut at {how}" if not board.powered else "power cut at now"] += 1
        board.power_cut()
        board.plan_cut(None)
        self._pause(2)
        board.power_on()
        self._pause(4)

    def _someone_presses(self) -> None:
        self.chain.board.press(self.random.choice(["help", "help", "cancel"]), 60)
        time.sleep(0.1)

    def press(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            self._someone_presses()

    def fall(self) -> None:
        self.chain.board.feed(movement.fall(), movement.RATE_HZ)

    def switch_mains(self) -> None:
        self._mains = not self._mains
        self.chain.board.mains(self._mains)

    def _pause(self, longest_s: float) -> None:
        """People go on meanwhile."""
        end = time.monotonic() + self.random.uniform(0.1, longest_s)
        while time.monotonic() < end:
            if self.random.random() < 0.3:
                self._someone_presses()
            time.sleep(0.2)

    def blow(self, seconds: float) -> None:
        """Everything once, in any order, and then whatever comes until the time is over; then calm."""
        faults = [
            self.kill_reception,
            self.stop_reception,
            self.kill_broker,
            self.stop_broker,
            self.cut_network,
            self.cut_power,
        ]
        plan = [*faults, self.cut_power, self.fall, self.switch_mains]
        self.random.shuffle(plan)
        end = time.monotonic() + seconds
        while plan or time.monotonic() < end:
            act = plan.pop() if plan else self.random.choice([*faults, self.cut_power, self.fall, self.switch_mains])
            self.happened[act.__name__] += 1
            act()
            self.keep_reception()
            self.press()
            self._pause(2)
        self.keep_reception()
        self.chain.board.press("help")


def look(chain: Chain) -> tuple[dict[int, list[str]], int]:
    """({seq: [hash of each stored event]}, what is in conflict or unreadable) of the reception's database."""
    found: dict[int, list[str]] = {}
    path = chain.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as database:
        for seq, encoded in database.execute("SELECT seq, encoded FROM events WHERE gateway = ?", (chain.gateway,)):
            found.setdefault(seq, []).append(hashlib.sha256(encoded).hexdigest())
        (bad,) = database.execute(
            "SELECT (SELECT count(*) FROM conflicts) + (SELECT count(*) FROM unreadable)"
        ).fetchone()
    return found, bad


def appended(chain: Chain) -> set[int]:
    """seqs whose append returned."""
    return {m.detail["seq"] for m in chain.timeline.since(0) if (m.source, m.name) == ("gateway", "append.end")}


def wait_stored(chain: Chain) -> None:
    """Until everything appended is stored and the gateway has nothing more to settle, or the time is over."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        lately = {m.name for m in chain.timeline.since(now_ms() - 1000 * QUIET_S) if m.source == "gateway"}
        if appended(chain) <= set(look(chain)[0]) and not lately & set(STEPS):
            return
        time.sleep(0.5)


class End(NamedTuple):
    """What there is at both ends, seen at one moment."""

    seqs: set[int]
    stored: dict[int, list[str]]
    bad: int  # in conflict or unreadable
    kept: dict[int, str]  # {seq: hash of the event} of the gateway's journal
    left: list[int]  # [pending alarms, pending events, dropped] of the gateway's journal


def end(chain: Chain) -> End:
    """Stops the gateway to look. A fall that was played is confirmed seconds later, so there may be one more event by then:
    the gateway starts again as the link closes, and one waits for that event too."""
    for _ in range(3):
        wait_stored(chain)
        with Link(chain.board.tty) as link:
            lines = [json.loads(line) for line in link._run(JOURNAL).decode().splitlines() if line.startswith("[")]
            stored, bad = look(chain)
            found = End(appended(chain), stored, bad, {seq: digest for seq, digest in lines[:-1] if digest}, lines[-1])
        read = stored.keys() <= found.kept.keys()  # the serial port may have lost a line
        if found.seqs <= stored.keys() and found.left == [0, 0, 0] and read:
            break
    return found


def divide_times(chain: Chain) -> None:
    with Link(chain.board.tty) as link:
        link.write("/lib/gateway/bounds.py", divided(BOUNDS.read_text(), DIVISOR).encode())


def minutes(folder: Path, seconds: float, show: Callable[[str, object], None]) -> None:
    seed = int(os.environ.get("TRYGG_CHAOS_SEED") or random.randrange(1 << 30))
    show("shown", f"TRYGG_CHAOS_SEED={seed}, {seconds:g} s of restarts and cuts")
    with Chain(folder, broker="mosquitto", placement={"heartbeat_s": 30}) as chain:
        if BOUNDS.exists():
            divide_times(chain)
        chain.stop_reception()
        storm = Storm(chain, seed)
        storm.keep_reception()
        try:
            storm.blow(seconds)
            found = end(chain)
        finally:
            storm.end_reception(signal.SIGTERM)
        print(json.dumps(storm.happened, indent=1))
        told = f"seed {seed}\n{chain.board.console()[-3000:]}"
    stored = found.stored
    assert len(found.seqs) > seconds / 5 and storm.happened["cut_power"] and storm.happened["kill_broker"], "too tame"
    assert sorted(found.seqs - set(stored)) == [], f"appended and not stored: {told}"
    assert {seq: rows for seq, rows in stored.items() if len(rows) > 1} == {}, f"stored twice: {told}"
    assert {seq: rows for seq, rows in stored.items() if rows != [found.kept.get(seq)]} == {}, f"other bytes: {told}"
    assert (found.bad, found.left) == (0, [0, 0, 0]), told


def test_TP_WIR_050_half_a_minute_of_restarts_and_cuts_over_TLS(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    minutes(tmp_path, 30, record_property)


@pytest.mark.long
def test_TP_WIR_050_ten_minutes_of_restarts_and_cuts_over_TLS(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    minutes(tmp_path, 600, record_property)


def test_the_timing_table_is_divided() -> None:
    table = '"""Times."""\n\nA_MS = 30_000  # TP\nB_MS = (1_000, 60_000)\nC_MS = 5\n'
    assert divided(table, 10) == "A_MS = 3000\nB_MS = (100, 6000)\nC_MS = 1\n"
