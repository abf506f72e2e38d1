"""A load of pre-signed messages for the reception, cheap enough to share its two cores.

The packets are made before the clock starts, and what comes back is only noted; it is verified when the clock has stopped. So this
speaks just enough MQTT 5 (OASIS standard, sections 3.1 to 3.9) for it: a library costs as much a message as the reception itself.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cbor2
from tryggport.sim.gateway import Gateway
from tryggport.wire import topics
from tryggport.wire.envelope import Envelope

CONNECT, PUBLISH, PUBACK, SUBSCRIBE = 0x10, 0x32, 0x40, 0x82
READ = 65_536
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Packet:
    """A PUBLISH of one signed event, ready to be sent."""

    gateway: int
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
        self._received = bytearray()
        name = _text(gateway.id)
        self.socket.sendall(_packet(CONNECT, _text("MQTT") + b"\x05\x02\x00\x78\x00" + name))
        self.socket.sendall(
            _packet(SUBSCRIBE, b"\x00\x01\x00" + _text(topics.topic(gateway.id, topics.RECEIPT)) + b"\x01")
        )
        answered = 0
        while answered < 2:  # CONNACK, SUBACK
            answered += sum(1 for _ in self._packets(self.socket.recv(READ)))
        self.socket.setblocking(False)

    def send(self, data: bytes) -> None:
        self.socket.setblocking(True)
        self.socket.sendall(data)
        self.socket.setblocking(False)

    def receive(self) -> list[bytes]:
        """Payloads of the receipts that have come; each is acknowledged."""
        found = []
        answer = bytearray()
        while True:
            try:
                data = self.socket.recv(READ)
            except ssl.SSLWantReadError:
                break
            if not data:
                raise RuntimeError(f"the broker closed the connection of {self.gateway.id}")
            for kind, body in self._packets(data):
                if kind & 0xF0 == PUBLISH & 0xF0:
                    at = 2 + int.from_bytes(body[:2], "big")
                    answer += b"\x40\x02" + body[at : at + 2]
                    found.append(body[at + 3 + body[at + 2] :])
        if answer:
            self.send(answer)
        return found

    def _packets(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._received += data
        while len(self._received) >= 2:
            length, at = self._received[1] & 0x7F, 2
            if self._received[1] & 0x80:
                if len(self._received) < 3:
                    return
                length, at = length + (self._received[2] << 7), 3
            if len(self._received) < at + length:
                return
            yield self._received[0], bytes(self._received[at : at + length])
            del self._received[: at + length]


def packets(gateways: Sequence[Gateway], count: int, leaf: str, **fields: object) -> list[Packet]:
    """`count` messages of one event each, the gateways in turn."""
    made = []
    for n in range(count):
        gateway = gateways[n % len(gateways)]
        event = gateway.event(**fields)  # type: ignore[arg-type]
        packet_id = (event.seq % 65_535 + 1).to_bytes(2, "big")
        body = _text(topics.topic(gateway.id, leaf)) + packet_id + b"\x00" + gateway.seal(event, leaf=leaf)
        made.append(Packet(n % len(gateways), event.seq, _packet(PUBLISH, body)))
    return made


class Load:
    """Homes that are connected; a context."""

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
        waiting, receipted = deque(made), 0
        began = time.monotonic()
        quiet_until = began + PATIENCE_S
        sent = 0
        while receipted < len(made):
            bundles: dict[int, bytearray] = {}
            while waiting and sent - receipted < outstanding:
                packet = waiting.popleft()
                bundles.setdefault(packet.gateway, bytearray()).extend(packet.data)
                sent += 1
            for index, data in bundles.items():
                self.homes[index].send(data)
            found = self._collect(0.05)
            receipted += found
            if found:
                quiet_until = time.monotonic() + PATIENCE_S
            elif time.monotonic() > quiet_until:
                raise RuntimeError(f"{receipted} of {len(made)} receipted, and no more come")
        return time.monotonic() - began

    def at_rate(self, made: Sequence[Packet], per_s: float) -> list[float]:
        """Open loop: seconds from when each was to be sent, whether or not it could be, to its receipt."""
        receipted = n = 0
        began = time.monotonic() + 0.1
        deadline = began + len(made) / per_s + PATIENCE_S
        while receipted < len(made) and time.monotonic() < deadline:
            now = time.monotonic()
            while n < len(made) and began + n / per_s <= now:
                self.homes[made[n].gateway].send(made[n].data)
                n += 1
            pause = max(0.0, began + n / per_s - time.monotonic()) if n < len(made) else 0.05
            receipted += self._collect(pause)
        due = {(packet.gateway, packet.seq): began + k / per_s for k, packet in enumerate(made)}
        found = [at - due.pop((index, seq)) for index, seq, at in self.verified() if (index, seq) in due]
        if due:
            raise RuntimeError(f"{len(due)} of {len(made)} were not receipted")
        return found

    def verified(self) -> Iterator[tuple[int, int, float]]:
        """(home, seq, monotonic s) of what valid receipts name."""
        for index, home in enumerate(self.homes):
            for at, payload in home.receipts:
                receipt = home.gateway.check(payload)
                for span in receipt.ranges:
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


def _text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def _packet(kind: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes((size,)) if size < 128 else bytes((size & 0x7F | 0x80, size >> 7))
    return bytes((kind,)) + length + body
