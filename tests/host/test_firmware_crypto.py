"""The firmware's CBOR, COSE, P-256 and identity against independent readers: cryptography, pycose, cbor2, OpenSSL's TLS."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import random
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from pycose.keys import EC2Key
from pycose.messages import Sign1Message

from tests.bench import sign

ROOT = Path(__file__).parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).parent / "micropython"))
PRELUDE = """
import json, sys
from gateway import cbor, cose, curve, generator, identity, p256
from binascii import hexlify, unhexlify
from hashlib import sha256
for line in sys.stdin:
    job = json.loads(line)
    print(json.dumps({}))
"""
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
PREHASHED = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


def firmware(expression: str, jobs: list[Any], tmp_path: Path) -> list[Any]:
    """What the real MicroPython makes of `expression` for each `job`, in 192 KiB of heap."""
    script = tmp_path / "job.py"
    script.write_text(PRELUDE.replace("{}", expression))
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=192k", str(script)],
        env=os.environ | {"MICROPYPATH": f"{ROOT / 'firmware'}:.frozen"},
        input="\n".join(json.dumps(job) for job in jobs),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(jobs)
    return answers


def private_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(*form)


def der(signature: bytes) -> bytes:
    return utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def raw(signature: bytes) -> bytes:
    r, s = utils.decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def random_jobs(seed: int, count: int) -> list[tuple[bytes, bytes]]:
    """(secret, digest) pairs, the first ones at the edges of both ranges."""
    chance = random.Random(seed)
    edges = [1, 2, 3, N - 1, N - 2, N // 2, 2**255, 2**128]
    digests = [0, 1, N - 1, N, N + 1, P, 2**256 - 1, 2**255]
    pairs = [(secret, digest) for secret in edges for digest in digests]
    pairs += [(chance.randrange(1, N), chance.getrandbits(256)) for _ in range(count)]
    return [(secret.to_bytes(32, "big"), digest.to_bytes(32, "big")) for secret, digest in pairs]


def test_TP_ECC_001_cryptography_verifies_what_the_firmware_signs(tmp_path: Path) -> None:
    pairs = random_jobs(1, 400)
    expression = "[hexlify(f).decode() for f in (p256.public_key(unhexlify(job[0])), p256.sign(*map(unhexlify, job)))]"
    answers = firmware(expression, [[s.hex(), d.hex()] for s, d in pairs], tmp_path)
    for (secret, digest), (public, signature) in zip(pairs, answers, strict=True):
        key = private_key(secret)
        assert public == public_bytes(key).hex()
        key.public_key().verify(der(bytes.fromhex(signature)), digest, PREHASHED)
        with pytest.raises(InvalidSignature):
            key.public_key().verify(der(bytes.fromhex(signature)), hashlib.sha256(digest).digest(), PREHASHED)


def test_TP_ECC_002_firmware_and_cryptography_agree_on_signatures_good_and_bad(tmp_path: Path) -> None:
    chance = random.Random(2)
    jobs: list[list[str]] = []
    wanted: list[bool] = []
    for secret, digest in random_jobs(3, 300):
        key = private_key(secret)
        signature = bytearray(raw(key.sign(digest, PREHASHED)))
        if chance.random() < 0.4:
            signature[chance.randrange(64)] ^= 1 << chance.randrange(8)
        try:
            key.public_key().verify(der(bytes(signature)), digest, PREHASHED)
            wanted.append(True)
        except InvalidSignature:
            wanted.append(False)
        jobs.append([public_bytes(key).hex(), digest.hex(), signature.hex()])
    assert firmware("p256.verify(*map(unhexlify, job))", jobs, tmp_path) == wanted
    assert 100 < sum(wanted) < len(wanted) - 50


def test_TP_ECC_002_points_off_the_curve_are_refused_as_cryptography_refuses_them(tmp_path: Path) -> None:
    chance = random.Random(4)
    points = []
    for _ in range(150):
        point = bytearray(public_bytes(private_key(chance.randrange(1, N).to_bytes(32, "big"))))
        if chance.random() < 0.8:
            point[chance.randrange(1, 65)] ^= 1 << chance.randrange(8)
        points.append(bytes(point))
    wanted = []
    for point in points:
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            wanted.append(True)
        except ValueError:
            wanted.append(False)
    assert 10 < sum(wanted) < 60
    assert firmware("p256.is_public(unhexlify(job))", [point.hex() for point in points], tmp_path) == wanted


def test_TP_ECC_002_cryptography_agrees_with_the_vectors() -> None:
    """For keys as uncompressed points, digests of 32 bytes and signatures of 64; other lengths are our own rule."""
    vectors = json.loads((ROOT / "protocols/vectors/p256.json").read_text())
    for case in vectors["sign"]:
        assert public_bytes(private_key(bytes.fromhex(case["secret"]))).hex() == case["public"]
    cases = vectors["verify"] + [case | {"valid": True} for case in vectors["sign"]]
    judged = 0
    for case in cases:
        public, digest, signature = (bytes.fromhex(case[name]) for name in ("public", "digest", "signature"))
        if (len(public), public[:1], len(digest), len(signature)) != (65, b"\4", 32, 64):
            assert case["valid"] is False
            continue
        judged += 1
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
            key.verify(der(signature), digest, PREHASHED)
            assert case["valid"] is True, case["comment"]
        except (ValueError, InvalidSignature):
            assert case["valid"] is False, case["comment"]
    assert judged > 180


def test_TP_ECC_005_instructions_stay_within_the_budget() -> None:
    counts = sign.measure()
    assert counts["sign_ir"] <= 12_000_000
    assert counts["verify_ir"] <= 25_000_000
    assert counts["verify_again_ir"] <= 13_000_000
    assert counts["plain_sign_ir"] > 4 * counts["sign_ir"]
    assert max(counts["sign_slice_ir"], counts["verify_slice_ir"]) <= 1_600_000


def test_TP_ECC_003_the_comb_holds_the_multiples_it_says(tmp_path: Path) -> None:
    (comb,) = firmware("hexlify(generator.COMB).decode()", [None], tmp_path)
    wanted = b""
    for entry in range(64):
        multiple = (2**228 + sum(2 ** (38 * j) * (1 if entry >> j & 1 else -1) for j in range(6))) % N
        numbers = private_key(multiple.to_bytes(32, "big")).public_key().public_numbers()
        wanted += b"".join((v * 2**260 % P).to_bytes(32, "little") for v in (numbers.x, numbers.y))
    assert comb == wanted.hex()


def sign1_message(envelope: bytes) -> Sign1Message:
    """pycose's own decode() predates cbor2 6, whose tags hold immutable values."""
    tagged = cbor2.loads(envelope)
    assert tagged.tag == Sign1Message.cbor_tag
    protected, unprotected, payload, signature = tagged.value
    return Sign1Message.from_cose_obj([protected, dict(unprotected), payload, signature], True)


