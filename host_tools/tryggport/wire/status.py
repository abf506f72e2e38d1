"""Status: birth, heartbeat and will of a gateway (tryggport.cddl; TP-WIR-018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tryggport.wire import cbor, fields, kinds
from tryggport.wire.fields import refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a gateway says of itself. (`boot`, `connect`) is the session; `online` is false only in the will."""

    gateway: str
    epoch: bytes
    boot: int
    connect: int
    online: bool
    next_seq: int
    alarms: int
    events: int
    uptime_ms: int
    utc_ms: int | None = None
    quality: int = kinds.QUALITY_NEVER
    path: int = 0
    firmware: str

    @classmethod
    def from_bytes(cls, data: bytes) -> Status:
        """Raises PayloadError unless `data` is one status."""
        try:
            table = fields.mapping(cbor.decode(data), "the status")
        except cbor.CborError as e:
            raise refuse(str(e)) from None
        fields.known_keys(table, 13)
        return cls(
            gateway=fields.gateway_id(table),
            epoch=fields.octets(table.get(2), 8, "the epoch"),
            boot=fields.uint(table, 3),
            connect=fields.uint(table, 4),
            online=fields.boolean(table, 5),
            next_seq=fields.uint(table, 6, 0, fields.SEQ_MAX),
            alarms=fields.uint(table, 7),
            events=fields.uint(table, 8),
            uptime_ms=fields.uint(table, 9),
            utc_ms=fields.optional_uint(table, 10, fields.UTC_MS_MIN, fields.UTC_MS_MAX),
            quality=fields.uint(table, 11, 0, 2),
            path=fields.uint(table, 12),
            firmware=fields.text(table, 13, 1, 32),
        )

    def to_bytes(self) -> bytes:
        table: dict[int, Any] = {
            1: self.gateway, 2: self.epoch, 3: self.boot, 4: self.connect, 5: self.online, 6: self.next_seq,
            7: self.alarms, 8: self.events, 9: self.uptime_ms, 10: self.utc_ms, 11: self.quality, 12: self.path,
            13: self.firmware,
        }  # fmt: skip
        return cbor.encode({key: value for key, value in table.items() if value is not None})
