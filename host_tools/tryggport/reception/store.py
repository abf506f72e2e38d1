"""Stores what arrives, in one transaction a batch, and says what became of each event (TP-WIR-011, TP-WIR-014)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tryggport.reception import conditions, dating, turns
from tryggport.reception.cases import HEARD
from tryggport.reception.database import Database
from tryggport.reception.installations import Placed, is_revoked, placed
from tryggport.reception.presence import keep_statuses
from tryggport.reception.schema import cases, conflicts, deliveries, events, outbox, refusals, unreadable
from tryggport.reception.triage import Fresh, Identity, assign_cases, by_epoch
from tryggport.wire import kinds
from tryggport.wire.event import Event, Unreadable
from tryggport.wire.receipt import MAX_RANGES
from tryggport.wire.status import Status


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
    database: Database, arrivals: Sequence[Arrival], states: Sequence[tuple[Status, bool]], at_ms: int,
    on_step: Callable[[str, dict[str, Any]], None] = lambda name, detail: None,
) -> list[Settled]:  # fmt: skip
    """Stores a batch, as a rule in one transaction; it is durable on return. `states`: each status, and whether it was the retained copy.

    `on_step` hears commit.begun (in the transaction) and commit.inserted (all but committed), with the number of events.
    """
    settled: list[Settled] = []
    known = {arrival.gateway for arrival in arrivals} | {status.gateway for status, _ in states}
    for gateways in turns.shares(known, locked=database.is_postgresql):
        these = [arrival for arrival in arrivals if arrival.gateway in gateways]
        with database.write() as tx:
            turns.wait(tx, gateways)
            on_step("commit.begun", {"events": len(these)})
            found = _store(tx, these, at_ms)
            keep_statuses(tx, [state for state in states if state[0].gateway in gateways], at_ms)
            on_step("commit.inserted", {"events": len(these)})
        settled += found
    return settled


def count_refusals(database: Database, counts: Counter[tuple[str, str]], at_ms: int) -> None:
    """Adds to the refusals by (gateway, reason)."""
    with database.write() as tx:
        upsert = postgresql.insert(refusals) if tx.dialect.name == "postgresql" else sqlite.insert(refusals)
        changed = {"count": refusals.c.count + upsert.excluded.count, "last_ms": upsert.excluded.last_ms}
        rows = [
            {"gateway": gateway, "reason": reason, "count": count, "last_ms": at_ms}
            for (gateway, reason), count in sorted(counts.items())
        ]
        tx.execute(upsert.on_conflict_do_update(index_elements=refusals.primary_key.columns, set_=changed), rows)


def to_tell(database: Database, known: Iterable[int]) -> list[Told]:
    """What is in the outbox but for the rows in `known`, oldest first."""
    query = select(outbox).where(outbox.c.id.not_in(list(known))).order_by(outbox.c.id)
    with database.read() as tx:
        return [_told(tx, row) for row in tx.execute(query).all()]


def forget_told(database: Database, ids: Iterable[int]) -> None:
    """The broker has acknowledged the receipts of these outbox rows."""
    with database.write() as tx:
        tx.execute(outbox.delete().where(outbox.c.id.in_(list(ids))))


def _told(tx: Connection, row: Any) -> Told:
    """`handed_over` speaks of what has been handed over, the other outcomes of all that is in the case."""
    of_case = (events.c.case_id == row.case_id) & (events.c.gateway == row.gateway)
    of_case &= events.c.state != kinds.STATE_CLEARED
    if row.outcome == kinds.OUTCOME_HANDED_OVER:
        delivered = (deliveries.c.case_id == row.case_id) & (deliveries.c.state == "delivered")
        of_case &= events.c.id.in_(select(deliveries.c.event_id).where(delivered))
    elif row.outcome == kinds.OUTCOME_TAKEN:  # what came since reaches who has the case by a receiver
        taken_ms = select(cases.c.taken_ms).where(cases.c.id == row.case_id).scalar_subquery()
        of_case &= (events.c.received_ms <= taken_ms) | HEARD
    query = select(events.c.epoch, events.c.seq, events.c.sha256).where(of_case)
    hashes: dict[bytes, dict[int, bytes]] = {}
    for epoch, seq, sha256 in tx.execute(query.order_by(events.c.id.desc()).limit(MAX_RANGES)):
        hashes.setdefault(epoch, {})[seq] = sha256
    return Told(row.id, row.gateway, row.outcome, hashes)


def _store(tx: Connection, arrivals: Sequence[Arrival], at_ms: int) -> list[Settled]:
    gateways = {arrival.gateway for arrival in arrivals}
    homes, distrusted = placed(tx, gateways), is_revoked(tx, gateways)
    rows: dict[Identity, dict[str, Any]] = {}
    for arrival in arrivals:
        if arrival.identity is not None and arrival.identity not in rows:
            rows[arrival.identity] = _event_row(arrival, arrival.identity, homes, at_ms)
    new = _insert_new(tx, list(rows.values()))
    hashes = {identity: row["sha256"] for identity, row in rows.items()} | _stored_hashes(tx, rows.keys() - new)
    known = ((arrival.identity, _event(arrival)) for arrival in arrivals)
    dating.note(tx, [event for identity, event in known if event and identity in new], at_ms)
    fresh: list[Fresh] = []
    outcomes: dict[tuple[Identity, bytes], int] = {}
    for arrival in arrivals:
        identity, sha256 = arrival.identity, arrival.item.sha256
        if identity is None:
            _keep_unreadable(tx, fresh, arrival, sha256, homes, at_ms)
        elif (identity, sha256) in outcomes:
            continue
        elif hashes[identity] != sha256:
            outcomes[identity, sha256] = kinds.OUTCOME_CONFLICT
            _keep_conflict(tx, fresh, arrival, _identified(arrival, identity, homes, at_ms))
        elif identity not in new:
            outcomes[identity, sha256] = kinds.OUTCOME_DUPLICATE
        else:
            outcomes[identity, sha256] = kinds.OUTCOME_STORED if _event(arrival) else kinds.OUTCOME_RAW
            fresh.append(Fresh(events, rows[identity], is_alarm(arrival), _event(arrival)))
    assign_cases(tx, fresh, homes, at_ms)
    conditions.note(tx, [f.event for f in fresh if f.table is events and f.event is not None], at_ms)
    for table in (conflicts, unreadable):
        kept = [f.row for f in fresh if f.table is table]
        if kept:
            tx.execute(insert(table), kept)
    return [
        Settled(identity, sha256, kinds.OUTCOME_QUARANTINED if identity[0] in distrusted else outcome)
        for (identity, sha256), outcome in outcomes.items()
    ]


def _insert_new(tx: Connection, rows: list[dict[str, Any]]) -> set[Identity]:
    """Inserts the rows whose identity is not there yet, and returns those identities; safe beside other workers."""
    if not rows:
        return set()
    upsert = postgresql.insert(events) if tx.dialect.name == "postgresql" else sqlite.insert(events)
    identity = (events.c.gateway, events.c.epoch, events.c.seq)
    found = tx.execute(upsert.on_conflict_do_nothing(index_elements=identity).returning(*identity), rows)
    return {(gateway, epoch, seq) for gateway, epoch, seq in found}


def _stored_hashes(tx: Connection, identities: Iterable[Identity]) -> dict[Identity, bytes]:
    columns = select(events.c.seq, events.c.sha256)
    return {
        (gateway, epoch, seq): sha256
        for gateway, epoch, of_these in by_epoch(identities)
        for seq, sha256 in tx.execute(columns.where(of_these))
    }


def _event(arrival: Arrival) -> Event | None:
    return arrival.item if isinstance(arrival.item, Event) else None


def _event_row(arrival: Arrival, identity: Identity, homes: Mapping[str, Placed], at_ms: int) -> dict[str, Any]:
    event = _event(arrival)
    return _identified(arrival, identity, homes, at_ms) | {
        "alarm": is_alarm(arrival),
        "kind": event and event.kind,
        "state": event and event.state,
        "ref": event and event.ref,
        "test": event is not None and event.test,
    }


def _keep_conflict(tx: Connection, fresh: list[Fresh], arrival: Arrival, row: dict[str, Any]) -> None:
    same = [conflicts.c[name] == row[name] for name in ("gateway", "epoch", "seq", "sha256")]
    if not tx.execute(select(conflicts.c.id).where(*same)).first():
        fresh.append(Fresh(conflicts, row, is_alarm(arrival), _event(arrival)))


def _keep_unreadable(
    tx: Connection, fresh: list[Fresh], arrival: Arrival, sha256: bytes, homes: Mapping[str, Placed], at_ms: int
) -> None:
    """A gateway goes on sending what it gets no receipt for: one row, and how often it came."""
    item = arrival.item
    for f in fresh:
        if f.table is unreadable and (f.row["gateway"], f.row["sha256"]) == (arrival.gateway, sha256):
            f.row["copies"] += 1
            return
    if count_copy(tx, arrival):
        return
    row = {
        "gateway": arrival.gateway,
        "sha256": sha256,
        "encoded": item.encoded,
        "alarm": arrival.alarm,
        "why": item.why if isinstance(item, Unreadable) else "",
        "copies": 1,
        "received_ms": at_ms,
        "case_id": None,
        "municipality_id": _owner(arrival, homes),
    }
    fresh.append(Fresh(unreadable, row, arrival.alarm, None))


def count_copy(tx: Connection, arrival: Arrival) -> bool:
    """Whether these bytes are among the unreadable ones already; then they came once more."""
    same = (unreadable.c.gateway == arrival.gateway) & (unreadable.c.sha256 == arrival.item.sha256)
    return bool(tx.execute(update(unreadable).where(same).values(copies=unreadable.c.copies + 1)).rowcount)


def _identified(arrival: Arrival, identity: Identity, homes: Mapping[str, Placed], at_ms: int) -> dict[str, Any]:
    gateway, epoch, seq = identity
    return {
        "gateway": gateway,
        "epoch": epoch,
        "seq": seq,
        "sha256": arrival.item.sha256,
        "encoded": arrival.item.encoded,
        "received_ms": at_ms,
        "case_id": None,
        "municipality_id": _owner(arrival, homes),
    }


def _owner(arrival: Arrival, homes: Mapping[str, Placed]) -> int | None:
    """The municipality that the gateway serves when the event arrives; it may read it for ever, no other may."""
    where = homes.get(arrival.gateway)
    return where.municipality_id if where else None


def is_alarm(arrival: Arrival) -> bool:
    """By its topic, or by its kind should it have come on the wrong one: what may be an alarm is treated as one."""
    event = _event(arrival)
    return arrival.alarm or (event is not None and event.kind in kinds.KINDS and kinds.KINDS[event.kind].alarm)
