"""Events withheld: a heartbeat names a next_seq, and what lies below it has not arrived (TP-REC-011).

How far an epoch has arrived without a gap is remembered, so that a gateway with nothing missing costs no look at its events.
Seqs go on over epochs: what lies between the end of one and the beginning of the next is missing too (TP-REC-283).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, func, insert, select, true, update

from tryggport.reception import asked
from tryggport.reception.asked import Request, Run
from tryggport.reception.schema import events, progress
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.fields import PayloadError

READ_AT_ONCE = 5000
FEW = 300  # of more gateways, what is remembered of all is read


@dataclass(frozen=True, slots=True)
class Gap:
    """What an epoch lacks: `first` and `last` have not arrived, and `missing` events in all from one to the other. Of those the
    gateway no longer holds `lost`; `runs` are the others. `requests`: what it was asked of them, oldest first."""

    gateway: str
    epoch: bytes
    first: int
    last: int
    missing: int
    lost: int
    runs: tuple[Run, ...]
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an epoch has arrived; `new`: nothing was remembered of it."""

    gateway: str
    epoch: bytes
    first: int
    complete_to: int
    new: bool


@dataclass(frozen=True, slots=True)
class _Span:
    """Where to look: below `end`, and where nothing is known of the epoch from `begin` on. `later`: epochs that begin at `end`
    or after it; they too may say what was dropped."""

    gateway: str
    epoch: bytes
    begin: int
    end: int
    known: Any
    later: tuple[bytes, ...] = ()


def find(tx: Connection, states: Sequence[Any], now_ms: int) -> tuple[list[Gap], list[Progress]]:
    """The gaps below the next_seq of these statuses, of which of several paths the furthest counts, and what to remember."""
    promised: dict[tuple[str, bytes], tuple[int, int]] = {}
    for state in states:
        if state.seen_ms is not None:
            key = (state.gateway, state.epoch)
            promised[key] = max(promised.get(key, (0, 0)), (state.next_seq, state.alarms + state.events))
    known: dict[str, dict[bytes, Any]] = {}
    gateways = {gateway for gateway, _ in promised}
    few = progress.c.gateway.in_(gateways) if len(gateways) <= FEW else true()
    for row in tx.execute(select(progress).where(few)):
        known.setdefault(row.gateway, {})[row.epoch] = row
    spans = list(_spans(tx, promised, known))
    were_asked = asked.gateways(tx) if spans else set()
    found: list[Gap] = []
    moved: list[Progress] = []
    for span in spans:
        gap, progress_made = _look(tx, span, now_ms, span.gateway in were_asked)
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


def _spans(
    tx: Connection, promised: Mapping[tuple[str, bytes], tuple[int, int]], known: Mapping[str, Mapping[bytes, Any]]
) -> Iterator[_Span]:
    for (gateway, epoch), (next_seq, unsettled) in promised.items():
        epochs = known.get(gateway, {})
        row = epochs.get(epoch)
        if row is None:  # perhaps nothing came yet: only the gateway, and what came before, can say how much there is
            begin = next_seq - min(unsettled, next_seq)
            yield _Span(gateway, epoch, min(begin, _before(tx, gateway, epochs, begin) or begin), next_seq, None)
        elif row.complete_to < next_seq:
            yield _Span(gateway, epoch, row.first, next_seq, row)
    for gateway in {gateway for gateway, _ in promised}:
        epochs = known.get(gateway, {})
        for row in epochs.values():
            others = [other.complete_to for other in epochs.values() if other.first < row.first]
            if others and max(others) < row.first:
                yield from _before_epoch(tx, row, epochs)


def _before_epoch(tx: Connection, row: Any, epochs: Mapping[bytes, Any]) -> Iterator[_Span]:
    """Where to look for what lies between an epoch and the one before. The first event of an epoch names the one before."""
    of_epoch = (events.c.gateway == row.gateway) & (events.c.epoch == row.epoch)
    query = select(events.c.seq, events.c.encoded).where(of_epoch, events.c.seq <= row.first)
    first = tx.execute(query.order_by(events.c.seq).limit(1)).first()
    if first is None or first.seq < row.first:  # one came that is earlier than what is remembered
        yield _Span(row.gateway, row.epoch, row.first, row.complete_to, row)
        return
    later = tuple(epoch for epoch, other in epochs.items() if other.first >= row.first)
    previous = _data(first.encoded).get(kinds.DATA_PREVIOUS_EPOCH)
    if type(previous) is bytes and previous in epochs:
        of_previous = epochs[previous]
        if of_previous.complete_to < row.first:
            yield _Span(row.gateway, previous, of_previous.first, row.first, of_previous, later)
        return
    begin = _before(tx, row.gateway, epochs, row.first)
    if begin is not None and begin < row.first:
        epoch = previous if type(previous) is bytes else row.epoch
        yield _Span(row.gateway, epoch, begin, row.first, None, later)


