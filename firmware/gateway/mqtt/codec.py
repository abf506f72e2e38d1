"""MQTT 5 on the wire (OASIS Standard, 7 March 2019): values to bytes and back. No state.

Readers take the receive buffer, an offset and the end of the packet, and return (value, next offset); they never read past
the end and raise `Violation` with the reason code that the DISCONNECT must carry: 0x81 where the bytes cannot be parsed,
0x82 where they say something that is not allowed, or the more specific code of section 3.14.2.1.
"""

import sys

from micropython import const

_MALFORMED = const(0x81)
_PROTOCOL_ERROR = const(0x82)
_TOPIC_ALIAS_INVALID = const(0x94)

# Kinds of property values, and the packets from the server in which a property may stand.
_BYTE = const(0)
_VARINT = const(3)
_TEXT = const(4)
_PAIR = const(6)
_IN_CONNACK = const(0x10)
_IN_PUBLISH = const(0x20)
_IN_ACK = const(0x40)
_IN_DISCONNECT = const(0x80)

# Table 2-4: identifier, kind (0 byte, 1 two bytes, 2 four bytes, 3 varint, 4 text, 5 binary, 6 pair) | packets; without packets:
# sent by clients only.
_TABLE = (
    b"\x01\x20\x02\x22\x03\x24\x08\x24\x09\x25\x0b\x23\x11\x12\x12\x14\x13\x11\x15\x14\x16\x15\x17\x00\x18\x02\x19\x00"
    b"\x1a\x14\x1c\x94\x1f\xd4\x21\x11\x22\x11\x23\x21\x24\x10\x25\x10\x26\xf6\x27\x12\x28\x10\x29\x10\x2a\x10"
)
_KINDS = {_TABLE[i]: _TABLE[i + 1] for i in range(0, len(_TABLE), 2)}
_REPEATABLE = b"\x0b\x26"
_NEVER_ZERO = b"\x0b\x21\x27"
_SUBACK_REASONS = b"\x00\x01\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2"
_UNSUBACK_REASONS = b"\x00\x11\x80\x83\x87\x8f\x91"
_PUBACK_REASONS = b"\x00\x10\x80\x83\x87\x90\x91\x97\x99"


class Failure(Exception):  # noqa: N818
    """Why a connection or an attempt at one ended.

    `reason`: reason code that was received, or that our DISCONNECT carried, or None (network, time-out) · `properties`: those of
    the packet; 0x1F is the reason string · `permanent`: trying again is useless until somebody changes something.
    """

    def __init__(self, text, reason=None, properties=None, permanent=False):
        self.reason = reason
        self.properties = properties or {}
        self.permanent = permanent
        if reason is not None:
            text = "%s 0x%02x %s" % (text, reason, self.properties.get(0x1F, ""))
        super().__init__(text.rstrip())


class Violation(Failure):
    """The server broke the protocol: we close, with a DISCONNECT that carries `reason` (MQTT 5 section 4.13)."""

    def __init__(self, reason, text):
        super().__init__(text, reason)


def call(function, *args):
    """Calls an application's callback: its exception is printed and returned, never raised; None when all is well."""
    if function is not None:
        try:
            function(*args)
        except Exception as error:
            sys.print_exception(error)
            return error
    return None


def frame(buf, i, n, limit):
    """(offset of the body, end) of the packet at `i`; an end beyond `n` says that it is not whole. At most `limit` bytes."""
    j = i + 1
    while j < n and j < i + 5 and buf[j] > 127:
        j += 1
    if j == i + 5:
        raise Violation(_MALFORMED, "packet length")
    if j == n:
        return j, n + 1
    size = buf[j]
    for k in range(j - 1, i, -1):
        size = size << 7 | buf[k] & 0x7F
    j += 1
    if j + size - i > limit:
        raise Violation(0x95, "packet length")
    return j, j + size


def uint(buf, i, end, size):
    """(big-endian unsigned integer of `size` bytes, next offset)."""
    j = i + size
    if j > end:
        raise Violation(_MALFORMED, "packet length")
    return int.from_bytes(buf[i:j], "big"), j


