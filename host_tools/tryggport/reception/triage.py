"""Finds the case of each alarm in a batch, with a fixed number of statements a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, insert, select, text, update

from tryggport.reception import cases as case_book
from tryggport.reception.schema import CLOSED, NEW, audit, cases, conflicts, events
from tryggport.wire import kinds
from tryggport.wire.event import Event

LOOSE_CLEARS = text("alarm AND state = 2 AND case_id IS NULL")  # literally the condition of the index loose_clears


Identity = tuple[str, bytes, int]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A row new in this batch: of `events` it is in the table already, of the others about to be. `event` is None when it
    cannot be read."""

    table: Table
    row: dict[str, Any]
    alarm: bool
    event: Event | None

    @property
    def test(self) -> bool:
        return self.event is not None and self.event.test

    @property
    def raises(self) -> bool:
        """Whether a person must look: anything of the alarm class that does not refer to an earlier alarm."""
        return self.event is None or self.event.state == kinds.STATE_RAISED

    @property
    def clears(self) -> bool:
        return self.event is not None and self.event.state == kinds.STATE_CLEARED

    @property
    def what(self) -> str:
        """Words for the history of the case."""
        name = "unreadable alarm" if self.event is None else case_book.kind_name(self.event.kind)
        return f"{name}, other bytes under the same number" if self.table is conflicts else name


def assign_cases(tx: Connection, fresh: Sequence[Fresh], at_ms: int) -> None:
    """Sets `case_id` in the rows of alarms, opens cases and writes their history."""
    alarms = [f for f in fresh if f.alarm]
    if not alarms:
        return
    raised = [f for f in alarms if f.raises]
    later = [f for f in alarms if not f.raises]
    referred = _cases_referred_to(tx, later)
    here = {identity for f in raised if (identity := _identity(f))}
    orphans = [f for f in later if not f.clears and _ref(f) not in referred and _ref(f) not in here]
    _open_or_join(tx, raised + orphans, at_ms)
    referred |= {identity: f.row["case_id"] for f in raised if (identity := _identity(f))}
    _follow(tx, [f for f in later if f not in orphans], referred, at_ms)
    _write_case_ids(tx, [f.row for f in alarms if f.table is events and f.row["case_id"] is not None])
    _adopt_loose_clears(tx, raised, at_ms)


def by_epoch(identities: Iterable[Identity]) -> Iterator[tuple[str, bytes, ColumnElement[bool]]]:
    """Gateway, epoch, and the condition that finds these identities of theirs: SQLite scans for IN over row values."""
    seqs: dict[tuple[str, bytes], list[int]] = {}
    for gateway, epoch, seq in identities:
        seqs.setdefault((gateway, epoch), []).append(seq)
    for (gateway, epoch), found in seqs.items():
        yield gateway, epoch, (events.c.gateway == gateway) & (events.c.epoch == epoch) & events.c.seq.in_(found)


def _write_case_ids(tx: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        of_event = (
            (events.c.gateway == bindparam("g")) & (events.c.epoch == bindparam("e")) & (events.c.seq == bindparam("s"))
        )
        values = [{"g": row["gateway"], "e": row["epoch"], "s": row["seq"], "c": row["case_id"]} for row in rows]
        tx.execute(update(events).where(of_event).values(case_id=bindparam("c")), values)


def _open_or_join(tx: Connection, raising: Sequence[Fresh], at_ms: int) -> None:
    wanted = {(f.row["gateway"], f.test) for f in raising}
    if not wanted:
        return
    is_open = cases.c.gateway.in_({gateway for gateway, _ in wanted}) & (cases.c.status != CLOSED)
    found = {(row.gateway, row.test): row for row in tx.execute(select(cases).where(is_open))}
    case_ids = {key: row.id for key, row in found.items()}
    missing = sorted(wanted - case_ids.keys())
    if missing:
        rows = [{"gateway": g, "test": test, "status": NEW, "opened_ms": at_ms} for g, test in missing]
        made = tx.execute(insert(cases).returning(cases.c.id, sort_by_parameter_order=True), rows)
        case_ids |= dict(zip(missing, made.scalars(), strict=True))
    history = []
    for f in raising:
        case_id = f.row["case_id"] = case_ids[f.row["gateway"], f.test]
        history.append({"case_id": case_id, "at_ms": at_ms, "who": f.row["gateway"], "what": f.what})
    tx.execute(insert(audit), history)
    for key in wanted & found.keys():
        case_book.tell(tx, found[key].id, found[key].status)  # somebody has the case: the home may know (TP-WIR-016)


def _follow(tx: Connection, later: Sequence[Fresh], referred: dict[Identity, int], at_ms: int) -> None:
    """Updates and cancels go with the alarm they refer to."""
    for f in later:
        case_id = referred.get(_ref(f))
        if case_id is None:
            continue
        f.row["case_id"] = case_id
        if f.clears:
            case_book.cancel(tx, case_id, f.row["gateway"], at_ms)
        else:
            case_book.record(tx, case_id, at_ms, f.row["gateway"], f"{f.what} updated")


def _adopt_loose_clears(tx: Connection, raised: Sequence[Fresh], at_ms: int) -> None:
    """A cancel overtakes its alarm when the alarm's first publication was lost."""
    alarms = {identity: f for f in raised if (identity := _identity(f))}
    if not alarms:
        return
    columns = select(events.c.id, events.c.gateway, events.c.epoch, events.c.ref)
    gateways = {gateway for gateway, _, _ in alarms}
    for row in tx.execute(columns.where(LOOSE_CLEARS, events.c.gateway.in_(gateways))).all():
        alarm = alarms.get((row.gateway, row.epoch, row.ref))
        if alarm is not None:
            tx.execute(update(events).where(events.c.id == row.id).values(case_id=alarm.row["case_id"]))
            case_book.cancel(tx, alarm.row["case_id"], row.gateway, at_ms)


def _cases_referred_to(tx: Connection, later: Sequence[Fresh]) -> dict[Identity, int]:
    columns = select(events.c.seq, events.c.case_id)
    return {
        (gateway, epoch, seq): case_id
        for gateway, epoch, of_these in by_epoch({_ref(f) for f in later})
        for seq, case_id in tx.execute(columns.where(of_these, events.c.case_id.is_not(None)))
    }


def _identity(f: Fresh) -> Identity | None:
    return (f.row["gateway"], f.row["epoch"], f.row["seq"]) if "seq" in f.row else None


def _ref(f: Fresh) -> Identity:
    ref = f.event.ref if f.event and f.event.ref is not None else -1
    return f.row["gateway"], f.row["epoch"], ref
