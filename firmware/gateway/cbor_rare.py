"""CBOR that no message of ours needs (RFC 8949): tags, simple values, floats, and a lenient reader for tools.

`cbor` loads this module when it meets one of them.
"""

import struct
from collections import namedtuple

from micropython import const

from gateway import cbor
from gateway.cbor import CBORError, check_utf8, head

Tag = namedtuple("Tag", ("number", "value"))
Simple = namedtuple("Simple", ("number",))
UNDEFINED = Simple(23)

_DEPTH_MAX = const(8)
_UINT = const(0)
_NEGATIVE = const(1)
_BYTES = const(2)
_TEXT = const(3)
_ARRAY = const(4)
_MAP = const(5)
_TAG = const(6)
_BREAK = const(-1)


def put(out, obj, depth):
    """Appends the deterministic encoding of a Tag, Simple or float to the bytearray `out`. Raises CBORError for others."""
    kind = type(obj)
    if kind is Tag:
        out.extend(head(_TAG, obj.number))
        cbor.put(out, obj.value, depth + 1)
    elif kind is Simple:
        out.extend(head(7, obj.number) if obj.number < 24 else bytes((0xF8, obj.number)))
    elif kind is float:
        out.extend(_float_bytes(obj))
    else:
        raise CBORError("type has no encoding")


def _narrow(bits, exponent_bits, mantissa_bits, exponent_to, mantissa_to):
    """The same binary float in a narrower IEEE 754 format, or None when it has no exact one. NaN is the caller's."""
    drop = mantissa_bits - mantissa_to
    sign = bits >> exponent_bits + mantissa_bits << exponent_to + mantissa_to
    exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1)
    mantissa = bits & ((1 << mantissa_bits) - 1)
    top = (1 << exponent_to) - 1
    if exponent == (1 << exponent_bits) - 1:
        return sign | top << mantissa_to
    if not exponent:
        return None if mantissa else sign
    exponent += (top >> 1) - ((1 << exponent_bits - 1) - 1)
    if exponent >= top:
        return None
    if exponent < 1:
        drop += 1 - exponent
        mantissa |= 1 << mantissa_bits
        exponent = 0
    if drop > mantissa_bits + 1 or mantissa & ((1 << drop) - 1):
        return None
    return sign | (exponent << mantissa_to) + (mantissa >> drop)


def _float_bytes(value):
    if value != value:
        return b"\xf9\x7e\x00"
    double = struct.pack(">d", value)
    single = _narrow(int.from_bytes(double, "big"), 11, 52, 8, 23)
    if single is None:
        return b"\xfb" + double
    half = _narrow(single, 8, 23, 5, 10)
    return struct.pack(">BI", 0xFA, single) if half is None else struct.pack(">BH", 0xF9, half)


def _half(bits):
    exponent = bits >> 10 & 31
    mantissa = bits & 0x3FF
    if exponent == 31:
        value = float("nan") if mantissa else float("inf")
    elif exponent:
        value = (mantissa + 1024) * 2.0 ** (exponent - 25)
    else:
        value = mantissa * 2.0**-24
    return -value if bits >> 15 else value


def real(bits, info):
    """The float of 2, 4 or 8 bytes: `info` is 25, 26 or 27."""
    if info == 25:
        return _half(bits)
    if info == 26:
        return struct.unpack(">f", struct.pack(">I", bits))[0]
    return struct.unpack(">d", struct.pack(">Q", bits))[0]


def shortest(bits, info):
    """`real`, or CBORError when fewer bytes would hold the same number."""
    value = real(bits, info)
    if value != value:
        short = info == 25 and bits == 0x7E00
    elif info == 26:
        short = _narrow(bits, 8, 23, 5, 10) is None
    else:
        short = info == 25 or _narrow(bits, 11, 52, 8, 23) is None
    if not short:
        raise CBORError("not the shortest form")
    return value


def decode(buf):
    """One well-formed data item of any encoding that fills `buf` (bytes-like) exactly.

    Tags 2 and 3 come as int, other tags as Tag, unassigned simple values as Simple, undefined as UNDEFINED.
    Raises CBORError.
    """
    reader = _Reader(buf)
    value = reader.item(0)
    if reader.at != len(buf):
        raise CBORError("trailing bytes")
    return value


class _Reader:
    def __init__(self, buf):
        self.buf = memoryview(buf)
        self.at = 0
        self.info = 0

    def skip(self, size):
        start = self.at
        if size > len(self.buf) - start:
            raise CBORError("ends early")
        self.at = start + size
        return self.buf[start : self.at]

    def head(self):
        """(major type, argument): _BREAK for an indefinite length or a break. `info` keeps the low five bits."""
        initial = self.skip(1)[0]
        self.info = info = initial & 31
        major = initial >> 5
        if info < 24:
            return major, info
        if info == 31 and major not in (_UINT, _NEGATIVE, _TAG):
            return major, _BREAK
        if info > 27:
            raise CBORError("reserved or indefinite length")
        return major, int.from_bytes(self.skip(1 << info - 24), "big")

    def item(self, depth):
        if depth > _DEPTH_MAX:
            raise CBORError("nested too deep")
        major, argument = self.head()
        if major == _UINT:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        if major in (_BYTES, _TEXT):
            return self.string(major, argument)
        if major == _ARRAY:
            return self.array(argument, depth + 1)
        if major == _MAP:
            return self.map(argument, depth + 1)
        if major == _TAG:
            return self.tag(argument, depth + 1)
        return self.atom(argument)

    def string(self, major, size):
        if size == _BREAK:
            data = b"".join(self.chunks(major))
        else:
            data = bytes(self.skip(size))
        if major == _BYTES:
            return data
        check_utf8(data)
        return str(data, "utf-8")

    def chunks(self, major):
        while not self.broke():
            chunk, size = self.head()
            if chunk != major or size == _BREAK:
                raise CBORError("wrong chunk in a string")
            data = self.skip(size)
            if major == _TEXT:
                check_utf8(data)
            yield bytes(data)

    def broke(self):
        if self.at < len(self.buf) and self.buf[self.at] == 0xFF:
            self.at += 1
            return True
        return False

    def places(self, count, item_bytes):
        """Yields once for each announced member, after seeing that they can fit."""
        if count == _BREAK:
            while not self.broke():
                yield
        elif count > (len(self.buf) - self.at) // item_bytes:
            raise CBORError("ends early")
        else:
            for _ in range(count):
                yield

    def array(self, count, depth):
        return [self.item(depth) for _ in self.places(count, 1)]

    def map(self, count, depth):
        result = {}
        for _ in self.places(count, 2):
            key = self.item(depth)
            if type(key) not in (int, str, bytes):
                raise CBORError("map key is not int, str or bytes")
            if key in result:
                raise CBORError("map key appears twice")
            result[key] = self.item(depth)
        return result

    def tag(self, number, depth):
        value = self.item(depth)
        if number in (2, 3) and type(value) is bytes:
            value = int.from_bytes(value, "big")
            return -1 - value if number == 3 else value
        return Tag(number, value)

    def atom(self, argument):
        info = self.info
        if 20 <= info <= 22:
            return (False, True, None)[info - 20]
        if 25 <= info <= 27:
            return real(argument, info)
        if argument == _BREAK or (info == 24 and argument < 32):
            raise CBORError("simple value")
        return Simple(argument)