def varint(buf, i, end):
    """(variable byte integer, next offset); more bytes than needed are malformed (MQTT-1.5.5-1)."""
    value = shift = 0
    while shift < 28:
        byte, i = uint(buf, i, end, 1)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte and shift:
                break
            return value, i
        shift += 7
    raise Violation(_MALFORMED, "packet length")


def binary(buf, i, end):
    """(bytes, next offset) of binary data."""
    size, i = uint(buf, i, end, 2)
    j = i + size
    if j > end:
        raise Violation(_MALFORMED, "packet length")
    return bytes(buf[i:j]), j


def text(buf, i, end):
    """(str, next offset) of a UTF-8 string. Also refuses control and non-characters, as section 1.5.4 permits."""
    raw, i = binary(buf, i, end)
    try:
        value = raw.decode()
        if raw and (min(raw) < 0x20 or max(raw) > 0x7E):
            _check(value, len(raw))
    except UnicodeError:
        raise Violation(_MALFORMED, "UTF-8")
    return value, i


def _check(value, size):
    """MicroPython decodes surrogates, overlong forms and code points that do not exist: find them here."""
    for char in value:
        c = ord(char)
        if (
            c < 0x20
            or 0x7E < c < 0xA0
            or 0xD7FF < c < 0xE000
            or 0xFDCF < c < 0xFDF0
            or c & 0xFFFE == 0xFFFE
            or c > 0x10FFFF
        ):
            raise UnicodeError
        size -= 1 if c < 0x80 else 2 if c < 0x800 else 3 if c < 0x10000 else 4
    if size:
        raise UnicodeError


def _value(kind, buf, i, end):
    if kind == _PAIR:
        name, i = text(buf, i, end)
        value, i = text(buf, i, end)
        return (name, value), i
    if kind == _VARINT:
        return varint(buf, i, end)
    if kind > _VARINT:
        return (text if kind == _TEXT else binary)(buf, i, end)
    value, i = uint(buf, i, end, 1 << kind)
    if kind == _BYTE and value > 1:
        raise Violation(_PROTOCOL_ERROR, "property")
    return value, i


def properties(buf, i, end, packet):
    """({identifier: value}, next offset) of the properties of a packet (IN_…); 0x0B and 0x26 map to lists."""
    size, i = varint(buf, i, end)
    if i + size > end:
        raise Violation(_MALFORMED, "packet length")
    end = i + size
    found = {}
    while i < end:
        identifier, i = varint(buf, i, end)
        kind = _KINDS.get(identifier)
        if kind is None:
            raise Violation(_MALFORMED, "property")
        value, i = _value(kind & 0x0F, buf, i, end)
        _admit(found, identifier, value, kind & packet)
    return found, i


def _admit(found, identifier, value, allowed):
    if not allowed:
        raise Violation(_MALFORMED, "property")
    if value == 0 and identifier in _NEVER_ZERO:
        raise Violation(_PROTOCOL_ERROR, "property")
    if identifier in _REPEATABLE:
        found.setdefault(identifier, []).append(value)
    elif identifier in found:
        raise Violation(_PROTOCOL_ERROR, "property")
    else:
        found[identifier] = value


def connack(buf, i, end):
    """(session present, reason code, properties) of a CONNACK."""
    flags, i = uint(buf, i, end, 1)
    reason, i = uint(buf, i, end, 1)
    if flags > 1:
        raise Violation(_MALFORMED, "CONNACK flags")
    if i == end and 0 < reason < 0x80:  # an MQTT 3 server refuses us in its own format
        return False, 0x84, None
    values, i = properties(buf, i, end, _IN_CONNACK)
    if i != end:
        raise Violation(_MALFORMED, "packet length")
    if 0 < reason < 0x80:
        raise Violation(_PROTOCOL_ERROR, "packet")
    return flags == 1, reason, values


