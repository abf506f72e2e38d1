"""ECDSA over NIST P-256 with SHA-256 digests (FIPS 186-5), nonces by RFC 6979.

Plain integers, Jacobian coordinates for y^2 = x^3 - 3x + b.
"""

import hashlib

_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

# The comb of four teeth: entry i is the sum of 2**(64 j) G over the set bits j of i, x and y of 32 bytes each, from i = 1.
_COMB = (
    b"\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39"
    b"\x45\xd8\x98\xc2\x96\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\x2b\xce\x33\x57\x6b\x31"
    b"\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5\x0f\xa8\x22\xbc\x28\x11\xaa\xa5\x84\x92\x59\x2e\x32\x6e\x25\xde\x29"
    b"\x49\x3b\xaa\xad\x65\x1f\x7e\x90\xe7\x5c\xb4\x8e\x14\xdb\x63\xbf\xf4\x4a\xe8\xf5\xdb\xa8\x0d\x6f\x4a\xd4\xbc"
    b"\xb3\xdf\x18\x8b\x34\xb1\xa6\x50\x50\xfe\x82\xf5\xe4\x11\x24\x54\x5f\x46\x2e\xe7\x30\x0a\x4b\xbc\x89\xd6\x72"
    b"\x6f\xb2\x57\xc0\xde\x95\xe0\x27\x89\xe9\x6c\x98\xfd\x0d\x35\xf1\xfa\x93\x39\x1c\xe2\x09\x79\x92\xaf\x72\xaa"
    b"\xc7\xe0\xd0\x9b\x46\x44\x7f\x1d\xdb\x25\xff\x1e\x3c\x6f\x5b\xb1\xee\xad\xa9\xd8\x06\xa5\xaa\x54\xa2\x91\xc0"
    b"\x81\x27\xa0\x44\x7d\x73\x9b\xee\xdb\x5e\x67\xfb\x98\x2f\xd5\x88\xc6\x76\x6e\xfc\x35\xff\x7d\xc2\x97\xea\xc3"
    b"\x57\xc8\x4f\xc9\xd7\x89\xbd\x85\x2d\x48\x25\xab\x83\x41\x31\xee\xe1\x2e\x9d\x95\x3a\x4a\xaf\xf7\x3d\x34\x9b"
    b"\x95\xa7\xfa\xe5\x00\x0c\x7e\x33\xc9\x72\xe2\x5b\x32\xef\x95\x19\x32\x8a\x9c\x72\xff\xdd\xc6\x06\x8b\xb9\x1d"
    b"\xfc\x60\xef\x7f\xbd\x2b\x1a\x0a\x11\xb7\x13\x94\x9c\x93\x2a\x1d\x36\x7f\x61\x1e\x9f\xc3\x7d\xbb\x2c\x9b\xc1"
    b"\xee\x98\x07\x02\x2c\x21\x9c\x23\x18\x3b\x08\x95\xca\x17\x40\x19\x60\x35\xa7\x73\x76\xd8\xa8\x55\x06\x63\x79"
    b"\x7b\x51\xf5\xd8\x7d\xea\x64\x82\xe1\x12\x38\xbf\x29\x36\xdf\x5e\xc6\xc9\xbc\x36\xca\xe2\xb1\x92\x0b\x57\xf4"
    b"\xbc\x15\x71\x64\x84\x8a\xec\xb8\x51\x0a\xfa\x40\x01\x8d\x9d\x50\xe5\x9f\xb3\xd5\x76\xdb\xde\xfb\xe1\x44\xff"
    b"\xe2\x16\x34\x8a\x96\x4c\xeb\x5d\x77\x45\xb2\x11\x41\xea\xa2\xe8\xf4\x83\xf4\x3e\x43\x91\x7c\xcd\x84\xe7\x0d"
    b"\x71\x5f\x26\xe4\x8e\xca\xff\xfc\x5c\xde\x01\xea\xfd\x72\xeb\xdb\xec\xc1\x7b\x09\x90\xe6\xa1\x58\x00\x6c\xee"
    b"\x85\xf2\x2c\xfe\x28\x44\xb6\x45\xca\xc9\x17\xe2\x73\x1a\x34\x79\xa6\xd3\x96\x77\xa7\x84\x92\x76\x27\x36\xff"
    b"\x83\x44\x31\x5f\xc5\x96\x43\x95\x91\xa3\xc6\xb9\x4a\x6c\xf2\x0f\xfb\x31\x37\x28\xbe\x67\x4f\x84\x74\x9b\x0b"
    b"\x88\x16\x66\xb8\xba\xbd\x2d\x27\xec\xdf\x82\x4a\x92\x0c\x22\x84\x05\x9b\xf2\xba\xb8\x33\xc3\x57\xf5\xf4\x4e"
    b"\x76\x9e\x76\x72\xc9\xdd\xad\x31\x85\x5f\x7d\xb8\xc7\xfe\xdb\x74\xe0\x2f\x08\x02\x03\xa5\x6b\x2d\xf4\x8c\x04"
    b"\x67\x7c\x8a\x3e\x42\xb9\x90\x82\xde\x83\x06\x63\x1e\xc0\x05\x72\x06\x94\x72\x81\xfb\x9a\xe1\x6f\x3b\x91\x22"
    b"\xa5\xa4\xc3\x61\x65\xb8\x24\xbb\xb0\x78\x87\x8e\xf6\x1c\x6c\xe0\x4d\x7f\xdc\x1c\xa0\x08\xa1\xc4\x78\xd1\xf8"
    b"\x9e\x79\x9c\x0c\xe1\x31\x6e\xf9\x51\x50\xdd\xa8\x68\xb9\xb6\xcb\x3f\x5d\x7b\x72\xc3\x21\xde\x53\x14\x2c\x12"
    b"\x30\x9d\xef\x6a\xce\x57\x0e\xbd\xe0\x8d\x4f\x9c\x62\xb9\x12\x1f\xe0\xd9\x76\x0c\x88\xbc\x4d\x71\x6b\x12\x87"
    b"\x59\x5c\x52\x20\x81\x2f\xfc\xae\x5b\x82\xdd\x5b\xd5\x4f\xb4\x96\x7f\x99\x1e\xd2\xc3\x1a\x35\x73\xdd\x5d\xde"
    b"\xa3\xf3\x90\x1d\xc6\x18\xd1\xb5\xb3\x9c\x04\xe6\xaa\x7c\x81\x81\xf4\xdf\x25\x64\xf3\x3a\x57\xbf\x63\x5f\x48"
    b"\xac\xa8\x68\xf3\x44\xaf\x6b\x31\x74\x66\xef\xe0\xa4\x23\x08\x3e\x49\xf3\x43\xa0\xa2\x8c\x42\xba\x79\x2f\xe9"
    b"\x6a\x79\xfb\x3e\x72\xad\x0c\x31\xb9\xc4\x05\xf8\x54\x0a\x20\x60\x4e\xd9\x3c\x24\xd6\x7f\xf3\x66\x8b\xfc\x22"
    b"\x71\xf5\xc6\x26\xcd\xfe\x17\xdb\x3f\xb2\x4d\x4a\x40\x52\xbf\x4b\x6f\x46\x1d\xb9\x66\x3c\x62\xc3\xed\xba\xd7"
    b"\xa0\x0d\x1a\x10\x14\x4e\xc3\x9c\x28\xd3\x6b\x47\x89\xa2\x58\x2e\x7f\xfe\xcf\x4d\x51\x90\xb0\xfc\x61\x86\x2b"
    b"\xe6\xbd\x71\xd7\x0c\xc8\xe7\x24\xf3\x39\x99\xbf\xcc\x5b\x23\x5a\x27\xc3\x18\x8d\x25\xeb\x1e\xdd\xba\xe2\xc8"
    b"\x02\xe4\x1a\x12\x32\x02\xa8\xf6\x2b\xff\x7a\xaf\xdf\x5c\xc0\x85\x26\xa7\xa4\x74\x34\x6c\x10\xa1\xd4\xcf\xac"
    b"\x43\x10\x4d\x86\x56\x0e\xbc\xfc\x0c\x45\xf4\x52\x73\xdb\x33\xa0\x36\xe0\x6b\x7e\x4c\x70\x19\x17\x8f\xa0\xaf"
    b"\x2d\xd6\x03\xf8\x44\xb4\x8e\x26\xb4\x84\xf7\xa2\x1c\x0a\x4a\x46\xfb\x6a\xaf\x36\x3a\x66\xb0\xde\x32\x25\xc4"
    b"\x74\x4b\x96\x15\xb5\x11\x0d\x1d\x78\xe5\xfa\xc0\x15\x40\x4d\x4d\x3d\xab\x64\x13\x1b\xcd\xfe\xd6\xf6\x68\xc0"
    b"\x04\xe4\x04\x8b\x7b\x0f\x98\x06\xeb\xb0\xf6\x21\xa0\x1b\x2d"
)


