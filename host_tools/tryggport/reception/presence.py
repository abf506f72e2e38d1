"""What the gateways say of themselves: the last status of each, and what a birth sets off (TP-WIR-016, TP-WIR-018)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from tryggport.reception.cases import tell_again
from tryggport.reception.schema import statuses
from tryggport.wire.status import Status


def keep_status(tx: Connection, status: Status, retained: bool, at_ms: int) -> None:
    """Stores the status unless it belongs to an older session; a birth has the gateway told what became of its cases.

    A retained copy proves no life: it is kept only where nothing else is known. A will counts only for the newest session.
    """
    of_gateway = statuses.c.gateway == status.gateway
    known = tx.execute(select(statuses).where(of_gateway)).first()
    if known is not None and (retained or not _is_current(status, known)):
        return
    seen = None if retained else at_ms
    values: dict[str, Any] = {
        "epoch": status.epoch,
        "boot": status.boot,
        "connect": status.connect,
        "online": status.online and not retained,
        "next_seq": status.next_seq,
        "alarms": status.alarms,
        "events": status.events,
        "uptime_ms": status.uptime_ms,
        "utc_ms": status.utc_ms,
        "quality": status.quality,
        "path": status.path,
        "firmware": status.firmware,
        "seen_ms": seen,
    }
    if known is None:
        tx.execute(insert(statuses).values(gateway=status.gateway, **values))
    elif status.online:
        tx.execute(update(statuses).where(of_gateway).values(values))
    else:  # the will was written when its session began: it tells the end of it and nothing newer
        tx.execute(update(statuses).where(of_gateway).values(online=False))
    is_birth = known is None or not known.online or _session(status) != _session(known)
    if status.online and is_birth and not retained:
        tell_again(tx, status.gateway, at_ms)


def _is_current(status: Status, known: Row[Any]) -> bool:
    """Within an epoch sessions only rise; a new epoch begins with something online."""
    if status.epoch != known.epoch:
        return status.online
    if status.online:
        return _session(status) >= _session(known)
    return _session(status) == _session(known)


def _session(status: Status | Row[Any]) -> tuple[bytes, int, int]:
    return status.epoch, status.boot, status.connect
