"""Points of NIST P-256: multiples of the base point G and of a public key Q.

Idea: points are Jacobian (y^2 = x^3 - 3x + b) in the registers of `field`; a formula is a program for it. A scalar is
made odd by adding the order, so each of its bits stands for +1 or -1 and no digit of a comb is ever zero: the sequence
of operations does not depend on the scalar. The formulas have no special cases. Where one would be needed Z becomes 0
and stays 0, and the product is computed again with other digits of the same scalar (TP-ECC-003).
"""

from micropython import const

from gateway.generator import COMB

try:
    from gateway import field
except (SyntaxError, ValueError):  # no native emitter here, or compiled for another one
    from gateway import field_int as field

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

_SCALAR_BYTES = const(34)
_ATTEMPTS = const(4)
_SLICE_COLUMNS = const(4)

# Comb of G: seven teeth, 38 bits apart. Comb of a key: four teeth, 65 bits apart.
_G_COLUMNS = const(38)
_G_TEETH = const(7)
_Q_COLUMNS = const(65)
_Q_TEETH = const(4)
_Q_POINTS = const(8)

# Registers: 0 and 1 are the field's, X Y Z is the running point, U V W another one, 8 to 11 belong to the formulas.
_X = const(2)
_Z = const(4)
_U = const(5)
_W = const(7)
_REGISTERS = const(12)

# d = a b          "\x00 d a b"
# d = x a + y b    (16 (x + 8) + y + 8) d a b
_DOUBLE = (
    b"\x00\x08\x04\x04"  # D = Z Z
    b"\x00\x09\x03\x03"  # G = Y Y
    b"\xb5\x0a\x02\x08"  # A = 3 X - 3 D
    b"\x99\x0b\x02\x08"  # T = X + D
    b"\x00\x0a\x0a\x0b"  # A = A T
    b"\x00\x0b\x02\x09"  # B = X G
    b"\x00\x04\x03\x04"  # Z = Y Z
    b"\xa8\x04\x04\x04"  # Z = 2 Z
    b"\x00\x02\x0a\x0a"  # X = A A
    b"\x90\x02\x02\x0b"  # X = X - 8 B
    b"\xc7\x0b\x0b\x02"  # B = 4 B - X
    b"\x00\x0b\x0a\x0b"  # B = A B
    b"\x00\x09\x09\x09"  # G = G G
    b"\x90\x03\x0b\x09"  # Y = B - 8 G
    b"\xff"
)
_SCALE = (
    b"\x00\x0a\x07\x07"  # A = W W
    b"\x00\x02\x02\x0a"  # X = X A
    b"\x00\x0a\x07\x0a"  # A = W A
    b"\x00\x03\x03\x0a"  # Y = Y A
    b"\x00\x04\x04\x07"  # Z = Z W
)
_LIFT = (
    b"\x00\x08\x04\x04"  # T = Z Z
    b"\x00\x09\x04\x08"  # S = Z T
    b"\x00\x08\x05\x08"  # T = U T
    b"\x00\x09\x06\x09"  # S = V S
)
_SUM = (
    b"\x00\x0a\x08\x08"  # A = H H
    b"\x00\x04\x04\x08"  # Z = Z H
    b"\x00\x08\x08\x0a"  # H = H A
    b"\x00\x0a\x02\x0a"  # A = X A
    b"\x00\x02\x09\x09"  # X = R R
    b"\x97\x02\x02\x08"  # X = X - H
    b"\x96\x02\x02\x0a"  # X = X - 2 A
    b"\x97\x0a\x0a\x02"  # A = A - X
    b"\x00\x0a\x09\x0a"  # A = R A
    b"\x00\x08\x03\x08"  # H = Y H
    b"\x97\x03\x0a\x08"  # Y = A - H
    b"\xff"
)
_H = b"\x97\x08\x08\x02"  # H = T - X
_ADD_R = b"\x97\x09\x09\x03"  # R = S - Y
_SUBTRACT_R = b"\x77\x09\x09\x03"  # R = -S - Y
# (X Y Z) = (X Y Z) +- (U V), (X Y Z) +- (U V W), +- (U V W); each pair is indexed by the sign
_ADD = (_LIFT + _H + _ADD_R + _SUM, _LIFT + _H + _SUBTRACT_R + _SUM)
_ADD_FULL = (_LIFT + _SCALE + _H + _ADD_R + _SUM, _LIFT + _SCALE + _H + _SUBTRACT_R + _SUM)
_SET = (
    b"\x98\x02\x05\x05\x98\x03\x06\x06\x98\x04\x07\x07\xff",
    b"\x98\x02\x05\x05\x78\x03\x06\x06\x98\x04\x07\x07\xff",
)


def inverse(value, modulus):
    """1 / value by Euclid. The number of steps depends on the value, so a secret one must come masked."""
    a, b = modulus, value
    u, v = 0, 1
    while b:
        q, r = divmod(a, b)
        a, b = b, r
        u, v = v, u - q * v
    return u % modulus


def is_on(x, y):
    """Whether the affine point is on the curve (SEC 1, section 3.2.2.1; the cofactor is 1)."""
    return x < P and y < P and not (y * y - (x * x - 3) * x - B) % P


