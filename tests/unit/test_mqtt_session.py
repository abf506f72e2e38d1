"""The rules of gateway.mqtt without a socket: what goes out, what is kept, what is promised."""

from gateway.mqtt import ACKED, QUEUED, REFUSED, SENT, UNKNOWN, QueueFull, codec
from gateway.mqtt.session import Session

HEAPSIZE = "192k"


class Wire:
    """A session and the other end of it; `sent()` gives the packets since the last call as (first byte, body)."""

    def __init__(self, resend=True, queue_limit=8, receive_maximum=4, client_id="me"):
        self.woken = 0
        self.connects = []
        self.delivered = []
        self.session = Session(client_id, queue_limit, receive_maximum, 256, resend, self._wake)
        self.session.owner = self
        self.tx = bytearray(256)

    def _wake(self):
        self.woken += 1

    def accepted(self, present, values):
        self.connects.append(present)

    def on_message(self, topic, payload, values):
        self.delivered.append((topic, bytes(payload), values))

    def connack(self, present=False, properties=b""):
        self.send(0x20, bytes((present, 0, len(properties))) + properties)

    def send(self, first, body):
        packet = bytes((first,)) + codec.put_varint(len(body)) + body
        buf = bytearray(256)
        buf[: len(packet)] = packet
        assert self.session.received(buf, len(packet)) == len(packet)

    def puback(self, pid, tail=b""):
        self.send(0x40, pid.to_bytes(2, "big") + tail)

    def raw(self):
        out = b""
        while True:
            n = self.session.fill(self.tx)
            if not n:
                return out
            out += bytes(self.tx[:n]) + self.session.bulk

    def sent(self):
        out = self.raw()
        packets = []
        i = 0
        while i < len(out):
            size, j = codec.varint(out, i + 1, len(out))
            packets.append((out[i], out[j : j + size]))
            i = j + size
        return packets


def identifiers(packets):
    return [(first, int.from_bytes(body[2 + body[1] :][:2], "big")) for first, body in packets]


def fails(function, *args):
    """The exception that function(*args) raises."""
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_TP_MQT_010_connect_packet_is_as_section_3_1_says():
    will = ("w", b"gone", 1, True, {0x18: 5})
    packet = codec.connect("me", 30, True, {0x11: 7, 0x21: 4}, will, "user", b"secret")
    body = b"\0\4MQTT\5\xee\0\x1e\x08\x11\0\0\0\x07\x21\0\x04\0\2me\x05\x18\0\0\0\x05\0\1w\0\4gone\0\4user\0\6secret"
    assert packet == b"\x10" + bytes((len(body),)) + body
    assert codec.connect("", 0, False, None, None, None, None) == b"\x10\x0d\0\4MQTT\5\0\0\0\0\0\0"


def test_TP_MQT_020_identifier_wraps_past_zero_and_is_not_given_twice():
    wire = Wire()
    wire.connack()
    first = wire.session.publish("t")
    wire.session._pid = 65534
    wire.session.publish("t")
    wire.session.publish("t")
    assert [pid for _, pid in identifiers(wire.sent())] == [65535, 1, 2]
    assert first.state == SENT


def test_TP_MQT_021_resumed_session_sends_again_with_dup_in_the_first_order():
    wire = Wire()
    wire.connack()
    messages = [wire.session.publish("t", bytes((n,))) for n in range(4)]
    before = identifiers(wire.sent())
    wire.puback(before[1][1])
    wire.session.lost()
    messages.append(wire.session.publish("t", b"late"))
    wire.connack(present=True)
    assert wire.connects == [False, True]
    again = identifiers(wire.sent())
    assert again[:3] == [(0x3A, before[n][1]) for n in (0, 2, 3)]
    assert again[3][0] == 0x32
    for _, pid in again:
        wire.puback(pid)
    assert [m.state for m in messages] == [ACKED] * 5
    assert wire.session.queue == []


def test_TP_MQT_022_receive_maximum_of_the_server_limits_what_is_in_flight():
    wire = Wire()
    wire.connack(properties=b"\x21\0\2")
    for n in range(5):
        wire.session.publish("t", bytes((n,)))
    subscription = wire.session.subscribe("s")
    flying = identifiers(wire.sent())
    assert len(flying) == 2
    wire.puback(flying[0][1])
    more = identifiers(wire.sent())
    assert len(more) == 1
    for _, pid in flying[1:] + more:
        wire.puback(pid)
    assert [first for first, _ in wire.sent()] == [0x32, 0x32, 0x82]
    assert subscription.state == SENT


