"""COSE_Sign1 with ES256 (RFC 9052 section 4.2, RFC 9053 section 2.1), one profile and nothing else.

An envelope is `18([<<{1: -7, 4: kid}>>, {}, payload, signature])` in deterministic CBOR, so all but kid, payload and
signature is constant, and parsing is comparing. The signature is checked before anybody looks into the payload
(TP-COS-004).
"""

import hashlib

from micropython import const

from gateway import cbor, p256

ENVELOPE_BYTES_MAX = 1300
KID_BYTES = const(8)
_SIGNATURE_BYTES = const(64)
_START = b"\xd2\x84\x4d\xa2\x01\x26\x04\x48"
_PROTECTED_AT = const(3)
_KID_AT = const(8)
_UNPROTECTED_AT = const(16)
_SPKI_PREFIX = (
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
)


class COSEError(ValueError):
    """The argument is a code: over_limit, malformed, unknown_key, bad_signature."""


def spki(public65):
    """DER SubjectPublicKeyInfo (RFC 5480) of an uncompressed P-256 point: 91 bytes."""
    return _SPKI_PREFIX + public65


def kid(public65):
    """Key identifier: the first 8 bytes of SHA-256 over the DER SubjectPublicKeyInfo."""
    return hashlib.sha256(spki(public65)).digest()[:KID_BYTES]


def _digest(protected, aad, payload):
    """SHA-256 over the Sig_structure of RFC 9052 section 4.4, hashed in pieces so that nothing is copied."""
    h = hashlib.sha256(b"\x84\x6aSignature1")
    for part in (protected, aad, payload):
        h.update(cbor.head(2, len(part)))
        h.update(part)
    return h.digest()


def sign1_steps(payload, aad, secret, kid):
    """Generator form of `sign1`: yields None between slices of work, the return value is the envelope."""
    size = cbor.head(2, len(payload))
    if len(kid) != KID_BYTES:
        raise COSEError("malformed")
    if len(_START) + KID_BYTES + 1 + len(size) + len(payload) + 2 + _SIGNATURE_BYTES > ENVELOPE_BYTES_MAX:
        raise COSEError("over_limit")
    start = _START + bytes(kid)
    signature = yield from p256.sign_steps(secret, _digest(start[_PROTECTED_AT:], aad, payload))
    return b"".join((start, b"\xa0", size, bytes(payload), b"\x58\x40", signature))


def sign1(payload, aad, secret, kid):
    """The envelope of `payload`: signed with the 32-byte `secret` of the key named `kid` (8 bytes), bound to `aad`.

    Raises COSEError("over_limit") above 1,300 bytes, ValueError for a secret outside 1..n-1.
    """
    return p256.run(sign1_steps(payload, aad, secret, kid))


def parse(envelope):
    """(kid, protected, payload, signature) as memoryviews of `envelope`, unverified; kid as bytes. Raises COSEError."""
    view = memoryview(envelope)
    if len(view) > ENVELOPE_BYTES_MAX:
        raise COSEError("over_limit")
    if view[:_KID_AT] != _START or view[_UNPROTECTED_AT : _UNPROTECTED_AT + 1] != b"\xa0":
        raise COSEError("malformed")
    at = _UNPROTECTED_AT + 1
    try:
        end = cbor.item_end(view, at)
    except cbor.CBORError:
        raise COSEError("malformed")
    if view[at] >> 5 != 2 or len(view) - end != 2 + _SIGNATURE_BYTES or view[end : end + 2] != b"\x58\x40":
        raise COSEError("malformed")
    info = view[at] & 31
    at += 1 if info < 24 else 1 + (1 << info - 24)
    return bytes(view[_KID_AT:_UNPROTECTED_AT]), view[_PROTECTED_AT:_UNPROTECTED_AT], view[at:end], view[end + 2 :]


def verify1_steps(envelope, aad, keys):
    """Generator form of `verify1`: yields None between slices of work, the return value is (kid, payload)."""
    kid, protected, payload, signature = parse(envelope)
    public = keys.get(kid)
    if public is None:
        raise COSEError("unknown_key")
    good = yield from p256.verify_steps(public, _digest(protected, aad, payload), signature)
    if not good:
        raise COSEError("bad_signature")
    return kid, payload


def verify1(envelope, aad, keys):
    """(kid, payload as memoryview) of an envelope that one of `keys` (kid -> 65-byte public point) signed for `aad`.

    Raises COSEError with one of its codes.
    """
    return p256.run(verify1_steps(envelope, aad, keys))
