"""Stores what arrives, in one transaction a batch, and says what became of each event (TP-WIR-011, TP-WIR-014)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, tuple_, update

from tryggport.reception.database import Database
from tryggport.reception.presence import keep_status
from tryggport.reception.schema import conflicts, events, outbox, refusals, unreadable
from tryggport.reception.triage import Fresh, assign_cases
from tryggport.wire import kinds
from tryggport.wire.event import Event, Unreadable
from tryggport.wire.receipt import MAX_RANGES
from tryggport.wire.status import Status

Identity = tuple[str, bytes, int]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One item of an authentic envelope; `alarm`: it came on the alarm topic."""

    gateway: str
    alarm: bool
    item: Event | Unreadable

    @property
    def identity(self) -> Identity | None:
        if isinstance(self.item, Event):
            return self.gateway, self.item.epoch, self.item.seq
        return (self.gateway, *self.item.identity) if self.item.identity else None


@dataclass(frozen=True, slots=True)
class Settled:
    """What the committed transaction did with one event."""

    identity: Identity
    sha256: bytes
    outcome: int


@dataclass(frozen=True, slots=True)
class Told:
    """An outcome that a gateway is to hear: hashes by epoch and seq of the newest alarms of the case."""

    outbox_id: int
    gateway: str
    outcome: int
    hashes: dict[bytes, dict[int, bytes]]


def commit(
    database: Database, arrivals: Sequence[Arrival], states: Sequence[tuple[Status, bool]], at_ms: int
) -> list[Settled]:
    """Stores a batch; it is durable on return. `states`: each status, and whether it was the retained copy."""
    with database.write() as tx:
        settled = _store(tx, arrivals, at_ms)
        for status, retained in states:
            keep_status(tx, status, retained, at_ms)
    return settled


def count_refusals(database: Database, counts: Counter[tuple[str, str]], at_ms: int) -> None:
    """Adds to the refusals by (gateway, reason)."""
    with database.write() as tx:
        for (gateway, reason), count in counts.items():
            row = (refusals.c.gateway == gateway) & (refusals.c.reason == reason)
            changed = update(refusals).where(row).values(count=refusals.c.count + count, last_ms=at_ms)
            if not tx.execute(changed).rowcount:
                tx.execute(insert(refusals).values(gateway=gateway, reason=reason, count=count, last_ms=at_ms))


def to_tell(database: Database, known: Iterable[int]) -> list[Told]:
    """What is in the outbox but for the rows in `known`, oldest first."""
    query = select(outbox).where(outbox.c.id.not_in(list(known))).order_by(outbox.c.id)
    with database.read() as tx:
        return [_told(tx, row.id, row.case_id, row.outcome) for row in tx.execute(query).all()]


def forget_told(database: Database, ids: Iterable[int]) -> None:
    """The broker has acknowledged the receipts of these outbox rows."""
    with database.write() as tx:
        tx.execute(outbox.delete().where(outbox.c.id.in_(list(ids))))


def _told(tx: Connection, outbox_id: int, case_id: int, outcome: int) -> Told:
    of_case = (events.c.case_id == case_id) & (events.c.state != kinds.STATE_CLEARED)
    query = select(events.c.gateway, events.c.epoch, events.c.seq, events.c.sha256).where(of_case)
    hashes: dict[bytes, dict[int, bytes]] = {}
    gateway = ""
    for row in tx.execute(query.order_by(events.c.id.desc()).limit(MAX_RANGES)):
        gateway = row.gateway
        hashes.setdefault(row.epoch, {})[row.seq] = row.sha256
    return Told(outbox_id, gateway, outcome, hashes)


