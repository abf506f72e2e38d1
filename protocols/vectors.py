"""Writes protocols/vectors/: bytes of the wire, good and bad, that any implementation can be checked against.

``python protocols/vectors.py`` writes them, ``--check`` exits 1 when one is stale. Each file is {"about", "vectors"}; a
vector has `name`, `requirement`, `hex`, and either what it means or `refuse`, the reason it is refused with. Byte strings
inside values are "hex:…". The keys are published here: they are good for nothing else.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from tryggport.pki.authority import point
from tryggport.wire import topics
from tryggport.wire.envelope import BAD_SIGNATURE, MALFORMED, MAX_ENVELOPE, OVER_LIMIT, UNKNOWN_KEY, SigningKey
from tryggport.wire.event import MAX_EVENT
from tryggport.wire.receipt import digest

FOLDER = Path(__file__).parent / "vectors"
UNREADABLE = "unreadable"
GATEWAY = "kitchen-7"
TOPIC = topics.topic(GATEWAY, topics.ALARM)
EPOCH = bytes.fromhex("0123456789abcdef")
UTC_MS = 1_767_225_600_000
# RFC 6979 appendix A.2.5, and SHA-256 of a sentence each.
SECRETS = {
    "gateway": bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
    "other": hashlib.sha256(b"tryggport test key: another gateway").digest(),
    "receipt": hashlib.sha256(b"tryggport test key: receipts").digest(),
}
KEYS = {
    name: SigningKey(ec.derive_private_key(int.from_bytes(s, "big"), ec.SECP256R1())) for name, s in SECRETS.items()
}
COMMAND_FIELDS = {1: "gateway", 2: "epoch", 3: "counter", 4: "what", 5: "arguments", 6: "not_after_ms"}
Vector = dict[str, Any]

FALL = {1: GATEWAY, 2: EPOCH, 3: 7, 4: 1, 5: 61_000, 7: 0, 8: 1, 9: 0, 12: 3}
FULL = FALL | {3: 8, 6: UTC_MS, 7: 2, 10: True, 13: "button", 14: 20, 15: {1: 2, 6: [-980, 12, 1004], 7: "fallen"}}
RECEIPT = {1: GATEWAY, 2: EPOCH, 3: [[7, 7, digest([bytes(32)])]], 4: 0, 5: UTC_MS}
STATUS = {1: GATEWAY, 2: EPOCH, 3: 1, 4: 1, 5: True, 6: 9, 7: 1, 8: 2, 9: 61_000, 11: 0, 12: 0, 13: "0.1.0"}
EVENT_FIELDS = {
    1: "gateway", 2: "epoch", 3: "seq", 4: "boot", 5: "uptime_ms", 6: "utc_ms", 7: "quality", 8: "kind", 9: "state",
    10: "test", 11: "ref", 12: "severity", 13: "sensor", 14: "location", 15: "data",
}  # fmt: skip
RECEIPT_FIELDS = {1: "gateway", 2: "epoch", 3: "ranges", 4: "outcome", 5: "utc_ms", 6: "wait_ms"}
COMMAND = {1: GATEWAY, 2: EPOCH, 3: UTC_MS, 4: 2}
RESULT = {1: GATEWAY, 2: EPOCH, 3: [0, UTC_MS], 4: 0}
STATUS_FIELDS = {
    1: "gateway", 2: "epoch", 3: "boot", 4: "connect", 5: "online", 6: "next_seq", 7: "alarms", 8: "events",
    9: "uptime_ms", 10: "utc_ms", 11: "quality", 12: "path", 13: "firmware",
}  # fmt: skip


def dumps(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)


def without(table: dict[int, Any], key: int) -> dict[int, Any]:
    return {k: v for k, v in table.items() if k != key}


def plain(value: Any) -> Any:
    """JSON of a CBOR value; maps become lists of [key, value], for keys are numbers."""
    if isinstance(value, bytes):
        return f"hex:{value.hex()}"
    if isinstance(value, dict):
        return [[key, plain(item)] for key, item in sorted(value.items())]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def good(name: str, requirement: str, table: dict[int, Any], fields: dict[int, str]) -> Vector:
    value = {fields[key]: plain(item) for key, item in table.items() if key in fields}
    later = {key: item for key, item in table.items() if key not in fields}
    return {"name": name, "requirement": requirement, "hex": dumps(table).hex(), "value": value} | (
        {"later": plain(later)} if later else {}
    )


def bad(name: str, requirement: str, data: bytes, reason: str = UNREADABLE) -> Vector:
    return {"name": name, "requirement": requirement, "hex": data.hex(), "refuse": reason}


def padded_event(size: int) -> dict[int, Any]:
    """An event of exactly `size` bytes, by data of unknown keys."""
    table: dict[int, Any] = FALL | {15: {}}
    for key in range(100, 200):
        room = size - len(dumps(table | {15: table[15] | {key: b""}}))
        if room < 0:
            break
        for length in range(min(room, 64), -1, -1):
            longer = table | {15: table[15] | {key: bytes(length)}}
            if len(dumps(longer)) <= size and not 0 < size - len(dumps(longer)) < 4:
                table = longer
                break
    return table


def good_events() -> Iterator[Vector]:
    yield good("a fall, the clock never set", "TP-WIR-023", FALL, EVENT_FIELDS)
    yield good("every field", "TP-WIR-006", FULL, EVENT_FIELDS)
    yield good("a cancel names its alarm", "TP-WIR-020", FALL | {3: 9, 9: 2, 11: 7}, EVENT_FIELDS)
    yield good("an update names its alarm", "TP-WIR-006", FALL | {3: 9, 9: 1, 11: 7}, EVENT_FIELDS)
    for edge, table in (
        ("first seq", {3: 0}), ("last seq", {3: 2**32 - 1}), ("boot and uptime of 64 bits", {4: 2**64 - 1, 5: 2**64 - 1}),
        ("first time", {6: 946_684_800_000}), ("last time", {6: 32_503_680_000_000}), ("location 0", {14: 0}),
        ("location 999", {14: 999}), ("sensor of 16 bytes", {13: "å" * 8}), ("empty data", {15: {}}),
        ("data of 64 bytes", {15: {6: bytes(64), 7: "x" * 64, 8: -(2**63), 100: False, 101: []}}),
    ):  # fmt: skip
        yield good(edge, "TP-WIR-006", FALL | table, EVENT_FIELDS)
    yield good("shortest gateway id", "TP-WIR-001", FALL | {1: "a-0z"}, EVENT_FIELDS)
    yield good("longest gateway id", "TP-WIR-001", FALL | {1: "a" * 24}, EVENT_FIELDS)
    yield good("unknown kind", "TP-WIR-010", FALL | {8: 255}, EVENT_FIELDS)
    yield good("unknown data key", "TP-WIR-010", FALL | {15: {4_000_000_000: 1}}, EVENT_FIELDS)
    yield good("map keys above 15", "TP-WIR-010", FALL | {16: "later", 300: [1, {2: b"\x03"}]}, EVENT_FIELDS)
    yield good("1,100 bytes", "TP-WIR-007", padded_event(MAX_EVENT), EVENT_FIELDS)


def bad_events() -> Iterator[Vector]:
    for key in (1, 2, 3, 4, 5, 7, 8, 9, 12):
        yield bad(f"field {key} missing", "TP-WIR-006", dumps(without(FALL, key)))
    for name, table in (
        ("seq over 32 bits", {3: 2**32}), ("negative seq", {3: -1}), ("seq a float", {3: 7.0}), ("seq a boolean", {3: True}),
        ("epoch of 7 bytes", {2: EPOCH[:7]}), ("epoch a text", {2: "01234567"}), ("time in seconds", {6: UTC_MS // 1000}),
        ("time after the last", {6: 32_503_680_000_001}), ("quality 3", {7: 3}), ("kind 0", {8: 0}), ("kind 256", {8: 256}),
        ("state 3", {9: 3}), ("test false", {10: False}), ("test 1", {10: 1}), ("ref negative", {11: -1}),
        ("severity 4", {12: 4}), ("sensor empty", {13: ""}), ("sensor of 17 bytes", {13: "å" * 8 + "x"}),
        ("location 1000", {14: 1000}), ("data a list", {15: [1]}), ("data key a text", {15: {"a": 1}}),
        ("data key negative", {15: {-1: 1}}), ("data text of 65 bytes", {15: {7: "x" * 65}}),
        ("data bytes of 65", {15: {6: bytes(65)}}), ("data list of texts", {15: {6: ["a"]}}), ("data null", {15: {6: None}}),
        ("data a float", {15: {6: 1.5}}), ("map key 0", {0: 1}), ("map key a text", {"x": 1}), ("map key negative", {-1: 1}),
        ("boot over 64 bits", {4: 2**64}), ("a date", {16: cbor2.CBORTag(1, 0)}),
    ):  # fmt: skip
        yield bad(name, "TP-WIR-006", dumps(FALL | table))
    for name, gateway in (("of 3", "abc"), ("of 25", "a" * 25), ("in capitals", "KITCHEN"), ("with a slash", "a/bcd")):
        yield bad(f"gateway id {name}", "TP-WIR-001", dumps(FALL | {1: gateway}))
    yield bad("1,101 bytes", "TP-WIR-007", dumps(padded_event(MAX_EVENT + 1)))
    yield from not_deterministic("TP-WIR-006", FALL)
    yield bad("an array", "TP-WIR-006", dumps([FALL]))
    yield bad("nothing", "TP-WIR-006", b"")


def not_deterministic(requirement: str, table: dict[int, Any]) -> Iterator[Vector]:
    """Encodings of `table` that RFC 8949 section 4.2.1 does not allow, and one with a byte too many or too few."""
    data = dumps(table)
    pairs = [dumps(key) + dumps(item) for key, item in sorted(table.items())]
    yield bad("keys out of order", requirement, data[:1] + b"".join([pairs[1], pairs[0], *pairs[2:]]))
    yield bad("a key twice", requirement, bytes([data[0] + 1]) + data[1:] + pairs[-1])
    yield bad("a map of indefinite length", requirement, b"\xbf" + data[1:] + b"\xff")
    yield bad("an integer longer than needed", requirement, data[:1] + b"\x18\x01" + data[2:])
    yield bad("a byte too many", requirement, data + b"\x00")
    yield bad("a byte too few", requirement, data[:-1])
    yield bad("a tag round it", requirement, b"\xd9\xd9\xf7" + data)


def payloads() -> Iterator[Vector]:
    """Arrays of events, as an envelope on the topic of GATEWAY carries them."""
    three = [FALL, FALL | {3: 8, 9: 2, 11: 7}, FALL | {3: 9, 8: 2}]
    yield {
        "name": "three events", "requirement": "TP-WIR-006", "hex": dumps(three).hex(),
        "events": [dumps(event).hex() for event in three],
        "sha256": [hashlib.sha256(dumps(event)).hexdigest() for event in three],
    }  # fmt: skip
    foreign, other_epoch = FALL | {1: "garage-2"}, FALL | {3: 8, 2: bytes(8)}
    for name, second in (("an event of another gateway", foreign), ("an event of another epoch", other_epoch)):
        yield {
            "name": name, "requirement": "TP-WIR-009", "hex": dumps([FALL, second]).hex(),
            "events": [dumps(FALL).hex(), None], "sha256": [hashlib.sha256(dumps(FALL)).hexdigest(), None],
        }  # fmt: skip
    for name, data in (
        ("no event", dumps([])), ("an event without its array", dumps(FALL)), ("not CBOR", b"\xff\xff"), ("nothing", b""),
        ("an array of indefinite length", b"\x9f" + dumps(FALL) + b"\xff"), ("a byte too many", dumps([FALL]) + b"\x00"),
    ):  # fmt: skip
        yield bad(name, "TP-WIR-017", data)


def receipts() -> Iterator[Vector]:
    hashes = [hashlib.sha256(dumps(FALL | {3: seq})).digest() for seq in range(7, 12)]
    many = RECEIPT | {3: [[7, 9, digest(hashes[:3])], [11, 11, digest(hashes[4:])]]}
    yield good("stored", "TP-WIR-012", RECEIPT, RECEIPT_FIELDS)
    yield good("two ranges with a gap", "TP-WIR-012", many, RECEIPT_FIELDS) | {"sha256": [h.hex() for h in hashes]}
    for outcome in range(1, 9):
        yield good(f"outcome {outcome}", "TP-WIR-015", RECEIPT | {4: outcome}, RECEIPT_FIELDS)
    yield good("retry later, and when", "TP-WIR-015", RECEIPT | {4: 5, 6: 60_000}, RECEIPT_FIELDS)
    for key in (1, 2, 3, 4, 5):
        yield bad(f"field {key} missing", "TP-WIR-012", dumps(without(RECEIPT, key)))
    eight = bytes(8)
    for name, table in (
        ("no range", {3: []}), ("a range of two", {3: [[7, 7]]}), ("a range of four", {3: [[7, 7, eight, 0]]}),
        ("a range backwards", {3: [[8, 7, eight]]}), ("a digest of 7 bytes", {3: [[7, 7, bytes(7)]]}),
        ("a range over 32 bits", {3: [[7, 2**32, eight]]}), ("outcome 9", {4: 9}), ("time in seconds", {5: 1_767_225_600}),
        ("a negative wait", {6: -1}), ("map key 7", {7: 0}), ("epoch of 9 bytes", {2: bytes(9)}),
    ):  # fmt: skip
        yield bad(name, "TP-WIR-012", dumps(RECEIPT | table))
    yield from not_deterministic("TP-WIR-012", RECEIPT)


def statuses() -> Iterator[Vector]:
    yield good("birth", "TP-WIR-018", STATUS, STATUS_FIELDS)
    yield good("will", "TP-WIR-018", STATUS | {5: False}, STATUS_FIELDS)
    yield good("heartbeat with the time", "TP-WIR-018", STATUS | {9: 361_000, 10: UTC_MS, 11: 2}, STATUS_FIELDS)
    for key in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13):
        yield bad(f"field {key} missing", "TP-WIR-018", dumps(without(STATUS, key)))
    for name, table in (
        ("online 1", {5: 1}), ("next seq over 32 bits", {6: 2**32}), ("quality 3", {11: 3}), ("no firmware", {13: ""}),
        ("firmware of 33 bytes", {13: "x" * 33}), ("map key 14", {14: 0}), ("negative boot", {3: -1}),
    ):  # fmt: skip
        yield bad(name, "TP-WIR-018", dumps(STATUS | table))
    yield from not_deterministic("TP-WIR-018", STATUS)


def commands() -> Iterator[Vector]:
    yield good("restart", "TP-CMD-003", COMMAND, COMMAND_FIELDS)
    yield good("resend", "TP-CMD-003", COMMAND | {4: 1, 5: [EPOCH, 1, 4096]}, COMMAND_FIELDS)
    yield good("test alarm, not after", "TP-CMD-003", COMMAND | {4: 3, 6: UTC_MS + 60_000}, COMMAND_FIELDS)
    yield good("factory reset, forced", "TP-CMD-003", COMMAND | {4: 4, 5: [True]}, COMMAND_FIELDS)
    yield good("the last counter", "TP-CMD-003", COMMAND | {3: 2**63 - 1}, COMMAND_FIELDS)
    for key in (1, 2, 3, 4):
        yield bad(f"field {key} missing", "TP-CMD-003", dumps(without(COMMAND, key)))
    for name, table in (
        ("counter over 63 bits", {3: 2**63}), ("negative counter", {3: -1}), ("counter a text", {3: "1"}),
        ("what negative", {4: -1}), ("arguments a map", {5: {}}), ("not after in seconds", {6: UTC_MS // 1000}),
        ("map key 7", {7: 0}), ("epoch of 9 bytes", {2: bytes(9)}),
    ):  # fmt: skip
        yield bad(name, "TP-CMD-003", dumps(COMMAND | table))
    yield from not_deterministic("TP-CMD-003", COMMAND)


def results() -> Iterator[Vector]:
    fields = {1: "gateway", 2: "epoch", 4: "code", 5: "details"}

    def named(name: str, table: dict[int, Any]) -> Vector:
        vector = good(name, "TP-CMD-003", table, fields)
        vector["value"] |= {"kind": table[3][0], "number": table[3][1]}
        return vector

    yield named("a command is done", RESULT)
    yield named("a resend, and what is missing", RESULT | {5: {1: 4096, 2: [[1, 7]], 3: 4089}})
    yield named("configuration 3 is kept", RESULT | {3: [1, 3]})
    yield named("trust list 2 brought no receipt", RESULT | {3: [2, 2], 4: 11})
    yield named("a request is done", RESULT | {3: [3, UTC_MS], 5: {1: 7, 2: [], 3: 2}})
    for key in (1, 2, 3, 4):
        yield bad(f"field {key} missing", "TP-CMD-003", dumps(without(RESULT, key)))
    for name, table in (
        ("kind 4", {3: [4, 1]}), ("number alone", {3: 7}), ("three numbers", {3: [0, 1, 2]}), ("negative number", {3: [0, -1]}),
        ("code 256", {4: 256}), ("details a list", {5: [1]}), ("map key 6", {6: 0}), ("epoch of 7 bytes", {2: EPOCH[:7]}),
    ):  # fmt: skip
        yield bad(name, "TP-CMD-003", dumps(RESULT | table))
    yield from not_deterministic("TP-CMD-003", RESULT)


def envelope(name: str, requirement: str, data: bytes, topic: str = TOPIC, **outcome: Any) -> Vector:
    """A vector of an envelope that arrives on `topic`."""
    return {"name": name, "requirement": requirement, "topic": topic, "hex": data.hex()} | outcome


def envelopes() -> Iterator[Vector]:
    """Judged with the key "gateway" as the only one of the gateway in the topic."""
    key = KEYS["gateway"]
    largest = MAX_ENVELOPE - len(key.seal(bytes(256), TOPIC)) + 256
    for name, payload in (
        ("a fall", dumps([FALL])), ("a payload of 23 bytes", bytes(23)), ("of 24", bytes(24)), ("of 255", bytes(255)),
        ("of 256", bytes(256)), ("an empty payload", b""), ("1,300 bytes", bytes(largest)),
    ):  # fmt: skip
        yield envelope(
            name, "TP-WIR-003", key.seal(payload, TOPIC), key="gateway", kid=key.kid.hex(), payload=payload.hex()
        )
    receipt_topic = topics.topic(GATEWAY, topics.RECEIPT)
    signer = KEYS["receipt"]
    yield envelope(
        "a receipt", "TP-WIR-013", signer.seal(dumps(RECEIPT), receipt_topic), receipt_topic,
        key="receipt", kid=signer.kid.hex(), payload=dumps(RECEIPT).hex(),
    )  # fmt: skip
    yield from refused_envelopes(key, key.seal(dumps([FALL]), TOPIC))
    over = key.seal(bytes(largest), TOPIC)
    yield envelope("1,301 bytes", "TP-WIR-003", over + b"\x00", refuse=OVER_LIMIT)


def refused_envelopes(key: SigningKey, data: bytes) -> Iterator[Vector]:
    kid, payload, signature = key.kid, dumps([FALL]), data[-64:]
    head = dumps({1: -7, 4: kid})

    def cose(protected: bytes = head, unprotected: Any = None, body: Any = payload, sign: bytes = signature) -> bytes:
        return dumps(cbor2.CBORTag(18, [protected, unprotected or {}, body, sign]))

    for name, wrong in (
        ("no tag", data[1:]), ("tag 98", b"\xd8\x62" + data[1:]), ("tag 17", b"\xd1" + data[1:]),
        ("three elements", dumps(cbor2.CBORTag(18, [head, {}, payload]))),
        ("five elements", dumps(cbor2.CBORTag(18, [head, {}, payload, signature, 0]))),
        ("an array of indefinite length", data[:1] + b"\x9f" + data[2:] + b"\xff"),
        ("protected headers empty", cose(b"")), ("no alg", cose(dumps({4: kid}))), ("no kid", cose(dumps({1: -7}))),
        ("alg ES384", cose(dumps({1: -35, 4: kid}))), ("a third header", cose(dumps({1: -7, 4: kid, 5: b"iv"}))),
        ("kid of 7 bytes", cose(dumps({1: -7, 4: kid[:7]}))), ("kid of 9 bytes", cose(dumps({1: -7, 4: kid + b"\0"}))),
        ("headers out of order", cose(b"\xa2\x04" + dumps(kid) + b"\x01\x26")),
        ("kid not protected", cose(dumps({1: -7}), {4: kid})), ("an unprotected header", cose(head, {5: b"iv"})),
        ("payload detached", cose(body=None)), ("payload not a byte string", cose(body=[FALL])),
        ("payload length longer than needed", data[:17] + b"\x59\x00" + data[18:]),
        ("signature of 63 bytes", cose(sign=signature[:63])), ("signature of 65 bytes", cose(sign=signature + b"\0")),
        ("signature in DER", cose(sign=bytes.fromhex("3006020101020101"))), ("a byte too many", data + b"\0"),
        ("a byte too few", data[:-1]), ("only its first byte", data[:1]), ("nothing", b""), ("not CBOR", b"\xff" * 90),
    ):  # fmt: skip
        yield envelope(name, "TP-WIR-004", wrong, refuse=MALFORMED)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for name, sign in (
        ("one bit of the signature", signature[:-1] + bytes([signature[-1] ^ 1])), ("r = 0", bytes(32) + signature[32:]),
        ("s = 0", signature[:32] + bytes(32)), ("s = n", signature[:32] + order.to_bytes(32, "big")),
        ("r = n", order.to_bytes(32, "big") + signature[32:]), ("all ones", b"\xff" * 64),
    ):  # fmt: skip
        yield envelope(name, "TP-WIR-004", data[:-64] + sign, refuse=BAD_SIGNATURE)
    flipped = bytearray(data)
    flipped[30] ^= 0x20
    yield envelope("one bit of the payload", "TP-WIR-004", bytes(flipped), refuse=BAD_SIGNATURE)
    forged = data[:8] + kid + KEYS["other"].seal(payload, TOPIC)[16:]
    yield envelope("another key under this kid", "TP-WIR-004", forged, refuse=BAD_SIGNATURE)
    yield envelope("another gateway's key", "TP-WIR-004", KEYS["other"].seal(payload, TOPIC), refuse=UNKNOWN_KEY)
    copied = topics.topic(GATEWAY, topics.EVENT)
    yield envelope("copied to another topic", "TP-WIR-003", data, copied, refuse=BAD_SIGNATURE)
    elsewhere = topics.topic("garage-2", topics.ALARM)
    yield envelope(
        "signed for another gateway's topic", "TP-WIR-003", key.seal(payload, elsewhere), refuse=BAD_SIGNATURE
    )


def files() -> dict[str, dict[str, Any]]:
    keys = {
        name: {"secret": SECRETS[name].hex(), "public": point(key.private.public_key()).hex(), "kid": key.kid.hex()}
        for name, key in KEYS.items()
    }
    map_form = "Maps in values are lists of [key, value]; byte strings are hex:…"
    return {
        "events.json": {"about": f"Single events. {map_form}", "vectors": [*good_events(), *bad_events()]},
        "payloads.json": {
            "about": f"Arrays of events on the topics of {GATEWAY}: the bytes of each event, null for one that is unreadable.",
            "vectors": list(payloads()),
        },
        "receipts.json": {"about": f"Receipts. {map_form}", "vectors": list(receipts())},
        "status.json": {"about": f"Status. {map_form}", "vectors": list(statuses())},
        "commands.json": {"about": f"Commands. {map_form}", "vectors": list(commands())},
        "results.json": {"about": f"Results of orders. {map_form}", "vectors": list(results())},
        "envelopes.json": {
            "about": "Envelopes as they arrive on `topic`, whose gateway has the key `gateway` (and `receipt` signs receipts).",
            "keys": keys,
            "vectors": list(envelopes()),
        },
    }


def main(check: bool) -> int:
    stale = 0
    for name, content in files().items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        target = FOLDER / name
        if target.exists() and target.read_text() == text:
            continue
        if check:
            print(f"protocols/vectors/{name} is stale. Run: python protocols/vectors.py", file=sys.stderr)
            stale = 1
        else:
            target.write_text(text)
            print(f"wrote protocols/vectors/{name}")
    return stale


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
