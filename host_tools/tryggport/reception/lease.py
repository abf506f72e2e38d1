"""The leader's lease: of all workers on a database one does what is done by the clock (TP-REC-201 to TP-REC-203).

One row says who leads, until when, and for which time (`term`) somebody leads; the database's clock judges. Two things keep a second
one from acting beside it: the holder stops by its own clock before the lease ends, and every transaction of the timers first makes sure
that the term is still its own (`check`), which a new leader has to wait for. So a process that was paused for an hour does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Table,
    Text,
    TextClause,
    or_,
    select,
    text,
    update,
)

from tryggport.errors import TryggError
from tryggport.reception.database import Database
from tryggport.reception.schema import metadata

# Who leads the workers, until when by this database's clock; one row. `term` rises with every new leader.
lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", Text, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

LEASE_MS = 10_000  # TP-BND-242
MARGIN = 0.2  # so much of the lease the holder gives away, for its clock may be slower than the database's
_CLOCK = {
    "postgresql": text("CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"),
    "sqlite": text("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"),
}


class NotLeadingError(TryggError):
    """Somebody else leads, or may."""

    def __init__(self) -> None:
        super().__init__("Another worker leads by now: this one did nothing.")


class Lease:
    """`holder` is for people. `clock_s` must go on while the machine sleeps."""

    def __init__(
        self, database: Database, holder: str, lease_ms: int = LEASE_MS, clock_s: Callable[[], float] | None = None
    ) -> None:
        self._database = database
        self._holder = holder[:120]
        self._lease_ms = lease_ms
        self._clock_s = clock_s or _awake_s
        self.term: int | None = None
        self._until_s = 0.0

    @property
    def held(self) -> bool:
        """Whether we lead, by our own clock: certainly while it is True, as long as nothing pauses between the look and the act."""
        return self.term is not None and self._clock_s() < self._until_s

    def attempt(self) -> bool:
        """Takes the lease if it is free, or prolongs ours; returns whether we lead. Raises TryggError when the database fails."""
        asked_s = self._clock_s()
        with self._database.write() as tx:
            now = clock_ms(tx)
            until = now + self._lease_ms
            # Or its clock went back: by more than the moments in which another one may have prolonged its lease since we looked.
            free = or_(lease.c.until_ms <= now, lease.c.until_ms > until + self._lease_ms)
            if self.term is not None:
                row = self._mine() & (lease.c.until_ms > now)
                self.term = tx.execute(update(lease).where(row).values(until_ms=until).returning(lease.c.term)).scalar()
            if self.term is None:
                values = {"holder": self._holder, "term": lease.c.term + 1, "until_ms": until, "since_ms": now}
                self.term = tx.execute(update(lease).where(free).values(values).returning(lease.c.term)).scalar()
        self._until_s = asked_s + self._lease_ms * (1 - MARGIN) / 1000
        return self.held

    def check(self, tx: Connection) -> None:
        """The fence: to be called first in a transaction. Raises NotLeadingError; else nobody takes the lease before the transaction has ended."""
        row = select(lease.c.until_ms).where(self._mine()).with_for_update(read=True)
        until_ms = tx.execute(row).scalar() if self.held else None
        if until_ms is None or until_ms <= clock_ms(tx):
            raise NotLeadingError

    def release(self) -> None:
        """Gives it to whoever asks next; harmless when it is not ours."""
        if self.term is None:
            return
        with self._database.write() as tx:
            tx.execute(update(lease).where(self._mine()).values(until_ms=0))
        self.term = None

    def _mine(self) -> ColumnElement[bool]:
        return (lease.c.holder == self._holder) & (lease.c.term == (self.term or 0))


def clock_ms(tx: Connection) -> int:
    """The database's clock, Unix time in ms."""
    clock: TextClause = _CLOCK[tx.dialect.name]
    return int(tx.execute(select(clock)).scalar_one())


def leader(tx: Connection) -> str | None:
    """Who leads now, for people."""
    row = tx.execute(select(lease.c.holder, lease.c.until_ms)).first()
    return row.holder if row and row.until_ms > clock_ms(tx) else None


def _awake_s() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
