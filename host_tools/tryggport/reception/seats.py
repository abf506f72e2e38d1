"""A worker's seat: its number, hence its name at the brokers, and the session that they keep under that name (TP-REC-200, TP-REC-207).

On PostgreSQL a seat is an advisory lock on a connection of its own: it is free the moment its holder dies, and whoever takes it next
takes over the session with all that the dead one held. The row says that brokers may have such a session; it goes when a worker
has left for good. SQLite serves one worker, which has the first seat without a lock.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, Table, Text, delete, select, text, update
from sqlalchemy.dialects import postgresql

from tryggport import pki
from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception.database import Database, translated
from tryggport.reception.ledger import now_ms
from tryggport.reception.schema import metadata

# Numbers of workers under whose names brokers may keep sessions; `leaving`: that worker is about to end its own.
seats = Table(
    "seats",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("holder", Text, nullable=False),
    Column("taken_ms", BigInteger, nullable=False),
    Column("leaving", Boolean, nullable=False),
)

LOCKS = 0x7472  # class of our advisory locks
_TAKEN = (
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = :class AND objsubid = 2 AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# A machine that vanishes gives its seats back within this: 5 s, and three probes (TP-BND-241).
_KEEP_ALIVE = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"


class Seat:
    """One worker's. `check`, `leave` and `give_back` raise TryggError when the database fails."""

    def __init__(self, number: int, database: Database | None = None, connection: Connection | None = None) -> None:
        self.number = number
        self.name = files.WORKERS[number - 1]
        self._database = database
        self._connection = connection

    def check(self) -> None:
        """Raises TryggError when the seat is not ours any more, for want of its connection."""
        if self._connection is not None and self._database is not None:
            with translated(self._database.engine):
                self._connection.exec_driver_sql("SELECT 1")

    def has_others(self) -> bool:
        """Whether other workers serve."""
        if self._database is None:
            return False
        with self._database.read() as tx:
            return bool(self._others(tx))

    def leave(self) -> bool:
        """Whether others go on, so that this worker takes its session with it; of several that leave together the last one stays."""
        if self._database is None:
            return False
        with self._database.write() as tx:
            tx.exec_driver_sql("LOCK TABLE seats IN EXCLUSIVE MODE")
            stay = self._others(tx)
            if stay:
                tx.execute(update(seats).where(seats.c.number == self.number).values(leaving=True))
        return bool(stay)

    def _others(self, tx: Connection) -> set[int]:
        others = select(seats.c.number).where(seats.c.number != self.number, seats.c.leaving.is_(False))
        return set(tx.execute(others).scalars()) & _taken(tx)

    def give_back(self, *, empty: bool) -> None:
        """`empty`: no broker has a session of this seat any more."""
        if self._database is None or self._connection is None:
            return
        try:
            if empty:
                with self._database.write() as tx:
                    tx.execute(delete(seats).where(seats.c.number == self.number))
        finally:
            self._connection.close()
            self._database, self._connection = None, None


ALONE = Seat(1)


def take(database: Database, pki_dir: Path) -> Seat:
    """A free seat: one whose last worker has left something at the brokers before others. Raises TryggError when there is none."""
    if not database.is_postgresql:
        return ALONE
    with database.read() as tx:
        waiting = orphans(tx)
    for number in dict.fromkeys([*waiting, *range(1, len(files.WORKERS) + 1)]):
        if not (pki_dir / f"{files.WORKERS[number - 1]}.pem").exists():
            pki.issue_workers(pki_dir)
        if (seat := try_take(database, number)) is not None:
            return seat
    raise TryggError(f"All {len(files.WORKERS)} seats of this reception are taken.", "Stop a worker first.")


def try_take(database: Database, number: int) -> Seat | None:
    """That seat, or None when somebody has it."""
    with translated(database.engine):
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # the lock must not go back into the pool with it
        connection.exec_driver_sql(_KEEP_ALIVE)
        lock = text("SELECT pg_try_advisory_lock(:class, :number)")
        if not connection.execute(lock, {"class": LOCKS, "number": number}).scalar_one():
            connection.close()
            return None
    row = {"number": number, "holder": holder(files.WORKERS[number - 1]), "taken_ms": now_ms(), "leaving": False}
    upsert = postgresql.insert(seats).values(row)
    with database.write() as tx:
        tx.execute(upsert.on_conflict_do_update(index_elements=[seats.c.number], set_=row))
    return Seat(number, database, connection)


def orphans(tx: Connection) -> list[int]:
    """Seats that nobody has, and under whose names brokers may keep messages."""
    if tx.dialect.name != "postgresql":
        return []
    return sorted(set(tx.execute(select(seats.c.number)).scalars()) - _taken(tx))


def holder(name: str) -> str:
    """Which process that is, for people."""
    return f"{name} on {socket.gethostname()}, process {os.getpid()}"[:120]


def _taken(tx: Connection) -> set[int]:
    return {int(number) for number in tx.execute(text(_TAKEN), {"class": LOCKS}).scalars()}
