"""Workers take turns: two transactions never store what is of one gateway at the same time (TP-REC-204).

An alarm and its cancel that came to two workers at the same moment would not see each other, and two workers that
store the same events in another order would wait for each other for ever. SQLite has one writer at a time as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from zlib import crc32

from sqlalchemy import Connection, text

CLASS = 0x7473
AT_ONCE = 500  # TP-BND-248: of its default 6,400 locks PostgreSQL gives each of 8 workers so many and some to spare
_WAIT = text("SELECT pg_advisory_xact_lock(:class, key) FROM unnest(CAST(:keys AS int[])) AS key")


def shares(gateways: Collection[str], *, locked: bool) -> Iterator[Collection[str]]:
    """Parts that are small enough for one transaction; all of them where no locks are taken (SQLite)."""
    if len(gateways) <= AT_ONCE or not locked:
        yield gateways
        return
    rest = sorted(gateways)
    for at in range(0, len(rest), AT_ONCE):
        yield set(rest[at : at + AT_ONCE])


def wait(tx: Connection, gateways: Iterable[str]) -> None:
    """Returns when no other transaction is about these gateways; none begins to before this one has ended."""
    if tx.dialect.name == "postgresql":
        keys = sorted(
            {crc32(gateway.encode()) - 2**31 for gateway in gateways}
        )  # in one order, or two would wait for each other
        tx.execute(_WAIT, {"class": CLASS, "keys": keys})
