"""One of many simulated gateways on one event loop: its backlog, its connection, its receipts. Times are those of protocols/bounds.md."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tryggport.sim import packets
from tryggport.sim.gateway import Gateway
from tryggport.wire import kinds, topics
from tryggport.wire.envelope import MAX_ENVELOPE, EnvelopeError
from tryggport.wire.event import Event
from tryggport.wire.fields import PayloadError
from tryggport.wire.receipt import Receipt, digest

KEEP_ALIVE_S = 30  # TP-BND-004
PING_S = 20
AGAIN_S = 10.0  # TP-BND-006
BACKOFF_S = (1.0, 60.0)  # TP-BND-009
HANDSHAKE_S = 15.0  # TP-BND-011
IN_FLIGHT = 64  # events, TP-BND-013
SESSION_S = 3600
ROOM = MAX_ENVELOPE - 96  # of an envelope for events
SETTLING = (
    kinds.OUTCOME_STORED, kinds.OUTCOME_DUPLICATE, kinds.OUTCOME_CONFLICT, kinds.OUTCOME_RAW, kinds.OUTCOME_QUARANTINED,
)  # fmt: skip


@dataclass(slots=True)
class Item:
    """An event that no receipt has settled. `born_s`: when a fresh alarm was triggered, by the loop's clock."""

    event: Event
    alarm: bool
    born_s: float | None = None
    sent_s: float | None = None


def backoff_s(attempt: int, jitter: float) -> float:
    """The wait after failed attempt 1, 2, …: 1 s doubling to 60 s, times `jitter` in 0…1 (TP-BND-009)."""
    first, last = BACKOFF_S
    return min(last, first * (1 << min(attempt - 1, 16))) * jitter


def returns_s(outage_s: float, chance: random.Random) -> float:
    """How long after an outage a gateway that kept trying through it tries again."""
    at, attempt = 0.0, 1
    while at < outage_s:
        at += backoff_s(attempt, chance.random())
        attempt += 1
    return at - outage_s