def test_TP_COS_001_pycose_verifies_what_the_firmware_signs(tmp_path: Path) -> None:
    chance = random.Random(5)
    jobs = [
        [chance.randbytes(size).hex(), f"trygg/1/gw-{size:04}/alarm", chance.randrange(1, N).to_bytes(32, "big").hex()]
        for size in (1, 23, 24, 255, 256, 700, 1214)
    ]
    expression = (
        "hexlify(cose.sign1(unhexlify(job[0]), job[1].encode(), unhexlify(job[2]),"
        " cose.kid(p256.public_key(unhexlify(job[2]))))).decode()"
    )
    for (payload, topic, secret), envelope in zip(jobs, firmware(expression, jobs, tmp_path), strict=True):
        key = private_key(bytes.fromhex(secret))
        message = sign1_message(bytes.fromhex(envelope))
        message.external_aad = topic.encode()
        public = public_bytes(key)
        message.key = EC2Key(crv="P_256", x=public[1:33], y=public[33:])
        assert message.verify_signature()
        assert message.payload == bytes.fromhex(payload)
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        kid = hashlib.sha256(key.public_key().public_bytes(*form)).digest()[:8]
        assert cbor2.loads(cbor2.loads(bytes.fromhex(envelope)).value[0]) == {1: -7, 4: kid}
        message.external_aad = b"trygg/1/other/alarm"
        assert not message.verify_signature()


def test_TP_COS_003_the_firmware_verifies_what_pycose_signs(tmp_path: Path) -> None:
    secret = hashlib.sha256(b"receipts").digest()
    public = public_bytes(private_key(secret))
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    kid = hashlib.sha256(private_key(secret).public_key().public_bytes(*form)).digest()[:8]
    protected = cbor2.dumps({1: -7, 4: kid}, canonical=True)
    message = sign1_message(cbor2.dumps(cbor2.CBORTag(18, [protected, {}, b"payload", bytes(64)])))
    message.external_aad = b"trygg/1/gw-0001/receipt"
    message.key = EC2Key(crv="P_256", x=public[1:33], y=public[33:], d=secret)
    envelope = message.encode()
    expression = (
        "hexlify(cose.verify1(unhexlify(job[0]), b'trygg/1/gw-0001/receipt', {unhexlify(job[1]): unhexlify(job[2])})[1])"
        ".decode()"
    )
    assert firmware(expression, [[envelope.hex(), kid.hex(), public.hex()]], tmp_path) == [b"payload".hex()]


