"""Arithmetic modulo p of P-256 for the native emitter: a register file of field elements and programs over it.

Idea: one call runs a whole point formula, so the interpreter is entered once a formula and nothing is allocated.
Layout: an element is 20 limbs of 13 bits, each in 32 bits, in Montgomery form x * 2**260 mod p, below 2.1 p. A register
is one element (80 bytes); registers 0 and 1 are the work area.
A program is instructions of four bytes and a final 0xFF: (0, d, a, b) is d = a * b, (16 * (x + 8) + y + 8, d, a, b) is
d = x * a + y * b for x in -7..6 and y in -8..7.
Invariant: 20 products of two 13-bit limbs and all that reduction adds stay below 2**31 and above 0, so signed 32-bit
registers suffice. 65536 at limb 17, 65528 = 65536 - 8 at limbs 18 to 38 and -8 at limb 39 are 0 in sum; they keep every
limb positive while multiples of m are taken off.
Reduction is Montgomery's with p = 2**256 - 2**224 + 2**192 + 2**96 - 1: as p = -1 mod 2**13 a low limb m is its own
quotient, and m * p is five shifts of m: bit 96 is bit 5 of limb 7, 192 bit 10 of 14, 224 bit 3 of 17, 256 bit 9 of 19.
"""

import micropython

SIZE = 80
_R_INVERSE = 0x0FFFFFFFE00000003FFFFFFFD0000000200000001FFFFFFFE000000030000000
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF


def registers(count):
    """A register file."""
    return bytearray(SIZE * count)


# The native emitter keeps the first two locals in machine registers: those are the two that every product reads and writes.
@micropython.viper
def execute(b: ptr32, t: ptr32):
    """Runs the program `t` over the register file `b`."""
    file = int(b)
    program = ptr8(t)
    t = ptr32(file)
    while program[0] != 255:
        code = int(program[0])
        d = ptr32(file + 80 * program[1])
        a = ptr32(file + 80 * program[2])
        b = ptr32(file + 80 * program[3])
        program = ptr8(int(program) + 4)
        if code:
            x = (code >> 4) - 8
            y = (code & 15) - 8
            m = 1 - ((a[19] * x + b[19] * y) >> 9)
            c = a[0] * x + b[0] * y - m
            d[0] = c & 8191
            c = a[1] * x + b[1] * y + (c >> 13)
            d[1] = c & 8191
            c = a[2] * x + b[2] * y + (c >> 13)
            d[2] = c & 8191
            c = a[3] * x + b[3] * y + (c >> 13)
            d[3] = c & 8191
            c = a[4] * x + b[4] * y + (c >> 13)
            d[4] = c & 8191
            c = a[5] * x + b[5] * y + (c >> 13)
            d[5] = c & 8191
            c = a[6] * x + b[6] * y + (c >> 13)
            d[6] = c & 8191
            c = a[7] * x + b[7] * y + m * 32 + (c >> 13)
            d[7] = c & 8191
            c = a[8] * x + b[8] * y + (c >> 13)
            d[8] = c & 8191
            c = a[9] * x + b[9] * y + (c >> 13)
            d[9] = c & 8191
            c = a[10] * x + b[10] * y + (c >> 13)
            d[10] = c & 8191
            c = a[11] * x + b[11] * y + (c >> 13)
            d[11] = c & 8191
            c = a[12] * x + b[12] * y + (c >> 13)
            d[12] = c & 8191
            c = a[13] * x + b[13] * y + (c >> 13)
            d[13] = c & 8191
            c = a[14] * x + b[14] * y + m * 1024 + (c >> 13)
            d[14] = c & 8191
            c = a[15] * x + b[15] * y + (c >> 13)
            d[15] = c & 8191
            c = a[16] * x + b[16] * y + (c >> 13)
            d[16] = c & 8191
            c = a[17] * x + b[17] * y - m * 8 + (c >> 13)
            d[17] = c & 8191
            c = a[18] * x + b[18] * y + (c >> 13)
            d[18] = c & 8191
            c = a[19] * x + b[19] * y + m * 512 + (c >> 13)
            d[19] = c
        else:
            t[0] = 0
            t[1] = 0
            t[2] = 0
            t[3] = 0
            t[4] = 0
            t[5] = 0
            t[6] = 0
            t[7] = 0
            t[8] = 0
            t[9] = 0
            t[10] = 0
            t[11] = 0
            t[12] = 0
            t[13] = 0
            t[14] = 0
            t[15] = 0
            t[16] = 0
            t[17] = 65536
            t[18] = 65528
            n = 0
            while n < 5:
                x0 = a[0]
                x1 = a[1]
                x2 = a[2]
                x3 = a[3]
                t[0] = x0 * b[0] + t[0]
                m0 = t[0] & 8191
                t[1] = x0 * b[1] + x1 * b[0] + t[1] + (t[0] >> 13)
                m1 = t[1] & 8191
                t[2] = x0 * b[2] + x1 * b[1] + x2 * b[0] + t[2] + (t[1] >> 13)
                m2 = t[2] & 8191
                t[3] = x0 * b[3] + x1 * b[2] + x2 * b[1] + x3 * b[0] + t[3] + (t[2] >> 13)
                m3 = t[3] & 8191
                t[4] = x0 * b[4] + x1 * b[3] + x2 * b[2] + x3 * b[1] + (t[3] >> 13) + t[4]
                t[5] = x0 * b[5] + x1 * b[4] + x2 * b[3] + x3 * b[2] + t[5]
                t[6] = x0 * b[6] + x1 * b[5] + x2 * b[4] + x3 * b[3] + t[6]
                t[7] = x0 * b[7] + x1 * b[6] + x2 * b[5] + x3 * b[4] + m0 * 32 + t[7]
                t[8] = x0 * b[8] + x1 * b[7] + x2 * b[6] + x3 * b[5] + m1 * 32 + t[8]
                t[9] = x0 * b[9] + x1 * b[8] + x2 * b[7] + x3 * b[6] + m2 * 32 + t[9]
                t[10] = x0 * b[10] + x1 * b[9] + x2 * b[8] + x3 * b[7] + m3 * 32 + t[10]
                t[11] = x0 * b[11] + x1 * b[10] + x2 * b[9] + x3 * b[8] + t[11]
                t[12] = x0 * b[12] + x1 * b[11] + x2 * b[10] + x3 * b[9] + t[12]
                t[13] = x0 * b[13] + x1 * b[12] + x2 * b[11] + x3 * b[10] + t[13]
                t[14] = x0 * b[14] + x1 * b[13] + x2 * b[12] + x3 * b[11] + m0 * 1024 + t[14]
                t[15] = x0 * b[15] + x1 * b[14] + x2 * b[13] + x3 * b[12] + m1 * 1024 + t[15]
                t[16] = x0 * b[16] + x1 * b[15] + x2 * b[14] + x3 * b[13] + m2 * 1024 + t[16]
                t[17] = x0 * b[17] + x1 * b[16] + x2 * b[15] + x3 * b[14] + m3 * 1024 - m0 * 8 + t[17]
                t[18] = x0 * b[18] + x1 * b[17] + x2 * b[16] + x3 * b[15] - m1 * 8 + t[18]
                t[19] = x0 * b[19] + x1 * b[18] + x2 * b[17] + x3 * b[16] + m0 * 512 - m2 * 8 + 65528
                t[20] = x1 * b[19] + x2 * b[18] + x3 * b[17] + m1 * 512 - m3 * 8 + 65528
                t[21] = x2 * b[19] + x3 * b[18] + m2 * 512 + 65528
                t[22] = x3 * b[19] + m3 * 512 + 65528
                a = ptr32(int(a) + 16)
                t = ptr32(int(t) + 16)
                n += 1
            c = 0
            c = t[0] + (c >> 13)
            d[0] = c & 8191
            c = t[1] + (c >> 13)
            d[1] = c & 8191
            c = t[2] + (c >> 13)
            d[2] = c & 8191
            c = t[3] + (c >> 13)
            d[3] = c & 8191
            c = t[4] + (c >> 13)
            d[4] = c & 8191
            c = t[5] + (c >> 13)
            d[5] = c & 8191
            c = t[6] + (c >> 13)
            d[6] = c & 8191
            c = t[7] + (c >> 13)
            d[7] = c & 8191
            c = t[8] + (c >> 13)
            d[8] = c & 8191
            c = t[9] + (c >> 13)
            d[9] = c & 8191
            c = t[10] + (c >> 13)
            d[10] = c & 8191
            c = t[11] + (c >> 13)
            d[11] = c & 8191
            c = t[12] + (c >> 13)
            d[12] = c & 8191
            c = t[13] + (c >> 13)
            d[13] = c & 8191
            c = t[14] + (c >> 13)
            d[14] = c & 8191
            c = t[15] + (c >> 13)
            d[15] = c & 8191
            c = t[16] + (c >> 13)
            d[16] = c & 8191
            c = t[17] + (c >> 13)
            d[17] = c & 8191
            c = t[18] + (c >> 13)
            d[18] = c & 8191
            d[19] = (c >> 13) - 8
            t = ptr32(file)


