"""Orders: commands to a gateway, and its results (tryggport.cddl; TP-CMD-003, TP-CMD-007)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tryggport.wire import cbor, fields
from tryggport.wire.fields import refuse

COMMAND, CONFIGURATION, TRUST, REQUEST = 0, 1, 2, 3
KINDS = {COMMAND: "command", CONFIGURATION: "configuration", TRUST: "trust list", REQUEST: "request"}
RESEND, RESTART, TEST_ALARM, FACTORY_RESET = 1, 2, 3, 4
COMMANDS = {RESEND: "resend", RESTART: "restart", TEST_ALARM: "test alarm", FACTORY_RESET: "factory reset"}
DONE, BUSY = 0, 9
CODES = {
    DONE: "done",
    1: "malformed",
    2: "unknown to this firmware",
    3: "for another gateway",
    4: "for another epoch",
    5: "expired",
    6: "taken before",
    7: "counter too old",
    8: "older than what is in force",
    BUSY: "busy",
    10: "refused: alarms are pending",
    11: "the last good one is back",
    12: "cannot be put in force",
}
COUNTER_MAX = 2**63 - 1
RESEND_MAX = 4096  # seqs in one command, TP-BND-024


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`what` is a number of COMMANDS; `arguments` are its own. After `not_after_ms` (UTC) it is not to be acted on."""

    gateway: str
    epoch: bytes
    counter: int
    what: int
    arguments: tuple[Any, ...] = ()
    not_after_ms: int | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> Command:
        """Raises PayloadError unless `data` is one command."""
        table = _table(data, "the command", 6)
        arguments = table.get(5, [])
        if type(arguments) is not list:
            raise refuse("field 5 is not a list")
        return cls(
            gateway=fields.gateway_id(table),
            epoch=fields.octets(table.get(2), 8, "the epoch"),
            counter=fields.uint(table, 3, 0, COUNTER_MAX),
            what=fields.uint(table, 4),
            arguments=tuple(arguments),
            not_after_ms=fields.optional_uint(table, 6, fields.UTC_MS_MIN, fields.UTC_MS_MAX),
        )

    def to_bytes(self) -> bytes:
        table: dict[int, Any] = {1: self.gateway, 2: self.epoch, 3: self.counter, 4: self.what}
        if self.arguments:
            table[5] = list(self.arguments)
        if self.not_after_ms is not None:
            table[6] = self.not_after_ms
        return cbor.encode(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of an order: `kind` and `number` name it (a counter or a version), `code` is a number of CODES."""

    gateway: str
    epoch: bytes
    kind: int
    number: int
    code: int
    details: dict[int, Any] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, data: bytes) -> Result:
        """Raises PayloadError unless `data` is one result."""
        table = _table(data, "the result", 5)
        answers = table.get(3)
        if type(answers) is not list or len(answers) != 2:
            raise refuse("field 3 is not [kind, number]")
        answered = dict(enumerate(answers))
        return cls(
            gateway=fields.gateway_id(table),
            epoch=fields.octets(table.get(2), 8, "the epoch"),
            kind=fields.uint(answered, 0, 0, max(KINDS)),
            number=fields.uint(answered, 1, 0, COUNTER_MAX),
            code=fields.uint(table, 4, 0, 255),
            details=fields.mapping(table.get(5, {}), "field 5"),
        )

    def to_bytes(self) -> bytes:
        table: dict[int, Any] = {1: self.gateway, 2: self.epoch, 3: [self.kind, self.number], 4: self.code}
        return cbor.encode(table | ({5: self.details} if self.details else {}))


def _table(data: bytes, what: str, highest: int) -> dict[Any, Any]:
    try:
        table = fields.mapping(cbor.decode(data), what)
    except cbor.CborError as e:
        raise refuse(str(e)) from None
    fields.known_keys(table, highest)
    return table
