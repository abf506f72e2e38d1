"""What the gateways say of themselves: the last status of each over each path, and what a birth sets off (TP-WIR-016, TP-WIR-018)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select, update

from tryggport.reception import sessions
from tryggport.reception.cases import tell_again
from tryggport.reception.installations import placed
from tryggport.reception.schema import statuses
from tryggport.wire.status import Status

COLUMN_MAX = 2**63 - 1
State = TypeVar("State", bound=Mapping[Any, Any])


def keep_status(tx: Connection, status: Status, retained: bool, at_ms: int) -> None:
    """Stores the status unless it belongs to an older session on its path; a birth has the gateway told what became of its cases.

    A retained copy proves no life: it is kept only where nothing else is known. A will counts only for the newest session.
    """
    row = _row(status)
    of_gateway = (statuses.c.gateway == status.gateway) & (statuses.c.path == row["path"])
    known = tx.execute(select(statuses).where(of_gateway)).mappings().first()
    if status.online and not retained:
        sessions.note(tx, row, at_ms)
    if known is not None and (retained or not _is_current(row, known)):
        return
    if known is None:
        row |= {"online": status.online and not retained, "seen_ms": None if retained else at_ms}
        tx.execute(insert(statuses).values(row))
    elif status.online:
        tx.execute(update(statuses).where(of_gateway).values(row | {"seen_ms": at_ms}))
    else:  # the will was written when its session began: it tells the end of it and nothing newer
        tx.execute(update(statuses).where(of_gateway).values(online=False))
    is_birth = known is None or not known["online"] or _session(row) != _session(known)
    if status.online and is_birth and not retained:
        tell_again(tx, status.gateway, at_ms, placed(tx, (status.gateway,)).get(status.gateway))


def _row(status: Status) -> dict[str, Any]:
    """The columns. Integers of the wire have 64 bits without sign, those of databases one less; PostgreSQL takes no NUL."""
    row = {field.name: getattr(status, field.name) for field in fields(status)}
    row["firmware"] = status.firmware.replace("\0", "?")
    return {name: min(value, COLUMN_MAX) if type(value) is int else value for name, value in row.items()}


def _is_current(row: Mapping[Any, Any], known: Mapping[Any, Any]) -> bool:
    """Within an epoch sessions only rise; a new epoch begins with something online."""
    if row["epoch"] != known["epoch"]:
        return bool(row["online"])
    if row["online"]:
        return _session(row) >= _session(known)
    return _session(row) == _session(known)


def _session(row: Mapping[Any, Any]) -> tuple[bytes, int, int]:
    return row["epoch"], row["boot"], row["connect"]


def newest_heard(states: Iterable[State]) -> dict[str, State]:
    """By gateway, the status of its last connection: sessions rise within an epoch, and a new epoch is heard later."""
    newest: dict[str, State] = {}
    for state in states:
        other = newest.setdefault(state["gateway"], state)
        same_epoch = state["epoch"] == other["epoch"]
        key = ("boot", "connect") if same_epoch else ("seen_ms",)
        if [state[name] or 0 for name in key] > [other[name] or 0 for name in key]:
            newest[state["gateway"]] = state
    return newest
