"""Clones: one gateway's sessions follow each other. Where an earlier one speaks again, two boxes have one identity (TP-REC-016).

Each live status is noted under its session (path, epoch, boot, connect). A session *returns* when it speaks after a later one
began, or when its uptime runs backwards: two copies of one box boot into the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from tryggport.reception.schema import sessions

KEY = (sessions.c.gateway, sessions.c.path, sessions.c.epoch, sessions.c.boot, sessions.c.connect)
KEEP_MS = 7 * 24 * 3600 * 1000
SLACK_MS = 2000  # what a broker's queue may shuffle between two connections


def note(tx: Connection, row: Mapping[str, Any], at_ms: int) -> None:
    """A status that is not a retained copy has come; `row` holds its columns."""
    this = [column == row[column.name] for column in KEY]
    known = tx.execute(select(sessions).where(*this)).first()
    if known is None:
        values = {column.name: row[column.name] for column in KEY}
        values |= {"first_ms": at_ms, "seen_ms": at_ms, "uptime_ms": row["uptime_ms"], "returns": 0}
        tx.execute(insert(sessions).values(values))
        return
    values = {"seen_ms": at_ms, "uptime_ms": row["uptime_ms"]}
    if row["uptime_ms"] < known.uptime_ms or _later(tx, row, at_ms) > known.first_ms:
        values |= {"returns": known.returns + 1, "returned_ms": at_ms}
    tx.execute(update(sessions).where(*this).values(values))


def returns_by_gateway(tx: Connection, since_ms: int) -> dict[str, int]:
    """How often sessions came back, of the gateways where the last time was after `since_ms`."""
    count = func.sum(sessions.c.returns)
    recent = select(sessions.c.gateway, count).where(sessions.c.returned_ms >= since_ms)
    return {gateway: int(found) for gateway, found in tx.execute(recent.group_by(sessions.c.gateway))}


def forget_old(tx: Connection, at_ms: int) -> None:
    tx.execute(delete(sessions).where(sessions.c.seen_ms < at_ms - KEEP_MS))


def _later(tx: Connection, row: Mapping[str, Any], at_ms: int) -> int:
    """When the newest session of the gateway and path began, but for what may only have been overtaken on the way."""
    same_path = (sessions.c.gateway == row["gateway"]) & (sessions.c.path == row["path"])
    began = select(func.max(sessions.c.first_ms)).where(same_path, sessions.c.first_ms <= at_ms - SLACK_MS)
    return tx.execute(began).scalar() or 0
