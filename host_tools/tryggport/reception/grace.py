"""Grace: a fall whose gateway still lets the home cancel is held back from presentation, never from storage (TP-REC-004).

It is presented when the grace ends, when its gateway falls silent (a fall may tear out the plug), or when anything joins it that
has no grace. A cancel of all that is in a held case closes it. The time stands in the database, so a restart loses no timer.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, update

from tryggport.reception import cases as case_book
from tryggport.reception import ledger
from tryggport.reception.database import Database
from tryggport.reception.schema import CLOSED, NEW, cases, events, statuses
from tryggport.wire import kinds
from tryggport.wire.event import Event

GRACE_MAX_MS = 60_000  # TP-BND-016
CANCELLED = "cancelled"


def hold_until(raising: Iterable[Event | None], at_ms: int) -> int | None:
    """Until when alarms that arrive together may be held back; None: not at all. Counted from the fall where its time is certain."""
    ends = [_end(event, at_ms) for event in raising]
    certain = [end for end in ends if end is not None]
    return min(certain) if certain and len(certain) == len(ends) else None


def presented(at_ms: int) -> ColumnElement[bool]:
    """The condition on cases that people see at `at_ms`, whether or not the timer has been there yet."""
    return or_(cases.c.present_ms.is_(None), cases.c.present_ms <= at_ms)


def present(tx: Connection, case_id: int, why: str, at_ms: int) -> None:
    """Ends the holding back of a case that is still held."""
    held = (cases.c.id == case_id) & cases.c.present_ms.is_not(None) & (cases.c.status == NEW)
    if tx.execute(update(cases).where(held).values(present_ms=None)).rowcount:
        ledger.record(tx, "reception", f"presented: {why}", case_id=case_id, at_ms=at_ms)


def promote(database: Database, at_ms: int, silent_ms: int) -> int:
    """The timer: presents what is due, and what waits for a gateway that is silent; returns how many cases."""
    with database.read() as tx:
        if not tx.execute(select(cases.c.id).where(cases.c.present_ms.is_not(None)).limit(1)).first():
            return 0
    lives = exists().where(
        statuses.c.gateway == cases.c.gateway, statuses.c.online, statuses.c.seen_ms > at_ms - silent_ms
    )
    known = exists().where(statuses.c.gateway == cases.c.gateway)
    with database.write() as tx:
        held = cases.c.present_ms.is_not(None) & (cases.c.status == NEW)
        columns = (cases.c.id, cases.c.present_ms, and_(known, ~lives).label("silent"))
        found = tx.execute(select(*columns).where(held)).all()
        due = {row.id: "the grace ended" for row in found if row.present_ms <= at_ms}
        due |= {row.id: "the gateway fell silent" for row in found if row.silent and row.id not in due}
        for case_id, why in due.items():
            present(tx, case_id, why, at_ms)
    return len(due)


def close_cancelled(tx: Connection, case_ids: Iterable[int], at_ms: int) -> None:
    """Closes those of the cases that are still held and in which nothing is left that was not cancelled."""
    held = cases.c.id.in_(set(case_ids)) & (cases.c.status == NEW) & (cases.c.present_ms > at_ms)
    for case in tx.execute(select(cases.c.id, cases.c.gateway).where(held)).all():
        if _left(tx, case.id):
            continue
        values = {
            "status": CLOSED,
            "closed_by": case.gateway,
            "closed_ms": at_ms,
            "cause": CANCELLED,
            "present_ms": None,
        }
        tx.execute(update(cases).where(cases.c.id == case.id).values(values))
        what = "closed: cancelled in the home within the grace"
        ledger.record(tx, case.gateway, what, before=NEW, after=CLOSED, case_id=case.id, at_ms=at_ms)
        case_book.tell(tx, case.id, kinds.OUTCOME_CLOSED)


def _left(tx: Connection, case_id: int) -> int:
    """How many raised alarms of the case were not cancelled."""
    cleared = events.alias()
    is_cleared = exists().where(
        cleared.c.case_id == case_id,
        cleared.c.state == kinds.STATE_CLEARED,
        cleared.c.gateway == events.c.gateway,
        cleared.c.epoch == events.c.epoch,
        cleared.c.ref == events.c.seq,
    )
    raised = (events.c.case_id == case_id) & (events.c.state == kinds.STATE_RAISED)
    return int(tx.execute(select(func.count()).where(raised, ~is_cleared).select_from(events)).scalar_one())


def _end(event: Event | None, at_ms: int) -> int | None:
    if event is None or event.kind != kinds.FALL or event.state != kinds.STATE_RAISED:
        return None
    grace_ms = event.data.get(kinds.DATA_GRACE_MS)
    if type(grace_ms) is not int or grace_ms <= 0:
        return None
    since_ms = at_ms
    if event.utc_ms is not None and event.quality == kinds.QUALITY_SYNCED:
        since_ms = min(at_ms, event.utc_ms)
    end = since_ms + min(grace_ms, GRACE_MAX_MS)
    return end if end > at_ms else None
