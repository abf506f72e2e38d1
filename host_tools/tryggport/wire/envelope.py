"""The envelope: COSE_Sign1 (RFC 9052 section 4.2) with ES256, in one exact shape (TP-WIR-003).

    18([ << {1: -7, 4: kid} >>, {}, payload, signature ])        kid = first 8 bytes of SHA-256 over the key's SPKI

The shape leaves no choice to the sender, so reading it is a comparison of bytes and nothing of the payload is looked at
before the signature is verified (TP-WIR-004). `external_aad` is the topic the envelope is published to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tryggport.errors import TryggError
from tryggport.wire.cbor import head

MAX_ENVELOPE = 1300  # bytes, TP-BND-002
OVER_LIMIT = "over_limit"
MALFORMED = "malformed"
UNKNOWN_GATEWAY = "unknown_gateway"
UNKNOWN_KEY = "unknown_key"
BAD_SIGNATURE = "bad_signature"
REASONS = {
    OVER_LIMIT: f"the envelope is larger than {MAX_ENVELOPE} bytes",
    MALFORMED: "the envelope is not a COSE_Sign1 of the one shape that is allowed",
    UNKNOWN_GATEWAY: "no gateway of that name is registered",
    UNKNOWN_KEY: "the envelope is signed by a key that is not that gateway's",
    BAD_SIGNATURE: "the signature does not verify",
}

_BEFORE_KID = bytes.fromhex("d2844da201260448")
_PROTECTED = slice(2 + 1, 16)  # content of the protected bstr
_PAYLOAD_AT = 17
_SIGNATURE = b"\x58\x40"
_ES256 = ec.ECDSA(hashes.SHA256())
_ES256_RFC6979 = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


class EnvelopeError(TryggError):
    """An envelope that is refused; `reason` is a key of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The envelope is refused: {REASONS[reason]}.")
        self.reason = reason


def kid_of(public: ec.EllipticCurvePublicKey) -> bytes:
    """Key id: the first 8 bytes of SHA-256 over the SubjectPublicKeyInfo."""
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()[:8]


class SigningKey:
    """A P-256 key that seals envelopes. Signatures are deterministic (RFC 6979)."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self.private = private
        self.kid = kid_of(private.public_key())

    def seal(self, payload: bytes, aad: str) -> bytes:
        """The envelope of `payload` for the topic `aad`. Raises EnvelopeError(over_limit)."""
        start = _BEFORE_KID + self.kid
        r, s = decode_dss_signature(self.private.sign(_to_sign(start[_PROTECTED], aad, payload), _ES256_RFC6979))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        sealed = b"".join((start, b"\xa0", head(2, len(payload)), payload, _SIGNATURE, signature))
        if len(sealed) > MAX_ENVELOPE:
            raise EnvelopeError(OVER_LIMIT)
        return sealed


@dataclass(frozen=True, slots=True)
class Envelope:
    """A well-formed envelope whose signature is not verified yet: do not look at `payload` before `verify`."""

    kid: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Takes the envelope apart. Raises EnvelopeError(over_limit | malformed)."""
        if len(data) > MAX_ENVELOPE:
            raise EnvelopeError(OVER_LIMIT)
        if data[:8] != _BEFORE_KID or data[16:17] != b"\xa0":
            _malformed()
        start, size = _payload_span(data)
        end = start + size
        if data[end : end + 2] != _SIGNATURE or len(data) != end + 2 + 64:
            _malformed()
        return cls(data[8:16], data[start:end], data[end + 2 :])

    def verify(self, public: ec.EllipticCurvePublicKey, aad: str) -> None:
        """Raises EnvelopeError(bad_signature) unless `public` signed this payload for the topic `aad`."""
        der = encode_dss_signature(
            int.from_bytes(self.signature[:32], "big"), int.from_bytes(self.signature[32:], "big")
        )
        try:
            public.verify(der, _to_sign((_BEFORE_KID + self.kid)[_PROTECTED], aad, self.payload), _ES256)
        except InvalidSignature:
            raise EnvelopeError(BAD_SIGNATURE) from None


def _payload_span(data: bytes) -> tuple[int, int]:
    """(start, length) of the payload, whose bstr header must be the shortest."""
    first = data[_PAYLOAD_AT] if len(data) > _PAYLOAD_AT else 0
    at = _PAYLOAD_AT + 1
    if 0x40 <= first < 0x58:
        return at, first - 0x40
    if first == 0x58:
        size, start = int.from_bytes(data[at : at + 1], "big"), at + 1
    elif first == 0x59:
        size, start = int.from_bytes(data[at : at + 2], "big"), at + 2
    else:
        _malformed()
    if head(2, size) != data[_PAYLOAD_AT:start]:
        _malformed()
    return start, size


def _to_sign(protected: bytes, aad: str, payload: bytes) -> bytes:
    """Sig_structure of RFC 9052 section 4.4."""
    parts = (protected, aad.encode(), payload)
    return b"\x84\x6aSignature1" + b"".join(head(2, len(part)) + part for part in parts)


def _malformed() -> NoReturn:
    raise EnvelopeError(MALFORMED)
