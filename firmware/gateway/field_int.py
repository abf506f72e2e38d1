"""The register machine of `field` on plain integers, for interpreters without the native emitter: same results, slower."""

SIZE = 1
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_R_INVERSE = 0x0FFFFFFFE00000003FFFFFFFD0000000200000001FFFFFFFE000000030000000


def registers(count):
    """A register file."""
    return [0] * count


def execute(file, program):
    """Runs a program over the register file."""
    at = 0
    while program[at] != 255:
        code = program[at]
        a = file[program[at + 2]]
        b = file[program[at + 3]]
        file[program[at + 1]] = (a * ((code >> 4) - 8) + b * ((code & 15) - 8) if code else a * b) % _P
        at += 4


def load(file, register, data, at):
    """Sets two registers from the 64 bytes at `data[at]`: Montgomery forms below p, least significant byte first."""
    for i in (0, 1):
        file[register + i] = int.from_bytes(data[at + 32 * i : at + 32 * i + 32], "little") * _R_INVERSE % _P


def value(file, register):
    """The element in a register as int in 0..p-1, out of Montgomery form."""
    return file[register]


def teeth(bits, at, step, count):
    """The `count` bits of a little-endian number at `at`, `at + step`, ..., the first one lowest."""
    result = 0
    for n in range(count):
        result |= (bits[at >> 3] >> (at & 7) & 1) << n
        at += step
    return result
