"""Finds the case of each alarm in a batch, with a fixed number of statements a batch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from tryggport.reception import cases as case_book
from tryggport.reception import grace, ledger
from tryggport.reception.database import for_each
from tryggport.reception.installations import CANARY, Placed
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


def assign_cases(tx: Connection, fresh: Sequence[Fresh], homes: Mapping[str, Placed], at_ms: int) -> None:
    """Sets `case_id` in the rows of alarms, opens cases and writes their history. `homes`: where their gateways are."""
    alarms = [f for f in fresh if f.alarm and f.row["gateway"] != CANARY]
    if not alarms:
        return
    raised = [f for f in alarms if f.raises]
    later = [f for f in alarms if not f.raises]
    referred = _cases_referred_to(tx, later)
    here = {identity for f in raised if (identity := _identity(f))}
    orphans = [f for f in later if not f.clears and _ref(f) not in referred and _ref(f) not in here]
    _open_or_join(tx, raised + orphans, homes, at_ms)
    referred |= {identity: f.row["case_id"] for f in raised if (identity := _identity(f))}
    cancelled = _follow(tx, [f for f in later if f not in orphans], referred, at_ms)
    _write_case_ids(tx, [f.row for f in alarms if f.table is events and f.row["case_id"] is not None])
    cancelled |= _adopt_loose_clears(tx, raised, at_ms)
    if cancelled:
        grace.close_cancelled(tx, cancelled, at_ms)


def by_epoch(identities: Iterable[Identity]) -> Iterator[tuple[str, bytes, ColumnElement[bool]]]:
    """Gateway, epoch, and the condition that finds these identities of theirs: SQLite scans for IN over row values."""
    seqs: dict[tuple[str, bytes], list[int]] = {}
    for gateway, epoch, seq in identities:
        seqs.setdefault((gateway, epoch), []).append(seq)
    for (gateway, epoch), found in seqs.items():
        yield gateway, epoch, (events.c.gateway == gateway) & (events.c.epoch == epoch) & events.c.seq.in_(found)


def _write_case_ids(tx: Connection, rows: Sequence[dict[str, Any]]) -> None:
    of_event = (
        (events.c.gateway == bindparam("g")) & (events.c.epoch == bindparam("e")) & (events.c.seq == bindparam("s"))
    )
    values = [{"g": row["gateway"], "e": row["epoch"], "s": row["seq"], "c": row["case_id"]} for row in rows]
    for_each(tx, update(events).where(of_event).values(case_id=bindparam("c")), values)


def _open_or_join(tx: Connection, raising: Sequence[Fresh], homes: Mapping[str, Placed], at_ms: int) -> None:
    """Gives each alarm its case. Of one that joins a case that somebody has, the home hears when that one can know of it."""
    wanted: dict[tuple[str, bool], list[Fresh]] = {}
    for f in raising:
        where = homes.get(f.row["gateway"])
        wanted.setdefault((where.home_key if where else f.row["gateway"], f.test), []).append(f)
    if not wanted:
        return
    found = _open_cases(tx, wanted)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        _open(tx, [_new_case(key, wanted[key], homes, at_ms) for key in missing])
    every = found | (_open_cases(tx, missing) if missing else {})
    history = []
    for key, alarms in wanted.items():
        case = every[key]
        if case.present_ms is not None and key in found and grace.hold_until(map(_holdable, alarms), at_ms) is None:
            grace.present(tx, case.id, "another alarm joined it", at_ms)
        if case.status in case_book.ANSWERED:
            case_book.joined(tx, case.id, at_ms)
        for f in alarms:
            f.row["case_id"] = case.id
            history.append(_history(case, f, at_ms))
    for_each(tx, insert(audit), history)


def _open_cases(tx: Connection, keys: Collection[tuple[str, bool]]) -> dict[tuple[str, bool], Any]:
    is_open = cases.c.home_key.in_({home_key for home_key, _ in keys}) & (cases.c.status != CLOSED)
    query = (
        select(cases).where(is_open).order_by(cases.c.id).with_for_update(key_share=True)
    )  # nobody closes it meanwhile
    return {(row.home_key, row.test): row for row in tx.execute(query)}


def _open(tx: Connection, rows: list[dict[str, Any]]) -> None:
    """Opens cases; where another worker has just opened the same one, that one stands."""
    upsert = postgresql.insert(cases) if tx.dialect.name == "postgresql" else sqlite.insert(cases)
    columns = [cases.c.home_key, cases.c.test]
    tx.execute(upsert.on_conflict_do_nothing(index_elements=columns, index_where=text("status != 'closed'")), rows)


def _new_case(
    key: tuple[str, bool], alarms: Sequence[Fresh], homes: Mapping[str, Placed], at_ms: int
) -> dict[str, Any]:
    home_key, test = key
    gateway = alarms[0].row["gateway"]
    where = homes.get(gateway)
    return {
        "gateway": gateway,
        "test": test,
        "status": NEW,
        "opened_ms": at_ms,
        "home_key": home_key,
        "municipality_id": where and where.municipality_id,
        "installation_id": where and where.installation_id,
        "present_ms": grace.hold_until(map(_holdable, alarms), at_ms),
    }


def _history(case: Any, f: Fresh, at_ms: int) -> dict[str, Any]:
    row = {"case_id": case.id, "at_ms": at_ms, "who": f.row["gateway"], "what": f.what}
    return row | {"municipality_id": case.municipality_id}


def _holdable(f: Fresh) -> Event | None:
    return f.event if f.table is events else None


def _follow(tx: Connection, later: Sequence[Fresh], referred: dict[Identity, int], at_ms: int) -> set[int]:
    """Updates and cancels go with the alarm they refer to; returns the cases that were cancelled."""
    cancelled = set()
    for f in later:
        case_id = referred.get(_ref(f))
        if case_id is None:
            continue
        f.row["case_id"] = case_id
        if f.clears:
            case_book.cancel(tx, case_id, f.row["gateway"], at_ms)
            cancelled.add(case_id)
        else:
            ledger.record(tx, f.row["gateway"], f"{f.what} updated", case_id=case_id, at_ms=at_ms)
            if f.event is not None and f.event.data.get(kinds.DATA_VERDICT) == kinds.VERDICT_LONG_LIE:
                grace.present(tx, case_id, "still on the floor", at_ms)
    return cancelled


def _adopt_loose_clears(tx: Connection, raised: Sequence[Fresh], at_ms: int) -> set[int]:
    """A cancel overtakes its alarm when the alarm's first publication was lost; returns the cases that were cancelled."""
    alarms = {identity: f for f in raised if (identity := _identity(f))}
    cancelled: set[int] = set()
    if not alarms:
        return cancelled
    columns = select(events.c.id, events.c.gateway, events.c.epoch, events.c.ref)
    gateways = {gateway for gateway, _, _ in alarms}
    for row in tx.execute(columns.where(LOOSE_CLEARS, events.c.gateway.in_(gateways))).all():
        alarm = alarms.get((row.gateway, row.epoch, row.ref))
        if alarm is not None:
            tx.execute(update(events).where(events.c.id == row.id).values(case_id=alarm.row["case_id"]))
            case_book.cancel(tx, alarm.row["case_id"], row.gateway, at_ms)
            cancelled.add(alarm.row["case_id"])
    return cancelled


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