def _integer(data):
    return int.from_bytes(data, "big")


def run(steps):
    """The return value of a generator, run to its end."""
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        return stop.value


def _double(x, y, z):
    d = z * z % _P
    g = y * y % _P
    b = x * g % _P
    a = 3 * (x - d) * (x + d) % _P
    x = (a * a - 8 * b) % _P
    z = 2 * y * z % _P
    return x, (a * (4 * b - x) - 8 * g * g) % _P, z


def _add(x1, y1, z1, x2, y2):
    """Jacobian plus affine; Z = 0 is the point at infinity."""
    if not z1:
        return x2, y2, 1
    zz = z1 * z1 % _P
    h = (x2 * zz - x1) % _P
    r = (y2 * z1 * zz - y1) % _P
    if not h:
        return _double(x1, y1, z1) if not r else (1, 1, 0)
    hh = h * h % _P
    hhh = h * hh % _P
    v = x1 * hh % _P
    x3 = (r * r - hhh - 2 * v) % _P
    return x3, (r * (v - x3) - y1 * hhh) % _P, z1 * h % _P


def _affine(point):
    x, y, z = point
    inverse = pow(z, _P - 2, _P)
    square = inverse * inverse % _P
    return x * square % _P, y * square * inverse % _P


def _times_g(k):
    point = (1, 1, 0)
    for i in range(63, -1, -1):
        point = _double(*point)
        tooth = k >> i & 1 | (k >> i + 64 & 1) << 1 | (k >> i + 128 & 1) << 2 | (k >> i + 192 & 1) << 3
        if tooth:
            at = 64 * tooth - 64
            point = _add(*point, _integer(_COMB[at : at + 32]), _integer(_COMB[at + 32 : at + 64]))
        if not i & 7:
            yield
    return point


