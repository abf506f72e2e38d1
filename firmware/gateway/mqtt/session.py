"""What outlives a connection: queued and unacknowledged messages, packet identifiers, subscriptions. No I/O, no clock.

Idea: one queue of messages in the order of publication. The first `_sent_count` were sent on this connection, the rest waits;
acknowledgements come in order, so they are found at the head. A new connection sets `_sent_count` to 0. Nothing else is
queued anywhere, so memory is bounded by the queue limit.
Invariants
  S1  an identifier is given to one open message only, and is never 0.             (TP-MQT-020)
  S2  what is sent twice in a session goes in its first order and with DUP.        (TP-MQT-021)
  S3  at most Receive Maximum publications are unacknowledged.                     (TP-MQT-022)
  S4  a message leaves the chain with a final state.                               (TP-MQT-024)
"""

import asyncio
from errno import ENOBUFS

from micropython import const

from . import codec
from .codec import Failure, Violation, call

QUEUED = const(0)
SENT = const(1)
ACKED = const(2)
UNKNOWN = const(3)
REFUSED = const(4)

_MALFORMED = const(0x81)
_PROTOCOL_ERROR = const(0x82)
# First byte of the packet without DUP: the kind of a message. Publications are below SUBSCRIBE.
_PUBLISH = const(0x30)
_SUBSCRIBE = const(0x82)
_UNSUBSCRIBE = const(0xA2)
_PUBACK = const(0x40)
_NO_PROPERTIES = b"\0"
# Those after which trying again with the same settings ends in the same way.
_PERMANENT = b"\x81\x82\x84\x85\x86\x87\x8a\x8c\x90\x95\x99\x9a\x9b\x9d"
_MAX_ALIASES = const(8)


class QueueFull(OSError):  # noqa: N818
    """As many messages wait as the queue limit allows: nothing was queued."""


class Message:
    """Handle of a publication, subscription or unsubscription.

    `state`: QUEUED, SENT, ACKED, UNKNOWN, REFUSED · `reason`: reason code of the acknowledgement, or why it was refused ·
    `properties`: those of the acknowledgement · `done`: None or a callable(message), called when the state is final.
    """

    state = QUEUED
    reason = None
    properties = None
    done = None
    _id = 0
    _event = None

    def __init__(self, kind, topic, payload, extra):
        self._kind = kind
        self.topic = topic
        self._payload = payload
        self._extra = extra

    async def wait(self):
        """Waits until the fate is known; returns the message."""
        if self._event is None:
            self._event = asyncio.Event()
            if self.final():
                self._event.set()
        await self._event.wait()
        return self

    def final(self):
        """True when the state will not change any more."""
        return self.state > SENT or (self.state == SENT and self._kind < _PUBLISH + 2)

    def _finish(self, state, reason=None, properties=None):
        self.state = state
        self.reason = reason
        self.properties = properties
        self._id = 0
        self._payload = None
        if self._event is not None:
            self._event.set()
        if self.done is not None:
            call(self.done, self)


