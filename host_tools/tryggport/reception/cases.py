"""Cases: what a person answers. A home has at most one open case for alarms and one for test alarms.

    new ──take──> taken ──> contacted ──> on the way ──close──> closed          (a step may be left out, none is taken back)

A raised alarm opens the case or joins the open one (triage.py); `cleared` marks it as cancelled and closes it only while it is
held back (grace.py). Only a named person takes and closes; each change leaves a row in the audit with who, when, before and after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, exists, func, insert, select, update

from tryggport.errors import TryggError
from tryggport.reception import ledger
from tryggport.reception.installations import CANARY, placed
from tryggport.reception.ledger import now_ms
from tryggport.reception.schema import (
    CLOSED,
    CONTACTED,
    NEW,
    ON_THE_WAY,
    TAKEN,
    cases,
    conflicts,
    deliveries,
    events,
    outbox,
    unreadable,
)
from tryggport.reception.tenants import Scope
from tryggport.wire import kinds

ANSWERED = (TAKEN, CONTACTED, ON_THE_WAY)  # somebody has it
OUTCOME_OF = dict.fromkeys(ANSWERED, kinds.OUTCOME_TAKEN) | {CLOSED: kinds.OUTCOME_CLOSED}
UNDELIVERED_MS = 60_000  # TP-BND-060: no receiver has confirmed it
TELL_CLOSED_MS = (
    24 * 3600 * 1000
)  # a birth is answered with the cases that closed since so long before the last sign of life
CAUSES = ("fall", "illness", "needed help", "false alarm", "cancelled", "test", "technical", "other")
MACHINES = frozenset(("reception", CANARY))  # names that no person has


# A person must look at it: anything that does not refer to an earlier alarm, and what cannot be read.
RAISES = events.c.alarm & (events.c.state.is_(None) | (events.c.state == kinds.STATE_RAISED))
HEARD = exists().where(
    deliveries.c.case_id == events.c.case_id, deliveries.c.event_id == events.c.id, deliveries.c.state == "delivered"
)


def unheard(tx: Connection) -> dict[int, int]:
    """The cases that somebody has, and to which an alarm has come since that no receiver has confirmed: id, and when it came."""
    answered = list(tx.execute(select(cases.c.id).where(cases.c.status.in_(ANSWERED))).scalars())
    if not answered:
        return {}
    late = events.c.case_id.in_(answered) & (events.c.received_ms > cases.c.taken_ms) & RAISES & ~HEARD
    query = select(events.c.case_id, func.min(events.c.received_ms)).join(cases, cases.c.id == events.c.case_id)
    found = {case_id: since_ms for case_id, since_ms in tx.execute(query.where(late).group_by(events.c.case_id))}
    late_raw = [raw for raw in raw_alarms(tx, cases.c.id.in_(answered)) if raw.received_ms > raw.taken_ms]
    if late_raw:
        delivered = deliveries.c.case_id.in_({raw.case_id for raw in late_raw}) & (deliveries.c.state == "delivered")
        heard = {
            (case_id, ref)
            for case_id, ref in tx.execute(select(deliveries.c.case_id, deliveries.c.ref).where(delivered))
        }
        for raw in late_raw:
            if (raw.case_id, raw_ref(raw)) not in heard:
                found[raw.case_id] = min(raw.received_ms, found.get(raw.case_id, raw.received_ms))
    return found


def raw_alarms(tx: Connection, which: ColumnElement[bool]) -> list[Row[Any]]:
    """The alarms of these cases that are no events, oldest first: what cannot be read, and other bytes under a used number."""
    ids = select(cases.c.id).where(which).correlate(None)  # a join alone would not always begin with the open cases
    found: list[Row[Any]] = []
    for table in (conflicts, unreadable):
        columns = (table.c.case_id, table.c.gateway, table.c.sha256, table.c.received_ms, cases.c.taken_ms, table.c.id)
        query = select(*columns).join(cases, cases.c.id == table.c.case_id)
        found += tx.execute(query.where(table.c.case_id.in_(ids)))
    return sorted(found, key=lambda raw: (raw.received_ms, raw.id))


def raw_ref(raw: Any) -> str:
    """The reference under which it goes to receivers, as `ref_of` an event."""
    return ref_of(raw.gateway, raw.sha256.hex())


def ref_of(*names: object) -> str:
    """The reference of what has these names: the same at every attempt and every receiver."""
    return hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:16]


def joined(tx: Connection, case_id: int, at_ms: int) -> None:
    """An alarm received at `at_ms` joins a case that somebody has, whose row is locked: that person has not seen it, though by the
    clock of this machine, or by how long the alarm has waited since, it was received before the case was taken."""
    late = (cases.c.id == case_id) & (cases.c.taken_ms >= at_ms)
    tx.execute(update(cases).where(late).values(taken_ms=at_ms - 1))


def take(scope: Scope, case_id: int, by: str, at_ms: int | None = None) -> None:
    """`by` has the case from now on, and the home will be told (TP-WIR-016). Where an alarm has come since somebody took it that no
    receiver has confirmed, whoever takes it once more has seen that one. Raises TryggError."""
    at_ms = now_ms() if at_ms is None else at_ms
    if _seen(scope, case_id, _name(by), at_ms):
        return
    _change(scope, case_id, (NEW,), {"status": TAKEN, "taken_by": _name(by)}, by, at_ms)


def contacted(scope: Scope, case_id: int, by: str, at_ms: int | None = None) -> None:
    """`by` has spoken with the home. Raises TryggError unless somebody has taken the case."""
    _change(scope, case_id, (TAKEN,), {"status": CONTACTED}, by, now_ms() if at_ms is None else at_ms)


def on_the_way(scope: Scope, case_id: int, by: str, at_ms: int | None = None) -> None:
    """Somebody goes to the home. Raises TryggError unless somebody has taken the case."""
    _change(scope, case_id, (TAKEN, CONTACTED), {"status": ON_THE_WAY}, by, now_ms() if at_ms is None else at_ms)


def close(scope: Scope, case_id: int, by: str, cause: str, note: str = "", at_ms: int | None = None) -> None:
    """`by` has done what was to do. Raises TryggError unless somebody has taken the case, all that came since has been confirmed or
    seen, and the cause is one of CAUSES."""
    known = cause.strip().lower()
    if known not in CAUSES:
        said = f"{cause.strip()!r} is no cause" if known else "A case is closed with its cause"
        hint = f"One of: {', '.join(CAUSES)}. What else there is to say goes into --note."
        raise TryggError(f"{said}.", hint, usage=True)
    at_ms = now_ms() if at_ms is None else at_ms
    values = {
        "status": CLOSED,
        "closed_by": _name(by),
        "closed_ms": at_ms,
        "cause": known,
        "note": note.strip() or None,
    }
    _change(scope, case_id, ANSWERED, values, by, at_ms)


def kind_name(code: int | None) -> str:
    """The kind's name, or its number where this version has none for it (TP-WIR-010)."""
    if code is None:
        return "unreadable"
    return kinds.KINDS[code].name if code in kinds.KINDS else f"kind {code}"


