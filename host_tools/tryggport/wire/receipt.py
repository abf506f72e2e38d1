"""Receipts: what the receiver says of ranges of events (tryggport.cddl; TP-WIR-011 to TP-WIR-016)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tryggport.wire import cbor, fields, kinds
from tryggport.wire.fields import refuse

MAX_RANGES = 32
MAX_IN_RANGE = 64  # TP-BND-041: a gateway has no more in flight
OUTCOME_MAX = max(kinds.OUTCOMES)


class Range(NamedTuple):
    """Events first…last of one epoch and the digest over their hashes (8 bytes)."""

    first: int
    last: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One outcome for some ranges of a gateway's epoch. `utc_ms` is the receiver's time, `wait_ms` goes with retry_later."""

    gateway: str
    epoch: bytes
    ranges: tuple[Range, ...]
    outcome: int
    utc_ms: int
    wait_ms: int | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """Raises PayloadError unless `data` is one receipt."""
        try:
            table = fields.mapping(cbor.decode(data), "the receipt")
        except cbor.CborError as e:
            raise refuse(str(e)) from None
        fields.known_keys(table, 6)
        ranges = table.get(3)
        if type(ranges) is not list or not ranges:
            raise refuse("field 3 is not a list of ranges")
        return cls(
            gateway=fields.gateway_id(table),
            epoch=fields.octets(table.get(2), 8, "the epoch"),
            ranges=tuple(_range(item) for item in ranges),
            outcome=fields.uint(table, 4, 0, OUTCOME_MAX),
            utc_ms=fields.uint(table, 5, fields.UTC_MS_MIN, fields.UTC_MS_MAX),
            wait_ms=fields.optional_uint(table, 6),
        )

    def to_bytes(self) -> bytes:
        table: dict[int, Any] = {
            1: self.gateway,
            2: self.epoch,
            3: [list(item) for item in self.ranges],
            4: self.outcome,
            5: self.utc_ms,
        }
        return cbor.encode(table if self.wait_ms is None else table | {6: self.wait_ms})


def digest(hashes: Iterable[bytes]) -> bytes:
    """First 8 bytes of SHA-256 over the concatenated hashes of the events, from first to last."""
    return hashlib.sha256(b"".join(hashes)).digest()[:8]


def ranges_of(hash_by_seq: dict[int, bytes]) -> list[Range]:
    """Ranges over exactly these events: neighbours are joined as far as a gateway checks them, gaps never are (TP-WIR-012)."""
    runs: list[list[int]] = []
    for seq in sorted(hash_by_seq):
        if runs and runs[-1][-1] + 1 == seq and len(runs[-1]) < MAX_IN_RANGE:
            runs[-1].append(seq)
        else:
            runs.append([seq])
    return [Range(run[0], run[-1], digest(hash_by_seq[seq] for seq in run)) for run in runs]


def receipts(
    gateway: str, epoch: bytes, outcome: int, hash_by_seq: dict[int, bytes], utc_ms: int, *, joined: bool = True
) -> list[Receipt]:
    """As many receipts as the events need to stay within an envelope; not `joined`: one range an event.

    Neighbours may be joined only where one transaction gave them their outcome. A gateway that no longer holds one event
    of a joined range cannot check the digest of the others.
    """
    ranges = ranges_of(hash_by_seq) if joined else [Range(seq, seq, digest([sha])) for seq, sha in hash_by_seq.items()]
    return [
        Receipt(
            gateway=gateway, epoch=epoch, ranges=tuple(ranges[at : at + MAX_RANGES]), outcome=outcome, utc_ms=utc_ms
        )
        for at in range(0, len(ranges), MAX_RANGES)
    ]


def _range(item: Any) -> Range:
    if type(item) is not list or len(item) != 3:
        raise refuse("a range is not [first, last, digest]")
    table = dict(enumerate(item))
    last = fields.uint(table, 1, 0, fields.SEQ_MAX)
    return Range(fields.uint(table, 0, 0, last), last, fields.octets(item[2], 8, "the digest"))