def _load(file, register, x, y):
    data = ((x << 260) % P).to_bytes(32, "little") + ((y << 260) % P).to_bytes(32, "little")
    field.load(file, register, data, 0)


def _digits(scalar, attempt, count):
    """`count` bits that stand for +1 (set) and -1, little-endian, of `scalar` and a multiple of the order, odd in sum."""
    odd = scalar + (not scalar & 1) * N + 2 * attempt * N
    return ((odd + (1 << count) - 1) >> 1).to_bytes(_SCALAR_BYTES, "little")


def _digit(bits, at, step, count):
    """(index, negate) of a comb digit. The sign of the top tooth is taken out, so a comb holds half the points."""
    index = field.teeth(bits, at, step, count)
    mask = (1 << count - 1) - 1
    return (index & mask, 0) if index > mask else (index ^ mask, 1)


def _columns(file, g_bits, q_bits, q_table):
    """Leaves g G + q Q in X Y Z, or g G without a table."""
    programs = _SET
    point = _U * field.SIZE
    point_end = _W * field.SIZE
    for column in range((_Q_COLUMNS if q_table else _G_COLUMNS) - 1, -1, -1):
        if programs is _ADD:
            field.execute(file, _DOUBLE)
        if q_table:
            index, negate = _digit(q_bits, column, _Q_COLUMNS, _Q_TEETH)
            file[point:point_end] = q_table[index]
            field.execute(file, programs[negate])
            programs = _ADD
        if column < _G_COLUMNS:
            index, negate = _digit(g_bits, column, _G_COLUMNS, _G_TEETH)
            field.load(file, _U, COMB, 64 * index)
            field.execute(file, programs[negate])
            programs = _ADD
        if not column % _SLICE_COLUMNS:
            yield
    file = q_table = None  # see key_table_steps


def product_steps(g, q=0, q_table=None):
    """Generator that returns X, Y, Z of g G, or of g G + q Q with the `key_table_steps` of Q. Z is 0 at infinity."""
    file = field.registers(_REGISTERS)
    for attempt in range(_ATTEMPTS):
        _load(file, _W, 1, 0)
        g_bits = _digits(g, attempt, _G_TEETH * _G_COLUMNS)
        yield from _columns(file, g_bits, _digits(q, attempt, _Q_TEETH * _Q_COLUMNS), q_table)
        if field.value(file, _Z):
            break
    x, y, z = field.value(file, _X), field.value(file, _X + 1), field.value(file, _Z)
    file = q_table = None
    return x, y, z


def key_table_steps(x, y):
    """Generator that returns the comb of a public point: a list of eight affine points, each as two registers.

    Entry e is 2**195 Q + the sum over j = 0..2 of 2**(65 j) Q, minus where bit j of e is 0.
    """
    size = field.SIZE
    file = field.registers(_REGISTERS + 4 * _Q_POINTS)
    _load(file, _U, x, y)
    _load(file, _W, 1, 0)
    field.execute(file, _SET[0])
    powers = []
    for column in range(3 * _Q_COLUMNS):
        if column % _Q_COLUMNS < 2:
            powers.append(file[_X * size : _U * size])
        field.execute(file, _DOUBLE)
        if not column % _SLICE_COLUMNS:
            yield
    for power in powers[::2]:
        _add_full(file, power, 1)
    entry = 0
    _keep(file, entry)
    for step in range(1, _Q_POINTS):
        bit = (0, 1, 0, 2)[(step - 1) & 3]
        entry ^= 1 << bit
        _add_full(file, powers[2 * bit + 1], not entry >> bit & 1)
        _keep(file, entry)
        yield
    table = yield from _normalize(file)
    file = powers = None  # a finished generator may lie about for a while, by a stale slot of some stack
    return table


def _add_full(file, point, negate):
    file[_U * field.SIZE : (_W + 1) * field.SIZE] = point
    field.execute(file, _ADD_FULL[negate])


def _keep(file, entry):
    at = _REGISTERS + 3 * entry
    file[at * field.SIZE : (at + 3) * field.SIZE] = file[_X * field.SIZE : _U * field.SIZE]


def _normalize(file):
    """The kept points with Z = 1, by one inversion for all (Montgomery's trick)."""
    size = field.SIZE
    first = _REGISTERS
    prefix = _REGISTERS + 3 * _Q_POINTS
    field.execute(file, bytes((0x98, prefix, first + 2, first + 2, 255)))
    for e in range(1, _Q_POINTS):
        field.execute(file, bytes((0, prefix + e, prefix + e - 1, first + 3 * e + 2, 255)))
    _load(file, _W, inverse(field.value(file, prefix + _Q_POINTS - 1), P), 1)
    yield
    table = [None] * _Q_POINTS
    for e in range(_Q_POINTS - 1, -1, -1):
        x = first + 3 * e
        last = (0, 8, _W, prefix + e - 1) if e else (0x98, 8, _W, _W)
        # 8 = 1 / Z, W = W Z, 9 = 8^2, U = X 8^2, 9 = 8^3, V = Y 8^3
        rest = (0, _W, _W, x + 2, 0, 9, 8, 8, 0, _U, x, 9, 0, 9, 8, 9, 0, _U + 1, x + 1, 9, 255)
        field.execute(file, bytes(last + rest))
        table[e] = file[_U * size : _W * size]
    file = None
    return table
