"""The drill of host_tools/docs/reception.md: yesterday's database is restored, and the reception fills it by itself (TP-REC-284).

The whole chain; a heartbeat each second in the place of 5 min, and gaps that stand for a second in the place of 60.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chains import wait_quiet
from sqlalchemy import make_url
from tryggport.devices.link import Link
from tryggport.reception import cases, installations, open_database, tenants, views
from tryggport.reception.channels import Console
from tryggport.reception.database import Database
from tryggport.reception.escalation import Escalation
from tryggport.reception.findings import Limits
from tryggport.reception.installations import Placement
from tryggport.reception.keyring import ReceiptKey
from tryggport.reception.ledger import now_ms as utc_now_ms
from tryggport.reception.recovery import Recovery
from tryggport.reception.supervision import Supervisor
from tryggport.reception.timers import Timers
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))
import postgres_site

STANDS_MS = 1000
UNANSWERED_MS = 2000
SEEN_MS = 2500  # until a light that changed has been recognised
MAIN = f"""
import gc
gc.threshold(4096)
from gateway import bounds
bounds.UNANSWERED_MS = {UNANSWERED_MS}
from gateway import app
app.main()
"""
FORGET_EPOCH = "import esp32; n = esp32.NVS('trygg'); n.erase_key('journal'); n.commit()"


class Sqlite:
    """Copies and restores as the drill says."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "reception.db"
        self.url = f"sqlite:///{self.path}"
        self._copy = folder / "yesterday.db"

    def back_up(self) -> None:
        """What `sqlite3 reception.db ".backup yesterday.db"` does, while the reception runs."""
        with (
            contextlib.closing(sqlite3.connect(self.path)) as source,
            contextlib.closing(sqlite3.connect(self._copy)) as copy,
        ):
            source.backup(copy)

    def restore(self) -> None:
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        shutil.copy(self._copy, self.path)


