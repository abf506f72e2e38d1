import json
import os
from hashlib import sha256

from gateway import cbor, cbor_rare, cose, p256

SECRET = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
PUBLIC = p256.public_key(SECRET)
KID = cose.kid(PUBLIC)
TOPIC = b"trygg/1/gw-0001/alarm"
PAYLOAD = cbor.encode([{1: "gw-0001", 3: 7}])
ENVELOPE = cose.sign1(PAYLOAD, TOPIC, SECRET, KID)
HEADER_BYTES = 18  # up to the payload of 24..255 bytes
OVERHEAD_BYTES = 86  # with a payload of 256 bytes or more


def reason(function, *arguments):
    try:
        function(*arguments)
    except cose.COSEError as e:
        return e.args[0]
    return None


def sign_tree(tree, aad=TOPIC):
    """An envelope from its parts (protected bytes, unprotected, payload), with a signature that is right for them."""
    protected, unprotected, payload = tree
    digest = sha256(cbor.encode(["Signature1", protected, aad, payload])).digest()
    return cbor.encode(cbor_rare.Tag(18, [protected, unprotected, payload, p256.sign(SECRET, digest)]))


def test_TP_COS_001_an_envelope_is_the_one_form():
    tag = cbor.decode(ENVELOPE)
    assert tag.number == 18
    protected, unprotected, payload, signature = tag.value
    assert cbor.decode(protected) == {1: -7, 4: KID}
    assert unprotected == {}
    assert payload == PAYLOAD
    assert len(signature) == 64
    assert sign_tree((protected, {}, PAYLOAD)) == ENVELOPE
    kid, raw, body, sig = cose.parse(ENVELOPE)
    assert (kid, bytes(raw), bytes(body), bytes(sig)) == (KID, protected, PAYLOAD, signature)
    assert cose.sign1(memoryview(PAYLOAD), TOPIC, SECRET, memoryview(KID)) == ENVELOPE


def test_TP_COS_001_well_signed_envelopes_of_another_form_are_malformed():
    right = cbor.encode({1: -7, 4: KID})
    assert reason(cose.verify1, sign_tree((right, {}, PAYLOAD)), TOPIC, {KID: PUBLIC}) is None
    for tree in (
        (cbor.encode({1: -8, 4: KID}), {}, PAYLOAD),
        (cbor.encode({1: -7}), {}, PAYLOAD),
        (cbor.encode({1: -7, 4: KID[:7]}), {}, PAYLOAD),
        (cbor.encode({1: -7, 4: KID + b"x"}), {}, PAYLOAD),
        (cbor.encode({1: -7, 3: 60, 4: KID}), {}, PAYLOAD),
        (cbor.encode({1: -7, 2: [4], 4: KID}), {}, PAYLOAD),
        (b"\xa2\x04\x48" + KID + b"\x01\x26", {}, PAYLOAD),
        (b"\xbf\x01\x26\x04\x48" + KID + b"\xff", {}, PAYLOAD),
        (b"", {1: -7, 4: KID}, PAYLOAD),
        (right, {4: KID}, PAYLOAD),
        (right, {99: 1}, PAYLOAD),
        (right, [], PAYLOAD),
        (right, {}, None),
        (right, {}, "text"),
        (right, {}, [PAYLOAD]),
    ):
        assert reason(cose.verify1, sign_tree(tree), TOPIC, {KID: PUBLIC}) == "malformed", tree


def test_TP_COS_001_other_encodings_of_a_good_envelope_are_malformed():
    body = ENVELOPE[HEADER_BYTES - 1 :]  # the payload's string header and all behind it
    for bad in (
        ENVELOPE[1:],  # untagged
        b"\xd8\x12" + ENVELOPE[1:],  # long tag
        b"\xd9\xd9\xf7" + ENVELOPE,  # self-described
        b"\xd3" + ENVELOPE[1:],  # COSE_Encrypt0... another tag
        b"\xd2\x98\x04" + ENVELOPE[2:],
        b"\xd2\x9f" + ENVELOPE[2:] + b"\xff",
        b"\xd2\x83" + ENVELOPE[2:],
        ENVELOPE[: HEADER_BYTES - 2] + b"\xbf\xff" + body,
        ENVELOPE + b"\x00",
        ENVELOPE[:-1],
        b"",
        b"\xd2",
    ):
        assert reason(cose.parse, bad) == "malformed", bad
    assert body[0] == 0x40 | len(PAYLOAD)
    long_head = b"\x58" + bytes((len(PAYLOAD),)) + body[1:]
    assert reason(cose.parse, ENVELOPE[: HEADER_BYTES - 1] + long_head) == "malformed"
    for size in range(len(ENVELOPE)):
        assert reason(cose.parse, ENVELOPE[:size]) == "malformed"


