"""Escalation: whom a case goes to, in the municipality's order, until a named person has taken it (TP-REC-006 to TP-REC-009).

    step 0 ──undelivered for 60 s, or refused──> step 1 ──delivered, but not taken within its wait──> step 2 ──> …

All of it stands in the database: a restart goes on where it was. A step begins once for a case (primary key), an alarm goes to it
under one ref however often it is tried. The home hears `handed_over` when a receiver has the alarm, and `taken` never from here.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, func, insert, select, update
from sqlalchemy import case as sql_case

from tryggport.errors import TryggError
from tryggport.reception import attempts, grace, ledger
from tryggport.reception import cases as case_book
from tryggport.reception.attempts import WAITING, WHO
from tryggport.reception.channels import UNDELIVERED, Channel, Delivery, Notice
from tryggport.reception.database import Database, for_each
from tryggport.reception.lists import Step, begin_anew, steps_of
from tryggport.reception.scaip_step import check_target
from tryggport.reception.schema import (
    CLOSED,
    NEW,
    cases,
    deliveries,
    escalations,
    events,
    steps,
)  # fmt: skip
from tryggport.reception.tenants import Scope, municipality_id

UNDELIVERED_MS = case_book.UNDELIVERED_MS
RETRY_MS = 10_000  # TP-BND-061: an attempt that failed is repeated
AT_ONCE = 8  # TP-BND-062: attempts under way to one receiver
CHOKED_ON = 3
CLAIM_MS = 30_000  # TP-BND-069: what an attempt may last before another worker makes it
KINDS = ("scaip", "webhook", "console")


def set_steps(scope: Scope, municipality: str, wanted: Sequence[Step], by: str) -> None:
    """Cases of the municipality go through this list from now on, also those that are open. Raises TryggError."""
    for step in wanted:
        if step.kind not in KINDS:
            raise TryggError(f"There is no way {step.kind!r}.", f"One of: {', '.join(KINDS)}", usage=True)
        if step.wait_ms <= 0 or not step.name.strip() or (step.kind != "console" and not step.target):
            raise TryggError(f"The step {step.name!r} lacks a name, a target or a wait above 0.", usage=True)
        if step.kind == "scaip":
            check_target(step.target)
    with scope.database.write() as tx:
        owner = municipality_id(tx, municipality)
        if scope.municipality_id not in (None, owner):
            raise TryggError(f"There is no municipality {municipality}.")
        old = steps_of(tx, owner)
        before = ", ".join(step.name for step in old)
        tx.execute(delete(steps).where(steps.c.municipality_id == owner))
        for position, step in enumerate(wanted):
            values = {name: getattr(step, name) for name in ("kind", "name", "target", "wait_ms", "secret_file")}
            tx.execute(insert(steps).values(municipality_id=owner, position=position, **values))
        after = ", ".join(step.name for step in wanted)
        ledger.record(tx, by, "escalation list", before=before, after=after, municipality_id=owner)
        for case_id in begin_anew(tx, cases.c.municipality_id == owner, old, steps_of(tx, owner)):
            ledger.record(tx, by, "goes through the new list", before=before, after=after, case_id=case_id)


def next_step(listed: Sequence[Step], begun: Sequence[Any], now_ms: int, undelivered_ms: int) -> int | None:
    """The position to begin now, len(listed) when the list has come to its end, None to wait. `begun`: rows in order."""
    if not begun:
        return 0
    last = begun[-1]
    if last.refused:
        due = True
    elif last.delivered_ms is None:
        due = now_ms >= last.started_ms + undelivered_ms
    else:
        wait_ms = listed[last.position].wait_ms if last.position < len(listed) else undelivered_ms
        due = now_ms >= last.delivered_ms + wait_ms
    return min(last.position + 1, len(listed)) if due else None


def next_for(
    since_ms: int, listed: Sequence[Step], begun: Sequence[Any], now_ms: int, undelivered_ms: int
) -> int | None:
    """As `next_step`, for an alarm that came at `since_ms` to a case that somebody has, and that no receiver has confirmed."""
    if not begun:
        return 0
    due = now_ms >= max(since_ms, begun[-1].started_ms) + undelivered_ms
    return min(begun[-1].position + 1, len(listed)) if due else None


@dataclass(frozen=True, slots=True)
class Look:
    """What decides which deliveries an open case needs: its status, the steps begun, how many events, the newest, how many alarms
    that are no events, and whether its list has come to its end."""

    status: str
    begun: tuple[tuple[Any, ...], ...]
    alarms: int
    newest: int
    raws: int
    at_end: bool


class Escalation:
    """`tick` begins what is due and starts attempts in threads of its own; `settle` waits for those under way.

    `channel_of` makes the channel of a step; it may raise TryggError, which counts as an attempt that failed.
    """

    def __init__(
        self, database: Database, channel_of: Callable[[Step], Channel], clock_ms: Callable[[], int],
        undelivered_ms: int = UNDELIVERED_MS, retry_ms: int = RETRY_MS,
    ) -> None:  # fmt: skip
        self._database = database
        self._channel_of = channel_of
        self._clock_ms = clock_ms
        self._undelivered_ms = undelivered_ms
        self._retry_ms = retry_ms
        self._pools: dict[Step | None, ThreadPoolExecutor] = {}  # one that is silent holds up no other
        self._under_way: dict[int, Future[None]] = {}
        self._queued: dict[int, Look] = {}  # what each open case looked like when all its alarms had deliveries
        self._lock = threading.Lock()
        self._notes: deque[tuple[int, Delivery, int]] = deque()  # what came of attempts, not in the database yet
        self._noting = threading.Lock()

    def tick(self) -> None:
        """Raises TryggError when the database fails, or failed when the end of an attempt was to be noted."""
        failed = self._ended()
        self._advance(self._clock_ms())
        if failed:
            raise failed

    def _advance(self, now_ms: int) -> None:
        with self._database.read() as tx:  # what takes long is looked up beside those who store alarms
            if not tx.execute(select(cases.c.id).where(_goes_on(now_ms)).limit(1)).first():
                return
            due_steps = self._due_steps(tx, now_ms)
        if due_steps:
            with self._database.write() as tx:
                _begin(tx, due_steps, now_ms)
        with self._database.read() as tx:
            looks, rows = self._alarms_to_queue(tx, now_ms)
            due = rows or self._due(tx, now_ms)
        jobs = []
        if due:
            with self._database.write() as tx:
                for_each(tx, insert(deliveries), rows)
                jobs = [(row.id, *_job(tx, row)) for row in self._due(tx, now_ms) if _claim(tx, row, now_ms)]
        self._queued = looks
        for delivery_id, step, notice in jobs:
            with self._lock:
                pool = self._pools.get(step)
                if pool is None:
                    pool = self._pools[step] = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="escalation")
                self._under_way[delivery_id] = pool.submit(self._attempt, delivery_id, step, notice)

    def _ended(self) -> TryggError | None:
        """Forgets the attempts that have ended; what went wrong in one."""
        with self._lock:
            ended = {delivery_id: future for delivery_id, future in self._under_way.items() if future.done()}
            for delivery_id in ended:
                del self._under_way[delivery_id]
        return next((e for future in ended.values() if isinstance(e := future.exception(), TryggError)), None)

    def settle(self) -> None:
        """Returns when no attempt is under way. Raises TryggError when the database failed in one."""
        while self._under_way:
            with self._lock:
                waiting = list(self._under_way.items())
            for delivery_id, future in waiting:
                future.result()
                with self._lock:
                    self._under_way.pop(delivery_id, None)

    def close(self) -> None:
        """Begins nothing more; what is under way ends by its own time-out."""
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def _due_steps(self, tx: Connection, now_ms: int) -> list[tuple[Row[Any], int, Step | None]]:
        """(case, position, step) of each step that is to begin; None for the end of a list that nobody knows of yet."""
        unheard = case_book.unheard(tx)
        waiting = (cases.c.status == NEW) | cases.c.id.in_(unheard)
        waiting &= cases.c.test.is_(False) & grace.presented(now_ms)
        lists: dict[int | None, Sequence[Step]] = {}
        begun_of = _begun_by_case(tx, now_ms)
        found: list[tuple[Row[Any], int, Step | None]] = []
        for case in tx.execute(select(cases).where(waiting).order_by(cases.c.id)).all():
            if case.municipality_id not in lists:
                lists[case.municipality_id] = steps_of(tx, case.municipality_id)
            listed = lists[case.municipality_id]
            begun = begun_of.get(case.id, [])
            if case.id in unheard:
                position = next_for(unheard[case.id], listed, begun, now_ms, self._undelivered_ms)
            else:
                position = next_step(listed, begun, now_ms, self._undelivered_ms)
            if position is not None and position < len(listed):
                found.append((case, position, listed[position]))
            elif position is not None and not _is_at_end(case.unanswered_ms, unheard.get(case.id, 0)):
                found.append((case, position, None))
        return found

    def _alarms_to_queue(self, tx: Connection, now_ms: int) -> tuple[dict[int, Look], list[dict[str, Any]]]:
        """Each alarm of an open case goes to every receiver that has the case, or that is being tried while none has it.

        Returns what the cases look like, for while one looks the same there is nothing to do for it, and the deliveries that
        are missing.
        """
        looks: dict[int, Look] = {}
        rows: list[dict[str, Any]] = []
        begun_of, alarms_of = _begun_by_case(tx, now_ms), _alarms_by_case(tx, now_ms)
        raws_of = _raws_by_case(tx, now_ms)
        unheard = case_book.unheard(tx)
        for case in tx.execute(select(cases).where(_goes_on(now_ms))).all():
            begun = begun_of.get(case.id, [])
            raws = raws_of.get(case.id, ())
            at_end = _is_at_end(case.unanswered_ms, unheard.get(case.id, 0))
            look = Look(case.status, tuple(map(tuple, begun)), *alarms_of.get(case.id, (0, 0)), len(raws), at_end)
            looks[case.id] = look
            before = self._queued.get(case.id)
            if before == look:
                continue
            has_it = [step.position for step in begun if step.delivered_ms is not None]
            tried = [step.position for step in begun if not step.refused]
            refs = _refs_since(tx, case, before, look, raws)
            sent = (deliveries.c.case_id == case.id) & deliveries.c.ref.in_([ref for ref, _ in refs])
            there = {
                (position, ref)
                for position, ref in tx.execute(select(deliveries.c.position, deliveries.c.ref).where(sent))
            }
            rows += [
                {"case_id": case.id, "position": position, "ref": ref, "event_id": event_id, "state": WAITING,
                 "attempts": 0, "next_try_ms": now_ms}
                for position in _receivers(case.status == NEW or case.id in unheard, at_end, has_it, tried)
                for ref, event_id in refs if (position, ref) not in there
            ]  # fmt: skip
        return looks, rows

    def _due(self, tx: Connection, now_ms: int) -> list[Row[Any]]:
        """Deliveries to try now, while the case goes on: of each case and receiver the oldest that waits. An alarm that a receiver
        chokes on does not keep the next ones from being tried once; it is the receiver's fault after some of them."""
        this = deliveries.c
        is_new = this.attempts == 0
        line = select(
            this.case_id, this.position, func.min(this.id).label("first"),
            func.min(sql_case((is_new, this.id))).label("new"), func.sum(sql_case((is_new, 0), else_=1)).label("tried"),
        ).where(this.state == WAITING).group_by(this.case_id, this.position).subquery()  # fmt: skip
        raised = this.event_id.is_(None) | exists().where(events.c.id == this.event_id, case_book.RAISES)
        is_next = (this.id == line.c.first) | ((this.id == line.c.new) & (line.c.tried < CHOKED_ON) & raised)
        query = select(deliveries, cases.c.status, cases.c.unanswered_ms).join(cases, cases.c.id == this.case_id)
        query = query.join(line, (line.c.case_id == this.case_id) & (line.c.position == this.position))
        begun_of, unheard = _begun_by_case(tx, now_ms), case_book.unheard(tx)
        found = []
        for row in tx.execute(query.where(_ripe(now_ms), is_next, _goes_on(now_ms)).order_by(deliveries.c.id)).all():
            begun = begun_of.get(row.case_id, [])
            has_it = [step.position for step in begun if step.delivered_ms is not None]
            goes_on = row.status == NEW or row.case_id in unheard
            tried = [step.position for step in begun if not step.refused]
            wanted = _receivers(goes_on, _is_at_end(row.unanswered_ms, unheard.get(row.case_id, 0)), has_it, tried)
            with self._lock:
                future = self._under_way.get(row.id)
                if row.position in wanted and (future is None or future.done()):
                    found.append(row)
        return found

    def _attempt(self, delivery_id: int, step: Step | None, notice: Notice) -> None:
        try:
            done = Delivery(UNDELIVERED, "not in the list any more") if step is None else self._try(step, notice)
        except TryggError as e:
            done = Delivery(UNDELIVERED, e.message)
        except Exception as e:  # a fault in one channel must not keep alarms from the next one
            done = Delivery(UNDELIVERED, f"fault in this program: {e!r}")
        self._notes.append((delivery_id, done, self._clock_ms()))
        with self._noting:  # whoever gets here first notes what those behind have brought, in one transaction
            notes = [self._notes.popleft() for _ in range(len(self._notes))]
            try:
                self._note(notes)
            except Exception:
                for note in notes if len(notes) > 1 else ():  # one of them may be to blame; the attempt is made again
                    with contextlib.suppress(Exception):
                        self._note([note])
                raise

    def _note(self, notes: Sequence[tuple[int, Delivery, int]]) -> None:
        if notes:
            with self._database.write() as tx:
                for note in notes:
                    attempts.note(tx, *note, self._retry_ms)

    def _try(self, step: Step, notice: Notice) -> Delivery:
        return self._channel_of(step).deliver(notice)


