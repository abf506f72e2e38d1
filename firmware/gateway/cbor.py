"""Deterministic CBOR (RFC 8949 section 4.2.1) in bounded memory.

`encode` writes the one deterministic form. `decode` is strict: it takes exactly what `encode` could have written, so
equal values have equal bytes. Tags, floats and the lenient reader, which no message of ours needs, are in `cbor_rare`.
Every length is compared with the bytes that remain before anything is allocated for it (TP-CBR-003).
"""

import struct

from micropython import const

_DEPTH_MAX = const(8)
_UINT = const(0)
_NEGATIVE = const(1)
_BYTES = const(2)
_TEXT = const(3)
_ARRAY = const(4)
_MAP = const(5)
_TAG = const(6)


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

    Takes None, bool, int of 64 bits, str, bytes-like, list, tuple, dict with keys int, str or bytes, and float, Tag and
    Simple of `cbor_rare`. Raises CBORError for anything else and for more than eight levels.
    """
    out = bytearray()
    put(out, obj, 0)
    return bytes(out)


def array(items):
    """The array of items that are encoded already."""
    return b"".join([head(_ARRAY, len(items))] + items)


def put(out, obj, depth):
    """Appends the encoding of `obj`, which lies `depth` levels deep, to the bytearray `out`."""
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
        check_utf8(data)
        out.extend(head(_TEXT, len(data)))
        out.extend(data)
    elif kind in (list, tuple):
        out.extend(head(_ARRAY, len(obj)))
        for item in obj:
            put(out, item, depth + 1)
    elif kind is dict:
        _put_map(out, obj, depth + 1)
    elif obj is None or kind is bool:
        out.append(0xF6 if obj is None else 0xF4 + obj)
    else:
        from gateway import cbor_rare

        cbor_rare.put(out, obj, depth)


def _put_map(out, obj, depth):
    pairs = []
    for key, value in obj.items():
        pair = bytearray()
        _put_key(pair, key)
        put(pair, value, depth)
        pairs.append(bytes(pair))
    out.extend(head(_MAP, len(pairs)))
    pairs.sort()  # by their keys: no key's encoding begins with another's
    for pair in pairs:
        out.extend(pair)


def _put_key(out, key):
    if type(key) not in (int, str, bytes):
        raise CBORError("map key is not int, str or bytes")
    put(out, key, 0)


def check_utf8(data):
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


def decode(buf):
    """One data item that fills `buf` (bytes-like) exactly and is encoded as `encode` does it.

    Byte strings come as bytes, arrays as list, maps as dict; of the simple values only false, true and null are taken.
    Floats are those of the port: single precision on an ESP32, where a double is rounded. Raises CBORError.
    """
    reader = _Reader(buf, 0)
    value = reader.item(0)
    if reader.at != len(buf):
        raise CBORError("trailing bytes")
    return value


def item_end(buf, offset=0):
    """The offset behind the item at `offset`, without building objects. Definite lengths only. Raises CBORError."""
    reader = _Reader(buf, offset)
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
    def __init__(self, buf, at):
        self.buf = memoryview(buf)
        self.at = at
        self.info = 0  # low five bits of the last head

    def skip(self, size):
        start = self.at
        if size > len(self.buf) - start:
            raise CBORError("ends early")
        self.at = start + size
        return self.buf[start : self.at]

    def head(self):
        """(major type, argument)"""
        initial = self.skip(1)[0]
        self.info = info = initial & 31
        major = initial >> 5
        if info < 24:
            return major, info
        if info > 27:
            raise CBORError("reserved or indefinite length")
        argument = int.from_bytes(self.skip(1 << info - 24), "big")
        if major != 7 and argument < (24, 0x100, 0x1_0000, 0x1_0000_0000)[info - 24]:
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
        if major == _BYTES:
            return bytes(self.skip(argument))
        if major == _TEXT:
            data = bytes(self.skip(argument))
            check_utf8(data)
            return str(data, "utf-8")
        if major == _ARRAY:
            self.expect(argument)
            return [self.item(depth + 1) for _ in range(argument)]
        if major == _MAP:
            return self.map(argument, depth + 1)
        return self.rare(major, argument, depth)

    def expect(self, items):
        """Raises CBORError unless so many items can follow, of a byte or more each."""
        if items > len(self.buf) - self.at:
            raise CBORError("ends early")

    def map(self, count, depth):
        self.expect(2 * count)
        result = {}
        last = b""
        for _ in range(count):
            start = self.at
            key = self.item(depth)
            if type(key) not in (int, str, bytes):
                raise CBORError("map key is not int, str or bytes")
            encoded = bytes(self.buf[start : self.at])
            if encoded <= last:
                raise CBORError("map keys are not in order")
            last = encoded
            result[key] = self.item(depth)
        return result

    def rare(self, major, argument, depth):
        info = self.info
        if major != _TAG and 20 <= info <= 22:
            return (False, True, None)[info - 20]
        from gateway import cbor_rare

        if major == _TAG:
            return cbor_rare.Tag(argument, self.item(depth + 1))
        if 25 <= info <= 27:
            return cbor_rare.shortest(argument, info)
        raise CBORError("simple value")
