"""A load of pre-signed messages for the reception, cheap enough to share its cores: the packets are made before the clock starts, and
what comes back is only noted, and verified when the clock has stopped."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cbor2
from tryggport.sim import packets
from tryggport.sim.gateway import Gateway
from tryggport.wire import topics
from tryggport.wire.envelope import Envelope

READ = 65_536
PATIENCE_S = 30.0
KEEP_ALIVE_S, SESSION_S = 120, 0


@dataclass(frozen=True, slots=True)
class Packet:
    """A PUBLISH of one signed event, ready to be sent."""

    home: int
    seq: int
    data: bytes


class Home:
    """One connection. `receipts`: (monotonic s, payload) as they came."""

    def __init__(self, gateway: Gateway, host: str, port: int) -> None:
        self.gateway = gateway
        self.receipts: list[tuple[float, bytes]] = []
        raw = socket.create_connection((host, port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = gateway.tls().wrap_socket(raw, server_hostname=host)
        self._splitter = packets.Splitter()
        topic = topics.topic(gateway.id, topics.RECEIPT)
        self.socket.sendall(packets.connect(gateway.id, KEEP_ALIVE_S, SESSION_S) + packets.subscribe(topic))
        answered = 0
        while answered < 2:  # CONNACK, SUBACK
            answered += sum(1 for _ in self._splitter.feed(self.socket.recv(READ)))
        self.socket.setblocking(False)

    def send(self, data: bytes) -> None:
        self.socket.setblocking(True)
        self.socket.sendall(data)
        self.socket.setblocking(False)

    def receive(self) -> list[bytes]:
        """Payloads of the receipts that have come; each is acknowledged."""
        found, answers = [], bytearray()
        while True:
            try:
                data = self.socket.recv(READ)
            except ssl.SSLWantReadError:
                break
            if not data:
                raise RuntimeError(f"the broker closed the connection of {self.gateway.id}")
            for kind, body in self._splitter.feed(data):
                if kind == packets.PUBLISH:
                    answer, payload = packets.published(body)
                    answers += answer
                    found.append(payload)
        if answers:
            self.send(bytes(answers))
        return found


def prepared(gateways: Sequence[Gateway], count: int, leaf: str, **fields: int) -> list[Packet]:
    """`count` messages of one event each, the gateways in turn."""
    made = []
    for n in range(count):
        gateway = gateways[n % len(gateways)]
        event = gateway.event(**fields)
        sealed = gateway.seal(event, leaf=leaf)
        data = packets.publish(topics.topic(gateway.id, leaf), event.seq % 65_535 + 1, sealed)
        made.append(Packet(n % len(gateways), event.seq, data))
    return made


class Load:
    """Homes that are connected, until `close`."""

    def __init__(self, gateways: Sequence[Gateway], host: str, port: int) -> None:
        self.homes = [Home(gateway, host, port) for gateway in gateways]
        self._selector = selectors.DefaultSelector()
        for home in self.homes:
            self._selector.register(home.socket, selectors.EVENT_READ, home)

    def close(self) -> None:
        for home in self.homes:
            home.socket.close()
        self._selector.close()

    def flat_out(self, made: Sequence[Packet], outstanding: int) -> float:
        """Seconds from the first message to the last receipt, with at most so many that have no receipt yet."""
        waiting, sent, receipted = deque(made), 0, 0
        began = time.monotonic()
        patient_until = began + PATIENCE_S
        while receipted < len(made):
            bundles: dict[int, bytearray] = {}
            while waiting and sent - receipted < outstanding:
                packet = waiting.popleft()
                bundles.setdefault(packet.home, bytearray()).extend(packet.data)
                sent += 1
            for index, data in bundles.items():
                self.homes[index].send(bytes(data))
            found = self._collect(0.05)
            receipted += found
            if found:
                patient_until = time.monotonic() + PATIENCE_S
            elif time.monotonic() > patient_until:
                raise RuntimeError(f"{receipted} of {len(made)} receipted, and no more come")
        return time.monotonic() - began

    def at_rate(self, made: Sequence[Packet], per_s: float) -> list[float]:
        """Open loop: seconds from when each was due, whether or not it could be sent then, to its receipt."""
        receipted = n = 0
        began = time.monotonic() + 0.1
        deadline = began + len(made) / per_s + PATIENCE_S
        while receipted < len(made) and time.monotonic() < deadline:
            now = time.monotonic()
            while n < len(made) and began + n / per_s <= now:
                self.homes[made[n].home].send(made[n].data)
                n += 1
            pause = max(0.0, began + n / per_s - time.monotonic()) if n < len(made) else 0.05
            receipted += self._collect(pause)
        due = {(packet.home, packet.seq): began + k / per_s for k, packet in enumerate(made)}
        found = [at - due.pop((index, seq)) for index, seq, at in self.verified() if (index, seq) in due]
        if due:
            raise RuntimeError(f"{len(due)} of {len(made)} were not receipted")
        return found

    def verified(self) -> Iterator[tuple[int, int, float]]:
        """(home, seq, monotonic s) of what receipts name. Raises EnvelopeError for one whose signature does not verify."""
        for index, home in enumerate(self.homes):
            for at, payload in home.receipts:
                for span in home.gateway.check(payload).ranges:
                    yield from ((index, seq, at) for seq in range(span.first, span.last + 1))

    def _collect(self, timeout_s: float) -> int:
        """How many events the receipts name that have come meanwhile."""
        count = 0
        for key, _ in self._selector.select(timeout_s):
            now = time.monotonic()
            for payload in key.data.receive():
                key.data.receipts.append((now, payload))
                ranges = cbor2.loads(Envelope.from_bytes(payload).payload)[3]
                count += sum(last - first + 1 for first, last, _ in ranges)
        return count