def test_TP_MQT_022_qos_0_is_not_limited():
    wire = Wire()
    wire.connack(properties=b"\x21\0\1")
    messages = [wire.session.publish("t", b"", 0) for _ in range(8)]
    assert len(wire.sent()) == 8
    assert [m.state for m in messages] == [SENT] * 8
    assert wire.session.queue == []


def test_TP_MQT_023_lost_session_makes_sent_messages_new_or_unknown():
    for resend in (True, False):
        wire = Wire(resend)
        wire.connack()
        told = []
        first = wire.session.publish("t", b"1")
        first.done = told.append
        old = identifiers(wire.sent())
        waiting = wire.session.publish("t", b"2")
        wire.session.lost()
        assert first.state == SENT
        assert told == []
        wire.connack(present=False)
        again = identifiers(wire.sent())
        if resend:
            assert [first for first, _ in again] == [0x32, 0x32]
            assert again[0][1] != old[0][1]
            assert first.state == SENT
        else:
            assert [first for first, _ in again] == [0x32]
            assert first.state == UNKNOWN
            assert told == [first]
        assert waiting.state == SENT


def test_TP_MQT_024_acknowledgement_tells_reason_and_properties():
    wire = Wire()
    wire.connack()
    messages = [wire.session.publish("t") for _ in range(3)]
    pids = [pid for _, pid in identifiers(wire.sent())]
    wire.puback(pids[0])
    wire.puback(pids[1], b"\x10")
    wire.puback(pids[2], b"\x87\x06\x1f\0\3no!")
    assert [m.reason for m in messages] == [0, 0x10, 0x87]
    assert messages[2].properties == {0x1F: "no!"}
    assert all(m.final() and m.state == ACKED for m in messages)


def test_TP_MQT_024_closing_gives_every_message_a_final_state():
    wire = Wire()
    wire.connack(properties=b"\x21\0\1")
    sent = wire.session.publish("t")
    waiting = wire.session.publish("t")
    wire.raw()
    wire.session.abandon()
    assert (sent.state, waiting.state) == (UNKNOWN, REFUSED)


def test_TP_MQT_024_what_the_server_does_not_take_is_refused_before_it_is_sent():
    wire = Wire()
    wire.connack(properties=b"\x24\0\x25\0\x27\0\0\0\x40")
    cases = ((1, False, b"", 0x9B), (0, True, b"", 0x9A), (0, False, bytes(64), 0x95))
    for qos, retain, payload, reason in cases:
        message = wire.session.publish("t", payload, qos, retain)
        assert wire.raw() == b""
        assert (message.state, message.reason) == (REFUSED, reason)
    assert wire.session.publish("t", b"ok", 0).state == QUEUED
    assert len(wire.sent()) == 1


def test_TP_MQT_025_queue_is_bounded_while_there_is_no_connection():
    wire = Wire(queue_limit=8)
    for _ in range(8):
        wire.session.publish("t")
    for _ in range(1000):
        assert isinstance(fails(wire.session.publish, "t"), QueueFull)
    assert len(wire.session.queue) == 8


def test_TP_MQT_025_wrong_arguments_queue_nothing():
    wire = Wire()
    for topic in ("", "a/#", "+/b", "a\0b"):
        assert isinstance(fails(wire.session.publish, topic), ValueError)
    assert isinstance(fails(wire.session.publish, "t", b"", 2), ValueError)
    assert wire.session.queue == []


def test_TP_MQT_026_subscriptions_are_renewed_when_the_session_is_gone():
    wire = Wire()
    handle = wire.session.subscribe("s/#", 1, True, True, 2, {0x0B: 9})
    wire.session.subscribe("old")
    wire.session.unsubscribe("old")
    wire.session.publish("t")
    wire.connack()
    first = wire.sent()
    assert [kind for kind, _ in first] == [0x82, 0x82, 0xA2, 0x32]
    assert first[0][1][2:] == b"\2\x0b\x09\0\3s/#\x2d"
    wire.send(0x90, first[0][1][:2] + b"\0\1")
    wire.send(0x90, first[1][1][:2] + b"\0\1")
    wire.send(0xB0, first[2][1][:2] + b"\0\0")
    wire.puback(identifiers(first)[3][1])
    assert (handle.state, handle.reason) == (ACKED, 1)
    wire.session.lost()
    wire.connack(present=True)
    assert wire.sent() == []
    wire.session.lost()
    wire.session.publish("t")
    wire.connack(present=False)
    assert [kind for kind, _ in wire.sent()] == [0x82, 0x32]


def test_TP_MQT_026_unanswered_subscription_is_sent_again_in_a_resumed_session():
    wire = Wire()
    handle = wire.session.subscribe("s")
    wire.connack()
    assert len(wire.sent()) == 1
    wire.session.lost()
    wire.connack(present=True)
    again = wire.sent()
    assert [kind for kind, _ in again] == [0x82]
    wire.send(0x90, again[0][1][:2] + b"\0\x87")
    assert (handle.state, handle.reason) == (ACKED, 0x87)


