"""protocols/vectors/ against this implementation, and against ones that are not ours."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cbor2
import cddl_verifier
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pycose.keys import EC2Key
from pycose.messages import Sign1Message
from tryggport.wire.envelope import UNKNOWN_KEY, Envelope, EnvelopeError, SigningKey, kid_of
from tryggport.wire.event import Event, Unreadable, decode_events
from tryggport.wire.fields import PayloadError
from tryggport.wire.order import Command, Result
from tryggport.wire.receipt import Receipt, digest
from tryggport.wire.status import Status

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "protocols" / "vectors"


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def vectors(name, *, refused):
    found = [v for v in load(name)["vectors"] if ("refuse" in v) == refused]
    return pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"]) for v in found])


def plain(value):
    if isinstance(value, bytes):
        return f"hex:{value.hex()}"
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return [[key, plain(item)] for key, item in sorted(value.items())] if hasattr(value, "items") else value


def test_the_vectors_are_what_their_script_writes():
    subprocess.run([sys.executable, "protocols/vectors.py", "--check"], cwd=ROOT, check=True)


@vectors("events", refused=False)
def test_TP_WIR_006_a_good_event_is_read_and_keeps_its_bytes(vector):
    data = bytes.fromhex(vector["hex"])
    event = Event.from_bytes(data)
    for name, value in vector["value"].items():
        assert plain(getattr(event, name)) == value, name
    assert plain(event.later) == vector.get("later", [])  # TP-WIR-010
    assert event.to_bytes() == data
    assert event.sha256 == hashlib.sha256(data).digest()
    again = {f: getattr(event, f) for f in Event.__dataclass_fields__ if f != "encoded"}
    if "empty data" not in vector["name"]:  # the encoder leaves empty data out, as it may
        assert Event(**again).to_bytes() == data


@vectors("events", refused=True)
def test_TP_WIR_006_a_bad_event_is_unreadable(vector):
    with pytest.raises(PayloadError):
        Event.from_bytes(bytes.fromhex(vector["hex"]))


@vectors("payloads", refused=False)
def test_TP_WIR_009_each_event_of_a_payload_keeps_its_own_bytes(vector):
    found = decode_events(bytes.fromhex(vector["hex"]), "kitchen-7")
    assert [None if isinstance(item, Unreadable) else item.to_bytes().hex() for item in found] == vector["events"]
    assert [None if isinstance(i, Unreadable) else i.sha256.hex() for i in found] == vector["sha256"]
    for item in found:
        assert item.encoded in bytes.fromhex(vector["hex"])


@vectors("payloads", refused=True)
def test_TP_WIR_017_an_unreadable_payload_comes_back_whole(vector):
    data = bytes.fromhex(vector["hex"])
    (item,) = decode_events(data, "kitchen-7")
    assert isinstance(item, Unreadable)
    assert item.encoded == data
    assert item.identity is None


def refuses(read, data):
    try:
        read(data)
    except PayloadError:
        return True
    return False


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("receipts", Receipt.from_bytes),
        ("status", Status.from_bytes),
        ("commands", Command.from_bytes),
        ("results", Result.from_bytes),
    ],
)
def test_TP_WIR_012_TP_WIR_018_TP_CMD_003_receipts_status_commands_and_results(name, read):
    refused = 0
    for vector in load(name)["vectors"]:
        data = bytes.fromhex(vector["hex"])
        if "refuse" in vector:
            refused += 1
            assert refuses(read, data), vector["name"]
            continue
        value = read(data)
        assert {k: plain(getattr(value, k)) for k in vector["value"]} == vector["value"], vector["name"]
        assert value.to_bytes() == data, vector["name"]
    assert refused > 15


def test_TP_WIR_012_the_digest_is_over_the_hashes_from_first_to_last():
    (vector,) = (v for v in load("receipts")["vectors"] if "sha256" in v)
    hashes = [bytes.fromhex(h) for h in vector["sha256"]]  # of seqs 7 to 11
    for first, last, expected in Receipt.from_bytes(bytes.fromhex(vector["hex"])).ranges:
        assert digest(hashes[first - 7 : last - 6]) == expected
        assert hashlib.sha256(b"".join(hashes[first - 7 : last - 6])).digest()[:8] == expected


def private(name):
    secret = load("envelopes")["keys"][name]["secret"]
    return ec.derive_private_key(int(secret, 16), ec.SECP256R1())


@vectors("envelopes", refused=False)
def test_TP_WIR_003_a_good_envelope_opens_and_signing_it_again_gives_the_same_bytes(vector):
    data, key = bytes.fromhex(vector["hex"]), private(vector["key"])
    envelope = Envelope.from_bytes(data)
    envelope.verify(key.public_key(), vector["topic"])
    assert (envelope.kid.hex(), envelope.payload.hex()) == (vector["kid"], vector["payload"])
    assert envelope.kid == kid_of(key.public_key())
    assert SigningKey(key).seal(envelope.payload, vector["topic"]) == data


@vectors("envelopes", refused=False)
def test_TP_WIR_003_another_COSE_library_reads_and_verifies_it(vector):
    tagged = cbor2.loads(bytes.fromhex(vector["hex"]))
    assert tagged.tag == Sign1Message.cbor_tag
    protected, unprotected, payload, signature = tagged.value
    # its own decode() predates cbor2 6, whose tags hold immutable values
    message = Sign1Message.from_cose_obj([protected, dict(unprotected), payload, signature], True)
    point = bytes.fromhex(load("envelopes")["keys"][vector["key"]]["public"])
    message.key = EC2Key(crv="P_256", x=point[1:33], y=point[33:])
    message.external_aad = vector["topic"].encode()
    assert message.verify_signature()
    assert message.payload.hex() == vector["payload"]


@vectors("envelopes", refused=True)
def test_TP_WIR_004_a_bad_envelope_is_refused_with_its_reason(vector):
    with pytest.raises(EnvelopeError) as refusal:
        open_as_receiver(bytes.fromhex(vector["hex"]), vector["topic"])
    assert refusal.value.reason == vector["refuse"]


def open_as_receiver(data, topic):
    key = private("gateway").public_key()
    envelope = Envelope.from_bytes(data)
    if envelope.kid != kid_of(key):
        raise EnvelopeError(UNKNOWN_KEY)
    envelope.verify(key, topic)


BEYOND_CDDL = {"map keys above 15", "1,101 bytes", "keys out of order", "a key twice", "a map of indefinite length"}
BEYOND_CDDL |= {"an integer longer than needed", "a byte too many", "a range backwards", "a date", "boot over 64 bits"}


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("events", "event"),
        ("receipts", "receipt"),
        ("status", "status"),
        ("commands", "command"),
        ("results", "result"),
    ],
)
def test_a_CDDL_verifier_that_is_not_ours_agrees(name, rule):
    schema = (ROOT / "protocols" / "tryggport.cddl").read_text()
    checked = [v for v in load(name)["vectors"] if v["name"] not in BEYOND_CDDL]
    judged = {v["name"]: cddl_verifier.validate(schema, bytes.fromhex(v["hex"]), root_type=rule).valid for v in checked}
    assert judged == {v["name"]: "refuse" not in v for v in checked}
    assert len(checked) > 15
