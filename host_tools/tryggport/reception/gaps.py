"""Events withheld: a heartbeat names a next_seq, and what lies below it has not arrived (TP-REC-011).

How far an epoch has arrived without a gap is remembered, so that a gateway with nothing missing costs no look at its events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from tryggport.reception.schema import events, progress
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.fields import PayloadError

READ_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Gap:
    """What an epoch lacks: `first` and `last` have not arrived, and `missing` events in all from one to the other."""

    gateway: str
    epoch: bytes
    first: int
    last: int
    missing: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an epoch has arrived; `new`: nothing was remembered of it."""

    gateway: str
    epoch: bytes
    first: int
    complete_to: int
    new: bool


def find(tx: Connection, states: Sequence[Any]) -> tuple[list[Gap], list[Progress]]:
    """The gaps below the next_seq of these statuses, of which of several paths the furthest counts, and what to remember."""
    found: list[Gap] = []
    moved: list[Progress] = []
    promised: dict[tuple[str, bytes], tuple[int, int]] = {}
    for state in states:
        if state.seen_ms is not None:
            key = (state.gateway, state.epoch)
            promised[key] = max(promised.get(key, (0, 0)), (state.next_seq, state.alarms + state.events))
    known = {(row.gateway, row.epoch): row for row in tx.execute(select(progress))}
    for (gateway, epoch), (next_seq, unsettled) in promised.items():
        row = known.get((gateway, epoch))
        if row is None or row.complete_to < next_seq:
            gap, progress_made = _look(tx, gateway, epoch, next_seq, unsettled, row)
            found += [gap] if gap else []
            moved += [progress_made] if progress_made else []
    return found, moved


def remember(tx: Connection, moved: Sequence[Progress]) -> None:
    """Keeps what `find` has found out."""
    rows = [
        {"gateway": p.gateway, "epoch": p.epoch, "first": p.first, "complete_to": p.complete_to} for p in moved if p.new
    ]
    if rows:
        tx.execute(insert(progress), rows)
    for p in moved:
        if not p.new:
            this = (progress.c.gateway == p.gateway) & (progress.c.epoch == p.epoch)
            tx.execute(update(progress).where(this).values(first=p.first, complete_to=p.complete_to))


def _look(
    tx: Connection, gateway: str, epoch: bytes, next_seq: int, unsettled: int, known: Any
) -> tuple[Gap | None, Progress | None]:
    of_epoch = (events.c.gateway == gateway) & (events.c.epoch == epoch)
    first = tx.execute(select(func.min(events.c.seq)).where(of_epoch)).scalar()
    if first is None:  # nothing of this epoch yet: only the gateway can say how much there is
        missing = min(unsettled, next_seq)
        return (Gap(gateway, epoch, next_seq - missing, next_seq - 1, missing) if missing else None), None
    at = known.complete_to if known is not None and known.first <= first else first
    query = select(events.c.seq).where(of_epoch, events.c.seq >= at, events.c.seq < next_seq)
    arrived = list(tx.execute(query.order_by(events.c.seq).limit(READ_AT_ONCE)).scalars())
    end = arrived[-1] + 1 if len(arrived) == READ_AT_ONCE else next_seq
    held = set(arrived)
    at = _skip(held, at, end)
    dropped = _dropped(tx, of_epoch) if at < end else []
    while lost := [drop.stop for drop in dropped if at in drop and at < end]:
        at = _skip(held, max(lost), end)
    at = min(at, end)
    same = known is not None and (known.first, known.complete_to) == (first, at)
    moved = None if same else Progress(gateway, epoch, first, at, known is None)
    if at >= end:
        return None, moved
    last = end - 1
    while last in held:
        last -= 1
    missing = last - at + 1 - sum(1 for seq in held if at < seq < last)
    return Gap(gateway, epoch, at, last, missing), moved


def _skip(held: set[int], at: int, end: int) -> int:
    while at in held and at < end:
        at += 1
    return at


def _dropped(tx: Connection, of_epoch: Any) -> list[range]:
    """What the gateway itself says it has lost."""
    found = []
    for encoded in tx.execute(select(events.c.encoded).where(of_epoch, events.c.kind == kinds.DROP)).scalars():
        try:
            data = Event.from_bytes(encoded).data
        except PayloadError:
            continue
        first, last = data.get(kinds.DATA_FIRST), data.get(kinds.DATA_LAST)
        if type(first) is int and type(last) is int:
            found.append(range(first, last + 1))
    return found
