"""ECDSA over NIST P-256 with SHA-256 digests (FIPS 186-5), nonces by RFC 6979.

Points are the business of `curve`. Secret numbers are masked before they are inverted; what is constant in time and what
is not: protocols/decisions/0006-constant-time.md. The comb of the last key that verified something is kept (1.5 KB): the
keys of receipts hardly change, and it halves the work.
"""

import hashlib

from gateway import curve
from gateway.curve import N, P

_kept = [None, None]


def run(steps):
    """The return value of a generator, run to its end."""
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        return stop.value


def _integer(data):
    return int.from_bytes(data, "big")


def is_secret(secret32):
    """Whether these are 32 bytes of a number in 1..n-1."""
    return len(secret32) == 32 and 0 < _integer(secret32) < N


def _scalar(secret32):
    if not is_secret(secret32):
        raise ValueError("secret is not 32 bytes in 1..n-1")
    return _integer(secret32)


def _hmac(key, *parts):
    """HMAC-SHA256 (RFC 2104) with a key of 32 bytes."""
    key = _integer(key)
    inner = hashlib.sha256((key ^ _INNER).to_bytes(32, "big") + b"\x36" * 32)
    for part in parts:
        inner.update(part)
    outer = hashlib.sha256((key ^ _OUTER).to_bytes(32, "big") + b"\x5c" * 32)
    outer.update(inner.digest())
    return outer.digest()


_INNER = _integer(b"\x36" * 32)
_OUTER = _integer(b"\x5c" * 32)


def _nonces(secret32, digest32):
    """(nonce, mask) pairs: RFC 6979 section 3.2 for a 256-bit order and SHA-256, and a secret number to mask with."""
    seed = bytes(secret32) + (_integer(digest32) % N).to_bytes(32, "big")
    v = b"\x01" * 32
    k = bytes(32)
    for mark in (b"\x00", b"\x01"):
        k = _hmac(k, v, mark, seed)
        v = _hmac(k, v)
    while True:
        v = _hmac(k, v)
        nonce = _integer(v)
        if 0 < nonce < N:
            yield nonce, _mask(k, v)
        k = _hmac(k, v, b"\x00")
        v = _hmac(k, v)


def _mask(*secrets):
    """A number in 1..2**255 made of secrets."""
    h = hashlib.sha256(b"mask")
    for secret in secrets:
        h.update(secret)
    return (_integer(h.digest()) >> 1) + 1


def _affine(point, mask):
    """(x, y) of a Jacobian point; the inversion sees Z times `mask`."""
    x, y, z = point
    inverse = curve.inverse(z * mask % P, P) * mask % P
    square = inverse * inverse % P
    return x * square % P, y * square * inverse % P


def public_key_steps(secret32):
    """Generator form of `public_key`: yields None between slices of work, the return value is the point."""
    x, y = _affine((yield from curve.product_steps(_scalar(secret32))), _mask(secret32))
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def public_key(secret32):
    """The uncompressed public point (65 bytes) of a 32-byte secret. Raises ValueError unless the secret is in 1..n-1."""
    return run(public_key_steps(secret32))


def sign_steps(secret32, digest32):
    """Generator form of `sign`: yields None between slices of work, the return value is the signature."""
    d = _scalar(secret32)
    if len(digest32) != 32:
        raise ValueError("digest is not 32 bytes")
    z = _integer(digest32)
    for k, mask in _nonces(secret32, digest32):
        yield
        point = yield from curve.product_steps(k)
        r = _affine(point, mask)[0] % N
        yield
        s = curve.inverse(k * mask % N, N) * (mask * z + mask * r % N * d) % N
        if r and s:
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign(secret32, digest32):
    """The signature r || s (64 bytes) of a 32-byte digest, deterministic by RFC 6979.

    Raises ValueError unless the secret is in 1..n-1 and the digest has 32 bytes.
    """
    return run(sign_steps(secret32, digest32))


def _point(public65):
    """(x, y) of an uncompressed point on the curve, else None."""
    if len(public65) != 65 or public65[0] != 4:
        return None
    point = _integer(public65[1:33]), _integer(public65[33:])
    return point if curve.is_on(*point) else None


def is_public(public65):
    """Whether these are the 65 bytes of an uncompressed point on the curve."""
    return _point(public65) is not None


def _table_steps(public65):
    """Generator that returns the comb of a public key, the kept one if it is the last again; None when it is no point of the curve."""
    if _kept[0] != public65:
        point = _point(public65)
        if point is None:
            return None
        _kept[:] = None, None
        table = yield from curve.key_table_steps(*point)
        _kept[:] = bytes(public65), table
    return _kept[1]


def verify_steps(public65, digest32, sig64):
    """Generator form of `verify`: yields None between slices of work, the return value is the verdict."""
    if len(digest32) != 32 or len(sig64) != 64:
        return False
    r = _integer(sig64[:32])
    s = _integer(sig64[32:])
    if not (0 < r < N and 0 < s < N):
        return False
    table = yield from _table_steps(public65)
    if table is None:
        return False
    w = curve.inverse(s, N)
    yield
    x, _, z = yield from curve.product_steps(_integer(digest32) * w % N, r * w % N, table)
    zz = z * z % P
    # x / z^2 mod p is r, or r + n when that is still below p
    return z != 0 and (r * zz % P == x or (r + N < P and (r + N) * zz % P == x))


def verify(public65, digest32, sig64):
    """Whether `sig64` (r || s) signs `digest32` under `public65`. False for malformed input of any kind."""
    return run(verify_steps(public65, digest32, sig64))
