"""The yardstick of sign.py, for MicroPython: ECDSA by a comb of four teeth, plain integers, two inversions by power."""

import sys

sys.path.insert(0, "firmware")

from gateway.curve import N, P
from gateway.p256 import _nonces

_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def _double(x, y, z):
    d = z * z % P
    g = y * y % P
    b = x * g % P
    a = 3 * (x - d) * (x + d) % P
    x = (a * a - 8 * b) % P
    z = 2 * y * z % P
    return x, (a * (4 * b - x) - 8 * g * g) % P, z


def _add(x1, y1, z1, x2, y2):
    """Jacobian plus affine; Z = 0 is infinity. Doubling is not met by a comb."""
    if not z1:
        return x2, y2, 1
    zz = z1 * z1 % P
    h = (x2 * zz - x1) % P
    r = (y2 * z1 * zz - y1) % P
    hh = h * h % P
    hhh = h * hh % P
    v = x1 * hh % P
    x = (r * r - hhh - 2 * v) % P
    return x, (r * (v - x) - y1 * hhh) % P, z1 * h % P


def _affine(x, y, z):
    inverse = pow(z, P - 2, P)
    square = inverse * inverse % P
    return x * square % P, y * square * inverse % P


def _comb():
    """Entry i is the sum of 2**(64 j) G over the set bits j of i."""
    points = [None, _G]
    for tooth in (2, 4, 8):
        power = points[tooth // 2] + (1,)
        for _ in range(64):
            power = _double(*power)
        power = _affine(*power)
        points += [power] + [_affine(*_add(*points[i], 1, *power)) for i in range(1, tooth)]
    return points


_COMB = _comb()


def sign(secret32, digest32):
    d = int.from_bytes(secret32, "big")
    z = int.from_bytes(digest32, "big")
    k, _ = next(_nonces(secret32, digest32))
    point = (1, 1, 0)
    for i in range(63, -1, -1):
        point = _double(*point)
        tooth = k >> i & 1 | (k >> i + 64 & 1) << 1 | (k >> i + 128 & 1) << 2 | (k >> i + 192 & 1) << 3
        if tooth:
            point = _add(*point, *_COMB[tooth])
    r = _affine(*point)[0] % N
    s = pow(k, N - 2, N) * (z + r * d) % N
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