def outcome(buf, i, end, packet):
    """(reason code, properties) of a DISCONNECT, or of a PUBACK after its identifier: both may be left out."""
    reason = 0
    values = None
    if i < end:
        reason, i = uint(buf, i, end, 1)
    if i < end:
        values, i = properties(buf, i, end, packet)
    if i != end:
        raise Violation(_MALFORMED, "packet length")
    return reason, values


def disconnect(buf, i, end):
    """(reason code, properties) of a DISCONNECT."""
    return outcome(buf, i, end, _IN_DISCONNECT)


def puback(buf, i, end):
    """(packet identifier, reason code, properties) of a PUBACK."""
    pid, i = uint(buf, i, end, 2)
    reason, values = outcome(buf, i, end, _IN_ACK)
    if not pid or reason not in _PUBACK_REASONS:
        raise Violation(_PROTOCOL_ERROR, "packet")
    return pid, reason, values


def suback(subscribed, buf, i, end):
    """(packet identifier, reason code, properties) of a SUBACK or UNSUBACK; None is no answer to a single topic filter."""
    pid, i = uint(buf, i, end, 2)
    values, i = properties(buf, i, end, _IN_ACK)
    if not pid or (subscribed and i == end):
        raise Violation(_PROTOCOL_ERROR, "packet")
    if end - i != 1 or buf[i] not in (_SUBACK_REASONS if subscribed else _UNSUBACK_REASONS):
        return pid, None, values
    return pid, buf[i], values


def publish(qos, buf, i, end):
    """(topic, packet identifier or 0, properties, offset of the payload) of a PUBLISH."""
    if qos == 3:
        raise Violation(_MALFORMED, "QoS 3")
    topic, i = text(buf, i, end)
    pid = 0
    if qos:
        pid, i = uint(buf, i, end, 2)
        if not pid:
            raise Violation(_PROTOCOL_ERROR, "packet")
    values, i = properties(buf, i, end, _IN_PUBLISH)
    if 0x23 in values:
        raise Violation(_TOPIC_ALIAS_INVALID, "topic")
    if not topic:
        raise Violation(_PROTOCOL_ERROR, "topic")
    if "#" in topic or "+" in topic:
        raise Violation(_MALFORMED, "topic")
    return topic, pid, values, i


def put_varint(value):
    """bytes of a variable byte integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def put_binary(value):
    """bytes of binary data or, given a str, of a UTF-8 string; ValueError when longer than 65,535 bytes."""
    if isinstance(value, str):
        value = value.encode()
    if len(value) > 0xFFFF:
        raise ValueError("longer than 65535 bytes")
    return len(value).to_bytes(2, "big") + value


def put_values(values):
    """bytes of properties without their length, from {identifier: value} or None; a list for each repeatable one."""
    out = b""
    for identifier in sorted(values or ()):
        value = values[identifier]
        kind = _KINDS[identifier] & 0x0F
        for one in value if isinstance(value, list) else (value,):
            out += bytes((identifier,))
            if kind < _VARINT:
                out += one.to_bytes(1 << kind, "big")
            elif kind == _VARINT:
                out += put_varint(one)
            elif kind == _PAIR:
                out += put_binary(one[0]) + put_binary(one[1])
            else:
                out += put_binary(one)
    return out


def put_properties(values):
    """bytes of a whole property section."""
    out = put_values(values)
    return put_varint(len(out)) + out


def connect(client_id, keep_alive_s, clean_start, values, will, user, password):
    """bytes of a CONNECT packet. `will`: None or (topic, payload, qos, retain[, properties])."""
    flags = 2 * clean_start
    body = put_properties(values) + put_binary(client_id)
    if will:
        topic, payload, qos, retain = will[:4]
        flags |= 4 | qos << 3 | retain << 5
        body += put_properties(will[4] if len(will) > 4 else None) + put_binary(topic) + put_binary(payload)
    if user is not None:
        flags |= 0x80
        body += put_binary(user)
    if password is not None:
        flags |= 0x40
        body += put_binary(password)
    head = b"\0\4MQTT\5" + bytes((flags,)) + keep_alive_s.to_bytes(2, "big")
    return b"\x10" + put_varint(len(head) + len(body)) + head + body