def cancel(tx: Connection, case_id: int, gateway: str, at_ms: int) -> None:
    """The cancel button was pressed in the home; a person still closes the case (TP-WIR-020)."""
    tx.execute(update(cases).where(cases.c.id == case_id, cases.c.cancelled_ms.is_(None)).values(cancelled_ms=at_ms))
    ledger.record(tx, gateway, "cancelled", case_id=case_id, at_ms=at_ms)


def tell_again(tx: Connection, gateways: Mapping[str, int]) -> None:
    """Puts the outcomes of these gateways' handed over and taken cases into the outbox, and of those that closed since, or in the
    day before, each was last heard (TP-WIR-016). `gateways`: name, and when that was, in ms since 1970."""
    homes = placed(tx, gateways)
    keys = {where.home_key for where in homes.values()}
    since_ms = min(gateways.values()) - TELL_CLOSED_MS
    recent = cases.c.status.in_(ANSWERED) | ((cases.c.status == CLOSED) & (cases.c.closed_ms >= since_ms))
    handed_over = (cases.c.status == NEW) & cases.c.handed_over_ms.is_not(None)
    columns = select(cases.c.id, cases.c.status, cases.c.closed_ms, cases.c.gateway, cases.c.home_key)
    query = columns.where(cases.c.gateway.in_(gateways) | cases.c.home_key.in_(keys), recent | handed_over)
    found = tx.execute(query.order_by(cases.c.id)).all()
    for gateway, heard_ms in gateways.items():
        home_key = homes[gateway].home_key if gateway in homes else gateway
        for row in found:
            news = row.status != CLOSED or row.closed_ms >= heard_ms - TELL_CLOSED_MS
            if news and (row.gateway == gateway or row.home_key == home_key):
                tell(tx, row.id, OUTCOME_OF.get(row.status, kinds.OUTCOME_HANDED_OVER), (gateway,))


