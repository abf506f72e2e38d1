"""A broker that follows a script: it plays one sequence of packets on each connection of a client and says what came back.

A sequence either expects the client to close, with the given reason code in its last DISCONNECT (None: without a DISCONNECT), or
expects it to stay: then a QoS 1 PUBLISH is sent after the script and its PUBACK must come.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

CONNACK = bytes.fromhex("2003000000")
PROBE_ID = 0x7A7A
PROBE = b"\x32\x0a\x00\x05probe\x7a\x7a\x00"
STAY = "stay"
TIMEOUT_S = 10.0


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + varint(len(body)) + body


@dataclass(frozen=True)
class Play:
    """One connection. `script`: what is sent after CONNACK, SUBSCRIBE and PUBLISH; {pub} and {sub} are the identifiers of these."""

    name: str
    script: Callable[[int, int], bytes | list[bytes]]
    expect: int | str | None  # reason code of the client's DISCONNECT, None: closed without, STAY
    connack: bytes | None = CONNACK  # None: `script` stands in its place


@dataclass
class Seen:
    """What the client did: packets after the script as (first byte, body), and how it ended."""

    packets: list[tuple[int, bytes]] = field(default_factory=list)
    ended: str = ""

    def outcome(self) -> int | str | None:
        if self.ended != "closed":
            return self.ended
        last = self.packets[-1] if self.packets else (0, b"")
        return last[1][0] if last[0] == 0xE0 and last[1] else None


class Peer:
    """Packets from and to one client."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""

    def receive(self) -> tuple[int, bytes] | None:
        """The next packet (first byte, body), None at the end of the stream."""
        while True:
            size, shift, i = 0, 0, 1
            while i < len(self.buffer):
                size |= (self.buffer[i] & 0x7F) << shift
                shift += 7
                i += 1
                if self.buffer[i - 1] < 0x80:
                    if len(self.buffer) >= i + size:
                        first, body = self.buffer[0], self.buffer[i : i + size]
                        self.buffer = self.buffer[i + size :]
                        return first, body
                    break
            more = self.connection.recv(65536)
            if not more:
                return None
            self.buffer += more

    def expect(self, kind: int) -> bytes:
        """Body of the next packet whose high nibble is `kind`; what comes before is passed over."""
        while True:
            got = self.receive()
            if got is None:
                raise ConnectionError(f"closed while 0x{kind:02x} was awaited")
            if got[0] & 0xF0 == kind:
                return got[1]


class ScriptedBroker:
    """Plays each of `plays` on one connection after the other; `seen` has an entry for each that is over."""

    def __init__(self, plays: Sequence[Play]) -> None:
        self.plays = plays
        self.seen: list[Seen] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(TIMEOUT_S)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ScriptedBroker:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join(TIMEOUT_S)
        self.listener.close()

    def _run(self) -> None:
        for play in self.plays:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(TIMEOUT_S)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.seen.append(_play(Peer(connection), play))


def _play(peer: Peer, play: Play) -> Seen:
    seen = Seen()
    try:
        peer.expect(0x10)
        pub = sub = 0
        if play.connack is not None:
            peer.connection.sendall(play.connack)
            sub = int.from_bytes(peer.expect(0x80)[:2], "big")
            publish = peer.expect(0x30)
            pub = int.from_bytes(publish[4:6], "big")
        script = play.script(pub, sub)
        for part in [script] if isinstance(script, bytes) else script:
            peer.connection.sendall(part)
        if play.expect == STAY:
            peer.connection.sendall(PROBE)
        while (got := peer.receive()) is not None:
            seen.packets.append(got)
            if got == (0x40, PROBE_ID.to_bytes(2, "big")):
                seen.ended = STAY
                return seen
        seen.ended = "closed"
    except (OSError, ConnectionError) as error:
        seen.ended = f"{type(error).__name__}: {error}"
    return seen
