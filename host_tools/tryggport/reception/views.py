"""What the reception shows of its database. Every function takes the `Scope` of who reads, and shows nothing beyond it (TP-REC-001)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, exists, func, select, true

from tryggport.errors import TryggError
from tryggport.reception import dating, grace, lease, ledger
from tryggport.reception.cases import kind_name
from tryggport.reception.installations import CANARY
from tryggport.reception.ledger import now_ms
from tryggport.reception.lists import steps_of
from tryggport.reception.presence import newest_heard
from tryggport.reception.schema import (
    CLOSED,
    audit,
    cases,
    conflicts,
    deliveries,
    escalations,
    events,
    installations,
    municipalities,
    orders,
    refusals,
    revoked,
    statuses,
    unreadable,
    vitals,
    work,
)  # fmt: skip
from tryggport.reception.seats import seats
from tryggport.reception.tenants import Scope
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.fields import PayloadError
from tryggport.wire.order import CODES, COMMANDS, KINDS

Row = dict[str, Any]
_COUNTED = (events, conflicts, unreadable)


def list_cases(scope: Scope, *, closed: bool = True, held: bool = False) -> list[Row]:
    """Cases, newest first, each with its home, its alarms and its history. `held`: also those that grace holds back."""
    condition = scope.of(cases) if held else scope.of(cases) & grace.presented(now_ms())
    with scope.read() as tx:
        return _cases(tx, condition if closed else condition & (cases.c.status != CLOSED))


def show_case(scope: Scope, case_id: int) -> Row:
    """One case with how far it has been escalated. Raises TryggError when the reader has no such case."""
    with scope.read() as tx:
        found = _cases(tx, scope.of(cases) & (cases.c.id == case_id))
        if not found:
            raise TryggError(f"There is no case {case_id}.", "See them all: tryggport cases list")
        of_case = escalations.c.case_id == case_id
        begun = _rows(
            tx.execute(select(escalations).where(of_case).order_by(escalations.c.started_ms, escalations.c.position))
        )
        sent = _rows(tx.execute(select(deliveries).where(deliveries.c.case_id == case_id).order_by(deliveries.c.id)))
    for step in begun:
        step["deliveries"] = [delivery for delivery in sent if delivery["position"] == step["position"]]
    return found[0] | {"escalation": begun}


def changes(scope: Scope, after: int = 0, limit: int = 100) -> list[Row]:
    """The stream: what was written to the audit after row `after`, oldest first; the last `id` is where to go on.

    The lines of a case that is held back come when it is presented.
    """
    is_held = exists().where(cases.c.id == audit.c.case_id, ~grace.presented(now_ms()))
    query = select(audit).where(scope.of(audit), audit.c.id > after, ~is_held).order_by(audit.c.id).limit(limit)
    with scope.read() as tx:
        found = _rows(tx.execute(query))
        if not found or ledger.is_whole(tx, after, found[-1]["id"]):
            return found
    with scope.read() as tx:
        ledger.settle(tx)
        return _rows(tx.execute(query))


def newest_change(scope: Scope) -> int:
    """Where a stream that is to show only what is new begins."""
    with scope.read() as tx:
        ledger.settle(tx)
        return int(tx.execute(select(func.coalesce(func.max(audit.c.id), 0)).where(scope.of(audit))).scalar_one())


def list_events(scope: Scope, gateway: str | None = None, limit: int = 100) -> list[Row]:
    """The latest events, newest first, with all that their bytes say and when each happened (dating.py). The canary's are shown when it is named.

    Conflicts and what cannot be read stand among them: `conflict` marks other bytes under a number that is taken; what has no
    readable number has `seq` None, and `why` and `copies`.
    """
    with scope.read() as tx:
        kept = {table.name: _latest(tx, scope, table, gateway, limit) for table in _COUNTED}
        dated = (*kept[events.name], *kept[conflicts.name])
        boots = dating.boots_of(tx, {(row["gateway"], row["epoch"]) for row in dated})
    found = [_event(row, boots) for row in kept[events.name]]
    found += [_conflict(row, boots) for row in kept[conflicts.name]]
    found += [_unreadable(row) for row in kept[unreadable.name]]
    return sorted(found, key=lambda event: event["received_ms"], reverse=True)[:limit]


def _latest(tx: Connection, scope: Scope, table: Table, gateway: str | None, limit: int) -> list[Row]:
    which = table.c.gateway != CANARY if gateway is None else table.c.gateway == gateway
    return _rows(tx.execute(select(table).where(scope.of(table), which).order_by(table.c.id.desc()).limit(limit)))


def overview(scope: Scope) -> Row:
    """Counts, the last status of each gateway over each path, refusals by reason, conflicts, and what could not be read.

    The `state` of a path: "on line"; "silent", the connection broke and no newer one is known; "resting", a newer one leads elsewhere.
    """
    with scope.read() as tx:
        counts = {
            table.name: tx.execute(select(func.count()).select_from(table).where(scope.of(table))).scalar_one()
            for table in _COUNTED
        }
        serving = select(statuses).where(scope.serves(statuses.c.gateway))
        states = _rows(tx.execute(serving.order_by(*statuses.primary_key)))
        refused = select(refusals).where(scope.serves(refusals.c.gateway)).order_by(*refusals.primary_key)
        report = {"refusals": _rows(tx.execute(refused))}
        for table, names in (
            (conflicts, "gateway seq received_ms case_id"),
            (unreadable, "gateway why copies received_ms case_id"),
        ):
            columns = (table.c[name] for name in names.split())
            report[table.name] = _rows(tx.execute(select(*columns).where(scope.of(table)).order_by(table.c.id)))
    newest = newest_heard(states)
    for state in states:
        here = newest[state["gateway"]] is state
        state["online"] = state["online"] and here
        state["state"] = "on line" if state["online"] else "silent" if here else "resting"
    for state in states:
        state["epoch"] = state["epoch"].hex()
        state["quality"] = kinds.QUALITIES[state["quality"]]
    return {"counts": counts, "gateways": states, **report}


def workers(scope: Scope) -> Row:
    """Who leads and who works, for the centre: `leader` is None for a moment after one has died; on SQLite `seats` is empty."""
    if scope.municipality_id is not None:
        return {"leader": None, "seats": []}
    with scope.read() as tx:
        return {"leader": lease.leader(tx), "seats": _rows(tx.execute(select(seats).order_by(seats.c.number)))}


def vital_signs(scope: Scope) -> Row:
    """When each part of the reception last worked, Unix ms by name."""
    with scope.read() as tx:
        return {row.name: row.at_ms for row in tx.execute(select(vitals).order_by(vitals.c.name))}


def work_list(scope: Scope) -> list[Row]:
    """What there is to do now, oldest first: kind, municipality, home, gateway, sentence and since when."""
    shown = work.c.mended_ms.is_(None) & work.c.shown_ms.is_not(None)
    columns = (
        work.c.kind, municipalities.c.name.label("municipality"), work.c.home, work.c.gateway, work.c.sentence,
        work.c.first_ms,
    )  # fmt: skip
    query = select(*columns).join(municipalities, municipalities.c.id == work.c.municipality_id, isouter=True)
    with scope.read() as tx:
        return _rows(tx.execute(query.where(shown, scope.of(work)).order_by(work.c.first_ms, work.c.id)))


def list_municipalities(scope: Scope) -> list[Row]:
    """The tenants with the number of homes they have now."""
    homes = select(func.count(installations.c.home.distinct())).where(
        installations.c.municipality_id == municipalities.c.id, installations.c.to_ms.is_(None)
    )
    query = select(municipalities, homes.scalar_subquery().label("homes")).order_by(municipalities.c.name)
    if scope.municipality_id is not None:
        query = query.where(municipalities.c.id == scope.municipality_id)
    with scope.read() as tx:
        return _rows(tx.execute(query))


def list_installations(scope: Scope, *, ended: bool = False) -> list[Row]:
    """Which gateway serves which home now; `ended`: and which did so before."""
    condition = scope.of(installations)
    if not ended:
        condition &= installations.c.to_ms.is_(None)
    return _installations(scope, condition)


def show_home(scope: Scope, home: str) -> list[Row]:
    """All gateways that served a home, newest first. Raises TryggError when the reader has no such home."""
    found = _installations(scope, scope.of(installations) & (installations.c.home == home))
    if not found:
        raise TryggError(f"There is no home {home}.", "See them all: tryggport registry list")
    return found


def list_orders(scope: Scope, gateway: str | None = None, limit: int = 100) -> list[Row]:
    """The latest orders to gateways, newest first, in words."""
    which = true() if gateway is None else orders.c.gateway == gateway
    query = select(orders).where(scope.serves(orders.c.gateway), which).order_by(orders.c.id.desc()).limit(limit)
    with scope.read() as tx:
        return [_order(row) for row in tx.execute(query)]


def list_steps(scope: Scope, municipality: str) -> list[Row]:
    """Whom the cases of a municipality go to, in order. Raises TryggError when the reader has no such municipality."""
    with scope.read() as tx:
        known = municipalities.c.name == municipality
        if scope.municipality_id is not None:
            known &= municipalities.c.id == scope.municipality_id
        owner = tx.execute(select(municipalities.c.id).where(known)).scalar()
        if owner is None:
            raise TryggError(f"There is no municipality {municipality}.")
        return [
            {"kind": step.kind, "name": step.name, "target": step.target, "wait_ms": step.wait_ms}
            for step in steps_of(tx, owner)
        ]


def list_revoked(scope: Scope) -> list[Row]:
    """Revoked gateways that served a home of the reader's, or all for the centre."""
    condition = select(revoked).order_by(revoked.c.gateway)
    if scope.municipality_id is not None:
        here = select(installations.c.gateway).where(scope.of(installations))
        condition = condition.where(revoked.c.gateway.in_(here))
    with scope.read() as tx:
        return _rows(tx.execute(condition))


