"""Asks gateways for what did not arrive: so a database that was restored from an older copy fills itself (TP-REC-281).

    gap on the work list for 60 s ─> one request, signed with the receipt key ─> result ─> the events ─> the gap's next run
                                          └── again after pauses that grow, at last a person is left with it

What was asked, and when, is read from the orders: a restart goes on where it was. Meant to run in one process at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, func, select

from tryggport.reception import asked, gaps
from tryggport.reception import orders as queue
from tryggport.reception.database import Database
from tryggport.reception.findings import DEFAULTS
from tryggport.reception.keyring import ReceiptKey
from tryggport.reception.schema import orders, statuses, work
from tryggport.wire import topics
from tryggport.wire.order import REQUEST, RESEND, Command

AFTER_MS = 60_000  # TP-BND-028: so long a gap stands before it is asked for
GOING_ON_MS = 600_000  # after a request the next run of the gap need not have stood so long again
ANSWER_MS = 20_000  # TP-BND-029: so long a request holds back other orders
MOST_AT_ONCE = 64  # TP-BND-029: requests without a result
LOOKED_AT_ONCE = 256  # gateways: escalation waits meanwhile
MOST_A_DAY = 64  # TP-BND-029: requests to one gateway
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class _Ask:
    """A `resend` of first…last of `epoch`, to be sent in the gateway's `present` epoch."""

    gateway: str
    present: bytes
    epoch: bytes
    first: int
    last: int


class Recovery:
    """Asks on behalf of one database. Raises TryggError from `tick` when the database fails."""

    def __init__(
        self, database: Database, key: ReceiptKey, clock_ms: Callable[[], int], after_ms: int = AFTER_MS
    ) -> None:
        self._database = database
        self._key = key
        self._clock_ms = clock_ms
        self._after_ms = after_ms
        self._looked_to = ""  # gateways up to this name have had their turn

    def tick(self) -> int:
        """Queues what is to be asked now; returns how many requests that were. May be called as often as one likes."""
        now_ms = self._clock_ms()
        with self._database.read() as tx:
            asks = self._due(tx, now_ms)
        for ask in asks:
            self._send(ask, now_ms)
        return len(asks)

    def _due(self, tx: Connection, now_ms: int) -> list[_Ask]:
        is_open = orders.c.answered_ms.is_(None) & (orders.c.not_after_ms.is_(None) | (orders.c.not_after_ms > now_ms))
        waiting = tx.execute(select(orders.c.gateway, orders.c.kind).where(is_open)).all()
        room = MOST_AT_ONCE - sum(1 for row in waiting if row.kind == REQUEST)
        states = self._candidates(tx, now_ms) if room > 0 else []
        if not states:
            return []
        recent = (orders.c.kind == REQUEST) & (orders.c.queued_ms > now_ms - DAY_MS)
        a_day = select(orders.c.gateway).where(recent).group_by(orders.c.gateway).having(func.count() >= MOST_A_DAY)
        busy = {row.gateway for row in waiting} | set(tx.execute(a_day).scalars())
        there = {gateway: state for gateway, state in _there(states, now_ms).items() if gateway not in busy}
        found, _ = gaps.find(tx, [state for state in states if state.gateway in there], now_ms)
        asks = []
        for gateway, some in groupby(sorted(found, key=attrgetter("gateway")), key=attrgetter("gateway")):
            ask = _next(there[gateway], list(some), now_ms)
            asks += [ask] if ask is not None else []
        return asks[:room]

    def _candidates(self, tx: Connection, now_ms: int) -> Sequence[Any]:
        """The statuses of some gateways that lack events; of many, others each time. In the order of their time."""
        withheld = (work.c.kind == "withheld") & work.c.mended_ms.is_(None)
        standing = select(work.c.gateway).where(withheld, work.c.first_ms <= now_ms - self._after_ms)
        asked_lately = (orders.c.kind == REQUEST) & (orders.c.queued_ms > now_ms - GOING_ON_MS)
        of_interest = standing.union(select(orders.c.gateway).where(asked_lately)).subquery()
        some = select(of_interest.c.gateway).where(of_interest.c.gateway > self._looked_to)
        names = list(tx.execute(some.order_by(of_interest.c.gateway).limit(LOOKED_AT_ONCE)).scalars())
        self._looked_to = names[-1] if len(names) == LOOKED_AT_ONCE else ""
        return tx.execute(select(statuses).where(statuses.c.gateway.in_(names)).order_by(statuses.c.seen_ms)).all()

    def _send(self, ask: _Ask, now_ms: int) -> None:
        counter = max(now_ms, queue.last_counter(self._database, ask.gateway, REQUEST) + 1)
        command = Command(
            gateway=ask.gateway, epoch=ask.present, counter=counter, what=RESEND,
            arguments=(ask.epoch, ask.first, ask.last), not_after_ms=now_ms + ANSWER_MS,
        )  # fmt: skip
        envelope = self._key.current().seal(command.to_bytes(), topics.topic(ask.gateway, topics.COMMAND))
        queue.queue(
            self._database, ask.gateway, REQUEST, counter, envelope, what=RESEND, not_after_ms=command.not_after_ms,
            at_ms=now_ms,
        )  # fmt: skip


def _there(states: Sequence[Any], now_ms: int) -> Mapping[str, Any]:
    """The last word of each gateway that is on line; `states` in the order of their time."""
    heard = [state for state in states if state.seen_ms is not None]
    online = {state.gateway for state in heard if state.online and state.seen_ms > now_ms - DEFAULTS.silent_ms}
    return {state.gateway: state for state in heard if state.gateway in online}


def _next(state: Any, found: Sequence[gaps.Gap], now_ms: int) -> _Ask | None:
    """What is to be asked of a gateway now. What it has not been able to send yet comes by itself."""
    if sum(gap.missing - gap.lost for gap in found) <= state.alarms + state.events:
        return None
    for gap in found:
        run = asked.due(gap.requests, gap.runs, now_ms)
        if run is not None:
            return _Ask(gap.gateway, state.epoch, gap.epoch, *run)
    return None
