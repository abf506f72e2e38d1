"""The sequences of the scripted broker, named by the clause of MQTT 5 (OASIS Standard) that they try."""

from __future__ import annotations

from collections.abc import Iterator

from scripted_broker import STAY, Play, packet, varint

MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xB0, 0xE0
NAMES = {
    0x00: "reserved", 0x10: "CONNECT", 0x20: "CONNACK", 0x30: "PUBLISH", 0x40: "PUBACK", 0x50: "PUBREC", 0x60: "PUBREL",
    0x70: "PUBCOMP", 0x80: "SUBSCRIBE", 0x90: "SUBACK", 0xA0: "UNSUBSCRIBE", 0xB0: "UNSUBACK", 0xC0: "PINGREQ", 0xD0: "PINGRESP",
    0xE0: "DISCONNECT", 0xF0: "AUTH",
}  # fmt: skip

# Property identifier: (a valid encoding of its value, packets from the server that may carry it), MQTT 5 table 2-4.
TEXT = b"\x00\x01t"
ACKS = (PUBACK, SUBACK, UNSUBACK)
PROPERTIES = {
    0x01: (b"\x01", (PUBLISH,)), 0x02: (b"\x00\x00\x00\x09", (PUBLISH,)), 0x03: (TEXT, (PUBLISH,)), 0x08: (TEXT, (PUBLISH,)),
    0x09: (b"\x00\x02\x00\xff", (PUBLISH,)), 0x0B: (b"\x05", (PUBLISH,)), 0x11: (b"\x00\x00\x00\x00", (CONNACK,)),
    0x12: (TEXT, ()), 0x13: (b"\x00\x3c", (CONNACK,)), 0x15: (TEXT, (CONNACK,)), 0x16: (b"\x00\x00", (CONNACK,)),
    0x17: (b"\x01", ()), 0x18: (b"\x00\x00\x00\x01", ()), 0x19: (b"\x01", ()), 0x1A: (TEXT, (CONNACK,)),
    0x1C: (TEXT, (CONNACK, DISCONNECT)), 0x1F: (TEXT, (CONNACK, DISCONNECT, *ACKS)), 0x21: (b"\x00\x14", (CONNACK,)),
    0x22: (b"\x00\x02", (CONNACK,)), 0x23: (b"\x00\x01", ()), 0x24: (b"\x01", (CONNACK,)), 0x25: (b"\x01", (CONNACK,)),
    0x26: (TEXT + TEXT, (CONNACK, PUBLISH, DISCONNECT, *ACKS)), 0x27: (b"\x00\x00\x10\x00", (CONNACK,)),
    0x28: (b"\x01", (CONNACK,)), 0x29: (b"\x01", (CONNACK,)), 0x2A: (b"\x01", (CONNACK,)),
}  # fmt: skip
BYTES = (0x01, 0x24, 0x25, 0x28, 0x29, 0x2A)
REPEATABLE = (0x0B, 0x26)
PUBACK_REASONS = (0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
SUBACK_REASONS = (0x00, 0x01, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)
BAD_UTF8 = {
    "U+0000": b"a\x00b", "lone continuation": b"\x80", "lone start": b"a\xc3", "overlong 2": b"\xc0\xaf", "overlong 2b": b"\xc1\xbf",
    "overlong 3": b"\xe0\x80\xaf", "overlong 4": b"\xf0\x80\x80\xaf", "U+D800": b"\xed\xa0\x80", "U+DFFF": b"\xed\xbf\xbf",
    "above U+10FFFF": b"\xf4\x90\x80\x80", "5 bytes": b"\xf8\x88\x80\x80\x80", "0xFE": b"\xfe", "0xFF": b"\xff",
    "cut 3": b"\xe2\x82", "cut 4": b"\xf0\x9f\x98", "wrong continuation": b"\xe2\x28\xa1", "U+0001": b"\x01", "U+001F": b"\x1f",
    "U+007F": b"\x7f", "U+0080": b"\xc2\x80", "U+009F": b"\xc2\x9f", "U+FFFF": b"\xef\xbf\xbf", "U+FFFE": b"\xef\xbf\xbe",
    "U+FDD0": b"\xef\xb7\x90", "U+1FFFE": b"\xf0\x9f\xbf\xbe",
}  # fmt: skip
GOOD_UTF8 = {
    "space": b" ", "two bytes": "ø".encode(), "three bytes": "€".encode(), "four bytes": "😀".encode(),
    "byte order mark": b"\xef\xbb\xbfa", "U+00A0": b"\xc2\xa0", "U+D7FF": b"\xed\x9f\xbf", "U+E000": b"\xee\x80\x80",
    "U+FFFD": b"\xef\xbf\xbd", "U+10FFFD": b"\xf4\x8f\xbf\xbd", "tilde": b"~", "dollar": b"$SYS",
}  # fmt: skip


def text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def properties(value: bytes) -> bytes:
    return varint(len(value)) + value


def connack(props: bytes = b"", reason: int = 0, flags: int = 0) -> bytes:
    return packet(CONNACK, bytes([flags, reason]) + properties(props))


def publish(
    topic: bytes = b"t", qos: int = 0, pid: int = 9, props: bytes = b"", payload: bytes = b"p", flags: int = 0
) -> bytes:
    identifier = pid.to_bytes(2, "big") if qos else b""
    return packet(PUBLISH | flags | qos << 1, text(topic) + identifier + properties(props) + payload)


def with_properties(kind: int, props: bytes, pub: int, sub: int) -> bytes:
    """A packet that is valid but for its properties."""
    if kind == CONNACK:
        return connack(props)
    if kind == PUBLISH:
        return publish(props=props)
    if kind == PUBACK:
        return packet(PUBACK, pub.to_bytes(2, "big") + b"\0" + properties(props))
    if kind == DISCONNECT:
        return packet(DISCONNECT, b"\0" + properties(props))
    return packet(kind, (sub if kind == SUBACK else 0x1234).to_bytes(2, "big") + properties(props) + b"\1")


def fixed(name: str, script: bytes | list[bytes], expect: int | str | None) -> Play:
    return Play(name, lambda pub, sub: script, expect)


def instead(name: str, script: bytes, expect: int | str | None) -> Play:
    """`script` in the place of CONNACK."""
    return Play(name, lambda pub, sub: script, expect, connack=None)


def in_packet(name: str, kind: int, props: bytes, expect: int | str | None) -> Play:
    if kind == CONNACK:
        return instead(name, with_properties(kind, props, 0, 0), expect)
    if kind == DISCONNECT and expect == STAY:
        expect = None
    return Play(name, lambda pub, sub: with_properties(kind, props, pub, sub), expect)


def fixed_headers() -> Iterator[Play]:
    for kind in (0x40, 0x50, 0x60, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0):
        for flags in range(16):
            if flags != (2 if kind == 0x60 else 0):
                body = b"" if kind in (0xD0, 0xE0) else b"\x00\x01\x00\x00"
                yield fixed(f"MQTT-2.1.3-1 {NAMES[kind]} with flags {flags:x}", packet(kind | flags, body), MALFORMED)
    for flags in range(1, 16):
        yield instead(f"MQTT-2.1.3-1 CONNACK with flags {flags:x}", packet(CONNACK | flags, b"\0\0\0"), MALFORMED)
    for length in (b"\x80\x80\x80\x80\x00", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff\xff"):
        for kind in (PUBLISH, PUBACK, 0xD0):
            yield fixed(f"1.5.5 {NAMES[kind]} with length {length.hex()}", bytes([kind]) + length, MALFORMED)
    for size in (1025, 4096, 65536, 2097152, 268435455):
        yield fixed(f"MQTT-3.1.2-24 packet of {size}", b"\x30" + varint(size), 0x95)
    room = 1024 - len(publish(payload=bytes(1000))) + 1000
    yield fixed("MQTT-3.1.2-24 packet of exactly the maximum", publish(payload=bytes(room)), STAY)
    yield fixed("MQTT-3.1.2-24 packet of one byte more", publish(payload=bytes(room + 1)), 0x95)
    for extra in (1, 2, 3):
        overlong = b"\xd0" + b"\x80" * extra + b"\0"
        yield fixed(f"1.5.5 remaining length 0 in {extra + 1} bytes", overlong, STAY)


def unexpected_packets() -> Iterator[Play]:
    for kind in (0x00, 0x10, 0x82, 0xA2, 0xC0):
        for body in (b"", b"\x00\x01", b"\x00\x01\x00\x00\x01a\x00"):
            name = f"2.1.2 {NAMES[kind & 0xF0]} of {len(body)} bytes from the server"
            yield fixed(name, packet(kind, body), PROTOCOL_ERROR)
            yield instead(name + " before CONNACK", packet(kind, body), PROTOCOL_ERROR)
    for kind in (0x50, 0x62, 0x70):
        yield fixed(f"4.3.3 {NAMES[kind & 0xF0]} at QoS 1", packet(kind, b"\x00\x05"), PROTOCOL_ERROR)
    for body in (b"", b"\x18\x00", b"\x18\x06\x15\x00\x03abc", b"\x19\x00", b"\x00"):
        yield fixed(f"MQTT-4.12.0-6 AUTH {body.hex()}", packet(0xF0, body), PROTOCOL_ERROR)
        yield instead(f"MQTT-4.12.0-6 AUTH {body.hex()} before CONNACK", packet(0xF0, body), PROTOCOL_ERROR)
    for qos in range(3):
        yield instead(f"MQTT-3.2.0-1 PUBLISH QoS {qos} before CONNACK", publish(qos=qos), PROTOCOL_ERROR)
    for kind in (0x40, 0x90, 0xB0, 0xD0):
        yield instead(f"MQTT-3.2.0-1 {NAMES[kind]} before CONNACK", packet(kind, b"\0\1\0\0"), PROTOCOL_ERROR)
    yield fixed("MQTT-3.2.0-2 CONNACK twice", connack(), PROTOCOL_ERROR)
    yield fixed("MQTT-3.2.0-2 refusing CONNACK after CONNACK", connack(reason=0x87), PROTOCOL_ERROR)
    for body in (b"\0", b"\0\0", bytes(100)):
        yield fixed(f"3.13 PINGRESP of {len(body)} bytes", packet(0xD0, body), MALFORMED)
    yield fixed("3.13 PINGRESP that nobody asked for", b"\xd0\x00", STAY)
    yield fixed("3.13 many PINGRESP", b"\xd0\x00" * 400, STAY)


def truncations() -> Iterator[Play]:
    full = {
        CONNACK: (b"\x00\x00" + properties(b"\x13\x00\x3c\x26" + TEXT + TEXT), set()),
        PUBLISH: (text(b"t") + properties(b"\x01\x01\x26" + TEXT + TEXT), set()),
        PUBLISH | 2: (text(b"t") + b"\x00\x09" + properties(b"\x01\x01\x26" + TEXT + TEXT), set()),
        PUBACK: (b"\x12\x34\x00" + properties(b"\x1f" + TEXT + b"\x26" + TEXT + TEXT), {2, 3}),
        SUBACK: (b"\x12\x34" + properties(b"\x1f" + TEXT) + b"\x00", set()),
        UNSUBACK: (b"\x12\x34" + properties(b"\x1f" + TEXT) + b"\x00", {7}),
        DISCONNECT: (b"\x00" + properties(b"\x1f" + TEXT + b"\x26" + TEXT + TEXT), {0, 1}),
    }
    for kind, (body, valid) in full.items():
        for k in range(len(body) + 1):
            name = f"2.2 {NAMES[kind & 0xF0]}{' QoS 1' if kind & 2 else ''} cut to {k} of {len(body)}"
            whole = k == len(body) or k in valid
            expect: int | str | None = (None if kind == DISCONNECT else STAY) if whole else MALFORMED
            if kind == SUBACK and k == len(body) - 1:
                expect = PROTOCOL_ERROR
            cut = packet(kind, body[:k])
            yield instead(name, cut, expect) if kind == CONNACK else fixed(name, cut, expect)
    for kind in (CONNACK, PUBACK, DISCONNECT):
        body = full[kind][0] + b"\x00"
        name = f"2.2 {NAMES[kind]} with a byte too many"
        yield (
            instead(name, packet(kind, body), MALFORMED)
            if kind == CONNACK
            else fixed(name, packet(kind, body), MALFORMED)
        )


def property_tables() -> Iterator[Play]:
    for kind in (CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, DISCONNECT):
        for identifier in range(0x31):
            value, where = PROPERTIES.get(identifier, (b"\x00\x00\x00\x00", ()))
            expect: int | str = STAY if kind in where else MALFORMED
            if identifier == 0x23 and kind == PUBLISH:
                expect = 0x94
            if identifier == 0x12 and kind == CONNACK:
                expect = PROTOCOL_ERROR
            yield in_packet(
                f"2.2.2.2 property {identifier:02x} in {NAMES[kind]}", kind, bytes([identifier]) + value, expect
            )
            if kind in where:
                twice: int | str = STAY if identifier in REPEATABLE else PROTOCOL_ERROR
                name = f"2.2.2.2 property {identifier:02x} twice in {NAMES[kind]}"
                yield in_packet(name, kind, (bytes([identifier]) + value) * 2, twice)
                cut = bytes([identifier]) + value[:-1]
                yield in_packet(f"2.2.2.2 property {identifier:02x} cut in {NAMES[kind]}", kind, cut, MALFORMED)
        for wide in (b"\x80\x01", b"\xa6\x00" + TEXT + TEXT, b"\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x01"):
            yield in_packet(f"2.2.2.2 identifier {wide[:2].hex()}… in {NAMES[kind]}", kind, wide, MALFORMED)


def property_values() -> Iterator[Play]:
    for identifier in BYTES:
        kind = PUBLISH if identifier == 0x01 else CONNACK
        yield in_packet(f"2.2.2.2 property {identifier:02x} = 0", kind, bytes([identifier, 0]), STAY)
        for value in (2, 3, 0x7F, 0x80, 0xFF):
            name = f"2.2.2.2 property {identifier:02x} = {value}"
            yield in_packet(name, kind, bytes([identifier, value]), PROTOCOL_ERROR)
    yield in_packet("3.2.2.3.3 receive maximum 0", CONNACK, b"\x21\0\0", PROTOCOL_ERROR)
    yield in_packet("3.2.2.3.6 maximum packet size 0", CONNACK, b"\x27\0\0\0\0", PROTOCOL_ERROR)
    yield in_packet("3.3.2.3.8 subscription identifier 0", PUBLISH, b"\x0b\0", PROTOCOL_ERROR)
    yield in_packet("3.3.2.3.8 subscription identifier 268435455", PUBLISH, b"\x0b\xff\xff\xff\x7f", STAY)
    yield in_packet("1.5.5 subscription identifier of 5 bytes", PUBLISH, b"\x0b\xff\xff\xff\xff\x7f", MALFORMED)
    yield in_packet("MQTT-1.5.5-1 subscription identifier longer than needed", PUBLISH, b"\x0b\x85\x00", MALFORMED)
    for alias in (0, 1, 10, 65535):
        props = b"\x23" + alias.to_bytes(2, "big")
        yield fixed(f"3.3.2.3.4 topic alias {alias}", publish(props=props), 0x94)
        yield fixed(f"3.3.2.3.4 topic alias {alias} without a topic", publish(b"", props=props), 0x94)
    for expiry in (0, 1, 0xFFFFFFFF):
        yield in_packet(f"3.3.2.3.3 message expiry {expiry}", PUBLISH, b"\x02" + expiry.to_bytes(4, "big"), STAY)


def strings() -> Iterator[Play]:
    tables: tuple[tuple[dict[str, bytes], int | str], ...] = ((BAD_UTF8, MALFORMED), (GOOD_UTF8, STAY))
    for table, expect in tables:
        for name, raw in table.items():
            yield fixed(f"MQTT-1.5.4-1 {name} in a topic", publish(raw), expect)
            yield fixed(f"MQTT-1.5.4-1 {name} in a QoS 1 topic", publish(b"a/" + raw, qos=1), expect)
            yield in_packet(f"MQTT-1.5.4-1 {name} in a reason string", PUBACK, b"\x1f" + text(raw), expect)
            yield in_packet(f"MQTT-1.5.4-1 {name} in a property name", PUBLISH, b"\x26" + text(raw) + TEXT, expect)
            yield in_packet(f"MQTT-1.5.4-1 {name} in a property value", SUBACK, b"\x26" + TEXT + text(raw), expect)
            yield in_packet(f"MQTT-1.5.4-1 {name} in a content type", PUBLISH, b"\x03" + text(raw), expect)
            yield in_packet(f"MQTT-1.5.4-1 {name} in a CONNACK string", CONNACK, b"\x1a" + text(raw), expect)
    for topic in (b"#", b"+", b"a/#", b"a/+/b", b"a#", b"+a"):
        for qos in (0, 1):
            yield fixed(f"MQTT-3.3.2-2 topic {topic.decode()} at QoS {qos}", publish(topic, qos=qos), MALFORMED)
    for qos in (0, 1):
        yield fixed(f"4.7.3 no topic at QoS {qos}", publish(b"", qos=qos), PROTOCOL_ERROR)
        for topic in (b"/", b"//", b" ", b"a/", b"/a", b"$share/x", b"x" * 900):
            yield fixed(f"4.7 topic {topic[:9].decode()} at QoS {qos}", publish(topic, qos=qos), STAY)
    yield fixed(
        "3.3.2.3.2 payload that is not the UTF-8 it claims", publish(props=b"\x01\x01", payload=b"\xff\xfe"), STAY
    )
    yield fixed("3.3.2.3.5 empty response topic", publish(props=b"\x08\0\0"), STAY)
    yield fixed("3.3.2.3.6 empty correlation data", publish(props=b"\x09\0\0"), STAY)
    yield fixed("3.3.2.3.7 hundred user properties", publish(props=(b"\x26\0\0\0\0") * 100), STAY)


def acknowledgements() -> Iterator[Play]:
    def puback(reason: int) -> Play:
        expect = STAY if reason in PUBACK_REASONS else PROTOCOL_ERROR
        script = lambda pub, sub: packet(PUBACK, pub.to_bytes(2, "big") + bytes([reason]))  # noqa: E731
        return Play(f"3.4.2.1 PUBACK reason {reason:02x}", script, expect)

    def suback(reason: int) -> Play:
        expect = STAY if reason in SUBACK_REASONS else PROTOCOL_ERROR
        script = lambda pub, sub: packet(SUBACK, sub.to_bytes(2, "big") + bytes([0, reason]))  # noqa: E731
        return Play(f"MQTT-3.9.3-2 SUBACK reason {reason:02x}", script, expect)

    for reason in range(256):
        yield puback(reason)
        yield suback(reason)
    for kind in ACKS:
        tail = b"" if kind == PUBACK else b"\0\0"
        yield fixed(f"MQTT-2.2.1-3 {NAMES[kind]} with identifier 0", packet(kind, b"\0\0" + tail), PROTOCOL_ERROR)
        for pid in (0x1234, 0xFFFF):
            script = packet(kind, pid.to_bytes(2, "big") + tail)
            yield fixed(f"3.4 {NAMES[kind]} that nobody awaits, {pid:04x}", script, STAY)
            yield fixed(f"3.4 {NAMES[kind]} that nobody awaits, {pid:04x}, three times", script * 3, STAY)
    two = Play(
        "MQTT-3.9.3-1 SUBACK with two reasons for one filter",
        lambda p, s: packet(SUBACK, s.to_bytes(2, "big") + b"\0\0\0"),
        0x82,
    )
    yield two
    yield Play(
        "3.9.3 SUBACK without a reason", lambda p, s: packet(SUBACK, s.to_bytes(2, "big") + b"\0"), PROTOCOL_ERROR
    )
    both = "4.6 PUBACK and SUBACK in one segment"
    yield Play(
        both, lambda p, s: packet(PUBACK, p.to_bytes(2, "big")) + packet(SUBACK, s.to_bytes(2, "big") + b"\0\1"), STAY
    )
    yield Play("3.4 PUBACK twice", lambda p, s: packet(PUBACK, p.to_bytes(2, "big")) * 2, STAY)
    yield Play("3.9 PUBACK for a SUBSCRIBE is nobody's", lambda p, s: packet(PUBACK, s.to_bytes(2, "big")), STAY)


def connections() -> Iterator[Play]:
    for reason in range(1, 256):
        expect = PROTOCOL_ERROR if reason < 0x80 else None
        yield instead(f"3.2.2.2 CONNACK reason {reason:02x}", connack(reason=reason), expect)
    for flags in (2, 3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xFE, 0xFF):
        yield instead(f"MQTT-3.2.2-1 CONNACK flags {flags:02x}", connack(flags=flags), MALFORMED)
    yield instead("MQTT-3.2.2-2 session present after clean start", connack(flags=1), PROTOCOL_ERROR)
    for reason in (1, 2, 3, 4, 5):
        yield instead(f"3.2 CONNACK of MQTT 3.1.1, code {reason}", bytes([CONNACK, 2, 0, reason]), None)
    for reason in (
        0x00,
        0x04,
        0x80,
        0x81,
        0x82,
        0x87,
        0x89,
        0x8B,
        0x8D,
        0x8E,
        0x93,
        0x97,
        0x98,
        0x9C,
        0x9D,
        0x9F,
        0xA0,
        0xA2,
    ):
        yield fixed(f"3.14.2.1 DISCONNECT reason {reason:02x}", packet(DISCONNECT, bytes([reason])), None)
        yield instead(
            f"3.14.2.1 DISCONNECT reason {reason:02x} before CONNACK", packet(DISCONNECT, bytes([reason])), None
        )
    yield fixed("3.14.1 empty DISCONNECT", packet(DISCONNECT, b""), None)


def publications() -> Iterator[Play]:
    for flags in (0, 1, 8, 9):
        for qos in (0, 1):
            name = f"3.3.1 PUBLISH QoS {qos} DUP {flags >> 3} RETAIN {flags & 1}"
            yield fixed(name, publish(qos=qos, flags=flags), STAY)
    for flags in (0, 1, 8, 9):
        yield fixed(f"MQTT-3.3.1-4 PUBLISH QoS 3 flags {flags:x}", publish(qos=3, flags=flags), MALFORMED)
        yield fixed(f"MQTT-3.8.4-8 PUBLISH QoS 2 flags {flags:x}", publish(qos=2, flags=flags), PROTOCOL_ERROR)
    yield fixed("MQTT-2.2.1-3 PUBLISH with identifier 0", publish(qos=1, pid=0), PROTOCOL_ERROR)
    for pid in (1, 255, 256, 0x7FFF, 0x8000, 0xFFFF):
        yield fixed(f"2.2.1 PUBLISH with identifier {pid:04x}", publish(qos=1, pid=pid), STAY)
    yield fixed("3.3.3 empty payload", publish(payload=b""), STAY)
    yield fixed("4.3.2 the same identifier again after PUBACK", [publish(qos=1), publish(qos=1, flags=8)], STAY)
    yield fixed("3.1.2.11.3 as many as receive maximum", b"".join(publish(qos=1, pid=1 + k) for k in range(3)), STAY)
    yield fixed("3.1.2.11.3 more than receive maximum", b"".join(publish(qos=1, pid=1 + k) for k in range(9)), 0x93)
    yield fixed("3.1.2.11.3 receive maximum does not count QoS 0", publish() * 40, STAY)
    valid = publish(b"a/b", qos=1, props=b"\x26" + TEXT + TEXT, payload=b"hello")
    yield fixed("4.2 a packet byte by byte", [bytes([byte]) for byte in valid], STAY)
    for k in range(1, len(valid)):
        yield fixed(f"4.2 a packet in two segments, {k}", [valid[:k], valid[k:]], STAY)
    yield fixed("4.2 a packet and the start of the next", [publish() + valid[:7], valid[7:]], STAY)
    yield fixed("4.13 valid packets before a malformed one", publish(qos=1) + b"\x41\x02\x00\x01", MALFORMED)


def all_plays() -> list[Play]:
    parts = (
        fixed_headers,
        unexpected_packets,
        truncations,
        property_tables,
        strings,
        acknowledgements,
        connections,
        publications,
    )
    return [play for part in parts for play in part()]
