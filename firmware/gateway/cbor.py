"""Deterministic CBOR (RFC 8949 section 4.2.1) in bounded memory.

`encode` writes the one deterministic form. `decode` is strict: it takes exactly what `encode` could have written, so
equal values have equal bytes. `decode(buf, strict=False)` reads well-formed items of any encoding.
Every length is compared with the bytes that remain before anything is allocated for it (TP-CBR-003).
"""

import struct
from collections import namedtuple

from micropython import const

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


class CBORError(ValueError):
    """Not encodable, not well-formed, or (strict) not deterministic. The argument is a short English reason."""


def head(major, argument):
    """The shortest initial bytes of major type 0..7 with an argument of 0..2**64-1, as bytes."""
    major <<= 5
    if argument < 24:
        return bytes((major | argument,))
    if argument < 0x100:
        return bytes((major | 24, argument))
    if argument < 0x1_0000:
        return struct.pack(">BH", major | 25, argument)
    if argument < 0x1_0000_0000:
        return struct.pack(">BI", major | 26, argument)
    if argument >> 64:
        raise CBORError("integer exceeds 64 bits")
    return struct.pack(">BQ", major | 27, argument)


def encode(obj):
    """The deterministic encoding, as bytes.

    Takes None, bool, int of 64 bits, float, str, bytes-like, list, tuple, dict with keys int, str or bytes, Tag, Simple.
    Raises CBORError for anything else and for more than eight levels.
    """
    out = bytearray()
    _put(out, obj, 0)
    return bytes(out)


def array(items):
    """The array of items that are encoded already."""
    return head(_ARRAY, len(items)) + b"".join(items)


def _put(out, obj, depth):
    if depth > _DEPTH_MAX:
        raise CBORError("nested too deep")
    kind = type(obj)
    if kind in (bytes, bytearray, memoryview):
        out.extend(head(_BYTES, len(obj)))
        out.extend(obj)
    elif kind is int:
        out.extend(head(_UINT, obj) if obj >= 0 else head(_NEGATIVE, -1 - obj))
    elif kind is str:
        data = obj.encode()
        _check_utf8(data)
        out.extend(head(_TEXT, len(data)))
        out.extend(data)
    elif kind in (list, tuple):
        out.extend(head(_ARRAY, len(obj)))
        for item in obj:
            _put(out, item, depth + 1)
    elif kind is dict:
        _put_map(out, obj, depth + 1)
    elif kind is Tag:
        out.extend(head(_TAG, obj.number))
        _put(out, obj.value, depth + 1)
    else:
        out.extend(_atom(obj, kind))


def _put_map(out, obj, depth):
    pairs = []
    for key, value in obj.items():
        pair = bytearray()
        _put_key(pair, key)
        size = len(pair)
        _put(pair, value, depth)
        pairs.append((bytes(pair[:size]), pair))
    out.extend(head(_MAP, len(pairs)))
    for _, pair in sorted(pairs, key=lambda item: item[0]):
        out.extend(pair)


def _put_key(out, key):
    if type(key) not in (int, str, bytes):
        raise CBORError("map key is not int, str or bytes")
    _put(out, key, 0)


def _atom(obj, kind):
    if obj is None:
        return b"\xf6"
    if kind is bool:
        return b"\xf5" if obj else b"\xf4"
    if kind is float:
        return _float_bytes(obj)
    if kind is Simple:
        return head(7, obj.number) if obj.number < 24 else bytes((0xF8, obj.number))
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


def _check_utf8(data):
    """Raises CBORError unless `data` is UTF-8 by RFC 3629. MicroPython's own check passes overlong forms and surrogates."""
    if not data or max(data) < 0x80:
        return
    i = 0
    while i < len(data):
        lead = data[i]
        more = 0 if lead < 0x80 else 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        point = lead if not more else lead & (0x3F >> more)
        for byte in data[i + 1 : i + 1 + more]:
            if byte & 0xC0 != 0x80:
                raise CBORError("invalid UTF-8")
            point = point << 6 | byte & 0x3F
        i += 1 + more
        if i > len(data) or (more and not _scalar(lead, point, more)):
            raise CBORError("invalid UTF-8")


def _scalar(lead, point, more):
    return 0xC0 <= lead < 0xF8 and (0x80, 0x800, 0x10000)[more - 1] <= point < 0x110000 and not 0xD800 <= point < 0xE000


