"""Signs commands and queues them with the reception (protocols/commands.md)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception import orders
from tryggport.reception.database import Database
from tryggport.reception.ledger import now_ms
from tryggport.wire import order, topics
from tryggport.wire.envelope import SigningKey
from tryggport.wire.order import CODES, DONE, RESEND_MAX, Command

TTL_MS = 3_600_000  # how long a command waits for a gateway that is off line
_POLL_S = 0.1


@dataclass(frozen=True)
class Resent:
    """`asked`: how many seqs; `sent`: how many the gateway sends again; `missing`: ranges it no longer holds."""

    asked: int
    sent: int
    missing: list[tuple[int, int]] = field(default_factory=list)


def send(database: Database, folder: Path, gateway: str, what: int, *arguments: Any) -> int:
    """Queues a command; returns the id of the order. Raises TryggError when the gateway was never heard.

    The counter is the time in ms: it rises also when the database was restored from an older copy (TP-CMD-005).
    """
    epoch, _ = _heard(database, gateway)
    now = now_ms()
    counter = max(now, orders.last_counter(database, gateway) + 1)
    command = Command(
        gateway=gateway, epoch=epoch, counter=counter, what=what, arguments=arguments, not_after_ms=now + TTL_MS
    )
    key = SigningKey(files.load_key(folder / f"{files.COMMAND_KEY}.key"))
    envelope = key.seal(command.to_bytes(), topics.topic(gateway, topics.COMMAND))
    return orders.queue(
        database, gateway, order.COMMAND, counter, envelope, what=what, not_after_ms=command.not_after_ms
    )


def wait(database: Database, order_id: int, timeout_s: float) -> dict[int, Any] | None:
    """The details of the result, or None when none comes in time. Raises TryggError when the gateway refuses."""
    deadline = time.monotonic() + timeout_s
    while (found := orders.answer(database, order_id)) is None:
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_S)
    code, details = found
    if code != DONE:
        raise TryggError(f"The gateway answers: {CODES.get(code, f'code {code}')}.", _HINTS.get(code, ""))
    return details


def resend(
    database: Database, folder: Path, gateway: str, first: int | None, last: int | None, epoch: bytes | None,
    timeout_s: float,
) -> Resent:  # fmt: skip
    """Asks for the events first…last once more, by default for all. Raises TryggError when no answer comes in time.

    A gateway looks at 4,096 seqs a command, and at fewer when they are in many pieces; it is asked until all were looked at.
    """
    present, next_seq = _heard(database, gateway)
    at, end = first or 0, next_seq - 1 if last is None else last
    if at > end:
        raise TryggError(f"There are no events {at} to {end}.", usage=True)
    missing: list[tuple[int, int]] = []
    sent = 0
    asked = end - at + 1
    while at <= end:
        until = min(end, at + RESEND_MAX - 1)
        details = wait(database, send(database, folder, gateway, order.RESEND, epoch or present, at, until), timeout_s)
        if details is None:
            raise TryggError(
                f"{gateway} has not answered in {timeout_s:g} s.",
                "It is asked until it does: tryggport gateways orders",
            )
        missing += [(low, high) for low, high in details[2]]
        sent += details[3]
        at = max(at, details[1]) + 1
    return Resent(asked, sent, _joined(missing))


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for low, high in runs:
        if joined and joined[-1][1] + 1 == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _heard(database: Database, gateway: str) -> tuple[bytes, int]:
    found = orders.epoch_and_next_seq(database, gateway)
    if found is None:
        raise TryggError(f"The reception has never heard of {gateway}.", "See all: tryggport gateways list")
    return found


_HINTS = {
    4: "It began a new epoch meanwhile: type the command again.",
    10: "Take them first, or say --force.",
}
