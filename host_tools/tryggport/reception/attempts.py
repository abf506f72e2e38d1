"""One attempt at handing an alarm over: what a receiver is told, and what becomes of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update

from tryggport.reception import cases as case_book
from tryggport.reception import ledger
from tryggport.reception.channels import DELIVERED, REFUSED, Delivery, Notice
from tryggport.reception.schema import NEW, cases, deliveries, escalations, events, installations, municipalities
from tryggport.texts import plain
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.fields import PayloadError

WAITING = "waiting"
WHO = "reception"


def notice(tx: Connection, row: Any) -> Notice:
    """What a receiver is told by the delivery `row`."""
    columns = (cases, installations.c.home, installations.c.cid, installations.c.call_back)
    query = select(*columns, municipalities.c.name.label("municipality"))
    query = query.join(installations, installations.c.id == cases.c.installation_id, isouter=True)
    query = query.join(municipalities, municipalities.c.id == cases.c.municipality_id, isouter=True)
    case = tx.execute(query.where(cases.c.id == row.case_id)).one()
    event = None
    kind, state = "outage" if case.about else "unreadable", "raised"
    if row.event_id is not None:
        stored = tx.execute(select(events).where(events.c.id == row.event_id)).one()
        received_ms, kind = stored.received_ms, case_book.kind_name(stored.kind)
        state = kinds.STATES.get(stored.state, "raised")
        event = _readable(stored.encoded)
    else:
        raws = case_book.raw_alarms(tx, cases.c.id == case.id)
        received_ms = next((raw.received_ms for raw in raws if case_book.raw_ref(raw) == row.ref), case.opened_ms)
    return Notice(
        row.ref, case.id, case.municipality_id, case.municipality, case.home, case.gateway, case.cid, case.call_back,
        kind, state, received_ms, case.about, event,
    )  # fmt: skip


def _readable(encoded: bytes) -> Event | None:
    try:
        return Event.from_bytes(encoded)
    except PayloadError:
        return None


def note(tx: Connection, delivery_id: int, done: Delivery, now_ms: int, retry_ms: int) -> None:
    """What came of an attempt; of one that another worker has ended already, nothing."""
    this = (deliveries.c.id == delivery_id) & (deliveries.c.state == WAITING)
    ended = done.outcome in (DELIVERED, REFUSED)
    detail = plain(done.detail[:200])
    values: dict[str, Any] = {"attempts": deliveries.c.attempts + 1, "detail": detail}
    values |= {"state": done.outcome, "ended_ms": now_ms} if ended else {"next_try_ms": now_ms + retry_ms}
    if not tx.execute(update(deliveries).where(this).values(values)).rowcount or not ended:
        return
    row = tx.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()
    step = (escalations.c.case_id == row.case_id) & (escalations.c.position == row.position)
    name = tx.execute(select(escalations.c.name).where(step)).scalar_one()
    if done.outcome == REFUSED:
        if not _has_any(tx, row):
            tx.execute(update(escalations).where(step).values(refused=True))
        ledger.record(tx, WHO, f"{name} refuses it: {detail}", case_id=row.case_id, at_ms=now_ms)
        return
    tx.execute(update(escalations).where(step, escalations.c.delivered_ms.is_(None)).values(delivered_ms=now_ms))
    first = (cases.c.id == row.case_id) & cases.c.handed_over_ms.is_(None)
    tx.execute(update(cases).where(first).values(handed_over_ms=now_ms))
    ledger.record(tx, WHO, f"handed over to {name}: {detail}", case_id=row.case_id, at_ms=now_ms)
    status = tx.execute(select(cases.c.status).where(cases.c.id == row.case_id)).scalar()
    case_book.tell(tx, row.case_id, case_book.OUTCOME_OF.get(status or NEW, kinds.OUTCOME_HANDED_OVER))


def _has_any(tx: Connection, row: Any) -> bool:
    """Whether this receiver has another alarm of the case."""
    others = (deliveries.c.case_id == row.case_id) & (deliveries.c.position == row.position)
    return tx.execute(select(deliveries.c.id).where(others, deliveries.c.state == DELIVERED)).first() is not None
