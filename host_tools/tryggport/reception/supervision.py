"""Supervision: what is silent, withheld, worn or twice there becomes a line of the work list, and goes when it is mended.

    findings.py looks ──> Finding ──first seen──> work row ──after its delay──> shown ──not found any more──> mended, audited

`tick` may be called as often as one likes; it takes the time from a clock that is handed in (TP-REC-010 to TP-REC-018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from tryggport.reception import gaps, ledger, outage, sessions, vital
from tryggport.reception.database import Database
from tryggport.reception.findings import DEFAULTS, Finding, Limits, find
from tryggport.reception.grace import promote
from tryggport.reception.installations import CANARY
from tryggport.reception.schema import events, work
from tryggport.reception.views import Row

WHO = "supervision"
KEEP_CANARY_MS = 24 * 3600 * 1000
AT_ONCE = 200  # rows in one transaction
_T = TypeVar("_T")


class Supervisor:
    """Keeps the work list of one database. Raises TryggError from its methods when the database fails."""

    def __init__(self, database: Database, clock_ms: Callable[[], int], limits: Limits = DEFAULTS) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._limits = limits

    def promote(self) -> int:
        """Presents held cases that are due or whose gateway is silent; returns how many."""
        return promote(self._database, self._clock_ms(), self._limits.silent_ms)

    def tick(self) -> None:
        """Looks at everything once and brings the work list up to date.

        It looks without holding up anybody, and writes in short transactions between which alarms are stored.
        """
        now_ms = self._clock_ms()
        with self._database.read() as tx:
            found, moved = find(tx, now_ms, self._limits)
            found, outages = outage.gather(tx, found, now_ms, self._limits)
            there = {row.finding: row for row in tx.execute(select(work).where(work.c.mended_ms.is_(None)))}
        changes = _changes({finding.key: finding for finding in found}, there, now_ms)
        for new in outages:  # the case first: once an outage is on the list it is not a new one any more
            with self._database.write() as tx:
                outage.open_case(tx, new, now_ms)
        for some in _batches(moved):
            with self._database.write() as tx:
                gaps.remember(tx, some)
        for few in _batches(changes):
            with self._database.write() as tx:
                for change in few:
                    _apply(tx, change, now_ms)
        with self._database.write() as tx:
            sessions.forget_old(tx, now_ms)
            old = (events.c.gateway == CANARY) & (events.c.received_ms < now_ms - KEEP_CANARY_MS)
            tx.execute(delete(events).where(old))
            vital.note(tx, vital.SUPERVISION, now_ms)


def lasted(ms: int) -> str:
    """A duration in words: the two largest units of days, hours, minutes and seconds."""
    seconds, parts = max(0, ms) // 1000, list[str]()
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for at in range(0, len(items), AT_ONCE):
        yield items[at : at + AT_ONCE]


@dataclass(frozen=True, slots=True)
class _Change:
    """What to do with a row of the work list. `row_id` None: insert `values`; no `values`: forget the row."""

    row_id: int | None
    values: Row
    municipality_id: int | None
    told: str = ""


def _changes(found: Mapping[str, Finding], there: Mapping[str, Any], now_ms: int) -> list[_Change]:
    changes = []
    for key, finding in found.items():
        row = there.get(key)
        due = now_ms >= (row.first_ms if row else now_ms) + finding.delay_ms and not finding.part_of
        was_ms = row.shown_ms if row else None
        values = _columns(finding) | {"shown_ms": (was_ms or now_ms) if due else None}
        told = f"to do: {finding.sentence}" if due and was_ms is None else ""
        if row is None:
            changes.append(_Change(None, values | {"first_ms": now_ms}, finding.municipality_id, told))
        elif row.sentence != finding.sentence or row.shown_ms != values["shown_ms"]:
            changes.append(_Change(row.id, values, finding.municipality_id, told))
    for key, row in there.items():
        if key not in found:
            told = f"mended after {lasted(now_ms - row.first_ms)}: {row.sentence}"
            shown = row.shown_ms is not None
            changes.append(
                _Change(row.id, {"mended_ms": now_ms} if shown else {}, row.municipality_id, told if shown else "")
            )
    return changes


def _apply(tx: Connection, change: _Change, now_ms: int) -> None:
    this = work.c.id == change.row_id
    if change.row_id is None:
        tx.execute(insert(work).values(change.values))
    elif change.values:
        tx.execute(update(work).where(this).values(change.values))
    else:
        tx.execute(delete(work).where(this))
    if change.told:
        ledger.record(tx, WHO, change.told, at_ms=now_ms, municipality_id=change.municipality_id)


def _columns(finding: Finding) -> Row:
    return {
        "finding": finding.key,
        "kind": finding.kind,
        "municipality_id": finding.municipality_id,
        "home": finding.home,
        "gateway": finding.gateway,
        "sentence": finding.sentence,
    }
