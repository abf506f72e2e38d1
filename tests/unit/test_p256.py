import json
import os
from hashlib import sha256

from gateway import curve, field, field_int, p256

ROOT = os.getenv("TRYGG_ROOT")


def vectors(part):
    with open(ROOT + "/protocols/vectors/p256.json") as f:
        return json.load(f)[part]


def element(value):
    return ((value << 260) % curve.P).to_bytes(32, "little")


def numbers(count):
    """The ends of the range, and numbers spread over it."""
    yield from (0, 1, 2, curve.P - 1, curve.P - 2, 1 << 255, (1 << 256) % curve.P, (1 << 224) - 1, 0x1FFF)
    for i in range(count):
        yield int.from_bytes(sha256(b"%d" % i).digest(), "big") % curve.P


def test_TP_ECC_001_signatures_and_public_keys_equal_the_vectors():
    count = 0
    for case in vectors("sign"):
        secret, digest = bytes.fromhex(case["secret"]), bytes.fromhex(case["digest"])
        assert p256.public_key(secret).hex() == case["public"], case["comment"]
        assert p256.sign(secret, digest).hex() == case["signature"], case["comment"]
        count += 1
    assert count > 20


def test_TP_ECC_001_bad_secrets_and_digests_are_value_errors():
    good = bytes(31) + b"\x01"
    secrets = [bytes.fromhex(text) for text in vectors("bad_secrets")]
    calls = [(p256.sign, secret, bytes(32)) for secret in secrets] + [(p256.public_key, secret) for secret in secrets]
    calls += [(p256.sign, good, bytes(size)) for size in (0, 31, 33)]
    refused = 0
    for function, *arguments in calls:
        try:
            function(*arguments)
        except ValueError:
            refused += 1
    assert refused == len(calls) == 17


def test_TP_ECC_002_verdicts_equal_the_vectors():
    verdicts = {True: 0, False: 0}
    for case in vectors("verify"):
        public, digest, signature = (bytes.fromhex(case[name]) for name in ("public", "digest", "signature"))
        assert p256.verify(public, digest, signature) is case["valid"], case["comment"]
        assert p256.verify(memoryview(public), memoryview(digest), memoryview(signature)) is case["valid"]
        verdicts[case["valid"]] += 1
    assert verdicts[True] > 90
    assert verdicts[False] > 60


def test_TP_ECC_003_a_scalar_that_meets_equal_points_is_multiplied_with_other_digits():
    met = 0
    for case in vectors("sign"):
        scalar = int.from_bytes(bytes.fromhex(case["secret"]), "big")
        z = [first_attempt(scalar, attempt) for attempt in (0, 1)]
        met += z[0] == 0
        assert z[1] != 0
    assert met > 0


def first_attempt(scalar, attempt):
    file = field.registers(12)
    field.load(file, 7, element(1) + element(0), 0)
    p256.run(curve._columns(file, curve._digits(scalar, attempt, 266), None, None))
    return field.value(file, 4)


def test_TP_ECC_003_the_sum_of_all_cases_of_two_points():
    """Every pair of small multiples: generic, equal, opposite, and both through infinity."""
    one = bytes(31) + b"\x01"
    point = p256.public_key(one)
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    table = p256.run(curve.key_table_steps(x, y))
    for g, q in ((1, 1), (1, 2), (2, 1), (5, curve.N - 4), (0, 3), (3, 0), (curve.N - 1, 2), (curve.N - 1, 1), (0, 0)):
        sx, sy, sz = p256.run(curve.product_steps(g, q, table))
        total = (g + q) % curve.N
        assert (sz == 0) == (total == 0), (g, q)
        if total:
            wanted = p256.public_key(total.to_bytes(32, "big"))
            inverse = curve.inverse(sz, curve.P)
            assert wanted[1:33] == (sx * inverse**2 % curve.P).to_bytes(32, "big"), (g, q)
            assert wanted[33:] == (sy * inverse**3 % curve.P).to_bytes(32, "big"), (g, q)


def test_TP_ECC_004_the_sequence_of_formulas_does_not_depend_on_the_secret():
    """Recorded without the signs: adding and subtracting a point differ in one coefficient."""
    execute = field.execute

    def sequence(scalar):
        ran = []
        field.execute = lambda file, program: (ran.append(len(program)), execute(file, program))
        try:
            p256.run(curve.product_steps(scalar))
        finally:
            field.execute = execute
        return ran

    first = sequence(3)
    assert len(first) == 38 + 37
    for scalar in (1 << 200, curve.N - 2, int.from_bytes(sha256(b"scalar").digest(), "big") % curve.N):
        assert sequence(scalar) == first


