"""Hands alarms over to the centre's own system by SCAIP, and keeps what became of it on the case.

`SqlDeliveries` is the channel's store in the reception's database: the outcome, the case's history and what the home is to be
told are one transaction (TP-SCA-012). `Bridge` watches the database and gives the channel what is new in it.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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

from tryggport.errors import TryggError
from tryggport.reception.cases import now_ms, record
from tryggport.reception.database import Database
from tryggport.reception.schema import CLOSED, ID, NEW, cases, events, metadata, outbox, statuses, unreadable
from tryggport.scaip import codes
from tryggport.scaip.channel import ScaipChannel
from tryggport.scaip.codes import Home
from tryggport.scaip.deliveries import DELIVERED, REFUSED, WAITING, Delivery, joined
from tryggport.scaip.message import MESSAGE, Request
from tryggport.wire import kinds
from tryggport.wire.event import Event

WHO = "SCAIP"
POLL_S = 0.2
HEARTBEAT_S = 300.0  # TP-BND-209
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
        """Also writes the case's history and, once the centre has the alarm, what the home is to be told."""
        with self._database.write() as tx:
            row = _row(tx, delivery.ref)
            if row is None or row.state == DELIVERED:
                return
            before = _delivery(row)
            mine = scaip_deliveries.c.ref == delivery.ref
            tx.execute(update(scaip_deliveries).where(mine).values(_columns(delivery)))
            if delivery.case_id is not None:
                _on_the_case(tx, before, delivery, delivery.case_id)

    def of_case(self, case_id: int) -> list[Delivery]:
        """All messages of a case, oldest first."""
        query = select(scaip_deliveries).where(scaip_deliveries.c.case_id == case_id)
        with self._database.read() as tx:
            return [_delivery(row) for row in tx.execute(query.order_by(scaip_deliveries.c.id))]


