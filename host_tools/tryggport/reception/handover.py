"""What goes to a centre by SCAIP beside the alarms of cases (those: scaip_step.py): faults of the house, and heartbeats.

`SqlDeliveries` is the channel's store in the reception's database. `Bridge` watches the database and gives the channel what is new.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    Text,
    insert,
    select,
    text,
    update,
)

from tryggport.errors import TryggError, in_words
from tryggport.reception import vital
from tryggport.reception.database import Database
from tryggport.reception.findings import DEFAULTS
from tryggport.reception.ledger import now_ms
from tryggport.reception.presence import newest_heard
from tryggport.reception.schema import ID, events, installations, metadata, statuses, steps
from tryggport.scaip import codes
from tryggport.scaip.channel import HEARTBEAT_S, ScaipChannel
from tryggport.scaip.codes import Home
from tryggport.scaip.deliveries import DELIVERED, WAITING, Delivery, joined
from tryggport.scaip.judge import Verdict
from tryggport.wire import kinds
from tryggport.wire.event import Event

POLL_S = 0.2
LOOK_BACK_MS = 24 * 3600 * 1000  # TP-BND-210
TOLD_SEVERITY = 2  # information below this stays here
WATCHED = tuple(code for code, kind in kinds.KINDS.items() if not kind.alarm and kind.severity >= TOLD_SEVERITY)

scaip_deliveries = Table(
    "scaip_deliveries",
    metadata,
    Column("id", ID, primary_key=True),
    Column("ref", String(16), nullable=False, unique=True),
    Column("cid", String(16), nullable=False),
    Column("mty", String(2), nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("xml", LargeBinary, nullable=False),
    Column("receivers", Text, nullable=False),
    Column("state", String(9), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reduced", Boolean, nullable=False),
    Column("refused", Text, nullable=False),
    Column("receiver", Text),
    Column("snu", Integer),
    Column("why", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger),
    Column("escalated_ms", BigInteger),
)
Index(
    "scaip_waiting",
    scaip_deliveries.c.id,
    sqlite_where=text("state = 'waiting'"),
    postgresql_where=text("state = 'waiting'"),
)
_LISTS = ("receivers", "refused")


class SqlDeliveries:
    """`tryggport.scaip.deliveries.Deliveries` in the reception's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, delivery: Delivery) -> Delivery:
        with self._database.write() as tx:
            row = _row(tx, delivery.ref)
            if row is None:
                tx.execute(insert(scaip_deliveries).values(_columns(delivery)))
            else:
                kept = joined(_delivery(row), delivery)
                changed = {"receivers": json.dumps(kept.receivers), "state": kept.state}
                tx.execute(update(scaip_deliveries).where(scaip_deliveries.c.ref == kept.ref).values(changed))
            row = _row(tx, delivery.ref)
        if row is None:
            raise TryggError(f"The message {delivery.ref} was not kept.")
        return _delivery(row)

    def get(self, ref: str) -> Delivery | None:
        with self._database.read() as tx:
            row = _row(tx, ref)
        return None if row is None else _delivery(row)

    def open(self) -> list[Delivery]:
        waiting = select(scaip_deliveries).where(scaip_deliveries.c.state == WAITING)
        with self._database.read() as tx:
            return [_delivery(row) for row in tx.execute(waiting.order_by(scaip_deliveries.c.id))]

    def save(self, delivery: Delivery) -> None:
        with self._database.write() as tx:
            row = _row(tx, delivery.ref)
            if row is None or row.state == DELIVERED:
                return
            mine = scaip_deliveries.c.ref == delivery.ref
            tx.execute(update(scaip_deliveries).where(mine).values(_columns(delivery)))


