"""The MQTT client in the real MicroPython on networks that are silent, refuse, or do not answer for a name."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from mqtt_site import Mosquitto, Program, certificates, free_port
from scripted_broker import CONNACK, Peer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mqtt")
    certificates(made)
    return made


class Deaf:
    """A server that accepts and then says what it is told to say, and nothing more."""

    def __init__(self, connack: bytes = b"") -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connack = connack
        self.accepted: list[float] = []
        self.closed: list[float] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.accepted.append(time.monotonic())
        with connection:
            try:
                peer = Peer(connection)
                if self.connack:
                    peer.expect(0x10)
                    connection.sendall(self.connack)
                while connection.recv(4096):
                    pass
            except OSError:
                pass
        self.closed.append(time.monotonic())

    def __enter__(self) -> Deaf:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()


SILENCE = """
async def main():
    ended = []
    gaps = [0]
    async def ticker():
        before = time.ticks_ms()
        while True:
            await asyncio.sleep_ms(5)
            now = time.ticks_ms()
            gaps[0] = max(gaps[0], time.ticks_diff(now, before))
            before = now
    asyncio.create_task(ticker())
    opener = {opener}
    client = Client("patient", opener, on_disconnect=ended.append, handshake_ms={handshake_ms}, ack_ms=300,
                    keep_alive_s={keep_alive_s}, backoff_ms=(1, 1))
    asyncio.create_task(client.run())
    if {publish}:
        client.publish("t")
    await until(lambda: ended)
    tell(error=str(ended[0]), gap=gaps[0])

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("name", "connack", "opener", "publish", "keep_alive_s", "error"),
    [
        ("051 TLS handshake", b"", "tls()", False, 30, "no answer in time"),
        ("051 CONNACK", b"", 'tcp_opener([("127.0.0.1", PORT)])', False, 30, "no answer in time"),
        ("062 PUBACK", CONNACK, 'tcp_opener([("127.0.0.1", PORT)])', True, 30, "no answer in time"),
        ("063 PINGRESP", CONNACK, 'tcp_opener([("127.0.0.1", PORT)])', False, 1, "no answer in time"),
    ],
    ids=lambda value: value if isinstance(value, str) and value[:1] == "0" else "",
)
def test_TP_MQT_051_TP_BND_011_silence_ends_the_connection_and_never_blocks_the_loop(
    folder: Path, name: str, connack: bytes, opener: str, publish: bool, keep_alive_s: int, error: str
) -> None:
    """TP-MQT-051, TP-MQT-062, TP-MQT-063, TP-MQT-064."""
    source = SILENCE.format(opener=opener, publish=publish, keep_alive_s=keep_alive_s, handshake_ms=500)
    with Deaf(connack) as deaf, Program(folder, deaf.port, source) as program:
        told = program.told()
    assert told["error"] == error
    assert told["gap"] < 250


KICK = """
async def main():
    ended = []
    client = Client("kicked", tcp_opener([("127.0.0.1", PORT)]), on_disconnect=lambda r: ended.append(time.ticks_ms()),
                    backoff_ms=(60000, 60000), kick_ms=400, random=lambda: 1)
    asyncio.create_task(client.run())
    await until(lambda: len(ended) == 1)
    start = time.ticks_ms()
    for n in range(60):
        client.kick()
        await asyncio.sleep_ms(10)
    await until(lambda: len(ended) >= 3)
    tell(waits=[time.ticks_diff(at, start) for at in ended[1:]])

asyncio.run(main())
"""


def test_TP_MQT_065_kick_ends_the_wait_but_not_more_often_than_allowed(folder: Path) -> None:
    with Program(folder, free_port(), KICK) as program:
        waits = program.told()["waits"]
    assert waits[0] < 300
    assert waits[1] - waits[0] >= 390


class Names(threading.Thread):
    """A name server: answers every question with `address`, or not at all when that is None."""

    def __init__(self, address: str | None) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            try:
                query, client = self.socket.recvfrom(512)
            except OSError:
                return
            self.asked += 1
            if self.address is not None:
                answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(self.address)
                self.socket.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:] + answer, client)


RESOLVING = """
async def main():
    connects = []
    ended = []
    known = {{}}
    opener = tcp_opener([("broker.test", PORT)], [("127.0.0.1", {names})], known)
    client = Client("resolving", opener, on_connect=connects.append, on_disconnect=ended.append, backoff_ms=(1, 1))
    asyncio.create_task(client.run())
    await until(lambda: len(connects) == 1)
    tell(known=known)
    await until(lambda: len(connects) == 2, 30000)
    tell(connects=len(connects), known=known)

asyncio.run(main())
"""


def test_TP_MQT_050_last_good_address_serves_when_no_name_server_answers(folder: Path) -> None:
    names = Names("127.0.0.1")
    broker = Mosquitto(folder)
    with broker, Program(folder, broker.port, RESOLVING.format(names=names.port)) as program:
        assert program.told() == {"known": {"broker.test": ["127.0.0.1"]}}
        names.address = None
        broker.stop()
        broker.start()
        assert program.told()["connects"] == 2
    assert names.asked > 1
    names.socket.close()


def test_TP_MQT_050_address_is_asked_for_at_every_attempt(folder: Path) -> None:
    names = Names("127.0.0.3")
    with Mosquitto(folder) as broker, Program(folder, broker.port, RESOLVING.format(names=names.port)) as program:
        time.sleep(0.3)
        names.address = "127.0.0.1"
        assert program.told() == {"known": {"broker.test": ["127.0.0.1"]}}
    names.socket.close()