class Home(asyncio.Protocol):
    """`outcomes` counts events by the outcome of their receipts; `latencies_s` are those of fresh alarms."""

    def __init__(
        self, gateway: Gateway, tls: ssl.SSLContext, backlog: list[tuple[Event, bool]], chance: random.Random
    ) -> None:
        self.gateway = gateway
        self.waiting = {event.seq: Item(event, alarm) for event, alarm in backlog}
        self.outcomes: Counter[int] = Counter()
        self.latencies_s: list[float] = []
        self.handshakes = 0
        self.bad_receipts = 0
        self._tls = tls
        self._chance = chance
        self._transport: asyncio.Transport | None = None
        self._ready = False
        self._gone: asyncio.Future[None] | None = None
        self._kick = asyncio.Event()
        self._packet_id = 0
        self._last_write_s = 0.0
        self._splitter = packets.Splitter()

    async def live(self, host: str, port: int, begin_s: float) -> None:
        """Connects `begin_s` from now, or when an alarm is triggered before, and again whenever the connection is lost."""
        loop = asyncio.get_running_loop()
        wait_s, attempt = begin_s, 0
        while True:
            try:
                await asyncio.wait_for(self._kick.wait(), wait_s)
            except TimeoutError:
                pass
            self._kick.clear()
            attempt += 1
            try:
                self._gone = loop.create_future()
                connecting = loop.create_connection(lambda: self, host, port, ssl=self._tls, server_hostname=host)
                await asyncio.wait_for(connecting, HANDSHAKE_S)
                self.handshakes += 1
                await self._gone
                attempt = 0
            except (OSError, TimeoutError):
                pass
            wait_s = backoff_s(attempt + 1, self._chance.random())

    def trigger(self, event: Event) -> None:
        """A fresh alarm: published at once and alone; it ends a backoff (TP-BND-010)."""
        now = asyncio.get_running_loop().time()
        item = self.waiting[event.seq] = Item(event, True, now)
        if self._ready:
            self._publish([item], topics.ALARM)
        elif self._transport is None:
            self._kick.set()

    def tick(self, now: float) -> None:
        """Once a second: what had no receipt for 10 s goes out again, and a connection at rest is kept alive."""
        if not self._ready:
            return
        late = [item for item in self.waiting.values() if item.sent_s is not None and now - item.sent_s > AGAIN_S]
        for item in late:
            item.sent_s = None
        if late:
            self._send_backlog()
        if now - self._last_write_s > PING_S:
            self._write(packets.PING)

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._splitter = packets.Splitter()
        self._write(packets.connect(self.gateway.id, KEEP_ALIVE_S, SESSION_S))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self._ready = None, False
        for item in self.waiting.values():
            item.sent_s = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        for kind, body in self._splitter.feed(data):
            if kind == packets.CONNACK:
                if body[1] >= packets.REFUSED:
                    self.leave()
                    return
                self._write(packets.subscribe(topics.topic(self.gateway.id, topics.RECEIPT)))
            elif kind == packets.SUBACK:
                self._arrive()
            elif kind == packets.PUBLISH:
                answer, payload = packets.published(body)
                self._write(answer)
                self._settle(payload)

    # The gateway's part.

    def _arrive(self) -> None:
        self._ready = True
        self.gateway.connects += 1
        alarms = sum(item.alarm for item in self.waiting.values())
        status = self.gateway.status(alarms=alarms, events=len(self.waiting) - alarms)
        topic = topics.topic(self.gateway.id, topics.STATUS)
        sealed = self.gateway.key.seal(status.to_bytes(), topic)
        self._write(packets.publish(topic, self._next_id(), sealed, retain=True))
        self._send_backlog()

    def _send_backlog(self) -> None:
        """Alarms first, oldest first, in as few envelopes as their size allows (TP-WIR-051)."""
        room = IN_FLIGHT - sum(item.sent_s is not None for item in self.waiting.values())
        for leaf in (topics.ALARM, topics.EVENT):
            batch: list[Item] = []
            size = 0
            here = [i for i in self.waiting.values() if i.sent_s is None and i.alarm == (leaf == topics.ALARM)]
            for item in here[: max(room, 0)]:
                length = len(item.event.encoded)
                if batch and size + length > ROOM:
                    self._publish(batch, leaf)
                    batch, size = [], 0
                batch.append(item)
                size += length
                room -= 1
            if batch:
                self._publish(batch, leaf)

    def _publish(self, items: list[Item], leaf: str) -> None:
        now = asyncio.get_running_loop().time()
        for item in items:
            item.sent_s = now
        sealed = self.gateway.seal(*(item.event for item in items), leaf=leaf)
        self._write(packets.publish(topics.topic(self.gateway.id, leaf), self._next_id(), sealed))

    def _settle(self, payload: bytes) -> None:
        try:
            receipt = self.gateway.check(payload)
        except (EnvelopeError, PayloadError):
            self.bad_receipts += 1
            return
        if receipt.outcome not in SETTLING:
            return
        now = asyncio.get_running_loop().time()
        for item in self._named(receipt):
            self.outcomes[receipt.outcome] += 1
            if item.born_s is not None:
                self.latencies_s.append(now - item.born_s)
            del self.waiting[item.event.seq]
        if any(item.sent_s is None for item in self.waiting.values()):
            self._send_backlog()

    def _named(self, receipt: Receipt) -> list[Item]:
        """What the receipt settles: ranges whose digest is that of the bytes we hold (TP-WIR-013)."""
        found: list[Item] = []
        for first, last, said in receipt.ranges:
            items = [self.waiting.get(seq) for seq in range(first, last + 1)]
            held = [item for item in items if item is not None]
            if len(held) == len(items) and digest(item.event.sha256 for item in held) == said:
                found += held
        return found

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
            self._last_write_s = asyncio.get_running_loop().time()