class Postgres:
    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        parsed = make_url(url)
        self._copy = folder / "yesterday.dump"
        self._where = ["-h", str(parsed.query["host"]), "-U", "tests"]
        self._name = str(parsed.database)

    def back_up(self) -> None:
        self._run("pg_dump", "-Fc", "-f", self._copy, self._name)

    def restore(self) -> None:
        self._run("dropdb", self._name)
        self._run("createdb", self._name)
        self._run("pg_restore", "-d", self._name, self._copy)

    def _run(self, program: str, *arguments: object) -> None:
        path = shutil.which(program, path=postgres_site.PROGRAMS)
        assert path is not None
        subprocess.run([path, *self._where, *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Site:
    """A chain whose reception can be ended and begun, with all that it does by the clock."""

    def __init__(self, chain: Chain, database: Sqlite | Postgres) -> None:
        self.chain = chain
        self.database = database
        self._stack = contextlib.ExitStack()

    def begin(self) -> None:
        if self.chain._reception is None:
            self.chain.start_reception()
        self.db: Database = self._stack.enter_context(contextlib.closing(open_database(self.database.url)))
        self.centre = tenants.centre(self.db)
        escalation = Escalation(self.db, lambda step: Console(self.db, utc_now_ms), utc_now_ms)
        supervisor = Supervisor(self.db, utc_now_ms, Limits(withheld_ms=STANDS_MS))
        recovery = Recovery(self.db, ReceiptKey(self.chain.pki_folder), utc_now_ms, STANDS_MS)
        timers = Timers(self.db, supervisor, escalation, recovery=recovery, say=pytest.fail, beat_s=0.1, look_s=0.5)
        self._stack.enter_context(timers)

    def end(self) -> None:
        self.chain.stop_reception()
        self._stack.close()

    def press(self) -> int:
        """An alarm that is settled, which the home shows; its seq."""
        since = now_ms()
        self.chain.board.press("help")
        appended = self.chain.timeline.wait("gateway", "append.end", since=since)
        assert appended is not None
        seq: int = appended.detail["seq"]
        assert in_time(lambda: seq in {row["seq"] for row in views.list_events(self.centre)})
        assert in_time(lambda: self.chain.light() in ("sent", "nobody_answered"))
        return seq

    def open_case(self) -> dict[str, Any]:
        (case,) = views.list_cases(self.centre, closed=False)
        return case

    def rows(self) -> list[tuple[Any, ...]]:
        """Every event, byte for byte."""
        with self.db.read() as tx:
            found = tx.exec_driver_sql("SELECT epoch, seq, sha256 FROM events WHERE gateway <> 'reception-canary'")
            return sorted((bytes(row.epoch), row.seq, bytes(row.sha256)) for row in found)

    def restart_gateway_in_a_new_epoch(self) -> None:
        """It no longer knows how far its journal went, so it does not use its epoch any more (TP-JRN-010)."""
        with Link(self.chain.board.tty) as link:
            link._run(FORGET_EPOCH)
        self.restart_gateway()

    def restart_gateway(self) -> None:
        since = now_ms()
        self.chain.board.reset()
        assert self.chain.timeline.wait("gateway", "settle.end", since=since, timeout_s=30), self.chain.board.console()
        wait_quiet(self.chain)

    def shown(self, since: float) -> list[str]:
        return [m.name for m in self.chain.timeline.since(since) if m.source == "home"]


def in_time(condition: Callable[[], object], timeout_s: float = 40) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(condition())


@contextlib.contextmanager
def a_site(folder: Path, database: Sqlite | Postgres) -> Iterator[Site]:
    chain = Chain(folder, broker="mosquitto", placement={"heartbeat_s": 1}, heap="192k")
    chain.database_url = database.url
    with chain:
        (chain.pki_folder / "command.key").unlink()  # the reception's machine has none
        with Link(chain.board.tty) as link:
            link.write("/main.py", MAIN.encode())
        site = Site(chain, database)
        site.begin()
        try:
            site.restart_gateway()
            installations.add_municipality(site.centre, "Asker", "Ida")
            installations.assign(
                site.centre, "Asker", Placement(home="A-1", gateway=chain.gateway), "Ida", utc_now_ms()
            )
            yield site
        finally:
            site.end()


def drill(site: Site, *, new_epoch: bool) -> None:
    alarms = [site.press()]
    case = site.open_case()["id"]
    orders = len(views.list_orders(site.centre))
    site.database.back_up()
    copied = site.rows()
    epochs = len({epoch for epoch, _, _ in copied})

    cases.take(site.centre, case, "Kari")
    assert site.chain.wait_light("taken")
    cases.close(site.centre, case, "Kari", "fall")
    alarms.append(site.press())
    if new_epoch:
        site.restart_gateway_in_a_new_epoch()
        alarms.append(site.press())
    second = site.open_case()["id"]
    cases.take(site.centre, second, "Kari")
    assert site.chain.wait_light("taken")
    if new_epoch:  # this time it is all over, and the home shows nothing of it any more
        cases.close(site.centre, second, "Kari", "fall")
        assert site.chain.wait_light("closed")
        site.restart_gateway()
        assert site.chain.wait_light("idle")
    shown = site.chain.light()
    complete = site.rows()
    assert len(complete) > len(copied) and len({epoch for epoch, _, _ in complete}) == epochs + new_epoch
    site.end()
    site.database.restore()

    since = now_ms()
    site.begin()
    assert site.rows() == copied, "this is what yesterday knew"
    assert in_time(lambda: site.rows() == complete), (site.rows(), site.chain.board.console()[-2000:])
    there_ms = now_ms()
    asked = [row["order"] for row in views.list_orders(site.centre)]
    assert asked == ["resend"] * (orders + (2 if new_epoch else 1)), "once for each epoch"
    assert in_time(lambda: not [row for row in views.work_list(site.centre) if row["kind"] == "withheld"])
    found = site.open_case()
    assert (found["id"], found["status"]) == (case, "new"), (
        "the centre has forgotten that Kari has it: a person sees it again"
    )
    of_cases = [(row["seq"], row["case"]) for row in views.list_events(site.centre) if row["kind"] == "help"]
    assert sorted(of_cases)[-len(alarms) :] == [(seq, case) for seq in alarms]
    time.sleep(max(0, UNANSWERED_MS + SEEN_MS - (now_ms() - there_ms)) / 1000)
    assert site.shown(since) == [] and site.chain.light() == shown, "what the home was told stays"
    cases.take(site.centre, case, "Ola")
    cases.close(site.centre, case, "Ola", "fall")
    if new_epoch:  # for the home it is over
        wait_quiet(site.chain)
        assert site.shown(since) == []
    else:
        assert site.chain.wait_light("closed")
        assert site.shown(since) == ["closed"]


def test_TP_REC_284_yesterdays_database_fills_itself_with_the_newest_and_over_a_new_epoch(tmp_path: Path) -> None:
    with a_site(tmp_path, Sqlite(tmp_path)) as site:
        drill(site, new_epoch=True)


@pytest.mark.long
def test_TP_REC_284_the_drill_on_PostgreSQL(tmp_path: Path) -> None:
    if lacks := postgres_site.missing():
        pytest.skip(f"{lacks} is not installed")
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tryggport-pg-"))  # a path short enough for a Unix socket
        stack.callback(shutil.rmtree, folder)
        cluster = stack.enter_context(postgres_site.cluster(folder))
        site = stack.enter_context(a_site(tmp_path, Postgres(tmp_path, cluster.fresh())))
        drill(site, new_epoch=False)
        drill(site, new_epoch=True)
