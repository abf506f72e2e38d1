"""Cases: what a person answers. A gateway has at most one open case for alarms and one for test alarms.

A raised alarm opens the case or joins the open one (triage.py); `cleared` marks it as cancelled and never closes it; only a named
person takes and closes it, and each change leaves a row that says who and when.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, insert, select, update

from tryggport.errors import TryggError
from tryggport.reception.database import Database
from tryggport.reception.schema import CLOSED, NEW, TAKEN, audit, cases, events, outbox
from tryggport.wire import kinds

OUTCOME_OF = {TAKEN: kinds.OUTCOME_TAKEN, CLOSED: kinds.OUTCOME_CLOSED}
TELL_CLOSED_MS = 24 * 3600 * 1000  # a birth is answered with the cases that closed within this


def take(database: Database, case_id: int, by: str) -> None:
    """`by` has the case from now on, and the home will be told (TP-WIR-016). Raises TryggError."""
    _change(database, case_id, NEW, {"status": TAKEN, "taken_by": _name(by), "taken_ms": now_ms()})


def close(database: Database, case_id: int, by: str, cause: str) -> None:
    """`by` has done what was to do. Raises TryggError unless somebody has taken the case."""
    if not cause.strip():
        raise TryggError("A case is closed with its cause.", "Say what it was: --cause TEXT", usage=True)
    values = {"status": CLOSED, "closed_by": _name(by), "closed_ms": now_ms(), "cause": cause.strip()}
    _change(database, case_id, TAKEN, values)


def list_cases(database: Database, *, closed: bool = True) -> list[dict[str, Any]]:
    """All cases, newest first, each with the kinds of its alarms and its history."""
    query = select(cases).order_by(cases.c.id.desc())
    with database.read() as tx:
        found = {
            row.id: dict(row._mapping) for row in tx.execute(query if closed else query.where(cases.c.status != CLOSED))
        }
        for case in found.values():
            case["alarms"], case["history"] = [], []
        for row in tx.execute(select(events).where(events.c.case_id.in_(found)).order_by(events.c.id)):
            found[row.case_id]["alarms"].append(
                {
                    "epoch": row.epoch.hex(),
                    "seq": row.seq,
                    "kind": kind_name(row.kind),
                    "state": kinds.STATES.get(row.state),
                }
            )
        for row in tx.execute(select(audit).where(audit.c.case_id.in_(found)).order_by(audit.c.id)):
            found[row.case_id]["history"].append({"at_ms": row.at_ms, "who": row.who, "what": row.what})
    return list(found.values())


def kind_name(code: int | None) -> str:
    """The kind's name, or its number where this version has none for it (TP-WIR-010)."""
    if code is None:
        return "unreadable"
    return kinds.KINDS[code].name if code in kinds.KINDS else f"kind {code}"


def cancel(tx: Connection, case_id: int, gateway: str, at_ms: int) -> None:
    """The cancel button was pressed in the home; a person still closes the case (TP-WIR-020)."""
    tx.execute(update(cases).where(cases.c.id == case_id, cases.c.cancelled_ms.is_(None)).values(cancelled_ms=at_ms))
    record(tx, case_id, at_ms, gateway, "cancelled")


def tell_again(tx: Connection, gateway: str, at_ms: int) -> None:
    """Puts the outcomes of the gateway's taken and lately closed cases into the outbox (TP-WIR-016)."""
    recent = (cases.c.status == TAKEN) | ((cases.c.status == CLOSED) & (cases.c.closed_ms >= at_ms - TELL_CLOSED_MS))
    for row in tx.execute(select(cases.c.id, cases.c.status).where(cases.c.gateway == gateway, recent)).all():
        tell(tx, row.id, row.status)


def tell(tx: Connection, case_id: int, status: str) -> None:
    """Asks the reception to tell the gateway what has become of the case; of a new one there is nothing to tell."""
    if status in OUTCOME_OF:
        tx.execute(insert(outbox).values(case_id=case_id, outcome=OUTCOME_OF[status]))


def record(tx: Connection, case_id: int, at_ms: int, who: str, what: str) -> None:
    tx.execute(insert(audit).values(case_id=case_id, at_ms=at_ms, who=who, what=what))


def now_ms() -> int:
    """Unix time in ms."""
    return time.time_ns() // 1_000_000


def _change(database: Database, case_id: int, before: str, values: dict[str, Any]) -> None:
    status = values["status"]
    who = values[f"{status}_by"]
    with database.write() as tx:
        changed = tx.execute(update(cases).where(cases.c.id == case_id, cases.c.status == before).values(values))
        if changed.rowcount != 1:
            raise _why_not(tx, case_id)
        what = f"{status}: {values['cause']}" if status == CLOSED else status
        record(tx, case_id, values[f"{status}_ms"], who, what)
        tell(tx, case_id, status)


def _why_not(tx: Connection, case_id: int) -> TryggError:
    row = tx.execute(select(cases).where(cases.c.id == case_id)).first()
    if row is None:
        return TryggError(f"There is no case {case_id}.", "See them all: tryggport cases list")
    if row.status == TAKEN:
        return TryggError(f"Case {case_id} is taken already, by {row.taken_by}.")
    if row.status == CLOSED:
        return TryggError(f"Case {case_id} is closed already, by {row.closed_by}.")
    return TryggError(f"Nobody has taken case {case_id} yet.", f"First: tryggport cases take {case_id} --by NAME")


def _name(by: str) -> str:
    if not by.strip():
        raise TryggError("A case is taken and closed by a named person.", "Say who: --by NAME", usage=True)
    return by.strip()