def _begin(tx: Connection, due_steps: Sequence[tuple[Row[Any], int, Step | None]], now_ms: int) -> None:
    for case, position, step in due_steps:
        if tx.execute(select(cases.c.status).where(cases.c.id == case.id).with_for_update()).scalar() != case.status:
            continue  # somebody has taken it meanwhile
        if position and not _is_next(tx, case.id, position):
            continue  # it has got another list meanwhile
        if step:
            values = {"case_id": case.id, "position": position, "name": step.name, "started_ms": now_ms}
            tx.execute(insert(escalations).values(values))
            ledger.record(tx, WHO, f"goes to {step.name}", case_id=case.id, at_ms=now_ms)
        else:
            tx.execute(update(cases).where(cases.c.id == case.id).values(unanswered_ms=now_ms))
            what = "nobody has taken it" if case.status == NEW else "an alarm that came since has reached nobody"
            ledger.record(tx, WHO, f"{what}, and nobody is left to tell", case_id=case.id, at_ms=now_ms)


def _is_next(tx: Connection, case_id: int, position: int) -> bool:
    newest = select(func.max(escalations.c.position)).where(escalations.c.case_id == case_id)
    last = tx.execute(newest).scalar()
    return last is not None and last + 1 >= position


def _ripe(now_ms: int) -> ColumnElement[bool]:
    return (deliveries.c.state == WAITING) & (deliveries.c.next_try_ms <= now_ms) & (deliveries.c.position >= 0)


