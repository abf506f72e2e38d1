"""A site for tests of the reception: a PKI, a Mosquitto with the deployed configuration, and receptions that can be killed."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tryggport import pki
from tryggport.reception import Reception
from tryggport.sim.broker import free_port, iotcore_broker, mosquitto
from tryggport.sim.gateway import Gateway

TRYGGPORT = str(Path(sys.executable).parent / "tryggport")
KILLED_AT = """
import os, signal, sys
from pathlib import Path
from tryggport.reception import Reception
def on_step(step, detail):
    if step == sys.argv[5]:
        os.kill(os.getpid(), signal.SIGKILL)
Reception(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), on_step=on_step).run()
"""


class Site:
    """`steps` collects what receptions in this process do."""

    def __init__(self, folder):
        self.folder = folder
        self.pki = folder / "pki"
        self.database = folder / "reception.db"
        self.url = f"sqlite:///{self.database}"
        self.port = free_port()
        self.host = "127.0.0.1"
        self.steps = []
        self._changed = threading.Condition()
        pki.init(self.pki)

    def broker(self, kind=mosquitto):
        return kind(self.folder / "broker", self.pki, self.port)

    def reception(self, **options):
        """A context; the reception is connected on entry."""
        return Reception(self.pki, self.url, self.host, self.port, on_step=self._on_step, **options)

    def reception_killed_at(self, step):
        arguments = [str(self.pki), self.url, self.host, str(self.port), step]
        return self._process([sys.executable, "-c", KILLED_AT, *arguments])

    def reception_process(self, *options):
        command = [TRYGGPORT, "reception", "run", "--pki", str(self.pki), "--db", self.url]
        broker = () if "--broker" in options else ("--broker", f"{self.host}:{self.port}")
        return self._process([*command, *broker, *options])

    def run(self, *arguments):
        return subprocess.run([TRYGGPORT, *map(str, arguments)], capture_output=True, text=True, timeout=60)

    def gateway(self, gateway_id="kitchen-7"):
        return Gateway(self.pki, gateway_id)

    def connected(self, gateway):
        return gateway.connected(self.host, self.port)

    def query(self, sql):
        """Rows, through a connection of our own: what is seen here has been committed."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def count(self, table):
        """Rows; of events those of gateways in homes, without the reception's own test alarms."""
        which = " WHERE gateway != 'reception-canary'" if table == "events" else ""
        return self.query(f"SELECT count(*) FROM {table}{which}")[0][0]

    def wait_for(self, condition, timeout_s=10.0):
        """Whether `condition()` becomes true in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def names(self):
        return [name for name, _ in self.steps]

    def wait_step(self, name, count=1, timeout_s=10.0):
        with self._changed:
            assert self._changed.wait_for(lambda: self.names().count(name) >= count, timeout_s), self.names()

    def _on_step(self, name, detail):
        with self._changed:
            self.steps.append((name, detail))
            self._changed.notify_all()

    @contextlib.contextmanager
    def _process(self, command):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            process.first_line = process.stdout.readline()
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def site(tmp_path):
    """With Mosquitto running."""
    made = Site(tmp_path)
    with made.broker():
        yield made


@pytest.fixture(params=[mosquitto, iotcore_broker], ids=["mosquitto", "iotcore"])
def any_site(tmp_path, request):
    """With either broker running."""
    made = Site(tmp_path)
    with made.broker(request.param):
        yield made
