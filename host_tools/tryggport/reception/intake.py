"""The hot half of MQTT, taken out of the library's hands: PUBLISH at QoS 1 in, PUBACK out.

paho reads a packet in four pieces, unpacks properties that we do not use, and writes each PUBACK by itself; that costs more than all
else together. So its TLS socket is one of ours. It reads what there is, hands over each publication in one step, and shows paho the
rest; our PUBACKs go out in one piece with whatever paho writes next. Packets stay whole and PUBACKs in the order of the
publications (MQTT 5, 3.1.2.4 and 4.6). All reading and writing is done by paho's thread.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable

READ = 65_536
RECORDS = 64  # read before what they hold is looked at
RECORD = 16_384  # what one TLS record holds
PUBLISH_QOS1 = 0x32
KIND_AND_QOS = 0xF6  # of the first byte; the others are DUP and RETAIN
RETAIN = 0x01
PUBACK = 0x40
TAKEN = Callable[[str, bytes, bool, int], None]  # topic, payload, retained, packet id


class Intake(ssl.SSLSocket):
    """For `SSLContext.sslsocket_class`; `begin` must be called before anything is read."""

    _taken: TAKEN
    _arrived: bytearray  # from the broker, not looked at yet
    _rest: bytearray  # whole packets for paho
    _answers: bytearray  # PUBACKs to write
    _midway = False  # paho's last write was not done, and must be repeated before anything else is written
    _plain = False  # what arrives is not MQTT: paho may say so

    def begin(self, taken: TAKEN) -> None:
        """From now on publications go to `taken`, in paho's thread."""
        self._taken = taken
        self._arrived, self._rest, self._answers = bytearray(), bytearray(), bytearray()

    def answer(self, packet_ids: Iterable[int]) -> None:
        """PUBACKs of success, to go out before paho's next packet. May be called from any thread.

        Nothing wakes paho's thread but a packet of its own: after this have it write a PUBACK, which goes no further than `send`.
        """
        self._answers += b"".join(b"\x40\x02" + packet_id.to_bytes(2, "big") for packet_id in packet_ids)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if not self._rest:
            if not self._read(flags):
                return b""
            self._sort()
            if not self._rest:
                raise ssl.SSLWantReadError
        data = bytes(self._rest[:buflen])
        del self._rest[:buflen]
        return data

    def _read(self, flags: int) -> bool:
        """Takes in what has arrived; False at the end. Raises SSLWantReadError when there is nothing, as paho expects of it.

        A broker puts each packet into a TLS record of its own, and one record is all that a read gives.
        """
        for n in range(RECORDS):
            try:
                data = super().recv(READ, flags)
            except ssl.SSLWantReadError:
                if not n:
                    raise
                return True
            if not data:
                return n > 0
            self._arrived += data
        return True

    def pending(self) -> int:
        return len(self._rest) + super().pending()

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]
        if not self._midway:
            while self._answers:
                sent = super().send(bytes(self._answers[:RECORD]), flags)
                del self._answers[:sent]
            if data[0] == PUBACK:  # it is among the answers, and would come late: others may have been added meanwhile
                return len(data)
        self._midway = True  # also when it raises: TLS has begun with these bytes
        sent = super().send(data, flags)
        self._midway = sent < len(data)
        return sent

    def _sort(self) -> None:
        """Takes whole packets off what has arrived."""
        arrived, at = bytes(self._arrived), 0
        while not self._plain and at < len(arrived):
            size = _length(arrived, at + 1)
            if size is None:
                break
            length, head = size
            self._plain = head > 5
            end = at + head + length
            if self._plain or len(arrived) < end:
                break
            if arrived[at] & KIND_AND_QOS != PUBLISH_QOS1 or not self._publication(arrived, at, head, end):
                self._rest += arrived[at:end]
            at = end
        del self._arrived[: len(arrived) if self._plain else at]
        if self._plain:
            self._rest += arrived[at:]

    def _publication(self, packet: bytes, at: int, head: int, end: int) -> bool:
        """Hands over the PUBLISH at `at`; False when it is malformed."""
        topic_at = at + head + 2
        topic_end = topic_at + int.from_bytes(packet[topic_at - 2 : topic_at], "big")
        size = _length(packet, topic_end + 2)
        if size is None or topic_end + 1 + sum(size) > end:
            return False
        length, head = size
        packet_id = int.from_bytes(packet[topic_end : topic_end + 2], "big")
        payload = packet[topic_end + 1 + head + length : end]
        try:
            topic = packet[topic_at:topic_end].decode()
        except UnicodeDecodeError:
            topic = ""
        self._taken(topic, payload, bool(packet[at] & RETAIN), packet_id)
        return True


def _length(data: bytes, at: int) -> tuple[int, int] | None:
    """A variable byte integer (MQTT 5, 1.5.5) at `at`, and 1 more than its bytes; None when it is not all there."""
    value = 0
    for n in range(4):
        if at + n >= len(data):
            return None
        value |= (data[at + n] & 0x7F) << 7 * n
        if not data[at + n] & 0x80:
            return value, n + 2
    return value, 6
