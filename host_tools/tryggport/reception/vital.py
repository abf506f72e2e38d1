"""When each part of the reception last worked: kept in the database, for whoever watches the watchers."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from tryggport.reception.schema import vitals

CANARY, SUPERVISION, TIMERS = "canary", "supervision", "timers"


def note(tx: Connection, name: str, at_ms: int, detail: str = "") -> None:
    """The part has worked at `at_ms`."""
    values = {"at_ms": at_ms, "detail": detail}
    if not tx.execute(update(vitals).where(vitals.c.name == name).values(values)).rowcount:
        tx.execute(insert(vitals).values(name=name, **values))


def last(tx: Connection, name: str) -> int | None:
    """When the part last worked, Unix ms; None when never."""
    return tx.execute(select(vitals.c.at_ms).where(vitals.c.name == name)).scalar()