def _order(row: Any) -> Row:
    late = row.not_after_ms is not None and row.not_after_ms <= now_ms()
    waiting = "expired" if late else "waits for an answer" if row.sent_ms else "waits for the reception"
    return {
        "id": row.id,
        "gateway": row.gateway,
        "order": COMMANDS.get(row.what, KINDS[row.kind]),
        "number": row.number,
        "queued_ms": row.queued_ms,
        "sent_ms": row.sent_ms,
        "answered_ms": row.answered_ms,
        "code": row.code,
        "state": waiting if row.answered_ms is None else CODES.get(row.code, f"code {row.code}"),
    }


def _cases(tx: Connection, condition: ColumnElement[bool]) -> list[Row]:
    query = select(cases, installations.c.home, installations.c.call_back, municipalities.c.name.label("municipality"))
    query = query.join(installations, installations.c.id == cases.c.installation_id, isouter=True)
    query = query.join(municipalities, municipalities.c.id == cases.c.municipality_id, isouter=True)
    found = {row["id"]: row for row in _rows(tx.execute(query.where(condition).order_by(cases.c.id.desc())))}
    for case in found.values():
        case["alarms"], case["history"] = [], []
    ids = select(cases.c.id).where(condition)
    for row in tx.execute(select(events).where(events.c.case_id.in_(ids)).order_by(events.c.id)):
        alarm = {"epoch": row.epoch.hex(), "seq": row.seq, "kind": kind_name(row.kind)}
        found[row.case_id]["alarms"].append(alarm | {"state": kinds.STATES.get(row.state)})
    columns = (audit.c.case_id, audit.c.at_ms, audit.c.who, audit.c.what, audit.c.before, audit.c.after)
    for line in _rows(tx.execute(select(*columns).where(audit.c.case_id.in_(ids)).order_by(audit.c.id))):
        found[line.pop("case_id")]["history"].append(line)
    return list(found.values())