def test_TP_MQT_027_topic_alias_replaces_the_topic_within_the_servers_maximum():
    wire = Wire()
    wire.connack(properties=b"\x22\0\1")
    for topic in ("long/topic", "long/topic", "other"):
        wire.session.publish(topic, b"p", 0, False, {0x01: 1})
    bodies = [body for _, body in wire.sent()]
    assert bodies[0] == b"\0\nlong/topic\x05\x23\0\1\x01\x01p"
    assert bodies[1] == b"\0\0\x05\x23\0\1\x01\x01p"
    assert bodies[2] == b"\0\5other\x02\x01\x01p"
    wire.session.lost()
    wire.connack()
    wire.session.publish("long/topic", b"p", 0)
    assert wire.sent()[0][1] == b"\0\nlong/topic\0p"


def test_TP_MQT_027_alias_is_not_used_before_the_packet_that_defines_it():
    wire = Wire()
    wire.connack(properties=b"\x22\0\4")
    for _ in range(3):
        wire.session.publish("long/topic", bytes(100), 0)
    lengths = [body[1] for _, body in wire.sent()]
    assert lengths == [10, 0, 0]


def test_TP_MQT_028_payload_larger_than_the_buffer_is_sent_whole():
    wire = Wire()
    wire.connack()
    payload = bytes(n & 0xFF for n in range(3000))
    small = wire.session.publish("t", b"before", 0)
    wire.session.publish("t", payload)
    wire.session.publish("t", b"after", 0)
    packets = wire.sent()
    assert [kind for kind, _ in packets] == [0x30, 0x32, 0x30]
    assert packets[1][1][6:] == payload
    assert small.state == SENT


def test_TP_MQT_030_publication_is_delivered_then_acknowledged():
    wire = Wire()
    wire.connack()
    wire.send(0x33, b"\0\3a/b\x12\x34\x05\x26\0\0\0\0data")
    wire.send(0x30, b"\0\3a/b\0")
    assert wire.delivered == [("a/b", b"data", {0x26: [("", "")], "retain": True}), ("a/b", b"", {})]
    assert wire.raw() == b"\x40\2\x12\x34"


def test_TP_MQT_031_publication_whose_callback_fails_is_not_acknowledged():
    wire = Wire()
    wire.connack()

    def deliver(topic, payload, values):
        raise RuntimeError("application")

    wire.on_message = deliver
    wire.send(0x30, b"\0\1t\0lost, as QoS 0 may be")
    error = fails(wire.send, 0x32, b"\0\1t\x00\x05\0data")
    assert isinstance(error, codec.Violation)
    assert error.reason == 0x83
    wire.session.farewell = error.reason
    assert bytes(wire.tx[: wire.session.fill(wire.tx)]) == b"\xe0\1\x83"


def test_TP_MQT_032_callback_of_a_handle_may_publish_and_may_fail():
    wire = Wire()
    wire.connack()
    message = wire.session.publish("t")

    def done(message):
        wire.session.publish("next")
        raise RuntimeError("application")

    message.done = done
    wire.puback(identifiers(wire.sent())[0][1])
    assert [body[2:6] for _, body in wire.sent()] == [b"next"]


def test_TP_MQT_040_refusals_tell_reason_text_and_whether_to_try_again():
    for reason, permanent in ((0x87, True), (0x86, True), (0x84, True), (0x88, False), (0x97, False), (0x80, False)):
        error = fails(Wire().send, 0x20, bytes((0, reason, 5, 0x1F, 0, 2)) + b"no")
        assert (error.reason, error.permanent, error.properties) == (reason, permanent, {0x1F: "no"})
        assert f"0x{reason:02x} no" in str(error)


def test_TP_MQT_041_assigned_client_identifier_is_used_from_then_on():
    wire = Wire(client_id="")
    wire.connack(properties=b"\x12\0\3abc")
    assert wire.session.client_id == "abc"


def test_TP_MQT_042_qos_2_leaves_no_session_that_repeats_it():
    wire = Wire()
    wire.connack(present=True)
    assert not wire.session.clean
    error = fails(wire.send, 0x34, b"\0\1t\x00\x05\0data")
    assert error.reason == 0x82
    assert wire.session.clean


def test_TP_MQT_043_session_present_is_welcome_unless_the_start_was_clean():
    wire = Wire()
    wire.connack(present=True)
    assert wire.connects == [True]
    wire = Wire()
    wire.session.clean = True
    assert fails(wire.connack, True).reason == 0x82
