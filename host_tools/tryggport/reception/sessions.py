"""Clones: one gateway's sessions follow each other. Where an earlier one speaks again, two boxes have one identity (TP-REC-016).

Each live status is noted under its session (path, epoch, boot, connect). A session *returns* when it speaks after a later one
began, or when its uptime runs backwards: two copies of one box boot into the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from tryggport.reception.schema import sessions

KEY = (sessions.c.gateway, sessions.c.path, sessions.c.epoch, sessions.c.boot, sessions.c.connect)
KEEP_MS = 7 * 24 * 3600 * 1000
SLACK_MS = 2000  # what a broker's queue may shuffle between two connections


def note(tx: Connection, rows: Sequence[Mapping[str, Any]], at_ms: int) -> None:
    """Statuses that are no retained copies have come, one a gateway; each row holds its columns."""
    if not rows:
        return
    of_these = sessions.c.gateway.in_({row["gateway"] for row in rows})
    known_of: dict[tuple[str, int], list[Any]] = {}
    for found in tx.execute(select(sessions).where(of_these)):
        known_of.setdefault((found.gateway, found.path), []).append(found)
    new = []
    for row in rows:
        same_path = known_of.get((row["gateway"], row["path"]), [])
        key = tuple(row[column.name] for column in KEY)
        known = next((found for found in same_path if tuple(found[: len(KEY)]) == key), None)
        if known is None:
            values = dict(zip((column.name for column in KEY), key, strict=True))
            values |= {"first_ms": at_ms, "seen_ms": at_ms, "uptime_ms": row["uptime_ms"], "returns": 0}
            new.append(values)
            continue
        values = {"seen_ms": at_ms, "uptime_ms": row["uptime_ms"]}
        if row["uptime_ms"] < known.uptime_ms or _later(same_path, at_ms) > known.first_ms:
            values |= {"returns": known.returns + 1, "returned_ms": at_ms}
        tx.execute(update(sessions).where(*(column == row[column.name] for column in KEY)).values(values))
    if new:
        tx.execute(insert(sessions), new)


def returns_by_gateway(tx: Connection, since_ms: int) -> dict[str, int]:
    """How often sessions came back, of the gateways where the last time was after `since_ms`."""
    count = func.sum(sessions.c.returns)
    recent = select(sessions.c.gateway, count).where(sessions.c.returned_ms >= since_ms)
    return {gateway: int(found) for gateway, found in tx.execute(recent.group_by(sessions.c.gateway))}


def forget_old(tx: Connection, at_ms: int) -> None:
    tx.execute(delete(sessions).where(sessions.c.seen_ms < at_ms - KEEP_MS))


def _later(same_path: Sequence[Any], at_ms: int) -> int:
    """When the newest session of the gateway and path began, but for what may only have been overtaken on the way."""
    return max((found.first_ms for found in same_path if found.first_ms <= at_ms - SLACK_MS), default=0)
