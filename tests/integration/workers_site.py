"""Workers of one reception on PostgreSQL, that can be killed at a step, and a resident whose gateway does not give up."""

import contextlib
import json
import queue
import re
import signal
import subprocess
import sys
import threading
import time

from reception_site import TRYGGPORT, Site
from sqlalchemy import create_engine, text
from tryggport.wire import kinds

SETTLING = (kinds.OUTCOME_STORED, kinds.OUTCOME_DUPLICATE)
AGAIN_S = 0.5  # a gateway publishes again what is not receipted; TP-BND-006 scaled
LEASE_MS = 2000  # TP-BND-242 scaled
WORKER = """
import json, os, signal, sys
from pathlib import Path
from tryggport.reception.worker import Plan, Worker
told = json.loads(sys.argv[1])
def on_step(step, detail):
    print("step", step, flush=True)
    if step == told["kill"] and told["gateway"] in str(detail.get("topic", told["gateway"])):
        print("stopped at", step, flush=True)
        os.kill(os.getpid(), told["signal"])
plan = Plan(pki=Path(told["pki"]), database_url=told["url"], brokers=[("127.0.0.1", told["port"])],
            cafile=Path(told["pki"]) / "root.pem", lease_ms=told["lease_ms"])
worker = Worker(plan, lambda name, sentence: print(f"{name}: {sentence}", flush=True), on_step)
signal.signal(signal.SIGTERM, lambda *_: worker.stop())
worker.run()
"""


class Process:
    """A child whose lines are collected."""

    def __init__(self, command):
        self.lines = []
        self._changed = threading.Condition()
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.popen.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait_line(self, pattern, timeout_s=30, count=1):
        """The lines that match, when there are so many of them."""

        def found():
            return [line for line in self.lines if re.search(pattern, line)]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, timeout_s), (pattern, self.lines)
            return found()

    @property
    def name(self):
        """The worker's name at the brokers."""
        return self.wait_line(r": ready$")[0].partition(":")[0]

    def end(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self._reader.join(10)  # of a parent that was killed the children end on their own
        self.popen.stdout.close()


class Workers(Site):
    """A site on PostgreSQL. Everything that is started is ended with it."""

    def __init__(self, folder, url):
        super().__init__(folder)
        self.url = url
        self._engine = create_engine(url)
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._stack.callback(self._engine.dispose)
        return self

    def __exit__(self, *_):
        self._stack.close()

    def query(self, sql):
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]

    def process(self, command):
        made = Process(command)
        self._stack.callback(made.end)
        return made

    def worker(self, **told):
        made = self.process(self.worker_command(**told))
        made.wait_line(": ready$")
        return made

    def worker_command(self, kill="", gateway="kitchen-7", signal_=signal.SIGKILL):
        """Of one with a short lease, that gets a signal at a step about this gateway."""
        told = {"pki": str(self.pki), "url": self.url, "port": self.port, "lease_ms": LEASE_MS, "kill": kill}
        told |= {"signal": signal_, "gateway": gateway}
        return [sys.executable, "-c", WORKER, json.dumps(told)]

    def run_reception(self, *options):
        """`tryggport reception run`, as a person types it."""
        command = [
            TRYGGPORT,
            "reception",
            "run",
            "--pki",
            self.pki,
            "--db",
            self.url,
            "--broker",
            f"{self.host}:{self.port}",
        ]
        return self.process([*map(str, command), *options])

    def leader(self):
        """(name, process id) of who leads by the database's clock, or None."""
        rows = self.query(
            "SELECT holder FROM lease WHERE until_ms > extract(epoch FROM clock_timestamp()) * 1000 AND holder != ''"
        )
        found = re.fullmatch(r"(\S+) on .*, process (\d+)", rows[0][0]) if rows else None
        return (found[1], int(found[2])) if found else None


class Resident:
    """A gateway that does what the real one does: it publishes again what is not receipted. Receipts are timed."""

    def __init__(self, gateway, again_s=AGAIN_S):
        self.gateway = gateway
        self._again_s = again_s
        self._sent = {}
        self.slowest_s = 0.0
        self.outcomes = {}
        self.events = []

    def alarm(self, kind=kinds.HELP):
        event = self.gateway.event(kind)
        self.events.append(event)
        self._sent[event.seq] = [time.monotonic(), time.monotonic(), event]
        self.gateway.post(self.gateway.seal(event))
        return event

    def look(self, timeout_s=0.05):
        """Takes the receipts that are there, and publishes again what has waited for too long."""
        with contextlib.suppress(queue.Empty):
            while True:
                receipt = self.gateway.receipts.get(timeout=timeout_s)
                timeout_s = 0.001
                if receipt.outcome in SETTLING:
                    for one in receipt.ranges:
                        for seq in range(one.first, one.last + 1):
                            self._settle(seq, receipt.outcome)
        now_s = time.monotonic()
        for waiting in self._sent.values():
            if now_s - waiting[1] >= self._again_s:
                waiting[1] = now_s
                self.gateway.post(self.gateway.seal(waiting[2]))

    def _settle(self, seq, outcome):
        self.outcomes.setdefault(seq, []).append(outcome)
        if seq in self._sent:
            self.slowest_s = max(self.slowest_s, time.monotonic() - self._sent.pop(seq)[0])

    def settled(self, timeout_s=30):
        """Whether everything is receipted in time."""
        deadline = time.monotonic() + timeout_s
        while self._sent and time.monotonic() < deadline:
            self.look()
        return not self._sent


class Flow:
    """A steady flow of alarms, as long as the context lasts."""

    def __init__(self, resident, every_s=0.02):
        self.resident = resident
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stop.is_set():
            self.resident.alarm()
            self.resident.look(self._every_s)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def check_once(site, resident):
    """Every event is there once, with its own bytes, in one case, which names it once; nothing is told twice."""
    rows = site.query(f"SELECT seq, encoded FROM events WHERE gateway = '{resident.gateway.id}' ORDER BY seq")
    assert [(seq, bytes(encoded)) for seq, encoded in rows] == [(e.seq, e.to_bytes()) for e in resident.events]
    assert site.query(f"SELECT count(*) FROM cases WHERE gateway = '{resident.gateway.id}'") == [(1,)]
    told = site.query(f"SELECT count(*) FROM audit WHERE who = '{resident.gateway.id}' AND what = 'help'")
    assert told == [(len(resident.events),)]
    for table in ("conflicts", "unreadable"):
        assert site.count(table) == 0
    assert set(resident.outcomes) == {e.seq for e in resident.events}
    assert all(outcomes.count(kinds.OUTCOME_STORED) <= 1 for outcomes in resident.outcomes.values())