class Bridge:
    """Gives the channel what is new in the database, and a heartbeat of each home that is alive, for the path it is on.

    A home is an installation with a cid; its receivers are the SCAIP steps of its municipality. Where a canary runs, homes beat
    only while its alarm comes through: a centre that hears no beat finds out that the reception does not work (TP-REC-009).
    """

    def __init__(
        self,
        database: Database,
        channel: ScaipChannel,
        *,
        has_canary: bool = False,
        heartbeat_s: float = HEARTBEAT_S,
        say: Callable[[str], None] = print,
    ) -> None:
        self._database = database
        self._channel = channel
        self._has_canary = has_canary
        self._heartbeat_s = heartbeat_s
        self._say = say
        self._known: set[int] = set()
        self._wrong: set[str] = set()
        self._beaten: dict[tuple[str, int], tuple[float, Future[dict[str, Verdict]]]] = {}

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. What fails, as a database for a while, is told of and tried again."""
        while not stop.wait(POLL_S):
            try:
                self.poll()
            except Exception as e:
                self._say(in_words(e))
                stop.wait(10 * POLL_S)

    def poll(self) -> None:
        """Hands over what is new, and says once what cannot be. Raises TryggError when the database cannot be read; nothing is
        lost by that."""
        with self._database.read() as tx:
            homes = _homes(tx)
            notices: Sequence[Any] = tx.execute(_NOTICES, {"since_ms": now_ms() - LOOK_BACK_MS}).all()
            states = tx.execute(select(statuses)).mappings().all() if self._works(tx) else ()
        wrong: set[str] = set()
        for row in notices:
            if row.id not in self._known and row.gateway in homes:
                with _apart(wrong):
                    self._tell(row, *homes[row.gateway])
        self._known &= {row.id for row in notices}
        for gateway, state in newest_heard(states).items():
            if gateway in homes and state["online"]:
                with _apart(wrong):
                    self._beat(state, *homes[gateway])
        for sentence in sorted(wrong - self._wrong):
            self._say(sentence)
        self._wrong = wrong

    def _works(self, tx: Connection) -> bool:
        """Whether the reception's own alarm has come through lately."""
        if not self._has_canary:
            return True
        last_ms = vital.last(tx, vital.CANARY)
        return last_ms is not None and now_ms() - last_ms < DEFAULTS.canary_ms

    def _tell(self, row: Row[Any], home: Home, receivers: Sequence[str]) -> None:
        request = codes.request_for(Event.from_bytes(row.encoded), home, alarm=False)
        self._channel.deliver(request, receivers, alarm=False)
        self._known.add(row.id)

    def _beat(self, state: Mapping[Any, Any], home: Home, receivers: Sequence[str]) -> None:
        """A home is alive over the path it is on, for as long as its own heartbeat is not three times overdue.

        While its last beat is still under way there is no other: towards a centre that is silent they would pile up.
        """
        path, now_s = (state["gateway"], state["path"]), time.monotonic()
        fresh = state["seen_ms"] is not None and now_ms() - state["seen_ms"] < 3000 * HEARTBEAT_S
        last = self._beaten.get(path)
        due = last is None or (now_s - last[0] >= self._heartbeat_s and last[1].done())
        if fresh and due:
            self._beaten[path] = now_s, self._channel.heartbeat(home, state["path"], receivers)


@contextlib.contextmanager
def _apart(wrong: set[str]) -> Iterator[None]:
    """What goes wrong for one home is put into `wrong` and stops no other: a mistyped address is one municipality's own."""
    try:
        yield
    except Exception as e:
        wrong.add(in_words(e))


# Only what came while the gateway was where it is now: what it said in an earlier home is no other home's (TP-REC-001).
_OF_THIS_HOME = (
    (installations.c.gateway == events.c.gateway)
    & installations.c.to_ms.is_(None)
    & (installations.c.municipality_id == events.c.municipality_id)
    & (installations.c.from_ms <= events.c.received_ms)
)
_NOTICES = (
    select(events.c.id, events.c.gateway, events.c.encoded)
    .join(installations, _OF_THIS_HOME)
    .where(~events.c.alarm, ~events.c.test, events.c.kind.in_(WATCHED), events.c.received_ms >= text(":since_ms"))
    .order_by(events.c.id)
)


def _homes(tx: Connection) -> dict[str, tuple[Home, tuple[str, ...]]]:
    """Home and receivers by gateway, for the homes of municipalities that have SCAIP in their list."""
    targets: dict[int, tuple[str, ...]] = {}
    listed = select(steps.c.municipality_id, steps.c.target).where(steps.c.kind == "scaip").order_by(steps.c.position)
    for owner, target in tx.execute(listed):
        targets[owner] = (*targets.get(owner, ()), *target.split())
    placed = select(installations).where(installations.c.to_ms.is_(None), installations.c.cid.is_not(None))
    return {
        row.gateway: (Home(row.cid, row.call_back), targets[row.municipality_id])
        for row in tx.execute(placed)
        if row.municipality_id in targets
    }


def _row(tx: Connection, ref: str) -> Row[Any] | None:
    return tx.execute(select(scaip_deliveries).where(scaip_deliveries.c.ref == ref)).first()


def _columns(delivery: Delivery) -> dict[str, Any]:
    found = {f.name: getattr(delivery, f.name) for f in dataclasses.fields(delivery) if f.name != "order"}
    return found | {name: json.dumps(found[name]) for name in _LISTS}


def _delivery(row: Row[Any]) -> Delivery:
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    return Delivery(**(values | {name: tuple(json.loads(values[name])) for name in _LISTS}), order=row.id)