@micropython.viper
def load(file: ptr32, register: int, data: ptr8, at: int):
    """Sets two registers from the 64 bytes at `data[at]`: Montgomery forms below p, least significant byte first."""
    d = ptr32(int(file) + 80 * register)
    data = ptr8(int(data) + at)
    i = 0
    while i < 40:
        word = 0
        bits = 0
        end = i + 20
        while i < end:
            while bits < 13:
                word |= data[0] << bits
                data = ptr8(int(data) + 1)
                bits += 8
            d[i] = word & 8191
            word >>= 13
            bits -= 13
            i += 1
            if i + 1 == end:
                d[i] = word | data[0] << bits
                data = ptr8(int(data) + 1)
                i += 1


@micropython.viper
def _pack(data: ptr8, file: ptr32, register: int):
    s = ptr32(int(file) + 80 * register)
    word = 0
    bits = 0
    i = 0
    while i < 20:
        word |= s[i] << bits
        bits += 13
        i += 1
        while bits > 7:
            data[0] = word
            data = ptr8(int(data) + 1)
            word >>= 8
            bits -= 8
    data[0] = word


def value(file, register):
    """The element in a register as int in 0..p-1, out of Montgomery form."""
    data = bytearray(33)
    _pack(data, file, register)
    return int.from_bytes(data, "little") * _R_INVERSE % _P


@micropython.viper
def teeth(bits: ptr8, at: int, step: int, count: int) -> int:
    """The `count` bits of a little-endian number at `at`, `at + step`, ..., the first one lowest."""
    result = 0
    n = 0
    while n < count:
        result |= ((bits[at >> 3] >> (at & 7)) & 1) << n
        at += step
        n += 1
    return result