def decode(buf, strict=True):
    """One data item that fills `buf` (bytes-like) exactly.

    Byte strings come as bytes, arrays as list, maps as dict. Lenient decoding turns tags 2 and 3 into int, unassigned
    simple values into Simple and undefined into UNDEFINED; strict decoding refuses simple values other than false, true
    and null. Floats are those of the port: single precision on an ESP32, where a double is rounded.
    Raises CBORError.
    """
    reader = _Reader(buf, strict)
    value = reader.item(0)
    if reader.at != len(buf):
        raise CBORError("trailing bytes")
    return value


def item_end(buf, offset=0):
    """The offset behind the item at `offset`, without building objects. Definite lengths only. Raises CBORError."""
    reader = _Reader(buf, True)
    reader.at = offset
    open_items = 1
    while open_items:
        major, argument = reader.head()
        open_items -= 1
        if major in (_BYTES, _TEXT):
            reader.skip(argument)
        elif major == _TAG:
            open_items += 1
        elif major in (_ARRAY, _MAP):
            open_items += argument << (major == _MAP)
        if open_items > len(buf) - reader.at:
            raise CBORError("ends early")
    return reader.at


class _Reader:
    def __init__(self, buf, strict):
        self.buf = memoryview(buf)
        self.strict = strict
        self.at = 0
        self.info = 0

    def skip(self, size):
        start = self.at
        if size > len(self.buf) - start:
            raise CBORError("ends early")
        self.at = start + size
        return self.buf[start : self.at]

    def head(self):
        """(major type, argument): -1 for an indefinite length or a break. `info` keeps the low five bits."""
        initial = self.skip(1)[0]
        self.info = info = initial & 31
        major = initial >> 5
        if info < 24:
            return major, info
        if info == 31 and not self.strict and major not in (_UINT, _NEGATIVE, _TAG):
            return major, _BREAK
        if info > 27:
            raise CBORError("reserved or indefinite length")
        argument = int.from_bytes(self.skip(1 << info - 24), "big")
        if self.strict and major != 7 and argument < (24, 0x100, 0x1_0000, 0x1_0000_0000)[info - 24]:
            raise CBORError("not the shortest form")
        return major, argument

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
        _check_utf8(data)
        return str(data, "utf-8")

    def chunks(self, major):
        while not self.broke():
            chunk, size = self.head()
            if chunk != major or size == _BREAK:
                raise CBORError("wrong chunk in a string")
            data = self.skip(size)
            if major == _TEXT:
                _check_utf8(data)
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
        last = None
        for _ in self.places(count, 2):
            start = self.at
            key = self.item(depth)
            if type(key) not in (int, str, bytes):
                raise CBORError("map key is not int, str or bytes")
            if self.strict:
                encoded = bytes(self.buf[start : self.at])
                if last is not None and encoded <= last:
                    raise CBORError("map keys are not in order")
                last = encoded
            elif key in result:
                raise CBORError("map key appears twice")
            result[key] = self.item(depth)
        return result

    def tag(self, number, depth):
        value = self.item(depth)
        if not self.strict and number in (2, 3) and type(value) is bytes:
            value = int.from_bytes(value, "big")
            return -1 - value if number == 3 else value
        return Tag(number, value)

    def atom(self, argument):
        info = self.info
        if 20 <= info <= 22:
            return (False, True, None)[info - 20]
        if 25 <= info <= 27:
            return self.real(argument, info)
        if self.strict or argument == _BREAK or (info == 24 and argument < 32):
            raise CBORError("simple value")
        return Simple(argument)

    def real(self, bits, info):
        if info == 25:
            value = _half(bits)
        elif info == 26:
            value = struct.unpack(">f", struct.pack(">I", bits))[0]
        else:
            value = struct.unpack(">d", struct.pack(">Q", bits))[0]
        if self.strict and not self.shortest(bits, info, value != value):
            raise CBORError("not the shortest form")
        return value

    def shortest(self, bits, info, nan):
        if nan:
            return info == 25 and bits == 0x7E00
        if info == 26:
            return _narrow(bits, 8, 23, 5, 10) is None
        return info == 25 or _narrow(bits, 11, 52, 8, 23) is None
