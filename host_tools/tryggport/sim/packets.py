"""The few MQTT 5 packets that thousands of simulated gateways need (OASIS standard, sections 3.1 to 3.14), QoS 1 only.

paho connects in a blocking call and takes 87 µs to publish (measured here); ten thousand of its clients in one process would measure
the load, not the reception.
"""

from __future__ import annotations

from collections.abc import Iterator

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 14
PING = bytes((PINGREQ << 4, 0))
QOS1, RETAIN = 0x02, 0x01
REFUSED = 0x80  # reason codes from here on


def connect(client_id: str, keep_alive_s: int, session_s: int) -> bytes:
    """CONNECT to a session that is kept for `session_s`."""
    properties = b"\x11" + session_s.to_bytes(4, "big")
    body = text("MQTT") + b"\x05\x00" + keep_alive_s.to_bytes(2, "big") + _sized(properties) + text(client_id)
    return packet(CONNECT << 4, body)


def subscribe(topic: str) -> bytes:
    return packet(SUBSCRIBE << 4 | QOS1, b"\x00\x01\x00" + text(topic) + b"\x01")


def publish(topic: str, packet_id: int, payload: bytes, *, retain: bool = False) -> bytes:
    return packet(PUBLISH << 4 | QOS1 | retain, text(topic) + packet_id.to_bytes(2, "big") + b"\x00" + payload)


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _sized(body)


def published(body: bytes) -> tuple[bytes, bytes]:
    """The PUBACK and the payload of a PUBLISH at QoS 1."""
    at = 2 + int.from_bytes(body[:2], "big")
    return b"\x40\x02" + body[at : at + 2], body[at + 3 + body[at + 2] :]


class Splitter:
    """Takes packets off a stream."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(packet type, what follows the fixed header) of each packet that is complete."""
        received = self._received
        received += data
        while len(received) >= 2:
            length, at = received[1] & 0x7F, 2
            if received[1] & 0x80:  # nothing that comes to a gateway needs a third byte
                if len(received) < 3:
                    return
                length, at = length + (received[2] << 7), 3
            if len(received) < at + length:
                return
            found = received[0] >> 4, bytes(received[at : at + length])
            del received[: at + length]
            yield found


def _sized(body: bytes) -> bytes:
    size = len(body)
    return (bytes((size,)) if size < 128 else bytes((size & 0x7F | 0x80, size >> 7))) + body