class Session:
    """Packets in, packets out. `wake()` is called when there is something to send and `fill` had found nothing."""

    def __init__(self, client_id, queue_limit, receive_maximum, max_packet, resend, wake):
        self.client_id = client_id
        self.max_packet = max_packet
        self._limit = min(queue_limit, 60000)
        self._resend = resend
        self._wake = wake
        self._idle = True
        self.queue = []
        self._pid = 0
        self._subscriptions = {}
        self._acks = bytearray(4 * receive_maximum)
        self.clean = False  # the next CONNECT says Clean Start
        self.owner = None  # its `accepted` and `on_message` are called
        self.lost()

    # What the application asks for.

    def publish(self, topic, payload=b"", qos=1, retain=False, properties=None):
        """Queues a message, connected or not; returns its handle. QueueFull or ValueError: nothing was queued."""
        if not topic or "#" in topic or "+" in topic or "\0" in topic or not 0 <= qos <= 1:
            raise ValueError("topic or QoS")
        if len(self.queue) >= self._limit:
            raise QueueFull(ENOBUFS)
        if isinstance(payload, str):
            payload = payload.encode()
        elif not isinstance(payload, bytes):
            payload = bytes(payload)
        return self._append(Message(_PUBLISH | qos << 1 | bool(retain), topic, payload, codec.put_values(properties)))

    def subscribe(self, topic_filter, qos=1, no_local=0, retain_as_published=0, retain_handling=0, properties=None):
        """Subscribes now and again whenever the server has lost the session; `reason` of the handle is the granted QoS."""
        if not 0 <= qos <= 1:
            raise ValueError("topic or QoS")
        options = qos | no_local << 2 | retain_as_published << 3 | retain_handling << 4
        extra = codec.put_properties(properties) + codec.put_binary(topic_filter) + bytes((options,))
        message = self._subscriptions[topic_filter] = Message(_SUBSCRIBE, topic_filter, None, extra)
        return self._append(message)

    def unsubscribe(self, topic_filter):
        """Ends a subscription; returns a handle."""
        self._subscriptions.pop(topic_filter, None)
        extra = _NO_PROPERTIES + codec.put_binary(topic_filter)
        return self._append(Message(_UNSUBSCRIBE, topic_filter, None, extra))

    def _append(self, message):
        self.queue.append(message)
        self.stir()
        return message

    def stir(self):
        """There may be something to send: wakes whoever calls `fill`, if it found nothing."""
        if self._idle:
            self._idle = False
            self._wake()

    # A connection begins and ends.

    def _connack(self, buf, i, end):
        present, reason, values = codec.connack(buf, i, end)
        if reason:
            raise Failure("refused", reason, values, reason in _PERMANENT)
        if (present and self.clean) or (self.client_id and 0x12 in values):
            raise Violation(_PROTOCOL_ERROR, "CONNACK")
        self.client_id = values.get(0x12, self.client_id)
        self.clean = False
        self.active = True
        self._window = values.get(0x21, 65535)
        self._max_out = values.get(0x27, 0x10000000)
        self._max_qos = values.get(0x24, 1)
        self._retain = values.get(0x25, 1)
        self._alias_limit = min(values.get(0x22, 0), _MAX_ALIASES)
        if not present:
            self.forget()
            renewed = [m for m in self._subscriptions.values() if m not in self.queue]
            for message in renewed:
                message.state = QUEUED
            self.queue = renewed + self.queue
        self.stir()
        self.owner.accepted(present, values)

    def forget(self):
        """The session is lost: sent publications are new again (`resend`) or their fate is UNKNOWN."""
        for message in self.queue:
            if message._id:
                if self._resend or message._kind >= _SUBSCRIBE:
                    message._id = 0
                    message.state = QUEUED
                else:
                    message._finish(UNKNOWN)
        self._rewind()

    def _rewind(self):
        # Nothing was sent on this connection yet.
        self.queue = [m for m in self.queue if not m.final()]
        self._sent_count = 0

    def lost(self):
        """The connection is gone: the state that belongs to it goes too."""
        self.active = False
        self.farewell = None
        self.ping = False
        self._ack_count = 0
        self._flying = 0
        self._window = 0
        self._aliases = {}
        self._alias_limit = 0
        self._topic = None
        self._rewind()

    def abandon(self):
        """The client closes for good: every open message gets its final state."""
        queue = self.queue
        self.queue = []
        self._sent_count = 0
        for message in queue:
            if not message.final():
                message._finish(UNKNOWN if message._id else REFUSED)

    def awaiting(self):
        """The oldest message that was sent on this connection and is not acknowledged, or None."""
        return self.queue[0] if self._sent_count else None

    # Out.

    def fill(self, tx):
        """Writes the next packets into `tx`; returns how many bytes, 0 when there is nothing to send now.

        A payload that does not fit into `tx` is in `bulk` afterwards and belongs after these bytes.
        """
        n = 4 * self._ack_count
        tx[:n] = self._acks[:n]
        self._ack_count = 0
        self.bulk = b""
        if self.farewell is not None:
            tx[n : n + 3] = bytes((0xE0, 1, self.farewell))
            return n + 3
        if self.ping:
            self.ping = False
            tx[n : n + 2] = b"\xc0\0"
            n += 2
        while self.active and not self.bulk and self._sent_count < len(self.queue):
            message = self.queue[self._sent_count]
            if message._kind & 0xF2 == 0x32 and self._flying >= self._window:
                break
            rest, size, reason = self._measure(message)
            end = n + size + 5
            if end > len(tx) and not reason:
                if n:
                    break
                if end - len(message._payload) > len(tx):
                    reason = 0x95
                else:
                    self.bulk = message._payload
            if not reason:
                n = self._pack(message, tx, n, size, rest)
            self._sent(message, reason)
        self._idle = not n
        return n

    def _measure(self, message):
        """(what follows the identifier, remaining length, 0 or the reason why the server would refuse it)."""
        kind = message._kind
        rest = message._extra
        if kind >= _SUBSCRIBE:
            return rest, 2 + len(rest), 0
        self._name(message.topic)
        if self._alias:
            rest = b"\x23\0" + bytes((self._alias,)) + rest
        rest = codec.put_varint(len(rest)) + rest if rest else _NO_PROPERTIES
        size = len(self._lead) + (kind & 2) + len(rest) + len(message._payload)
        if size + 5 > self._max_out:
            return rest, size, 0x95
        return rest, size, 0x9B if kind & 2 > self._max_qos * 2 else 0x9A if kind & 1 > self._retain else 0

    def _name(self, topic):
        """Sets `_lead` and `_alias`: how this connection names `topic` next."""
        alias = self._aliases.get(topic)
        if alias:
            self._lead = b"\0\0"
            self._topic = None
        else:
            if topic != self._topic:
                self._topic = topic
                self._lead = codec.put_binary(topic)
            alias = len(self._aliases) + 1
            if alias > self._alias_limit:
                alias = 0
        self._alias = alias

    def _pack(self, message, tx, n, size, rest):
        kind = message._kind
        pid = message._id
        tx[n] = kind | 8 if pid and kind < _SUBSCRIBE else kind
        n += 1
        while size > 127:
            tx[n] = size & 0x7F | 0x80
            size >>= 7
            n += 1
        tx[n] = size
        n += 1
        if kind < _SUBSCRIBE:
            if self._alias:
                self._aliases[message.topic] = self._alias
            end = n + len(self._lead)
            tx[n:end] = self._lead
            n = end
        if kind & 2:
            if not pid:
                self._pid = pid = message._id = self._pid % 65535 + 1
            tx[n] = pid >> 8
            tx[n + 1] = pid & 0xFF
            n += 2
        end = n + len(rest)
        tx[n:end] = rest
        if kind < _SUBSCRIBE and not self.bulk:
            n = end
            end += len(message._payload)
            tx[n:end] = message._payload
        return end

    def _sent(self, message, reason):
        self._sent_count += 1
        if message._id and not reason:
            message.state = SENT
            self._flying += message._kind < _SUBSCRIBE
        else:
            self._settle(message, REFUSED if reason else SENT, reason or None, None)

    def _settle(self, message, state, reason, values):
        """Gives a message its final state; drops from the head of the queue what has one."""
        message._id = 0
        queue = self.queue
        while self._sent_count and not queue[0]._id:
            queue.pop(0)
            self._sent_count -= 1
        message._finish(state, reason, values)

    # In.

    def received(self, buf, n):
        """Handles the whole packets in buf[:n]; returns how many bytes they were. Raises Failure or its Violation."""
        i = 0
        while n - i > 1:
            j, end = codec.frame(buf, i, n, self.max_packet)
            if end > n:
                break
            self._packet(buf[i], buf, j, end)
            i = end
        if self._ack_count or (self._sent_count < len(self.queue) and self._flying < self._window):
            self.stir()
        return i

    def _packet(self, kind, buf, i, end):
        what = kind & 0xF0
        if what != _PUBLISH and kind & 0x0F != (2 if what in (0x60, 0x80, 0xA0) else 0):
            raise Violation(_MALFORMED, "packet 0x%02x" % kind)
        if kind == 0xE0:
            reason, values = codec.disconnect(buf, i, end)
            raise Failure("closed by the server", reason, values)
        if not self.active:
            if kind != 0x20:
                raise Violation(_PROTOCOL_ERROR, "packet 0x%02x" % kind)
            self._connack(buf, i, end)
        elif kind == _PUBACK:
            self._puback(buf, i, end)
        elif what == _PUBLISH:
            self._publish(kind, buf, i, end)
        elif kind == 0x90 or kind == 0xB0:
            self._suback(kind, buf, i, end)
        elif kind == 0xD0:
            if i != end:
                raise Violation(_MALFORMED, "packet 0x%02x" % kind)
        else:
            self._unexpected(what)

    def _unexpected(self, what):
        # Nothing but a clean start ends a QoS 2 exchange that we did not begin.
        self.clean = self.clean or 0x30 <= what <= 0x70
        raise Violation(_PROTOCOL_ERROR, "packet 0x%02x" % what)

    def _puback(self, buf, i, end):
        pid, reason, values = codec.puback(buf, i, end)
        message = self._find(pid, 0)
        if message is not None:
            self._flying -= 1
            self._settle(message, ACKED, reason, values)

    def _suback(self, kind, buf, i, end):
        pid, reason, values = codec.suback(kind == 0x90, buf, i, end)
        message = self._find(pid, _SUBSCRIBE if kind == 0x90 else _UNSUBSCRIBE)
        if message is not None:
            if reason is None:
                raise Violation(_PROTOCOL_ERROR, "SUBACK")
            self._settle(message, ACKED, reason, values)

    def _find(self, pid, kind):
        """The sent message with this identifier: a publication (kind 0) or one of exactly `kind`; None when there is none."""
        for k in range(self._sent_count):
            message = self.queue[k]
            if message._id == pid and (message._kind == kind or (not kind and message._kind < _SUBSCRIBE)):
                return message
        return None

    def _publish(self, kind, buf, i, end):
        topic, pid, values, i = codec.publish(kind >> 1 & 3, buf, i, end)
        if kind & 4:
            self._unexpected(_PUBLISH)
        n = 4 * self._ack_count
        if pid and n == len(self._acks):
            raise Violation(0x93, "receive maximum")
        if kind & 1:
            values["retain"] = True
        if call(self.owner.on_message, topic, memoryview(buf)[i:end], values) and pid:
            raise Violation(0x83, "on_message raised")
        if pid:
            self._acks[n : n + 4] = bytes((_PUBACK, 2, pid >> 8, pid & 0xFF))
            self._ack_count += 1
