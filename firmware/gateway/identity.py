"""Who this gateway is and whom it trusts: two secrets made on the device, their papers, and the signed trust list.

Secrets stay in the store under `TLS_KEY` and `SIGN_KEY`; nothing here puts one into an object, an exception or a line of
output, except `private_key_der`, which hands the TLS key to mbedTLS.
"""

import hashlib

from micropython import const

from gateway import cbor, cose, p256

TLS_KEY = "tls"
SIGN_KEY = "sign"
RECEIPT = const(1)
COMMAND = const(2)
UPDATE = const(4)
CONFIGURATION = const(8)

_TRUST_AAD = b"trygg/1/trust"
_DRAWS_MAX = const(64)

_INTEGER = const(0x02)
_BIT_STRING = const(0x03)
_OCTET_STRING = const(0x04)
_UTF8_STRING = const(0x0C)
_SEQUENCE = const(0x30)
_SET = const(0x31)
_CONTEXT_0 = const(0xA0)
_CONTEXT_1 = const(0xA1)
_OID_COMMON_NAME = b"\x06\x03\x55\x04\x03"
_OID_PRIME256V1 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
_OID_ECDSA_SHA256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"


def draw(rng):
    """A secret of 32 bytes in 1..n-1 by rejection sampling (FIPS 186-5, A.2.2). `rng(count)` gives random bytes.

    Raises OSError when the source keeps giving bytes that no sound source would.
    """
    for _ in range(_DRAWS_MAX):
        secret = bytes(rng(32))
        if p256.is_secret(secret):
            return secret
    raise OSError("random source failed")


def create(store, rng):
    """Makes the secrets that `store` lacks, so a power cut between the two is harmless.

    `store` has get(name) -> bytes | None and put(name, bytes).
    """
    for name in (TLS_KEY, SIGN_KEY):
        if store.get(name) is None:
            store.put(name, draw(rng))


def _der(tag, *parts):
    size = sum(len(part) for part in parts)
    if size < 128:
        length = bytes((size,))
    else:
        length = bytes((0x82, size >> 8, size & 255)) if size > 255 else bytes((0x81, size))
    return b"".join((bytes((tag,)), length) + parts)


def _der_unsigned(data):
    at = 0
    while at < len(data) - 1 and not data[at]:
        at += 1
    return _der(_INTEGER, b"\x00" if data[at] & 0x80 else b"", data[at:])


def csr(secret32, common_name):
    """DER certification request (PKCS #10, RFC 2986) for the subject CN=`common_name`, signed ecdsa-with-SHA256."""
    name = _der(_SEQUENCE, _OID_COMMON_NAME, _der(_UTF8_STRING, common_name.encode()))
    subject = _der(_SEQUENCE, _der(_SET, name))
    info = _der(_SEQUENCE, b"\x02\x01\x00", subject, cose.spki(p256.public_key(secret32)), _der(_CONTEXT_0))
    signature = p256.sign(secret32, hashlib.sha256(info).digest())
    signature = _der(_SEQUENCE, _der_unsigned(signature[:32]), _der_unsigned(signature[32:]))
    return _der(_SEQUENCE, info, _der(_SEQUENCE, _OID_ECDSA_SHA256), _der(_BIT_STRING, b"\x00", signature))


def private_key_der(secret32):
    """DER ECPrivateKey (RFC 5915) with curve and public point, as `SSLContext.load_cert_chain` takes it."""
    public = _der(_CONTEXT_1, _der(_BIT_STRING, b"\x00", p256.public_key(secret32)))
    return _der(_SEQUENCE, b"\x02\x01\x01", _der(_OCTET_STRING, secret32), _der(_CONTEXT_0, _OID_PRIME256V1), public)


class TrustList:
    """The keys this gateway obeys. `version` (int); `entries`: tuple of (kid, roles, public65)."""

    def __init__(self, version, entries):
        self.version = version
        self.entries = entries

    def keys(self, role):
        """kid -> public65 of the keys that hold `role` (RECEIPT, COMMAND, UPDATE or CONFIGURATION)."""
        return {kid: public for kid, roles, public in self.entries if roles & role}


def trust_list(envelope, root_public65, current_version):
    """The TrustList in an envelope that the offline root signed (TP-IDN-005). Its 1,300 bytes hold up to 15 keys.

    Raises cose.COSEError with the codes of `cose.verify1`, "malformed" for another shape, "rollback" for a version below
    `current_version`.
    """
    root = {cose.kid(root_public65): root_public65}
    payload = cose.verify1(envelope, _TRUST_AAD, root)[1]
    try:
        content = cbor.decode(payload)
        version, entries = content[1], content[2]
    except (cbor.CBORError, KeyError, TypeError, IndexError):
        raise cose.COSEError("malformed")
    if type(content) is not dict or len(content) != 2 or not _sound_version(version) or not _sound_list(entries):
        raise cose.COSEError("malformed")
    if version < current_version:
        raise cose.COSEError("rollback")
    return TrustList(version, tuple(tuple(entry) for entry in entries))


def _sound_version(version):
    return type(version) is int and version >= 0


def _sound_list(entries):
    if type(entries) is not list or not entries:
        return False
    return all(_sound(entry) for entry in entries) and len({entry[0] for entry in entries}) == len(entries)


def _sound(entry):
    if type(entry) is not list or [type(field) for field in entry] != [bytes, int, bytes]:
        return False
    kid, roles, public = entry
    return 0 < roles < 256 and p256.is_public(public) and kid == cose.kid(public)