def random_value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(9 if depth < 6 else 6)
    if kind == 0:
        return chance.choice((1, -1)) * chance.getrandbits(chance.randrange(1, 64))
    if kind == 1:
        return chance.choice((None, True, False))
    if kind == 2:
        return chance.choice((math.inf, -0.0, 0.5, 65504.0, 1.1, 1e300, 2.0**-149)) * chance.choice((1, -1))
    if kind == 3:
        return chance.randbytes(chance.randrange(60))
    if kind in (4, 5):
        return "".join(chance.choice("aå€\U00010151 z") for _ in range(chance.randrange(30)))
    if kind == 6:
        return {chance.getrandbits(chance.randrange(1, 40)): random_value(chance, depth + 1) for _ in range(4)}
    return [random_value(chance, depth + 1) for _ in range(chance.randrange(5))]


def test_TP_CBR_001_firmware_and_cbor2_write_the_same_bytes(tmp_path: Path) -> None:
    chance = random.Random(6)
    values = [random_value(chance, 0) for _ in range(1500)]
    wanted = [cbor2.dumps(value, canonical=True).hex() for value in values]
    again = firmware("hexlify(cbor.encode(cbor.decode(unhexlify(job)))).decode()", wanted, tmp_path)
    assert again == wanted


def test_TP_IDN_003_cryptography_reads_the_certification_request(tmp_path: Path) -> None:
    chance = random.Random(7)
    jobs = [[chance.randrange(1, N).to_bytes(32, "big").hex(), name] for name in ("gw-0001", "a" * 24, "a-b9") * 8]
    answers = firmware("hexlify(identity.csr(unhexlify(job[0]), job[1])).decode()", jobs, tmp_path)
    for (secret, name), answer in zip(jobs, answers, strict=True):
        request = x509.load_der_x509_csr(bytes.fromhex(answer))
        assert request.is_signature_valid
        assert request.subject == x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        assert isinstance(request.signature_hash_algorithm, hashes.SHA256)
        assert request.public_key() == private_key(bytes.fromhex(secret)).public_key()
        assert list(request.extensions) == []
        assert request.public_bytes(serialization.Encoding.DER).hex() == answer


def self_signed(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2049))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


CLIENT = """
import json, socket, ssl, sys
from binascii import unhexlify
from gateway import identity
port, secret, certificate, ca = json.loads(sys.stdin.readline())
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(cadata=unhexlify(ca))
context.load_cert_chain(unhexlify(certificate), identity.private_key_der(unhexlify(secret)))
s = socket.socket()
s.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
s = context.wrap_socket(s, server_hostname="server")
s.write(b"hello")
print(s.read(5))
"""


def test_TP_IDN_004_mbedtls_authenticates_with_the_private_key(tmp_path: Path) -> None:
    secret = hashlib.sha256(b"tls").digest()
    device, server = private_key(secret), ec.generate_private_key(ec.SECP256R1())
    device_der, server_der = self_signed(device, "gw-0001"), self_signed(server, "server")
    (tmp_path / "server.crt").write_text(ssl.DER_cert_to_PEM_cert(server_der))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "server.key").write_bytes(server.private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=device_der)
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        client = subprocess.Popen(
            [MICROPYTHON, "-X", "heapsize=192k", str(script)],
            env=os.environ | {"MICROPYPATH": f"{ROOT / 'firmware'}:.frozen"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert client.stdin is not None
        job = [listener.getsockname()[1], secret.hex(), device_der.hex(), server_der.hex()]
        client.stdin.write(json.dumps(job) + "\n")
        client.stdin.flush()
        try:
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as tls:
                assert tls.getpeercert(binary_form=True) == device_der
                assert tls.recv(5) == b"hello"
                tls.send(b"world")
                output, _ = client.communicate(timeout=20)
        finally:
            client.kill()
            client.wait()
    assert "world" in output


def test_TP_IDN_004_openssl_reads_the_private_key(tmp_path: Path) -> None:
    secrets = [secret for secret, _ in random_jobs(8, 8)[::8]]
    expression = "hexlify(identity.private_key_der(unhexlify(job))).decode()"
    for secret, answer in zip(secrets, firmware(expression, [s.hex() for s in secrets], tmp_path), strict=True):
        key = serialization.load_der_private_key(bytes.fromhex(answer), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.private_numbers() == private_key(secret).private_numbers()
        form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        assert key.private_bytes(serialization.Encoding.DER, *form).hex() == answer
