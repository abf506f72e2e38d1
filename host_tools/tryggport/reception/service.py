"""The reception: verify, store, then receipt, then acknowledge (TP-WIR-004, TP-WIR-011).

    paho's thread ──> queue ──> run(): verify ─> one transaction a batch ─> signed receipts ─> PUBACK
                                  │    outbox (cases taken and closed) ─────────^
                                  └ a turn: what came is handed to the verifier while what was verified before is stored

Whatever fails before the transaction has committed leaves the messages with the broker; whatever is lost after it is sent
again by the gateway, found to be a duplicate, and receipted again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tryggport.errors import TryggError
from tryggport.reception import aside, orders, store
from tryggport.reception.database import open_database
from tryggport.reception.keyring import KeyRing, ReceiptKey
from tryggport.reception.ledger import now_ms
from tryggport.reception.link import Message
from tryggport.reception.links import Links, Ticket
from tryggport.reception.opening import Begun, Opened, Opener
from tryggport.reception.seats import ALONE, Seat
from tryggport.reception.store import Arrival, Settled
from tryggport.reception.triage import Identity
from tryggport.wire import topics
from tryggport.wire.order import Result
from tryggport.wire.receipt import Receipt, receipts
from tryggport.wire.status import Status

MAX_BATCH = 1000  # events in one transaction, TP-BND-018
OUTBOX_POLL_S = 0.2
DRAIN_S, QUIET_S, FLUSH_S = 5.0, 0.5, 2.0  # TP-BND-244
Step = Callable[[str, dict[str, Any]], None]
Ways = dict[tuple[Identity | None, bytes], set[int]]  # the paths an event came by in one batch


@dataclass(slots=True)
class Batch:
    """Messages that one transaction settles, and what was in them. `ways`: the paths each event came by."""

    messages: list[Message] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    states: list[tuple[Status, bool]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    ways: Ways = field(default_factory=lambda: defaultdict(set))

    def add(self, message: Message, opened: Opened) -> None:
        self.messages.append(message)
        self.arrivals += opened.arrivals
        for arrival in opened.arrivals:
            self.ways[arrival.identity, arrival.item.sha256].add(message.path)
        if opened.status:
            self.states.append((opened.status, message.retained))
        if opened.result:
            self.results.append(opened.result)


def no_step(_name: str, _detail: dict[str, Any]) -> None:
    pass


class Reception:
    """One worker on the database at a SQLAlchemy URL. `say` gets sentences for the operator.

    It serves the broker at `host`:`port` and those of `others`: each is a path by which gateways come. Receipts go back over the
    path that the events came by, what becomes of a case over all of them (TP-WIR-031).

    `seat`: which of several workers it is. Only the one that `leads` stores statuses, tells outcomes and brings orders; without
    `serves` it fetches what the brokers hold for the seat, and ends its sessions (TP-REC-207).

    `run` serves in the calling thread; as a context the reception serves in a thread of its own, connected on entry.

    `on_step` is called with a name and what it is about, from the thread of `run`: received (topic, bytes), verified (topic,
    items), refused (gateway, reason), commit.begin, then within the transaction commit.begun and commit.inserted, then commit.end
    (all: events), receipt.begin and receipt.end (receipt), puback (topic), order (gateway), online and offline (gateway, boot,
    connect: a status that is not a retained copy).
    """

    def __init__(
        self,
        pki_dir: Path,
        database_url: str,
        host: str,
        port: int,
        on_step: Step = no_step,
        say: Callable[[str], None] = print,
        others: Sequence[tuple[str, int]] = (),
        seat: Seat = ALONE,
        leads: Callable[[], bool] = lambda: True,
        serves: bool = True,
    ) -> None:
        self._opener = Opener(KeyRing(pki_dir), lambda name, detail: self._on_step(name, detail))
        self._receipt_key = ReceiptKey(pki_dir)
        self._database = open_database(database_url)
        self._seat = seat
        self._leads = leads
        self._serves = serves
        self._begun: Begun | None = None
        self._drained = False
        self.left = False  # whether no broker keeps a session of ours, once `run` has returned
        brokers = [(host, port), *others]
        self._links = Links(brokers, pki_dir, say, name=seat.name, serves=serves, leads=leads)
        self._on_step = on_step
        self._say = say
        self._stop = threading.Event()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._telling: dict[Ticket, set[int]] = {}  # rows of the outbox by the tickets of their last receipt
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: TryggError | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run_in_thread, name="reception", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Makes `run` finish what has arrived, and return. May be called from a signal handler or another thread."""
        self._stop.set()

    @property
    def connected(self) -> bool:
        """Whether any broker is there."""
        return self._links.connected

    def run(self) -> None:
        """Serves until `stop`. Raises TryggError when the broker does not let us in at first, or the database fails."""
        try:
            self._links.open()
            if self._serves:
                self._say("ready")
            self._ready.set()
            next_poll_s = 0.0
            while self._serves and not self._stop.is_set():
                self._turn(OUTBOX_POLL_S)
                if time.monotonic() >= next_poll_s:
                    if self._leads():
                        self._tell()
                        self._order()
                    else:  # another one tells, and may have told by the time this one leads again
                        self._links.delivered()
                        self._telling.clear()
                    self._count_refusals()
                    next_poll_s = time.monotonic() + OUTBOX_POLL_S
            self._drain()
        finally:
            self.left = self._links.close(end=self._drained)
            self._opener.close()
            self._database.close()

    def _drain(self) -> None:
        """Where others go on, nothing new comes from here on; what has come is stored, receipted and acknowledged (TP-REC-206)."""
        leaves = self._seat.leave() or not self._serves
        if leaves:
            self._links.leave()
        quiet_s = QUIET_S if leaves else 0
        end_s = time.monotonic() + DRAIN_S
        while time.monotonic() < end_s:
            if not self._turn(quiet_s):
                self._drained = True
                break
        self._count_refusals()
        self._links.flush(FLUSH_S)

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except TryggError as e:
            self._failure = e
        finally:
            self._ready.set()

    def _turn(self, wait_s: float) -> bool:
        """What has arrived by now goes to be verified, while what did before is stored; False when there was neither."""
        before = self._begun
        if before is not None:
            self._opener.wait(before)
            wait_s = 0
        messages: list[Message] = []
        while len(messages) < MAX_BATCH and (message := self._links.take(0 if messages else wait_s)) is not None:
            messages.append(message)
        self._begun = self._opener.begin(messages) if messages else None
        if before is not None:
            self._handle(before)
        return before is not None or self._begun is not None

    def _handle(self, begun: Begun) -> None:
        """Committed in transactions of at most MAX_BATCH events."""
        batch = Batch()
        for message, opened in zip(begun.messages, self._opener.end(begun), strict=True):
            if batch.arrivals and len(batch.arrivals) + len(opened.arrivals) > MAX_BATCH:
                self._settle(batch)
                batch = Batch()
            batch.add(message, opened)
            if opened.refused:
                self._refused[opened.gateway, opened.refused] += 1
        self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        """Commits, then receipts, then acknowledges; a refused message leaves no other trace than its count."""
        if batch.arrivals or batch.states:
            at_ms = now_ms()
            self._on_step("commit.begin", {"events": len(batch.arrivals)})
            settled = aside.commit(self._database, batch.arrivals, batch.states, at_ms, self._on_step, self._say)
            self._on_step("commit.end", {"events": len(batch.arrivals)})
            self._receipt(settled, batch.ways, at_ms)
        if batch.results:
            aside.keep_results(self._database, batch.results, now_ms(), self._say)
        for status, retained in batch.states:
            if not retained:
                detail = {"gateway": status.gateway, "boot": status.boot, "connect": status.connect}
                self._on_step("online" if status.online else "offline", detail)
        self._links.acknowledge(batch.messages)
        for message in batch.messages:
            self._on_step("puback", {"topic": message.topic})

    def _count_refusals(self) -> None:
        if self._refused:
            store.count_refusals(self._database, self._refused, now_ms())
            self._refused.clear()

    def _receipt(self, settled: list[Settled], ways: Ways, at_ms: int) -> None:
        groups: dict[tuple[str, bytes, int, int], dict[int, bytes]] = defaultdict(dict)
        for item in settled:
            gateway, epoch, seq = item.identity
            for path in ways[item.identity, item.sha256]:
                groups[gateway, epoch, item.outcome, path][seq] = item.sha256
        for (gateway, epoch, outcome, path), hashes in groups.items():
            for receipt in receipts(gateway, epoch, outcome, hashes, at_ms):
                self._send(receipt, [path])

    def _tell(self) -> None:
        """Publishes what is new in the outbox, and takes out of it what every broker that is there has acknowledged.

        All that a gateway is to hear of one outcome goes into one receipt, as far as it fits: after a birth there may be much, and a
        gateway verifies a receipt for a third of a second (TP-WIR-016)."""
        told = {row for ticket in self._links.delivered() for row in self._telling.pop(ticket, ())}
        waiting = {row for rows in self._telling.values() for row in rows}
        done = told - waiting
        groups: dict[tuple[str, bytes, int], list[store.Told]] = defaultdict(list)
        for row in store.to_tell(self._database, waiting | done):
            done.add(row.outbox_id)  # unless there is somebody to acknowledge it
            for epoch in row.hashes:
                groups[row.gateway, epoch, row.outcome].append(row)
        for (gateway, epoch, outcome), rows in groups.items():
            hashes = {seq: sha256 for row in rows for seq, sha256 in row.hashes[epoch].items()}
            up = self._links.up()
            tickets: list[Ticket] = []
            for receipt in receipts(gateway, epoch, outcome, hashes, now_ms(), joined=False):
                tickets = [ticket for ticket in self._send(receipt, self._links.paths) if ticket[0] in up]
            ids = {row.outbox_id for row in rows}
            self._telling |= dict.fromkeys(tickets, ids)
            if tickets:
                done -= ids
        if done:
            store.forget_told(self._database, done)

    def _order(self) -> None:
        """Publishes the orders that are due, on every path: which one the gateway is on may change meanwhile."""
        at_ms = now_ms()
        found = orders.due(self._database, at_ms)
        for _, gateway, envelope in found:
            for path in self._links.up():
                self._links.publish(path, topics.topic(gateway, topics.COMMAND), envelope)
            self._on_step("order", {"gateway": gateway})
        if found:
            orders.mark_sent(self._database, [order_id for order_id, _, _ in found], at_ms)

    def _send(self, receipt: Receipt, paths: Iterable[int]) -> list[Ticket]:
        topic = topics.topic(receipt.gateway, topics.RECEIPT)
        self._on_step("receipt.begin", {"receipt": receipt})
        sealed = self._receipt_key.current().seal(receipt.to_bytes(), topic)
        tickets = [self._links.publish(path, topic, sealed) for path in paths]
        self._on_step("receipt.end", {"receipt": receipt})
        return tickets
