"""What the reception shows of its database: events, gateways and refusals."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select

from tryggport.reception import dating
from tryggport.reception.cases import kind_name
from tryggport.reception.database import Database
from tryggport.reception.schema import conflicts, events, refusals, statuses, unreadable
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.fields import PayloadError


def list_events(database: Database, gateway: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """The latest events, newest first, with all that their bytes say and when each happened as far as can be told (dating.py)."""
    query = select(events).order_by(events.c.id.desc()).limit(limit)
    if gateway is not None:
        query = query.where(events.c.gateway == gateway)
    with database.read() as tx:
        rows = tx.execute(query).all()
        boots = dating.boots_of(tx, {(row.gateway, row.epoch) for row in rows})
    return [_shown(row._mapping, boots) for row in rows]


def overview(database: Database) -> dict[str, Any]:
    """Counts, the last status of each gateway, refusals by reason and what could not be read."""
    with database.read() as tx:
        counts = {table.name: tx.execute(select(func.count()).select_from(table)).scalar_one() for table in _COUNTED}
        states = [dict(row._mapping) for row in tx.execute(select(statuses).order_by(statuses.c.gateway))]
        refused = [dict(row._mapping) for row in tx.execute(select(refusals).order_by(*refusals.primary_key))]
        columns = (unreadable.c.gateway, unreadable.c.why, unreadable.c.copies, unreadable.c.received_ms)
        unread = [dict(row._mapping) for row in tx.execute(select(*columns).order_by(unreadable.c.id))]
    for state in states:
        state["epoch"] = state["epoch"].hex()
        state["quality"] = kinds.QUALITIES[state["quality"]]
    return {"counts": counts, "gateways": states, "refusals": refused, "unreadable": unread}


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


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
