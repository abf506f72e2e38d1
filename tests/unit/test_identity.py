import io
import os
import sys

from gateway import cbor, cose, identity, p256

ROOT_SECRET = bytes(31) + b"\x07"
ROOT_PUBLIC = p256.public_key(ROOT_SECRET)
AAD = b"trygg/1/trust"
PUBLICS = [p256.public_key(bytes(30) + bytes((1, i))) for i in range(17)]


class Store:
    def __init__(self):
        self.kept = {}
        self.puts = []

    def get(self, name):
        return self.kept.get(name)

    def put(self, name, value):
        self.puts.append(name)
        self.kept[name] = value


def entry(index, roles):
    return [cose.kid(PUBLICS[index]), roles, PUBLICS[index]]


def signed(content, secret=ROOT_SECRET, aad=AAD):
    payload = content if type(content) is bytes else cbor.encode(content)
    return cose.sign1(payload, aad, secret, cose.kid(p256.public_key(secret)))


def reason(envelope, current_version=0):
    try:
        identity.trust_list(envelope, ROOT_PUBLIC, current_version)
    except cose.COSEError as e:
        return e.args[0]
    return None


def test_TP_IDN_001_two_secrets_are_drawn_and_kept():
    store = Store()
    identity.create(store, os.urandom)
    tls, sign = store.get(identity.TLS_KEY), store.get(identity.SIGN_KEY)
    assert tls != sign
    assert p256.is_secret(tls)
    assert p256.is_secret(sign)
    assert store.puts == ["tls", "sign"]
    identity.create(store, os.urandom)
    assert (store.get("tls"), store.get("sign"), len(store.puts)) == (tls, sign, 2)


def test_TP_IDN_001_a_power_cut_between_the_two_is_mended():
    store = Store()
    store.put("tls", b"\x01" * 32)
    identity.create(store, os.urandom)
    assert store.get("tls") == b"\x01" * 32
    assert p256.is_secret(store.get("sign"))


def test_TP_IDN_001_draws_outside_the_range_are_rejected():
    order = bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
    draws = [bytes(32), order, b"\xff" * 32, order[:31] + b"\x50", b"never"]
    assert identity.draw(lambda count: draws.pop(0)) == order[:31] + b"\x50"
    assert draws == [b"never"]
    for broken in (lambda count: bytes(count), lambda count: b"\xff" * count, lambda count: b"\x01"):
        try:
            identity.draw(broken)
        except OSError:
            continue
        raise AssertionError("a broken random source was taken")


def test_TP_IDN_002_no_secret_in_errors_or_representations():
    bad = b"SECRETSECRETSECRETSECRETSECRETSECRET"
    shown = ""
    refused = 0
    for function in (identity.csr, lambda secret, name: identity.private_key_der(secret), p256.sign):
        try:
            function(bad, "gw-0001")
        except ValueError as e:
            out = io.StringIO()
            sys.print_exception(e, out)
            shown += repr(e) + out.getvalue()
            refused += 1
    assert refused == 3
    assert "SECRET" not in shown
    assert b"SECRET" not in identity.csr(b"SECRETSECRETSECRETSECRETSECRETSE", "gw-0001")


def test_TP_IDN_005_a_trust_list_gives_keys_by_role():
    envelope = signed({1: 3, 2: [entry(0, 1), entry(1, 3), entry(2, 8), entry(3, 0x11)]})
    for current in (0, 2, 3):
        trust = identity.trust_list(envelope, ROOT_PUBLIC, current)
        assert trust.version == 3
    kids = [cose.kid(public) for public in PUBLICS]
    assert trust.keys(identity.RECEIPT) == {kids[0]: PUBLICS[0], kids[1]: PUBLICS[1], kids[3]: PUBLICS[3]}
    assert trust.keys(identity.COMMAND) == {kids[1]: PUBLICS[1]}
    assert trust.keys(identity.UPDATE) == {}
    assert trust.keys(identity.CONFIGURATION) == {kids[2]: PUBLICS[2]}


def test_TP_IDN_005_versions_only_rise():
    envelope = signed({1: 3, 2: [entry(0, 1)]})
    assert reason(envelope, 3) is None
    assert reason(envelope, 4) == "rollback"


def test_TP_IDN_005_only_the_root_signs_for_this_purpose():
    content = {1: 3, 2: [entry(0, 1)]}
    assert reason(signed(content, secret=bytes(31) + b"\x08")) == "unknown_key"
    assert reason(signed(content, aad=b"trygg/1/config")) == "bad_signature"
    bad = bytearray(signed(content))
    bad[40] ^= 1
    assert reason(bad) == "bad_signature"


def test_TP_IDN_005_TP_BND_015_one_to_fifteen_keys():
    keys = [entry(i, 1) for i in range(16)]
    assert reason(signed({1: 1, 2: []})) == "malformed"
    assert len(identity.trust_list(signed({1: 1, 2: keys[:15]}), ROOT_PUBLIC, 0).keys(1)) == 15
    refused = None
    try:
        signed({1: 1, 2: keys})
    except cose.COSEError as e:
        refused = e.args[0]
    assert refused == "over_limit"


def test_TP_IDN_005_other_shapes_are_malformed():
    good = entry(0, 1)
    kid, roles, public = good
    assert reason(signed({1: 1, 2: [good]})) is None
    for content in (
        b"\xff",
        b"",
        [1, [good]],
        {1: 1},
        {2: [good]},
        {1: 1, 2: [good], 3: 0},
        {1: -1, 2: [good]},
        {1: "1", 2: [good]},
        {1: True, 2: [good]},
        {1: 1.0, 2: [good]},
        {1: 1, 2: {1: good}},
        {1: 1, 2: [good, good]},
        {1: 1, 2: [good, 5]},
        {1: 1, 2: [[kid, roles]]},
        {1: 1, 2: [[kid, roles, public, 0]]},
        {1: 1, 2: [[kid, 0, public]]},
        {1: 1, 2: [[kid, 256, public]]},
        {1: 1, 2: [[kid, -1, public]]},
        {1: 1, 2: [[kid, True, public]]},
        {1: 1, 2: [[kid[:7], roles, public]]},
        {1: 1, 2: [[entry(1, 1)[0], roles, public]]},
        {1: 1, 2: [[kid, roles, public[:64]]]},
        {1: 1, 2: [[kid, roles, public[:64] + b"\x00"]]},
        {1: 1, 2: [["12345678", roles, public]]},
        b"\xa2\x02\x81" + cbor.encode(good) + b"\x01\x01",
        b"\xa2\x01\x18\x01\x02\x81" + cbor.encode(good),
    ):
        assert reason(signed(content)) == "malformed", content
