"""What the gateways say of themselves: the last status of each over each path, and what a birth sets off (TP-WIR-016, TP-WIR-018)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, insert, select, update

from tryggport.reception import sessions
from tryggport.reception.cases import tell_again
from tryggport.reception.schema import statuses
from tryggport.texts import plain
from tryggport.wire.status import Status

COLUMN_MAX = 2**63 - 1
State = TypeVar("State", bound=Mapping[Any, Any])


def keep_statuses(tx: Connection, states: Sequence[tuple[Status, bool]], at_ms: int) -> None:
    """Stores each status, of which we know whether it was the retained copy, unless it belongs to an older session on its path;
    a birth has the gateway told what became of its cases. A few statements for all that came of different gateways.

    A retained copy proves no life: it is kept only where nothing else is known. A will counts only for the newest session.
    """
    later = list(states)
    while later:
        now: dict[str, tuple[Status, bool]] = {}
        rest = []
        for state in later:
            if now.setdefault(state[0].gateway, state) is not state:
                rest.append(state)
        _keep(tx, list(now.values()), at_ms)
        later = rest


def _keep(tx: Connection, states: Sequence[tuple[Status, bool]], at_ms: int) -> None:
    """One status a gateway."""
    gateways = {status.gateway for status, _ in states}
    rows = tx.execute(select(statuses).where(statuses.c.gateway.in_(gateways))).mappings()
    known_of = {(row["gateway"], row["path"]): row for row in rows}
    new: list[dict[str, Any]] = []
    heard: list[dict[str, Any]] = []
    born: list[str] = []
    came = [(_row(status), retained) for status, retained in states]
    sessions.note(tx, [row for row, retained in came if row["online"] and not retained], at_ms)
    for row, retained in came:
        known = known_of.get((row["gateway"], row["path"]))
        if known is not None and (retained or not _is_current(row, known)):
            continue
        online = row["online"] and not retained
        if known is None:
            new.append(row | {"online": online, "seen_ms": None if retained else at_ms})
        elif online:
            heard.append(row | {"seen_ms": at_ms})
        else:  # the will was written when its session began: it tells the end of it and nothing newer
            of_path = (statuses.c.gateway == row["gateway"]) & (statuses.c.path == row["path"])
            tx.execute(update(statuses).where(of_path).values(online=False))
        if online and (known is None or not known["online"] or _session(row) != _session(known)):
            born.append(row["gateway"])
    if new:
        tx.execute(insert(statuses), new)
    _write(tx, heard)
    if born:
        last = newest_heard(known_of.values())
        tell_again(tx, {gateway: last[gateway]["seen_ms"] or at_ms if gateway in last else at_ms for gateway in born})


def _write(tx: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        of_path = (statuses.c.gateway == bindparam("of_gateway")) & (statuses.c.path == bindparam("of_path"))
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in rows[0]}
        keys = [{"of_gateway": row["gateway"], "of_path": row["path"]} for row in rows]
        new = [{f"new_{name}": value for name, value in row.items()} for row in rows]
        tx.execute(
            update(statuses).where(of_path).values(values), [key | row for key, row in zip(keys, new, strict=True)]
        )


def _row(status: Status) -> dict[str, Any]:
    """The columns. Integers of the wire have 64 bits without sign, those of databases one less; PostgreSQL takes no NUL."""
    row = {field.name: getattr(status, field.name) for field in fields(status)}
    row["firmware"] = plain(status.firmware)
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
