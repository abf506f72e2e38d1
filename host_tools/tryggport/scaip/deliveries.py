"""What must survive a restart: which messages are on their way, to whom, and what became of them.

`Deliveries` is all that the channel asks of a store. `MemoryDeliveries` forgets; `tryggport.reception.scaip` keeps them in the
reception's database.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

WAITING, DELIVERED, REFUSED = "waiting", "delivered", "refused"
UNDELIVERED = "undelivered"  # it waits, and somebody else was to be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message. `receivers`: SIP addresses, best first; `refused`: those of them that never take it; times in Unix ms.

    `xml` is the full request; `reduced`: a receiver has asked for less, so only its mandatory tags are sent from now on.
    `receiver`, `snu`: who confirmed it, or who answered last; `why`: the last answer in words.
    """

    ref: str
    cid: str
    mty: str
    xml: bytes
    receivers: tuple[str, ...]
    created_ms: int
    alarm: bool = True
    case_id: int | None = None
    state: str = WAITING
    attempts: int = 0
    reduced: bool = False
    refused: tuple[str, ...] = ()
    receiver: str | None = None
    snu: int | None = None
    why: str = ""
    done_ms: int | None = None
    escalated_ms: int | None = None
    order: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`state`: waiting | delivered | refused (no receiver will ever take it; `snu` says why) | undelivered (for 60 s nobody
    has confirmed it: call somebody else; it is still being tried)."""

    ref: str
    state: str
    why: str = ""
    snu: int | None = None
    receiver: str | None = None
    attempts: int = 0
    case_id: int | None = None


def outcome_of(d: Delivery) -> Outcome:
    state = UNDELIVERED if d.state == WAITING and d.escalated_ms is not None else d.state
    return Outcome(d.ref, state, d.why, d.snu, d.receiver, d.attempts, d.case_id)


class Deliveries(Protocol):
    """A store; every method is durable when it returns and raises TryggError when it cannot be. Called from one thread,
    but for `add` and `get`."""

    def add(self, delivery: Delivery) -> Delivery:
        """Keeps it with the next `order`. A `ref` that is there already keeps its row, which gains the new receivers."""

    def get(self, ref: str) -> Delivery | None: ...

    def open(self) -> list[Delivery]:
        """All that wait, in their order."""

    def save(self, delivery: Delivery) -> None:
        """Keeps what has changed of one that was added."""


class MemoryDeliveries:
    """For one run of a command, and for tests of the channel."""

    def __init__(self) -> None:
        self._kept: dict[str, Delivery] = {}

    def add(self, delivery: Delivery) -> Delivery:
        before = self._kept.get(delivery.ref)
        order = len(self._kept) + 1
        kept = dataclasses.replace(delivery, order=order) if before is None else joined(before, delivery)
        self._kept[delivery.ref] = kept
        return kept

    def get(self, ref: str) -> Delivery | None:
        return self._kept.get(ref)

    def open(self) -> list[Delivery]:
        return [delivery for delivery in self._kept.values() if delivery.state == WAITING]

    def save(self, delivery: Delivery) -> None:
        self._kept[delivery.ref] = delivery


def joined(before: Delivery, again: Delivery) -> Delivery:
    """What is kept when a message is handed over once more: the first, with the receivers that are new.

    New receivers give one that every receiver had refused another chance.
    """
    new = tuple(receiver for receiver in again.receivers if receiver not in before.receivers)
    state = WAITING if new and before.state == REFUSED else before.state
    return dataclasses.replace(before, receivers=before.receivers + new, state=state)