def test_TP_COS_002_at_most_1300_bytes():
    largest = bytes(cose.ENVELOPE_BYTES_MAX - OVERHEAD_BYTES)
    envelope = cose.sign1(largest, TOPIC, SECRET, KID)
    assert len(envelope) == cose.ENVELOPE_BYTES_MAX == 1300
    assert bytes(cose.verify1(envelope, TOPIC, {KID: PUBLIC})[1]) == largest
    assert reason(cose.sign1, largest + b"x", TOPIC, SECRET, KID) == "over_limit"
    assert reason(cose.parse, envelope + b"x") == "over_limit"
    assert reason(cose.parse, bytes(100000)) == "over_limit"


def test_TP_COS_003_signature_binds_topic_key_and_payload():
    keys = {KID: PUBLIC}
    kid, payload = cose.verify1(ENVELOPE, TOPIC, keys)
    assert kid == KID
    assert bytes(payload) == PAYLOAD
    assert reason(cose.verify1, ENVELOPE, b"trygg/1/gw-0002/alarm", keys) == "bad_signature"
    assert reason(cose.verify1, ENVELOPE, b"", keys) == "bad_signature"
    assert reason(cose.verify1, ENVELOPE, TOPIC, {}) == "unknown_key"
    other = p256.public_key(bytes(31) + b"\x02")
    assert reason(cose.verify1, ENVELOPE, TOPIC, {cose.kid(other): other}) == "unknown_key"
    assert reason(cose.verify1, ENVELOPE, TOPIC, {KID: other}) == "bad_signature"
    assert reason(cose.verify1, ENVELOPE, TOPIC, {KID: PUBLIC[:-1]}) == "bad_signature"


def test_TP_COS_003_every_flipped_byte_is_refused():
    keys = {KID: PUBLIC}
    for at in range(len(ENVELOPE)):
        bad = bytearray(ENVELOPE)
        bad[at] ^= 0x01
        wanted = "malformed" if at < 8 or at in (16, 17) else "unknown_key" if at < 16 else "bad_signature"
        wanted = "malformed" if at in (len(ENVELOPE) - 66, len(ENVELOPE) - 65) else wanted
        assert reason(cose.verify1, bad, TOPIC, keys) == wanted, at


def test_TP_COS_004_a_payload_that_is_no_cbor_is_refused_for_its_signature_first():
    envelope = bytearray(cose.sign1(b"\xff\xff\xff", TOPIC, SECRET, KID))
    assert bytes(cose.verify1(envelope, TOPIC, {KID: PUBLIC})[1]) == b"\xff\xff\xff"
    envelope[-1] ^= 1
    assert reason(cose.verify1, envelope, TOPIC, {KID: PUBLIC}) == "bad_signature"


def test_TP_COS_005_the_sliced_forms_give_the_same():
    assert p256.run(cose.sign1_steps(PAYLOAD, TOPIC, SECRET, KID)) == ENVELOPE
    steps = cose.verify1_steps(ENVELOPE, TOPIC, {KID: PUBLIC})
    slices = 0
    while True:
        try:
            assert next(steps) is None
            slices += 1
        except StopIteration as stop:
            result = stop.value
            break
    assert result == (KID, PAYLOAD)
    assert slices >= 16


def test_TP_COS_006_kid_is_the_start_of_the_hash_of_the_spki():
    der = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + PUBLIC
    assert cose.spki(PUBLIC) == der
    assert sha256(der).digest()[:8] == KID
    assert reason(cose.sign1, PAYLOAD, TOPIC, SECRET, KID[:7]) == "malformed"


def test_TP_WIR_004_the_wire_vectors_are_judged_as_the_host_judges_them():
    with open(os.getenv("TRYGG_ROOT") + "/protocols/vectors/envelopes.json") as f:
        vectors = json.load(f)
    known = {}
    for name in ("gateway", "receipt"):
        key = vectors["keys"][name]
        known[bytes.fromhex(key["kid"])] = bytes.fromhex(key["public"])
        assert cose.kid(bytes.fromhex(key["public"])).hex() == key["kid"]
    for vector in vectors["vectors"]:
        envelope, topic = bytes.fromhex(vector["hex"]), vector["topic"].encode()
        assert reason(cose.verify1, envelope, topic, known) == vector.get("refuse"), vector["name"]
        if "payload" in vector:
            payload = bytes.fromhex(vector["payload"])
            assert cose.verify1(envelope, topic, known) == (bytes.fromhex(vector["kid"]), payload)
            secret = bytes.fromhex(vectors["keys"][vector["key"]]["secret"])
            assert cose.kid(p256.public_key(secret)).hex() == vector["kid"]
    assert len(vectors["vectors"]) > 40