def _claim(tx: Connection, row: Any, now_ms: int) -> bool:
    """Whether the attempt is ours: another worker leaves it alone until the claim has run out, and nobody makes it for an old list."""
    this = (deliveries.c.id == row.id) & (deliveries.c.next_try_ms == row.next_try_ms)
    this &= deliveries.c.position == row.position
    return tx.execute(update(deliveries).where(this).values(next_try_ms=now_ms + CLAIM_MS)).rowcount == 1


def _goes_on(now_ms: int) -> ColumnElement[bool]:
    return (cases.c.status != CLOSED) & cases.c.test.is_(False) & grace.presented(now_ms)


def _begun_by_case(tx: Connection, now_ms: int) -> dict[int, list[Row[Any]]]:
    query = select(escalations).join(cases, cases.c.id == escalations.c.case_id)
    query = query.where(_goes_on(now_ms), escalations.c.position >= 0)
    found: dict[int, list[Row[Any]]] = {}
    for row in tx.execute(query.order_by(escalations.c.case_id, escalations.c.position)):
        found.setdefault(row.case_id, []).append(row)
    return found


def _alarms_by_case(tx: Connection, now_ms: int) -> dict[int, tuple[int, int]]:
    """How many events each case has, and the newest: one that joined late need not be the newest."""
    columns = (events.c.case_id, func.count(), func.max(events.c.id))
    query = select(*columns).join(cases, cases.c.id == events.c.case_id).where(_goes_on(now_ms))
    return {case_id: (count, newest) for case_id, count, newest in tx.execute(query.group_by(events.c.case_id))}


