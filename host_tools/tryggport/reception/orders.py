"""Orders to gateways: queued signed, published one at a time a gateway, kept with what the gateway said of them.

Whoever queues an order has signed it. The reception's own key is good for requests only (TP-REC-280). What is not answered is published again
while its gateway is on line, which harms nothing (TP-CMD-005, TP-CMD-008).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, and_, case, delete, exists, func, insert, or_, select, update

from tryggport.reception import turns
from tryggport.reception.database import Database
from tryggport.reception.ledger import now_ms
from tryggport.reception.schema import orders, statuses
from tryggport.wire import cbor
from tryggport.wire.order import BUSY, COMMAND, DONE, REQUEST, TRUST, Result

REPEAT_MS = 60_000  # TP-BND-027
_OPEN = orders.c.answered_ms.is_(None)


def queue(
    database: Database, gateway: str, kind: int, number: int, envelope: bytes, *, what: int | None = None,
    not_after_ms: int | None = None, at_ms: int | None = None,
) -> int:  # fmt: skip
    """Puts a signed order into the queue, in the place of one that has the same kind and number. Returns its id."""
    queued_ms = now_ms() if at_ms is None else at_ms
    with database.write() as tx:
        tx.execute(delete(orders).where(_named(gateway, kind, number)))
        row = {"gateway": gateway, "kind": kind, "number": number, "envelope": envelope, "what": what}
        done = tx.execute(insert(orders).values(**row, not_after_ms=not_after_ms, queued_ms=queued_ms))
        key = done.inserted_primary_key
    return int(key[0]) if key else 0


def due(database: Database, at_ms: int) -> list[tuple[int, str, bytes]]:
    """(id, gateway, envelope) of what is to be published now: of each gateway its oldest order without an answer.

    One at a time; a request that is not on its way yet comes after what persons have ordered (TP-REC-282).
    """
    alive = _OPEN & or_(orders.c.not_after_ms.is_(None), orders.c.not_after_ms > at_ms)
    waits = (orders.c.kind == REQUEST) & orders.c.sent_ms.is_(None)
    underway = (orders.c.kind == REQUEST) & orders.c.sent_ms.is_not(None)
    turn = case((underway, 0), (waits, 2), else_=1)
    numbered = select(
        orders.c.id, func.row_number().over(partition_by=orders.c.gateway, order_by=(turn, orders.c.id)).label("n")
    )
    oldest = numbered.where(alive).subquery()
    online = exists().where(statuses.c.gateway == orders.c.gateway, statuses.c.online)  # on any of its paths
    again = and_(online, orders.c.sent_ms < at_ms - REPEAT_MS)
    query = (
        select(orders.c.id, orders.c.gateway, orders.c.envelope)
        .join(oldest, (oldest.c.id == orders.c.id) & (oldest.c.n == 1))
        .where(or_(orders.c.sent_ms.is_(None), again))
    )
    with database.read() as tx:
        return [(row.id, row.gateway, row.envelope) for row in tx.execute(query)]


def mark_sent(database: Database, ids: Iterable[int], at_ms: int) -> None:
    with database.write() as tx:
        tx.execute(update(orders).where(orders.c.id.in_(list(ids))).values(sent_ms=at_ms))


def keep_results(database: Database, results: Iterable[Result], at_ms: int) -> None:
    """Stores what gateways said; also of orders that this database does not know, for it may be older than they are."""
    found = list(results)
    with database.write() as tx:
        turns.wait(tx, {result.gateway for result in found})
        for result in found:
            _keep(tx, result, at_ms)


def _keep(tx: Connection, result: Result, at_ms: int) -> None:
    named = _named(result.gateway, result.kind, result.number)
    if result.code == BUSY:
        return  # it is published again
    values = {"answered_ms": at_ms, "code": result.code, "details": cbor.encode(result.details)}
    if tx.execute(update(orders).where(named, _OPEN).values(values)).rowcount:
        return
    if not tx.execute(select(orders.c.id).where(named)).first():
        row = {"gateway": result.gateway, "kind": result.kind, "number": result.number, "queued_ms": at_ms}
        tx.execute(insert(orders).values(**row, **values))


def answer(database: Database, order_id: int) -> tuple[int, dict[int, Any]] | None:
    """(code, details) of an order's result, or None while there is none."""
    with database.read() as tx:
        row = tx.execute(select(orders).where(orders.c.id == order_id)).first()
    return (row.code, cbor.decode(row.details)) if row and row.answered_ms is not None else None


def last_counter(database: Database, gateway: str, kind: int = COMMAND) -> int:
    """The highest counter of a command or request to the gateway that this database knows, 0 without one."""
    query = select(func.max(orders.c.number)).where(orders.c.gateway == gateway, orders.c.kind == kind)
    with database.read() as tx:
        return tx.execute(query).scalar() or 0


def epoch_and_next_seq(database: Database, gateway: str) -> tuple[bytes, int] | None:
    """What the gateway's last status said, or None when it was never heard."""
    with database.read() as tx:
        query = select(statuses.c.epoch, statuses.c.next_seq).where(statuses.c.gateway == gateway)
        row = tx.execute(query.order_by(func.coalesce(statuses.c.seen_ms, 0).desc())).first()
    return (row.epoch, row.next_seq) if row else None


def confirmed(database: Database, kind: int = TRUST) -> dict[str, int]:
    """The highest version of a configuration or trust list that each gateway has said it keeps."""
    kept = (orders.c.kind == kind) & (orders.c.code == DONE)
    query = select(orders.c.gateway, func.max(orders.c.number)).where(kept).group_by(orders.c.gateway)
    with database.read() as tx:
        return {gateway: version for gateway, version in tx.execute(query)}


def _named(gateway: str, kind: int, number: int) -> Any:
    return (orders.c.gateway == gateway) & (orders.c.kind == kind) & (orders.c.number == number)
