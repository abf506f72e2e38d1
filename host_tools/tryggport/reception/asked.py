"""What gateways were asked to send again, and what they said, read from the orders: so it outlives a restart (TP-REC-282)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from tryggport.reception.schema import orders
from tryggport.wire import cbor
from tryggport.wire.envelope import Envelope, EnvelopeError
from tryggport.wire.fields import PayloadError
from tryggport.wire.order import COMMAND, DONE, REQUEST, RESEND, RESEND_MAX, Command

LOST_SHOWN_MS = 30 * 24 * 3600 * 1000
MINUTE_MS = 60_000
PAUSES_MS = (MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 120 * MINUTE_MS, 360 * MINUTE_MS)  # TP-BND-028
Run = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Request:
    """One `resend` of first…last, as far as the gateway looked; `by_itself`: no person asked. `gone`: what it no longer holds."""

    first: int
    last: int
    asked_ms: int
    by_itself: bool
    gone: tuple[Run, ...]


def gateways(tx: Connection) -> set[str]:
    """Which gateways were asked for anything."""
    return set(tx.execute(select(orders.c.gateway).where(orders.c.what == RESEND).distinct()).scalars())


def requests(tx: Connection, gateway: str, epoch: bytes) -> list[Request]:
    """What the gateway was asked of this epoch, oldest first."""
    query = select(orders).where(orders.c.gateway == gateway, orders.c.kind.in_((COMMAND, REQUEST)))
    found = []
    for row in tx.execute(query.where(orders.c.what == RESEND, orders.c.envelope.is_not(None)).order_by(orders.c.id)):
        try:
            of_epoch, first, last = Command.from_bytes(Envelope.from_bytes(row.envelope).payload).arguments
        except (EnvelopeError, PayloadError, ValueError):
            continue
        if of_epoch == epoch:
            looked_to, gone = _answer(row.code, row.details, last)
            found.append(Request(first, looked_to, row.queued_ms, row.kind == REQUEST, gone))
    return found


def due(asked: Sequence[Request], runs: Sequence[Run], now_ms: int) -> Run | None:
    """What is to be asked for now, at most what one command takes: the first run whose pause is over."""
    for first, last in runs:
        times = _times(asked, first)
        if not times or (len(times) <= len(PAUSES_MS) and now_ms >= times[-1].asked_ms + PAUSES_MS[len(times) - 1]):
            return first, min(last, first + RESEND_MAX - 1)
    return None


def is_given_up(asked: Sequence[Request], runs: Sequence[Run]) -> bool:
    """Whether nobody asks for any of it any more."""
    return all(len(_times(asked, first)) > len(PAUSES_MS) for first, _ in runs)


def _times(asked: Sequence[Request], seq: int) -> list[Request]:
    return [request for request in asked if request.by_itself and request.first <= seq <= request.last]


def _answer(code: int | None, details: bytes | None, last: int) -> tuple[int, tuple[Run, ...]]:
    """(last seq looked at, what is not held); anything but the details of a resend says nothing."""
    if code != DONE or details is None:
        return last, ()
    try:
        table = cbor.decode(details)
        gone = tuple((int(low), int(high)) for low, high in table[2])
        return min(last, int(table[1])), gone
    except (cbor.CborError, KeyError, TypeError, ValueError):
        return last, ()