def _store(tx: Connection, arrivals: Sequence[Arrival], at_ms: int) -> list[Settled]:
    known = _stored_hashes(tx, {identity for a in arrivals if (identity := a.identity)})
    outcomes: dict[tuple[Identity, bytes], int] = {}
    fresh: list[Fresh] = []
    for arrival in arrivals:
        identity, sha256 = arrival.identity, arrival.item.sha256
        if identity is None:
            fresh += _unreadable(tx, arrival, sha256, at_ms)
        elif identity not in known:
            known[identity] = sha256
            readable = isinstance(arrival.item, Event)
            outcomes[identity, sha256] = kinds.OUTCOME_STORED if readable else kinds.OUTCOME_RAW
            fresh.append(_event(arrival, identity, sha256, at_ms))
        elif known[identity] == sha256:
            outcomes.setdefault((identity, sha256), kinds.OUTCOME_DUPLICATE)
        else:
            if (identity, sha256) not in outcomes:
                fresh += _conflict(tx, arrival, identity, sha256, at_ms)
            outcomes[identity, sha256] = kinds.OUTCOME_CONFLICT
    assign_cases(tx, fresh, at_ms)
    for table in (events, conflicts, unreadable):
        rows = [f.row for f in fresh if f.table is table]
        if rows:
            tx.execute(insert(table), rows)
    return [Settled(identity, sha256, outcome) for (identity, sha256), outcome in outcomes.items()]


def _stored_hashes(tx: Connection, identities: set[Identity]) -> dict[Identity, bytes]:
    if not identities:
        return {}
    identity = tuple_(events.c.gateway, events.c.epoch, events.c.seq)
    query = select(events.c.gateway, events.c.epoch, events.c.seq, events.c.sha256).where(identity.in_(identities))
    return {(gateway, epoch, seq): sha256 for gateway, epoch, seq, sha256 in tx.execute(query)}


def _event(arrival: Arrival, identity: Identity, sha256: bytes, at_ms: int) -> Fresh:
    item = arrival.item
    row = _identified(identity, sha256, item.encoded, at_ms)
    event = item if isinstance(item, Event) else None
    row |= {
        "alarm": _is_alarm(arrival),
        "kind": event and event.kind,
        "state": event and event.state,
        "ref": event and event.ref,
        "test": bool(event and event.test),
    }
    return Fresh(events, row, _is_alarm(arrival), event)


def _conflict(tx: Connection, arrival: Arrival, identity: Identity, sha256: bytes, at_ms: int) -> list[Fresh]:
    columns = tuple_(conflicts.c.gateway, conflicts.c.epoch, conflicts.c.seq, conflicts.c.sha256)
    if tx.execute(select(conflicts.c.id).where(columns == (*identity, sha256))).first():
        return []
    row = _identified(identity, sha256, arrival.item.encoded, at_ms)
    event = arrival.item if isinstance(arrival.item, Event) else None
    return [Fresh(conflicts, row, _is_alarm(arrival), event)]


def _unreadable(tx: Connection, arrival: Arrival, sha256: bytes, at_ms: int) -> list[Fresh]:
    item = arrival.item
    same = (unreadable.c.gateway == arrival.gateway) & (unreadable.c.sha256 == sha256)
    if tx.execute(update(unreadable).where(same).values(copies=unreadable.c.copies + 1)).rowcount:
        return []
    row = {
        "gateway": arrival.gateway,
        "sha256": sha256,
        "encoded": item.encoded,
        "alarm": arrival.alarm,
        "why": item.why if isinstance(item, Unreadable) else "",
        "copies": 1,
        "received_ms": at_ms,
        "case_id": None,
    }
    return [Fresh(unreadable, row, arrival.alarm, None)]


def _identified(identity: Identity, sha256: bytes, encoded: bytes, at_ms: int) -> dict[str, Any]:
    gateway, epoch, seq = identity
    return {
        "gateway": gateway,
        "epoch": epoch,
        "seq": seq,
        "sha256": sha256,
        "encoded": encoded,
        "received_ms": at_ms,
        "case_id": None,
    }


def _is_alarm(arrival: Arrival) -> bool:
    """By its topic, or by its kind should it have come on the wrong one: what may be an alarm is treated as one."""
    kind = kinds.KINDS.get(arrival.item.kind) if isinstance(arrival.item, Event) else None
    return arrival.alarm or bool(kind and kind.alarm)
