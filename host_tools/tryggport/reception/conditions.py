"""What gateways say is wrong with them: a condition stands from its event until it is cleared, or the gateway starts anew (TP-REC-012).

A gateway tells of a fault once a boot, so what still is wrong after a boot comes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from tryggport.reception.schema import conditions, events
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


@dataclass(frozen=True, slots=True)
class Condition:
    """`sentence` has places for `place` and `sensor`."""

    gateway: str
    kind: str
    sentence: str
    sensor: str
    since_ms: int


def note(tx: Connection, fresh: Sequence[Event], at_ms: int) -> None:
    """Takes account of events that are new."""
    for event in fresh:
        if event.test:
            continue
        if event.kind == kinds.BOOT:
            before = (conditions.c.epoch != event.epoch) | (conditions.c.boot < _column(event.boot))
            tx.execute(delete(conditions).where(conditions.c.gateway == event.gateway, before))
        elif event.kind in _KINDS and event.state == kinds.STATE_CLEARED:
            this = (conditions.c.epoch == event.epoch) & (conditions.c.seq == event.ref)
            tx.execute(delete(conditions).where(conditions.c.gateway == event.gateway, this))
        elif (event.kind, _fault(event)) in SENTENCES and event.state == kinds.STATE_RAISED:
            _raise(tx, event, at_ms)


def standing(tx: Connection, gateways: Sequence[str]) -> Iterator[Condition]:
    """The conditions of these gateways."""
    known = set(gateways)
    for row in tx.execute(select(conditions).order_by(*conditions.primary_key)):
        if row.gateway in known:
            kind, sentence = SENTENCES[row.kind, row.fault]
            yield Condition(row.gateway, kind, sentence, row.sensor, row.since_ms)


def _raise(tx: Connection, event: Event, at_ms: int) -> None:
    cleared = (events.c.gateway == event.gateway) & (events.c.epoch == event.epoch) & (events.c.seq > event.seq)
    cleared &= (events.c.ref == event.seq) & (events.c.state == kinds.STATE_CLEARED)
    if tx.execute(select(events.c.id).where(cleared).limit(1)).first():
        return  # the end overtook the beginning
    key = {"gateway": event.gateway, "kind": event.kind, "fault": _fault(event), "sensor": _sensor(event)}
    tx.execute(delete(conditions).where(*(conditions.c[name] == value for name, value in key.items())))
    values: dict[str, Any] = {"epoch": event.epoch, "seq": event.seq, "boot": _column(event.boot), "since_ms": at_ms}
    tx.execute(insert(conditions).values(key | values))


def _fault(event: Event) -> int:
    fault = event.data.get(kinds.DATA_FAULT, 0)
    return fault if type(fault) is int else 0


def _sensor(event: Event) -> str:
    return (event.sensor or "").replace("\0", "?")


def _column(value: int) -> int:
    return min(value, 2**63 - 1)