def _raws_by_case(tx: Connection, now_ms: int) -> dict[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = {}
    for raw in case_book.raw_alarms(tx, _goes_on(now_ms)):
        found.setdefault(raw.case_id, []).append(raw)
    return found


def _is_at_end(unanswered_ms: int | None, since_ms: int) -> bool:
    """Whether the list has come to its end: for the case, or for what came at `since_ms`, since somebody took it."""
    return (unanswered_ms or 0) > since_ms


def _receivers(goes_on: bool, at_end: bool, has_it: Sequence[int], tried: Sequence[int]) -> Sequence[int]:
    """Once somebody has the case, the receivers that hear of it are those that have it, and the one whose turn it is where the
    list goes on; when it is at its end, all that were begun: one that was down may be there again."""
    if not goes_on:
        return has_it
    return tried if at_end or not has_it else sorted({*has_it, *tried[-1:]})


def _refs_since(
    tx: Connection, case: Any, before: Look | None, look: Look, raws: Sequence[Row[Any]]
) -> list[tuple[str, int | None]]:
    """Those of the alarms that came since `before`, where nothing else has changed and none joined out of its turn; else all."""
    if before is not None and before.alarms and before == replace(look, alarms=before.alarms, newest=before.newest):
        new = _refs(tx, case, before.newest)
        if before.alarms + len(new) == look.alarms:
            return new
    found = _refs(tx, case) + [(case_book.raw_ref(raw), None) for raw in raws]
    return found or [(case_book.ref_of("case", case.id, case.opened_ms), None)]


def _refs(tx: Connection, case: Any, after: int = 0) -> list[tuple[str, int | None]]:
    """(ref, row) of each event in the case from behind row `after` on, oldest first."""
    columns = (events.c.id, events.c.gateway, events.c.epoch, events.c.seq)
    of_case = (events.c.case_id == case.id) & (events.c.id > after)
    found = tx.execute(select(*columns).where(of_case).order_by(events.c.id))
    return [(case_book.ref_of(gateway, epoch.hex(), seq), row_id) for row_id, gateway, epoch, seq in found]


def _job(tx: Connection, row: Any) -> tuple[Step | None, Notice]:
    """The step and the notice of a delivery; no step when the list has become shorter since."""
    notice = attempts.notice(tx, row)
    listed = steps_of(tx, notice.municipality_id)
    return (listed[row.position] if row.position < len(listed) else None), notice
