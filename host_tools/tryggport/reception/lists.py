"""The list of a municipality: whom its cases go to, in order. A case whose list becomes another one goes through that one anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, select, update

from tryggport.reception.schema import CLOSED, cases, deliveries, escalations, steps


@dataclass(frozen=True, slots=True)
class Step:
    """One receiver in a municipality's list. `wait_ms`: how long after delivery somebody may take to take the case."""

    kind: str
    name: str
    target: str = ""
    wait_ms: int = 60_000
    secret_file: str | None = None

    @property
    def receiver(self) -> tuple[str, str, str]:
        return self.kind, self.name, self.target


CONSOLE = (Step("console", "console"),)  # where a municipality has named nobody


def steps_of(tx: Connection, owner: int | None) -> Sequence[Step]:
    """The list of a municipality, or the console."""
    columns = (steps.c.kind, steps.c.name, steps.c.target, steps.c.wait_ms, steps.c.secret_file)
    found = tx.execute(select(*columns).where(steps.c.municipality_id == owner).order_by(steps.c.position))
    return [Step(*row) for row in found] or CONSOLE


def begin_anew(tx: Connection, which: ColumnElement[bool], before: Sequence[Step], after: Sequence[Step]) -> list[int]:
    """These open cases go through the list `after` from the first receiver on that is another one than in `before`; returns those
    that had come so far. What was begun there stands aside, at negative positions: it has what it has, and is asked no more."""
    old, new = [step.receiver for step in before], [step.receiver for step in after]
    if old == new:
        return []
    pairs = enumerate(zip(old, new, strict=False))
    same = next((at for at, (was, now) in pairs if was != now), min(len(old), len(new)))
    is_open = which & (cases.c.status != CLOSED)
    locked = select(cases.c.id).where(is_open).order_by(cases.c.id).with_for_update(key_share=True)
    ids = list(tx.execute(locked).scalars())  # no step of theirs begins meanwhile
    tx.execute(update(cases).where(cases.c.id.in_(ids), cases.c.unanswered_ms.is_not(None)).values(unanswered_ms=None))
    begun = (
        select(escalations.c.case_id).distinct().where(escalations.c.case_id.in_(ids), escalations.c.position >= same)
    )
    found = sorted(tx.execute(begun).scalars())
    for case_id in found:
        _put_aside(tx, case_id, same)
    return found


def _put_aside(tx: Connection, case_id: int, same: int) -> None:
    """Below what stands there already, so that neither key is in the way."""
    places = [0]
    for table in (escalations, deliveries):
        places += tx.execute(select(table.c.position).distinct().where(table.c.case_id == case_id)).scalars()
    down = max(places) + 1 - min(places)
    for table in (escalations, deliveries):
        these = (table.c.case_id == case_id) & (table.c.position >= same)
        tx.execute(update(table).where(these).values(position=table.c.position - down))