def _times(k, x, y):
    point = (1, 1, 0)
    for i in range(255, -1, -1):
        point = _double(*point)
        if k >> i & 1:
            point = _add(*point, x, y)
        if not i & 7:
            yield
    return point


def is_secret(secret32):
    """Whether these are 32 bytes of a number in 1..n-1."""
    return len(secret32) == 32 and 0 < _integer(secret32) < _N


def _scalar(secret32):
    d = _integer(secret32)
    if not is_secret(secret32):
        raise ValueError("secret is not 32 bytes in 1..n-1")
    return d


def _hmac(key, *parts):
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + b"\x36" * 32)
    for part in parts:
        inner.update(part)
    return hashlib.sha256(bytes(b ^ 0x5C for b in key) + b"\x5c" * 32 + inner.digest()).digest()


def _nonces(secret32, digest32):
    """RFC 6979 section 3.2, step h, for a 256-bit order and SHA-256."""
    seed = bytes(secret32) + (_integer(digest32) % _N).to_bytes(32, "big")
    v = b"\x01" * 32
    k = bytes(32)
    for mark in (b"\x00", b"\x01"):
        k = _hmac(k, v, mark, seed)
        v = _hmac(k, v)
    while True:
        v = _hmac(k, v)
        nonce = _integer(v)
        if 0 < nonce < _N:
            yield nonce
        k = _hmac(k, v, b"\x00")
        v = _hmac(k, v)


def public_key_steps(secret32):
    """Generator form of `public_key`."""
    x, y = _affine((yield from _times_g(_scalar(secret32))))
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def public_key(secret32):
    """The uncompressed public point (65 bytes) of a 32-byte secret. Raises ValueError unless the secret is in 1..n-1."""
    return run(public_key_steps(secret32))


def sign_steps(secret32, digest32):
    """Generator form of `sign`: yields None between slices of work."""
    d = _scalar(secret32)
    if len(digest32) != 32:
        raise ValueError("digest is not 32 bytes")
    z = _integer(digest32)
    for k in _nonces(secret32, digest32):
        r = _affine((yield from _times_g(k)))[0] % _N
        yield
        s = pow(k, _N - 2, _N) * (z + r * d) % _N
        if r and s:
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign(secret32, digest32):
    """The signature r || s (64 bytes) of a 32-byte digest, deterministic by RFC 6979. Raises ValueError for a bad secret or digest."""
    return run(sign_steps(secret32, digest32))


def _point(public65):
    """(x, y) of an uncompressed point on the curve, else None (SEC 1, section 3.2.2.1; the cofactor is 1)."""
    if len(public65) != 65 or public65[0] != 4:
        return None
    x = _integer(public65[1:33])
    y = _integer(public65[33:])
    if x >= _P or y >= _P or (y * y - (x * x - 3) * x - _B) % _P:
        return None
    return x, y


def is_public(public65):
    """Whether these are 65 bytes of an uncompressed point on the curve."""
    return _point(public65) is not None


def verify_steps(public65, digest32, sig64):
    """Generator form of `verify`: yields None between slices of work."""
    point = _point(public65)
    if point is None or len(digest32) != 32 or len(sig64) != 64:
        return False
    r = _integer(sig64[:32])
    s = _integer(sig64[32:])
    if not (0 < r < _N and 0 < s < _N):
        return False
    w = pow(s, _N - 2, _N)
    x1, y1, z1 = yield from _times(r * w % _N, *point)
    yield
    total = yield from _times_g(_integer(digest32) * w % _N)
    if z1:
        total = _add(*total, *_affine((x1, y1, z1)))
    return total[2] != 0 and _affine(total)[0] % _N == r


def verify(public65, digest32, sig64):
    """Whether `sig64` (r || s) signs `digest32` under `public65`. False for malformed input of any kind."""
    return run(verify_steps(public65, digest32, sig64))
