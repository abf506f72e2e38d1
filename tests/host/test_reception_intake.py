"""The hot half of MQTT, over a real TLS connection: what comes in whatever pieces, and what goes out whole."""

import contextlib
import random
import select
import socket
import ssl
import threading

import pytest
from tryggport import pki
from tryggport.reception.intake import Intake
from tryggport.reception.links import Links
from tryggport.sim import packets
from tryggport.wire import topics

UNSUBSCRIBE = 10
TOPIC = topics.topic("kitchen-7", topics.ALARM)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "pki"
    pki.init(folder)
    return folder


@pytest.fixture(scope="module")
def contexts(folder):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    client = ssl.create_default_context(cafile=folder / "root.pem")
    client.sslsocket_class = Intake
    return server, client


@pytest.fixture
def ends(contexts):
    """(broker's end, intake, what the intake took)."""
    server, client = contexts
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(server.wrap_socket(theirs, server_side=True)))
        thread.start()
        intake = stack.enter_context(client.wrap_socket(ours, server_hostname="localhost"))
        thread.join()
        broker = stack.enter_context(accepted[0])
        intake.setblocking(False)
        taken = []
        intake.begin(lambda *message: taken.append(message))
        yield broker, intake, taken


def read(intake, count):
    """The next `count` bytes for paho, read as paho reads: a byte, then as many as it wants."""
    found = b""
    while len(found) < count:
        if not intake.pending():
            select.select([intake], [], [], 5)
        with contextlib.suppress(ssl.SSLWantReadError):
            found += intake.recv(1 if len(found) % 3 else 7)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_TP_REC_253_publications_are_taken_in_order_and_the_rest_is_left_whole(ends, seed):
    broker, intake, taken = ends
    chance = random.Random(seed)
    stream, left = b"", b""
    for n in range(1, 400):
        if chance.random() < 0.3:
            other = chance.choice(
                [b"\xd0\x00", packets.packet(0x40, n.to_bytes(2, "big")), packets.packet(0x90, bytes(200))]
            )
            left += other
            stream += other
        else:
            payload = chance.randbytes(chance.randrange(1300))
            stream += packets.publish(TOPIC, n, payload, retain=n % 5 == 0)
    sender = threading.Thread(target=_in_pieces, args=(broker, stream + b"\xd0\x00", chance))
    sender.start()
    assert read(intake, len(left) + 2) == left + b"\xd0\x00"
    sender.join()
    ids = [packet_id for *_, packet_id in taken]
    assert ids == sorted(ids)
    again = b"".join(packets.publish(t, packet_id, payload, retain=r) for t, payload, r, packet_id in taken)
    assert len(again) + len(left) == len(stream)
    assert {r for _, _, r, packet_id in taken if packet_id % 5 == 0} == {True}


def _in_pieces(broker, stream, chance):
    at = 0
    while at < len(stream):
        size = chance.choice((1, 2, 3, 50, 5000))
        broker.sendall(stream[at : at + size])
        at += size


def test_TP_REC_253_what_is_no_publication_at_qos_1_goes_to_the_library(ends):
    broker, intake, taken = ends
    properties = packets.packet(0x32, packets.text("t") + b"\x00\x05" + b"\x02\x01\x01" + b"body")
    malformed = packets.packet(0x32, b"\x00\xff\x00")  # a topic longer than the packet
    at_most_once = packets.packet(0x30, packets.text("t") + b"\x00zero")
    not_text = packets.packet(0x3A, b"\x00\x02\xff\xfe" + b"\x00\x06\x00body")
    broker.sendall(properties + malformed + at_most_once + not_text + b"\xd0\x00")
    assert read(intake, len(malformed) + len(at_most_once) + 2) == malformed + at_most_once + b"\xd0\x00"
    assert taken == [("t", b"body", False, 5), ("", b"body", False, 6)]


def test_TP_REC_253_what_is_no_mqtt_is_shown_to_the_library_as_it_is(ends):
    broker, intake, taken = ends
    broker.sendall(b"\x32\xff\xff\xff\xff\x01 no such length")
    assert read(intake, 21) == b"\x32\xff\xff\xff\xff\x01 no such length"
    assert taken == []


def test_TP_REC_253_acknowledgements_leave_in_order_and_never_inside_another_packet(ends):
    """The other end does not read, so that writes are cut short; then everything must arrive, packet by packet."""
    broker, intake, _ = ends
    intake.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent, blocked = [], 0
    ours = [packets.publish(TOPIC, n, bytes([n % 256]) * 1200) for n in range(200)]
    received = bytearray()
    for n, packet in enumerate(ours):
        intake.answer([2 * n, 2 * n + 1])
        sent += [b"\x40\x02" + (2 * n + k).to_bytes(2, "big") for k in (0, 1)] + [packet]
        rest = packet
        while rest:
            try:
                rest = rest[intake.send(rest) :]
            except ssl.SSLWantWriteError:
                blocked += 1
                intake.answer([])
                received += broker.recv(65_536)
    assert blocked > 10
    broker.settimeout(5)
    while len(received) < sum(map(len, sent)):
        received += broker.recv(65_536)
    splitter = packets.Splitter()
    found = [body if kind == packets.PUBACK else "PUBLISH" for kind, body in splitter.feed(bytes(received))]
    acks = [body for body in found if body != "PUBLISH"]
    assert acks == [n.to_bytes(2, "big") for n in range(400)]
    assert found.count("PUBLISH") == 200
    assert bytes(received).count(bytes([7]) * 1200) == 1


def test_TP_REC_253_a_worker_that_does_not_lead_acknowledges_statuses_in_their_turn(folder, contexts):
    """It stores none of them, but an alarm that arrived before one is acknowledged before it."""
    answers = {
        packets.CONNECT: lambda body: packets.packet(0x20, bytes(3)),
        packets.SUBSCRIBE: lambda body: packets.packet(0x90, body[:2] + bytes(1 + len(topics.UP))),
        UNSUBSCRIBE: lambda body: packets.packet(0xB0, body[:2] + bytes(1 + len(topics.SHARED))),
    }
    splitter, acknowledged = packets.Splitter(), []

    def serve():
        with contextlib.suppress(OSError):
            while data := broker.recv(65_536):
                for kind, body in splitter.feed(data):
                    if kind == packets.PUBACK:
                        acknowledged.append(int.from_bytes(body[:2], "big"))
                    elif kind in answers:
                        broker.sendall(answers[kind](body))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        links = Links([("localhost", listener.getsockname()[1])], folder, print, leads=lambda: False)
        opening = threading.Thread(target=links.open)
        opening.start()
        broker = contexts[0].wrap_socket(listener.accept()[0], server_side=True)
    with broker:
        serving = threading.Thread(target=serve)
        serving.start()
        opening.join()
        status = topics.topic("kitchen-7", topics.STATUS)
        for packet_id in range(1, 8):
            broker.sendall(packets.publish(TOPIC if packet_id in (2, 5, 7) else status, packet_id, b""))
        alarms = [links.take(5) for _ in range(3)]
        assert [alarm.packet_id for alarm in alarms] == [2, 5, 7]
        links.acknowledge(alarms[:2])
        links.acknowledge(alarms[2:])
        links.close()
        serving.join()
    assert acknowledged == [1, 2, 3, 4, 5, 6, 7]
