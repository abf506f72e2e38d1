"""What gateways say is wrong with them: a condition stands from its event until it is cleared, or the gateway starts anew (TP-REC-012).

A gateway tells of a fault once a boot, so what still is wrong after a boot comes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, column, delete, exists, select, values
from sqlalchemy.dialects import postgresql, sqlite

from tryggport.reception.schema import conditions, events
from tryggport.texts import plain
from tryggport.wire import kinds
from tryggport.wire.event import Event

# (kind, fault): (kind of work, sentence); {place} is the gateway with its home, {sensor} the sensor's name.
SENTENCES: Mapping[tuple[int, int], tuple[str, str]] = {
    (kinds.MAINS, 0): ("mains", "{place} has no mains power. Look at its plug and the fuses."),
    (kinds.FAULT, kinds.FAULT_ACCELEROMETER): ("sensor", "The fall sensor of {place} does not answer. Change it."),
    (kinds.FAULT, kinds.SENSOR_FAULT_SILENT): ("sensor", "The sensor {sensor} of {place} is not heard. Look for it."),
    (kinds.FAULT, kinds.SENSOR_FAULT_BATTERY_LOW): ("battery", "The battery of {sensor} at {place} is low. Change it."),
    (kinds.FAULT, kinds.FAULT_TASK_STOPPED): ("program", "A part of the program in {place} has stopped. Restart it."),
    (kinds.FAULT, kinds.FAULT_JOURNAL_FULL): (
        "journal",
        "{place} was cut off so long that it lost alarms. Ask the home.",
    ),
    (kinds.FAULT, kinds.FAULT_CONFLICT): ("conflict", "{place} used a number twice. Is there a copy of it?"),
}
_KINDS = {kind for kind, _ in SENTENCES}
KEY = (conditions.c.gateway, conditions.c.kind, conditions.c.fault, conditions.c.sensor)
Key = tuple[str, int, int, str]


@dataclass(frozen=True, slots=True)
class Condition:
    """`sentence` has places for `place` and `sensor`."""

    gateway: str
    kind: str
    sentence: str
    sensor: str
    since_ms: int


def note(tx: Connection, fresh: Sequence[Event], at_ms: int) -> None:
    """Takes account of events that are new, in their order; a few statements for all of them."""
    telling = [event for event in fresh if not event.test and (event.kind == kinds.BOOT or event.kind in _KINDS)]
    if not telling:
        return
    gateways = {event.gateway for event in telling}
    rows = tx.execute(select(conditions).where(conditions.c.gateway.in_(gateways))).mappings()
    before = {_key(row): dict(row) for row in rows}
    after: dict[str, dict[Key, dict[str, Any]]] = {gateway: {} for gateway in gateways}
    for key, row in before.items():
        after[key[0]][key] = row
    overtaken = _overtaken(tx, [event for event in telling if _raises(event)])
    for event in telling:
        of_gateway = after[event.gateway]
        if not _raises(event):
            after[event.gateway] = {key: row for key, row in of_gateway.items() if not _ends(event, row)}
        elif (event.gateway, event.epoch, event.seq) not in overtaken:
            row = _row(event, at_ms)
            of_gateway[_key(row)] = row
    _write(tx, before, {key: row for of_gateway in after.values() for key, row in of_gateway.items()})


def standing(tx: Connection, gateways: Sequence[str]) -> Iterator[Condition]:
    """The conditions of these gateways."""
    known = set(gateways)
    for row in tx.execute(select(conditions).order_by(*conditions.primary_key)):
        if row.gateway in known:
            kind, sentence = SENTENCES[row.kind, row.fault]
            yield Condition(row.gateway, kind, sentence, row.sensor, row.since_ms)


def _raises(event: Event) -> bool:
    return event.state == kinds.STATE_RAISED and (event.kind, _fault(event)) in SENTENCES


def _ends(event: Event, row: Mapping[Any, Any]) -> bool:
    if event.kind == kinds.BOOT:
        return bool(row["epoch"] != event.epoch or row["boot"] < _column(event.boot))
    return event.state == kinds.STATE_CLEARED and (row["epoch"], row["seq"]) == (event.epoch, event.ref)


def _overtaken(tx: Connection, raised: Sequence[Event]) -> set[tuple[str, bytes, int]]:
    """Those whose end came before them."""
    if not raised:
        return set()
    identity = (events.c.gateway, events.c.epoch, events.c.seq)
    table = values(*(column(part.name, part.type) for part in identity), name="raised")
    these = table.data([(event.gateway, event.epoch, event.seq) for event in raised]).cte()
    same = (events.c.gateway == these.c.gateway) & (events.c.epoch == these.c.epoch)
    cleared = (events.c.seq > these.c.seq) & (events.c.ref == these.c.seq) & (events.c.state == kinds.STATE_CLEARED)
    query = select(these).where(exists().where(same & cleared))  # a join might go through all events
    return {(gateway, epoch, seq) for gateway, epoch, seq in tx.execute(query)}


def _write(tx: Connection, before: Mapping[Key, Any], after: Mapping[Key, dict[str, Any]]) -> None:
    gone = before.keys() - after.keys()
    if gone:
        this = [part == bindparam(f"b_{part.name}") for part in KEY]
        keys = [dict(zip((f"b_{part.name}" for part in KEY), key, strict=True)) for key in gone]
        tx.execute(delete(conditions).where(*this), keys)
    changed = [row for key, row in after.items() if before.get(key) != row]
    if changed:
        upsert = (postgresql if tx.dialect.name == "postgresql" else sqlite).insert(conditions)
        new = {name: upsert.excluded[name] for name in ("epoch", "seq", "boot", "since_ms")}
        tx.execute(upsert.on_conflict_do_update(index_elements=KEY, set_=new), changed)


def _key(row: Mapping[Any, Any]) -> Key:
    return row["gateway"], row["kind"], row["fault"], row["sensor"]


def _row(event: Event, at_ms: int) -> dict[str, Any]:
    return {
        "gateway": event.gateway, "kind": event.kind, "fault": _fault(event), "sensor": _sensor(event),
        "epoch": event.epoch, "seq": event.seq, "boot": _column(event.boot), "since_ms": at_ms,
    }  # fmt: skip


def _fault(event: Event) -> int:
    fault = event.data.get(kinds.DATA_FAULT, 0)
    return fault if type(fault) is int else 0


def _sensor(event: Event) -> str:
    return plain(event.sensor or "")


def _column(value: int) -> int:
    return min(value, 2**63 - 1)