def tell(tx: Connection, case_id: int, outcome: int, gateways: Iterable[str] | None = None) -> None:
    """Asks the reception to tell these gateways, or all with alarms in the case, what has become of it."""
    if gateways is None:
        of_case = select(events.c.gateway).distinct().where(events.c.case_id == case_id)
        gateways = list(tx.execute(of_case.order_by(events.c.gateway)).scalars())
    rows = [{"case_id": case_id, "outcome": outcome, "gateway": gateway} for gateway in gateways]
    if rows:
        tx.execute(insert(outbox), rows)


def _change(scope: Scope, case_id: int, before: tuple[str, ...], values: dict[str, Any], by: str, at_ms: int) -> None:
    who, status = _name(by), values["status"]
    with scope.database.write() as tx:
        of_case = (cases.c.id == case_id) & scope.of(cases)
        row = tx.execute(_locked(cases.c.status, cases.c.test).where(of_case)).first()
        was = row.status if row else None
        if status == CLOSED and row and not row.test and case_id in unheard(tx):  # test alarms go to nobody
            raise TryggError(
                f"An alarm has come since somebody took case {case_id}, and nobody has confirmed it.",
                f"Look at it, then say that you have seen it: tryggport cases take {case_id} --by NAME",
            )
        if status == TAKEN:
            values = values | {"taken_ms": _not_before_what_is_there(tx, case_id, at_ms)}
        if not tx.execute(update(cases).where(of_case, cases.c.status.in_(before)).values(values)).rowcount:
            raise _why_not(tx, scope, case_id, status)
        what = f"closed: {values['cause']}" if status == CLOSED else status
        ledger.record(tx, who, what, before=was, after=status, case_id=case_id, at_ms=at_ms)
        if OUTCOME_OF[status] != OUTCOME_OF.get(was or ""):
            tell(tx, case_id, OUTCOME_OF[status])


def _seen(scope: Scope, case_id: int, who: str, at_ms: int) -> bool:
    """Whether somebody has this case, and `who` has now seen an alarm that had come since and that no receiver has confirmed; then
    it is `who` that has the case."""
    with scope.database.write() as tx:
        of_case = (cases.c.id == case_id) & scope.of(cases)
        case = tx.execute(_locked(cases.c.status, cases.c.taken_by).where(of_case)).first()
        if case is None or case_id not in unheard(tx):
            return False
        taken_ms = _not_before_what_is_there(tx, case_id, at_ms)
        tx.execute(update(cases).where(of_case).values(taken_by=who, taken_ms=taken_ms))
        what = "has seen what came since"
        ledger.record(tx, who, what, before=case.taken_by, after=who, case_id=case_id, at_ms=at_ms)
        tell(tx, case_id, OUTCOME_OF[case.status])
    return True


def _not_before_what_is_there(tx: Connection, case_id: int, at_ms: int) -> int:
    """When a person has seen what is in the case, by the clocks of those who received it: his own may be behind them."""
    of_case = (select(func.max(t.c.received_ms)).where(t.c.case_id == case_id) for t in (events, conflicts, unreadable))
    return max(at_ms, *(tx.execute(newest).scalar() or 0 for newest in of_case))


def _locked(*columns: Any) -> Select[Any]:
    """Until the transaction ends nothing joins the case that this finds (triage.py)."""
    return select(*columns).with_for_update(key_share=True)


def _why_not(tx: Connection, scope: Scope, case_id: int, wanted: str) -> TryggError:
    row = tx.execute(select(cases).where(cases.c.id == case_id, scope.of(cases))).first()
    if row is None:
        return TryggError(f"There is no case {case_id}.", "See them all: tryggport cases list")
    if row.status == CLOSED:
        return TryggError(f"Case {case_id} is closed already, by {row.closed_by}.")
    if row.status == NEW:
        return TryggError(f"Nobody has taken case {case_id} yet.", f"First: tryggport cases take {case_id} --by NAME")
    if wanted == TAKEN:
        return TryggError(f"Case {case_id} is taken already, by {row.taken_by}.")
    return TryggError(f"Case {case_id} is {row.status} already.")


def _name(by: str) -> str:
    if not by.strip() or by.strip().lower() in MACHINES:
        raise TryggError("A case is taken and closed by a named person.", "Say who: --by NAME", usage=True)
    return by.strip()
