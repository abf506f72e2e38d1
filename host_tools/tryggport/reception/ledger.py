"""The audit: who did what when, and what it was before and after. Rows are only ever added (TP-REC-003)."""

from __future__ import annotations

import time

from sqlalchemy import Connection, func, insert, select

from tryggport.reception.schema import audit, cases


def now_ms() -> int:
    """Unix time in ms."""
    return time.time_ns() // 1_000_000


def record(
    tx: Connection,
    who: str,
    what: str,
    *,
    before: str | None = None,
    after: str | None = None,
    at_ms: int | None = None,
    case_id: int | None = None,
    municipality_id: int | None = None,
) -> None:
    """One row; that of a case belongs to the case's municipality."""
    row = {"case_id": case_id, "at_ms": now_ms() if at_ms is None else at_ms, "who": who, "what": what}
    row |= {"before": before, "after": after}
    owner = (
        select(cases.c.municipality_id).where(cases.c.id == case_id).scalar_subquery() if case_id else municipality_id
    )
    tx.execute(insert(audit).values(row | {"municipality_id": owner}))


def is_whole(tx: Connection, after: int, last: int) -> bool:
    """Whether the rows behind `after` up to `last` are all there.

    PostgreSQL hands out ids in one order and commits in another: what is missing may still come, or never will.
    """
    if tx.dialect.name != "postgresql":
        return True
    between = (audit.c.id > after) & (audit.c.id <= last)
    return bool(tx.execute(select(func.count()).select_from(audit).where(between)).scalar_one() == last - after)


def settle(tx: Connection) -> None:
    """To be called first in a transaction: waits for those that are writing here, so that no row with a lower id comes later."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql("LOCK TABLE audit IN SHARE MODE")