def _installations(scope: Scope, condition: ColumnElement[bool]) -> list[Row]:
    query = select(installations, municipalities.c.name.label("municipality")).join(municipalities)
    order = (municipalities.c.name, installations.c.home, installations.c.from_ms.desc(), installations.c.id.desc())
    with scope.read() as tx:
        return _rows(tx.execute(query.where(condition).order_by(*order)))


def _rows(result: Any) -> list[Row]:
    return [dict(row._mapping) for row in result]


def _event(row: Any, boots: Mapping[tuple[str, bytes, int], dating.Boot]) -> Row:
    shown: Row = {
        "gateway": row["gateway"],
        "epoch": row["epoch"].hex(),
        "seq": row["seq"],
        "kind": kind_name(row["kind"]),
        "state": kinds.STATES.get(row["state"], "unreadable"),
        "alarm": row["alarm"],
        "test": row["test"],
        "case": row["case_id"],
        "received_ms": row["received_ms"],
        "conflict": False,
    }
    try:
        event = Event.from_bytes(row["encoded"])
    except PayloadError:
        return shown | {"encoded": row["encoded"].hex(), "happened": asdict(dating.unknown(row["received_ms"]))}
    boot = boots.get((event.gateway, event.epoch, min(event.boot, dating.COLUMN_MAX)))
    return shown | {
        "happened": asdict(dating.happened(event, row["received_ms"], boot)),
        "utc_ms": event.utc_ms,
        "quality": kinds.QUALITIES[event.quality],
        "boot": event.boot,
        "uptime_ms": event.uptime_ms,
        "ref": event.ref,
        "severity": event.severity,
        "sensor": event.sensor,
        "location": event.location,
        "data": {kinds.DATA.get(key, str(key)): _plain(value) for key, value in event.data.items()},
    }


def _conflict(row: Row, boots: Mapping[tuple[str, bytes, int], dating.Boot]) -> Row:
    """The table of conflicts keeps the bytes, and they say the rest."""
    try:
        event = Event.from_bytes(row["encoded"])
    except PayloadError:
        told: Row = {"kind": None, "state": None, "test": False}
    else:
        told = {"kind": event.kind, "state": event.state, "test": event.test}
    return _event(row | told | {"alarm": row["case_id"] is not None}, boots) | {"conflict": True}


def _unreadable(row: Row) -> Row:
    return {
        "conflict": False,
        "gateway": row["gateway"],
        "epoch": None,
        "seq": None,
        "kind": "unreadable",
        "state": f"{row['copies']} x",
        "alarm": row["alarm"],
        "test": False,
        "case": row["case_id"],
        "received_ms": row["received_ms"],
        "happened": asdict(dating.unknown(row["received_ms"])),
        "why": row["why"],
        "copies": row["copies"],
        "encoded": row["encoded"].hex(),
    }


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
