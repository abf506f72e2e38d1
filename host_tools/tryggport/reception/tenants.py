"""Municipalities are tenants: what one of them may see, and nothing beside it (TP-REC-001).

Every read of the reception takes a `Scope` and asks it for the condition on the rows it reads. The alarm centre's own scope
sees all, also what belongs to no home yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select, true

from tryggport.errors import TryggError
from tryggport.reception.database import Database
from tryggport.reception.schema import installations, municipalities


@dataclass(frozen=True, slots=True)
class Scope:
    """What one reader may see of a database. `municipality_id` None: the centre. Made by `centre` and `municipality` only."""

    database: Database
    municipality_id: int | None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.database.read() as tx:
            yield tx

    def of(self, table: Table) -> ColumnElement[bool]:
        """The condition on rows of a table with a `municipality_id`."""
        return true() if self.municipality_id is None else table.c.municipality_id == self.municipality_id

    def serves(self, gateway: ColumnElement[Any]) -> ColumnElement[bool]:
        """The condition on rows that say how a gateway is now: it serves a home of this municipality."""
        if self.municipality_id is None:
            return true()
        here = (installations.c.municipality_id == self.municipality_id) & installations.c.to_ms.is_(None)
        return gateway.in_(select(installations.c.gateway).where(here))


def centre(database: Database) -> Scope:
    """The alarm centre itself."""
    return Scope(database, None)


def municipality(database: Database, name: str) -> Scope:
    """One municipality. Raises TryggError when there is none of that name."""
    with database.read() as tx:
        return Scope(database, municipality_id(tx, name))


def municipality_id(tx: Connection, name: str) -> int:
    """Raises TryggError when there is no municipality of that name."""
    found = tx.execute(select(municipalities.c.id).where(municipalities.c.name == name)).scalar()
    if found is None:
        raise TryggError(f"There is no municipality {name}.", f"Add it: tryggport registry municipality add {name!r}")
    return int(found)