class Bridge:
    """Gives the channel what is new in the database, and a heartbeat for each path of each home that is alive.

    homes: by gateway id. A gateway without a home is told of once through `say`.
    """

    def __init__(
        self,
        database: Database,
        channel: ScaipChannel,
        homes: Mapping[str, Home],
        receivers: Sequence[str],
        *,
        heartbeat_s: float = HEARTBEAT_S,
        say: Callable[[str], None] = print,
    ) -> None:
        self._database = database
        self._channel = channel
        self._homes = homes
        self._receivers = receivers
        self._heartbeat_s = heartbeat_s
        self._say = say
        self._known: set[tuple[str, int]] = set()
        self._beaten: dict[tuple[str, int], float] = {}
        self._homeless: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. A database that fails for a while is told of, and tried again."""
        while not stop.wait(POLL_S):
            try:
                self.poll()
            except TryggError as e:
                self._say(e.message)
                stop.wait(10 * POLL_S)

    def poll(self) -> None:
        """Hands over what is new. Raises TryggError when the database fails; nothing is lost by that."""
        since_ms = now_ms() - LOOK_BACK_MS
        with self._database.read() as tx:
            alarms: Sequence[Any] = tx.execute(_ALARMS, {"since_ms": since_ms}).all()
            unread: Sequence[Any] = tx.execute(_UNREADABLE).all()
            notices: Sequence[Any] = tx.execute(_NOTICES, {"since_ms": since_ms}).all()
            alive: Sequence[Any] = tx.execute(select(statuses).where(statuses.c.online)).all()
        found = [("event", row, True) for row in alarms]
        found += [("unreadable", row, True) for row in unread]
        found += [("event", row, False) for row in notices]
        for table, row, alarm in found:
            self._hand_over(table, row, alarm=alarm)
        self._known &= {(table, row.id) for table, row, _ in found}
        for row in alive:
            self._beat(row)

    def _hand_over(self, table: str, row: Any, *, alarm: bool) -> None:
        if (table, row.id) in self._known:
            return
        home = self._home(row.gateway)
        if home is not None:
            request = _request(row, home, alarm)
            self._channel.deliver(request, self._receivers, alarm=alarm, case_id=row.case_id)
        self._known.add((table, row.id))

    def _home(self, gateway: str) -> Home | None:
        home = self._homes.get(gateway)
        if home is None and gateway not in self._homeless:
            self._homeless.add(gateway)
            self._say(
                f"{gateway} has no cid, so nothing of it can be handed over. Add it with: tryggport scaip onboard"
            )
        return home

    def _beat(self, row: Any) -> None:
        """A home is alive over a path for as long as its own heartbeat is not three times overdue."""
        home = self._homes.get(row.gateway)
        path, now_s = (row.gateway, row.path), time.monotonic()
        fresh = row.seen_ms is not None and now_ms() - row.seen_ms < 3000 * HEARTBEAT_S
        if home is not None and fresh and now_s - self._beaten.get(path, -1e9) >= self._heartbeat_s:
            self._beaten[path] = now_s
            self._channel.heartbeat(home, row.path, self._receivers)


_EVENTS = select(
    events.c.id, events.c.gateway, events.c.epoch, events.c.seq, events.c.encoded, events.c.kind, events.c.case_id
)
_ALARMS = (
    _EVENTS.join(cases, cases.c.id == events.c.case_id)
    .where(
        (cases.c.status != CLOSED)
        | ((events.c.state == kinds.STATE_CLEARED) & (events.c.received_ms >= text(":since_ms")))
    )
    .order_by(events.c.id)
)
_UNREADABLE = (
    select(unreadable.c.id, unreadable.c.gateway, unreadable.c.sha256, unreadable.c.case_id)
    .join(cases, cases.c.id == unreadable.c.case_id)
    .where(cases.c.status != CLOSED)
    .order_by(unreadable.c.id)
)
_NOTICES = _EVENTS.where(
    ~events.c.alarm, events.c.kind.in_(WATCHED), events.c.received_ms >= text(":since_ms")
).order_by(events.c.id)


def _request(row: Any, home: Home, alarm: bool) -> Request:
    if not hasattr(row, "encoded"):
        return codes.unreadable_alarm(home, row.sha256[:8].hex())
    if row.kind is None:
        return codes.unreadable_alarm(home, codes.reference(row.gateway, row.epoch, row.seq))
    return codes.request_for(Event.from_bytes(row.encoded), home, alarm=alarm)


def _row(tx: Connection, ref: str) -> Row[Any] | None:
    return tx.execute(select(scaip_deliveries).where(scaip_deliveries.c.ref == ref)).first()


def _columns(delivery: Delivery) -> dict[str, Any]:
    found = {f.name: getattr(delivery, f.name) for f in dataclasses.fields(delivery) if f.name != "order"}
    return found | {name: json.dumps(found[name]) for name in _LISTS}


def _delivery(row: Row[Any]) -> Delivery:
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    return Delivery(**(values | {name: tuple(json.loads(values[name])) for name in _LISTS}), order=row.id)


def _on_the_case(tx: Connection, before: Delivery, after: Delivery, case_id: int) -> None:
    at_ms = now_ms()
    if after.state == DELIVERED:
        where = f" by {after.receiver}" if after.receiver else ""
        record(tx, case_id, at_ms, WHO, f"{after.mty} {after.ref} accepted{where}")
        if after.mty == MESSAGE and tx.execute(select(cases.c.status).where(cases.c.id == case_id)).scalar() == NEW:
            tx.execute(insert(outbox).values(case_id=case_id, outcome=kinds.OUTCOME_HANDED_OVER))
    elif after.state == REFUSED:
        record(tx, case_id, at_ms, WHO, f"{after.mty} {after.ref} refused by every receiver: {after.why}")
    elif after.escalated_ms is not None and before.escalated_ms is None:
        waited_s = (after.escalated_ms - after.created_ms) // 1000
        record(tx, case_id, at_ms, WHO, f"{after.mty} {after.ref} not delivered for {waited_s} s: {after.why}")
