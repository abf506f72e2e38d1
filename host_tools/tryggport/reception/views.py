"""What the reception shows of its database: events, gateways, and what could not be taken for what it claims to be."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Select, Table, func, select

from tryggport.reception import dating
from tryggport.reception.cases import kind_name
from tryggport.reception.database import Database
from tryggport.reception.schema import conflicts, events, refusals, statuses, unreadable
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.fields import PayloadError


def list_events(database: Database, gateway: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """The latest events, newest first, with all that their bytes say and when each happened as far as can be told (dating.py).

    Conflicts and what cannot be read stand among them: `conflict` marks other bytes under a number that is taken; what has no
    readable number has `seq` None, and `why` and `copies`.
    """
    with database.read() as tx:
        kept = {table: tx.execute(_latest(table, gateway, limit)).mappings().all() for table in _COUNTED}
        boots = dating.boots_of(tx, {(row["gateway"], row["epoch"]) for row in (*kept[events], *kept[conflicts])})
    found = [_shown(row, boots) for row in kept[events]]
    found += [_shown_conflict(row, boots) for row in kept[conflicts]]
    found += [_shown_unreadable(row) for row in kept[unreadable]]
    return sorted(found, key=lambda event: event["received_ms"], reverse=True)[:limit]


def _latest(table: Table, gateway: str | None, limit: int) -> Select[Any]:
    query = select(table).order_by(table.c.id.desc()).limit(limit)
    return query if gateway is None else query.where(table.c.gateway == gateway)


def overview(database: Database) -> dict[str, Any]:
    """Counts, the last status of each gateway over each path, refusals by reason, conflicts, and what could not be read.

    The `state` of a path: "on line"; "silent", the connection broke and no newer one is known; "resting", a newer one leads elsewhere.
    """
    with database.read() as tx:
        counts = {table.name: tx.execute(select(func.count()).select_from(table)).scalar_one() for table in _COUNTED}
        by_path = select(statuses).order_by(statuses.c.gateway, statuses.c.path)
        states = [dict(row._mapping) for row in tx.execute(by_path)]
        refused = [dict(row._mapping) for row in tx.execute(select(refusals).order_by(*refusals.primary_key))]
        columns = (unreadable.c.gateway, unreadable.c.why, unreadable.c.copies, unreadable.c.received_ms)
        unread = [
            dict(row._mapping) for row in tx.execute(select(*columns, unreadable.c.case_id).order_by(unreadable.c.id))
        ]
        of_conflict = (conflicts.c.gateway, conflicts.c.seq, conflicts.c.received_ms, conflicts.c.case_id)
        doubtful = [dict(row._mapping) for row in tx.execute(select(*of_conflict).order_by(conflicts.c.id))]
    newest = _newest_heard(states)
    for state in states:
        here = newest[state["gateway"]] is state
        state["online"] = state["online"] and here
        state["state"] = "on line" if state["online"] else "silent" if here else "resting"
    for state in states:
        state["epoch"] = state["epoch"].hex()
        state["quality"] = kinds.QUALITIES[state["quality"]]
    return {
        "counts": counts,
        "gateways": states,
        "refusals": refused,
        "conflicts": doubtful,
        "unreadable": unread,
    }


def _newest_heard(states: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By gateway, the status of its last connection: sessions rise within an epoch, and a new epoch is heard later."""
    newest: dict[str, dict[str, Any]] = {}
    for state in states:
        other = newest.setdefault(state["gateway"], state)
        same_epoch = state["epoch"] == other["epoch"]
        key = ("boot", "connect") if same_epoch else ("seen_ms",)
        if [state[name] or 0 for name in key] > [other[name] or 0 for name in key]:
            newest[state["gateway"]] = state
    return newest


_COUNTED = (events, conflicts, unreadable)


def _shown(row: Any, boots: dict[tuple[str, bytes, int], dating.Boot]) -> dict[str, Any]:
    shown: dict[str, Any] = {
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


def _shown_conflict(row: Any, boots: dict[tuple[str, bytes, int], dating.Boot]) -> dict[str, Any]:
    """The table of conflicts keeps the bytes, and they say the rest."""
    try:
        event = Event.from_bytes(row["encoded"])
    except PayloadError:
        told: dict[str, Any] = {"kind": None, "state": None, "test": False}
    else:
        told = {"kind": event.kind, "state": event.state, "test": event.test}
    return _shown(dict(row) | told | {"alarm": row["case_id"] is not None}, boots) | {"conflict": True}


def _shown_unreadable(row: Any) -> dict[str, Any]:
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