def _before(tx: Connection, gateway: str, epochs: Mapping[bytes, Any], seq: int) -> int | None:
    """Up to where the epochs that began below `seq` have arrived."""
    earlier = [row for row in epochs.values() if row.first < seq]
    if not earlier:
        return None
    last = max(earlier, key=lambda row: (row.first, row.complete_to))
    of_epoch = (events.c.gateway == gateway) & (events.c.epoch == last.epoch)
    newest: int | None = tx.execute(select(func.max(events.c.seq)).where(of_epoch)).scalar()
    arrived: int = last.complete_to
    return arrived if newest is None else max(arrived, newest + 1)


def _look(tx: Connection, span: _Span, now_ms: int, was_asked: bool) -> tuple[Gap | None, Progress | None]:
    of_epoch = (events.c.gateway == span.gateway) & (events.c.epoch == span.epoch)
    known = span.known
    first = tx.execute(select(func.min(events.c.seq)).where(of_epoch, events.c.seq < span.end)).scalar()
    at = span.begin if first is None else first
    if known is not None and known.first <= at:
        at = known.complete_to
    query = select(events.c.seq).where(of_epoch, events.c.seq >= at, events.c.seq < span.end)
    arrived = list(tx.execute(query.order_by(events.c.seq).limit(READ_AT_ONCE)).scalars())
    end = arrived[-1] + 1 if len(arrived) == READ_AT_ONCE else span.end
    missing = _without([(at, end - 1)], _runs(arrived))
    requests: list[Request] = []
    if missing:
        requests = asked.requests(tx, span.gateway, span.epoch) if was_asked else []
        forgotten = [
            run for request in requests if request.asked_ms < now_ms - asked.LOST_SHOWN_MS for run in request.gone
        ]
        missing = _without(missing, _dropped(tx, span) + forgotten)
    if first is None and (missing or at >= end):
        return _gap(span, missing, requests), None  # no event proves that there is such an epoch
    begin = at if first is None else first
    complete_to = missing[0][0] if missing else max(at, end)
    same = known is not None and (known.first, known.complete_to) == (begin, complete_to)
    moved = None if same else Progress(span.gateway, span.epoch, begin, complete_to, known is None)
    return _gap(span, missing, requests), moved


def _gap(span: _Span, missing: list[Run], requests: Sequence[Request]) -> Gap | None:
    if not missing:
        return None
    first, last = missing[0][0], missing[-1][1]
    left = _without(missing, [run for request in requests for run in request.gone])
    about = tuple(request for request in requests if request.first <= last and request.last >= first)
    lost = _count(missing) - _count(left)
    return Gap(span.gateway, span.epoch, first, last, _count(missing), lost, tuple(left), about)


def _runs(seqs: Iterable[int]) -> list[Run]:
    """Ascending seqs as runs without a hole."""
    found = []
    for _, group in groupby(enumerate(seqs), lambda item: item[1] - item[0]):
        together = [seq for _, seq in group]
        found.append((together[0], together[-1]))
    return found


def _without(runs: Sequence[Run], taken: Iterable[Run]) -> list[Run]:
    """`runs`, which ascend, but for what lies in `taken`."""
    left = []
    taken = sorted(taken)
    for first, last in runs:
        for low, high in taken:
            if low > last:
                break
            if low > first:
                left.append((first, low - 1))
            first = max(first, high + 1)
        if first <= last:
            left.append((first, last))
    return left


def _count(runs: Sequence[Run]) -> int:
    return sum(last - first + 1 for first, last in runs)


def _dropped(tx: Connection, span: _Span) -> list[Run]:
    """What the gateway itself says it has lost."""
    found = []
    told = (events.c.gateway == span.gateway) & events.c.epoch.in_((span.epoch, *span.later))
    for encoded in tx.execute(select(events.c.encoded).where(told, events.c.kind == kinds.DROP)).scalars():
        data = _data(encoded)
        first, last = data.get(kinds.DATA_FIRST), data.get(kinds.DATA_LAST)
        if type(first) is int and type(last) is int:
            found.append((first, last))
    return found


def _data(encoded: bytes) -> Mapping[int, Any]:
    try:
        return Event.from_bytes(encoded).data
    except PayloadError:
        return {}