def test_TP_ECC_004_inversions_see_masked_numbers():
    seen = []
    plain = curve.inverse
    curve.inverse = lambda value, modulus: (seen.append(value), plain(value, modulus))[1]
    secret, digest = sha256(b"secret").digest(), sha256(b"digest").digest()
    try:
        p256.sign(secret, digest)
        p256.public_key(secret)
    finally:
        curve.inverse = plain
    nonce = next(p256._nonces(secret, digest))[0]
    assert len(seen) == 3
    assert nonce not in seen
    assert p256.run(curve.product_steps(nonce))[2] not in seen


def test_TP_ECC_006_both_engines_compute_the_same():
    engines = [(engine, engine.registers(6)) for engine in (field, field_int)]
    programs = [b"\x00\x04\x02\x03\xff", b"\x00\x02\x02\x02\xff"]
    programs += [bytes((16 * (x + 8) + y + 8, 5, 2, 3, 255)) for x in (-7, -1, 0, 1, 6) for y in (-8, -1, 0, 2, 7)]
    last = 1
    for value in numbers(60):
        for engine, file in engines:
            engine.load(file, 2, element(value) + element(last), 0)
            assert engine.value(file, 2) == value
            assert engine.value(file, 3) == last
        for program in programs:
            for engine, file in engines:
                engine.execute(file, program)
                engine.execute(file, b"\x00\x04\x05\x05\x00\x05\x04\x05\x97\x03\x04\x05\x00\x05\x03\x03\xff")
            assert [field.value(engines[0][1], register) for register in (2, 3, 4, 5)] == engines[1][1][2:]
        last = value
    bits = bytes(range(34))
    for at in (0, 7, 21, 37):
        for step, count in ((38, 7), (65, 4)):
            assert field.teeth(bits, at, step, count) == field_int.teeth(bits, at, step, count)


def test_TP_ECC_006_limbs_stay_within_their_bounds():
    """The largest limbs that an element can have, multiplied: 8191 everywhere but in the top one."""
    file = field.registers(4)
    for i in range(20):
        for register in (2, 3):
            at = 80 * register + 4 * i
            limb = 8191 if i < 19 else 1100
            file[at : at + 4] = limb.to_bytes(4, "little")
    largest = (1100 << 247) + (1 << 247) - 1
    inverse = curve.inverse(1 << 260, curve.P)
    assert field.value(file, 2) == largest * inverse % curve.P
    field.execute(file, b"\x00\x02\x02\x03\xff")
    assert field.value(file, 2) == (largest * inverse) ** 2 % curve.P
    limbs = [int.from_bytes(file[160 + 4 * i : 164 + 4 * i], "little") for i in range(20)]
    assert max(limbs[:19]) < 8192
    assert limbs[19] < 1100


def test_TP_ECC_006_signing_on_the_plain_engine():
    native = curve.field
    case = vectors("sign")[0]
    curve.field = field_int
    p256._kept[:] = None, None
    try:
        assert p256.sign(bytes.fromhex(case["secret"]), bytes.fromhex(case["digest"])).hex() == case["signature"]
        for text, valid in ((case["signature"], True), (case["signature"][:-2] + "00", False)):
            public = bytes.fromhex(case["public"])
            assert p256.verify(public, bytes.fromhex(case["digest"]), bytes.fromhex(text)) is valid
    finally:
        curve.field = native
        p256._kept[:] = None, None


def test_TP_COS_005_work_is_sliced_and_slices_of_two_calls_may_alternate():
    case, other = vectors("sign")[:2]
    digests = [bytes.fromhex(c["digest"]) for c in (case, other)]
    secret = bytes.fromhex(case["secret"])
    publics = [bytes.fromhex(case["public"]), p256.public_key(bytes(31) + b"\x05")]
    fives = p256.sign(bytes(31) + b"\x05", digests[1])
    running = {
        "sign": p256.sign_steps(secret, digests[0]),
        "sign other": p256.sign_steps(secret, digests[1]),
        "verify": p256.verify_steps(publics[0], digests[0], bytes.fromhex(case["signature"])),
        "verify other": p256.verify_steps(publics[1], digests[1], fives),
        "public": p256.public_key_steps(secret),
    }
    slices = {name: 0 for name in running}
    results = {}
    while running:
        for name, steps in list(running.items()):
            try:
                assert next(steps) is None
                slices[name] += 1
            except StopIteration as stop:
                results[name] = stop.value
                del running[name]
    assert results["sign"].hex() == case["signature"]
    assert results["sign other"].hex() == other["signature"]
    assert results["verify"] is results["verify other"] is True
    assert results["public"] == publics[0]
    assert slices["sign"] >= 7
    assert slices["verify"] >= 60
