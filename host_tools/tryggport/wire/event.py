"""Events: what the alarm and event topics carry (tryggport.cddl; TP-WIR-006 to TP-WIR-010)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tryggport.wire import cbor, fields, kinds
from tryggport.wire.fields import PayloadError, refuse

MAX_EVENT = 1100  # bytes, TP-BND-003
DATA_VALUE_MAX = 64  # bytes of a text or byte string
_NOTHING: Mapping[int, Any] = MappingProxyType({})


def _nothing() -> Mapping[int, Any]:
    return _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `boot` counts the boots of the epoch, `uptime_ms` runs since that boot, `utc_ms` is the Unix time.

    `data` holds the data map; `later` the map keys above 15, which this version keeps and does not understand.
    """

    gateway: str
    epoch: bytes
    seq: int
    boot: int
    uptime_ms: int
    utc_ms: int | None = None
    quality: int = kinds.QUALITY_NEVER
    kind: int
    state: int = kinds.STATE_RAISED
    test: bool = False
    ref: int | None = None
    severity: int = 0
    sensor: str | None = None
    location: int | None = None
    data: Mapping[int, Any] = field(default_factory=_nothing)
    later: Mapping[int, Any] = field(default_factory=_nothing)
    encoded: bytes = field(default=b"", compare=False, repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Event:
        """Raises PayloadError unless `data` is one event; the event keeps these very bytes."""
        try:
            return event_from(cbor.decode(data), data)
        except cbor.CborError as e:
            raise refuse(str(e)) from None

    def to_bytes(self) -> bytes:
        """The bytes that the event came in, or its deterministic encoding. Raises PayloadError when over 1,100 bytes."""
        if self.encoded:
            return self.encoded
        table: dict[int, Any] = {
            1: self.gateway, 2: self.epoch, 3: self.seq, 4: self.boot, 5: self.uptime_ms, 6: self.utc_ms,
            7: self.quality, 8: self.kind, 9: self.state, 10: True if self.test else None, 11: self.ref,
            12: self.severity, 13: self.sensor, 14: self.location, 15: dict(self.data) or None,
        }  # fmt: skip
        encoded = cbor.encode({key: value for key, value in table.items() if value is not None} | dict(self.later))
        if len(encoded) > MAX_EVENT:
            raise refuse(f"the event is larger than {MAX_EVENT} bytes")
        return encoded

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the event's bytes: what receipts digest (TP-WIR-012)."""
        return hashlib.sha256(self.to_bytes()).digest()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item of an authentic payload that is not an event. `identity` is (epoch, seq) when those can be read."""

    encoded: bytes
    why: str
    identity: tuple[bytes, int] | None = None

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.encoded).digest()


def encode_events(events: Iterable[Event]) -> bytes:
    """The payload of an alarm or event envelope."""
    encoded = [event.to_bytes() for event in events]
    return cbor.head(4, len(encoded)) + b"".join(encoded)


def decode_events(payload: bytes, gateway: str) -> list[Event | Unreadable]:
    """The events of an authentic payload of `gateway`. Nothing is lost: what is not an event comes back Unreadable.

    An event of another gateway, or of another epoch than the first event's, is Unreadable (TP-WIR-009).
    """
    try:
        items = cbor.decode_array(payload)
    except cbor.CborError as e:
        return [Unreadable(payload, str(e))]
    if not items:
        return [Unreadable(payload, "no event")]
    found: list[Event | Unreadable] = []
    epoch: bytes | None = None
    for value, encoded in items:
        try:
            event = event_from(value, encoded)
            if event.gateway != gateway:
                raise refuse("the event is another gateway's")
            if epoch not in (None, event.epoch):
                raise refuse("the event is of another epoch than the first of its envelope")
            epoch = event.epoch
            found.append(event)
        except PayloadError as e:
            found.append(Unreadable(encoded, e.message, _identity(value, gateway)))
    return found


def event_from(value: Any, encoded: bytes) -> Event:
    """The event of a decoded map and its bytes. Raises PayloadError."""
    if len(encoded) > MAX_EVENT:
        raise refuse(f"the event is larger than {MAX_EVENT} bytes")
    table = fields.mapping(value, "the event")
    fields.known_keys(table, 15)
    if table.get(10, True) is not True:
        raise refuse("field 10 is not true")
    data = table.get(15)
    return Event(
        gateway=fields.gateway_id(table),
        epoch=fields.octets(table.get(2), 8, "the epoch"),
        seq=fields.uint(table, 3, 0, fields.SEQ_MAX),
        boot=fields.uint(table, 4),
        uptime_ms=fields.uint(table, 5),
        utc_ms=fields.optional_uint(table, 6, fields.UTC_MS_MIN, fields.UTC_MS_MAX),
        quality=fields.uint(table, 7, 0, 2),
        kind=fields.uint(table, 8, 1, 255),
        state=fields.uint(table, 9, 0, 2),
        test=10 in table,
        ref=fields.optional_uint(table, 11, 0, fields.SEQ_MAX),
        severity=fields.uint(table, 12, 0, 3),
        sensor=fields.text(table, 13, 1, 16) if 13 in table else None,
        location=fields.optional_uint(table, 14, 0, 999),
        data=_data(data) if 15 in table else _NOTHING,
        later={key: item for key, item in table.items() if key > 15} if len(table) > 9 else _NOTHING,
        encoded=encoded,
    )


def _data(value: Any) -> Mapping[int, Any]:
    for key, item in fields.mapping(value, "the data").items():
        if type(key) is not int or key < 0:
            raise refuse(f"data key {key!r} is not an unsigned integer")
        if not _is_data_value(item):
            raise refuse(f"the data value of key {key} is out of bounds")
    return value  # type: ignore[no-any-return]


def _is_data_value(item: Any) -> bool:
    kind = type(item)
    if kind is str:
        return len(item.encode()) <= DATA_VALUE_MAX
    if kind is bytes:
        return len(item) <= DATA_VALUE_MAX
    if kind is list:
        return all(type(number) is int for number in item)
    return kind is int or kind is bool


def _identity(value: Any, gateway: str) -> tuple[bytes, int] | None:
    try:
        table = fields.mapping(value, "the event")
        if fields.gateway_id(table) != gateway:
            return None
        return fields.octets(table.get(2), 8, "the epoch"), fields.uint(table, 3, 0, fields.SEQ_MAX)
    except PayloadError:
        return None
