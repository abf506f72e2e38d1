"""Non-volatile storage in ESP-IDF's format, version 2 (ESP-IDF API guide, Non-Volatile Storage, "Internals").

Page: 32 bytes of header (state, sequence number, version 0xFE, CRC), 32 bytes of entry states (2 bits each), 126 entries of
32 bytes. An entry: namespace, type, span, chunk, CRC, key (16), value (8). Longer values follow their entry in further ones.
A set writes the new entry first, marks it written, and only then erases the old one, so a power cut leaves one of the two.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tryggport.board.nor import Nor

PAGE = 4096
_ENTRIES = 126
_FIRST = 64
_ACTIVE, _FULL, _FREEING, _BLANK = 0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8, 0xFFFFFFFF
_EMPTY, _WRITTEN, _ERASED = 3, 2, 0
_U8, _I32, _BLOB_DATA, _BLOB_INDEX = 0x01, 0x14, 0x42, 0x48
_ANY = 0xFF
_VERSION_OFFSET = 0x80
_BYTES_TYPES = (0x21, 0x41, _BLOB_DATA)
_NOT_FOUND, _NO_SPACE, _KEY_TOO_LONG = -0x1102, -0x1105, -0x1109


def _crc(data: bytes) -> int:
    return zlib.crc32(data, 0xFFFFFFFF)


@dataclass(frozen=True)
class _Item:
    page: int
    index: int
    namespace: int
    kind: int
    span: int
    chunk: int
    key: str
    value: bytes  # the 8 bytes of the entry

    @property
    def identity(self) -> tuple[int, str, int, int]:
        return self.namespace, self.key, self.kind, self.chunk


class Nvs:
    """The store in `size` bytes of `nor` from `base` on. Opening it repairs what a power cut has left.

    Raises OSError with ESP-IDF's negative numbers: not found, no space, key too long.
    """

    def __init__(self, nor: Nor, base: int, size: int) -> None:
        self._nor, self._base, self._pages = nor, base, size // PAGE
        self._items: dict[tuple[int, str, int, int], _Item] = {}
        self._active: int | None = None
        self._next = 0  # first free entry of the active page
        self._sequence = 0  # of the next page
        self._recover()

    def set_i32(self, namespace: str, key: str, value: int) -> None:
        self._put(self._namespace(namespace, create=True), _I32, key, struct.pack("<i", value).ljust(8, b"\xff"))

    def get_i32(self, namespace: str, key: str) -> int:
        return int(struct.unpack_from("<i", self._find(namespace, key, _I32).value)[0])

    def set_blob(self, namespace: str, key: str, value: bytes) -> None:
        number = self._namespace(namespace, create=True)
        old = self._items.get((number, key, _BLOB_INDEX, _ANY))
        if old and self.get_blob(namespace, key) == value:
            return
        start = 0 if old is None or old.value[5] else _VERSION_OFFSET
        self._remove_chunks(number, key, start)
        chunks = 0
        rest = value
        while rest or not chunks:
            room = self._room()
            part, rest = rest[: (room - 1) * 32], rest[(room - 1) * 32 :]
            self._put_bytes(number, key, start + chunks, part)
            chunks += 1
        self._put(number, _BLOB_INDEX, key, struct.pack("<IBBH", len(value), chunks, start, 0xFFFF), _ANY)
        self._remove_chunks(number, key, start ^ _VERSION_OFFSET)

    def get_blob(self, namespace: str, key: str) -> bytes:
        index = self._find(namespace, key, _BLOB_INDEX, _ANY)
        size, chunks, start = struct.unpack_from("<IBB", index.value)
        parts = [self._items[index.namespace, key, _BLOB_DATA, start + n] for n in range(chunks)]
        return b"".join(self._bytes(part) for part in parts)[:size]

    def erase_key(self, namespace: str, key: str) -> None:
        number = self._namespace(namespace)
        found = [item for item in self._items.values() if (item.namespace, item.key) == (number, key)]
        if not found:
            raise OSError(_NOT_FOUND, "not found")
        for item in sorted(found, key=lambda item: item.kind != _BLOB_INDEX):
            self._erase(item)

    # Entries.

    def _namespace(self, name: str, create: bool = False) -> int:
        found = self._items.get((0, name, _U8, _ANY))
        if found:
            return found.value[0]
        if not create:
            raise OSError(_NOT_FOUND, "not found")
        taken = {item.value[0] for item in self._items.values() if item.namespace == 0}
        number = min(set(range(1, 255)) - taken)
        self._put(0, _U8, name, bytes([number]).ljust(8, b"\xff"))
        return number

    def _find(self, namespace: str, key: str, kind: int, chunk: int = _ANY) -> _Item:
        item = self._items.get((self._namespace(namespace), key, kind, chunk))
        if item is None:
            raise OSError(_NOT_FOUND, "not found")
        return item

    def _put(self, namespace: int, kind: int, key: str, value: bytes, chunk: int = _ANY) -> None:
        old = self._items.get((namespace, key, kind, chunk))
        if old is None or old.value != value:
            self._write(namespace, kind, key, chunk, value, b"")

    def _put_bytes(self, namespace: int, key: str, chunk: int, data: bytes) -> None:
        value = struct.pack("<HHI", len(data), 0xFFFF, _crc(data))
        self._write(namespace, _BLOB_DATA, key, chunk, value, data)

    def _write(self, namespace: int, kind: int, key: str, chunk: int, value: bytes, data: bytes) -> None:
        """The new entry, then its state, then the old one's end."""
        name = key.encode()
        if not 0 < len(name) <= 15:
            raise OSError(_KEY_TOO_LONG, "key too long")
        span = 1 + -(-len(data) // 32)
        page = self._room_for(span)
        head = struct.pack("<BBBB", namespace, kind, span, chunk)
        tail = name.ljust(16, b"\0") + value
        entry = head + struct.pack("<I", _crc(head + tail)) + tail
        index = self._next
        self._nor.program(self._at(page, index), entry + data.ljust((span - 1) * 32, b"\xff"))
        self._mark(page, index, span, _WRITTEN)
        self._next += span
        item = _Item(page, index, namespace, kind, span, chunk, key, value)
        old = self._items.get(item.identity)
        self._items[item.identity] = item
        if old:
            self._mark(old.page, old.index, old.span, _ERASED)

    def _bytes(self, item: _Item) -> bytes:
        size = struct.unpack_from("<H", item.value)[0]
        return self._read(self._at(item.page, item.index + 1), size)

    def _erase(self, item: _Item) -> None:
        self._mark(item.page, item.index, item.span, _ERASED)
        del self._items[item.identity]

    def _remove_chunks(self, namespace: int, key: str, start: int) -> None:
        for item in list(self._items.values()):
            if (item.namespace, item.key, item.kind) == (namespace, key, _BLOB_DATA) and (
                item.chunk & _VERSION_OFFSET == start
            ):
                self._erase(item)

    # Pages.

    def _at(self, page: int, index: int) -> int:
        return self._base + page * PAGE + _FIRST + index * 32

    def _read(self, address: int, n: int) -> bytes:
        data = bytearray(n)
        self._nor.read_into(address, data)
        return bytes(data)

    def _header(self, page: int) -> tuple[int, int]:
        """(state, sequence number); a header that does not hold reads as state 0."""
        raw = self._read(self._base + page * PAGE, 32)
        state, sequence = struct.unpack_from("<II", raw)
        if state == _BLANK and raw == b"\xff" * 32:
            return _BLANK, 0
        if struct.unpack_from("<I", raw, 28)[0] != _crc(raw[4:28]):
            return 0, 0
        return state, sequence

    def _set_state(self, page: int, state: int) -> None:
        self._nor.program(self._base + page * PAGE, struct.pack("<I", state))

    def _mark(self, page: int, index: int, span: int, state: int) -> None:
        """Entry states only lose bits: empty 11, written 10, erased 00."""
        first, last = index // 4, (index + span - 1) // 4
        address = self._base + page * PAGE + 32
        bitmap = bytearray(self._read(address + first, last - first + 1))
        for entry in range(index, index + span):
            at, shift = entry // 4 - first, entry % 4 * 2
            bitmap[at] &= ~(3 << shift) & 0xFF | state << shift
        self._nor.program(address + first, bitmap)

    def _room(self) -> int:
        """Entries that can follow in one page, at least two: a new page is begun when fewer are left."""
        if self._active is None or _ENTRIES - self._next < 2:
            self._new_page()
        return _ENTRIES - self._next

    def _room_for(self, span: int) -> int:
        if self._active is None or _ENTRIES - self._next < span:
            self._new_page()
            if _ENTRIES - self._next < span:
                raise OSError(_NO_SPACE, "no space")
        assert self._active is not None
        return self._active

    def _new_page(self) -> None:
        """Close the active page, open a blank one, and see that another blank one remains."""
        blank = self._blank()
        if not blank or (len(blank) == 1 and self._emptiest()[0] > _ENTRIES - 2):
            raise OSError(_NO_SPACE, "no space")
        if self._active is not None:
            self._set_state(self._active, _FULL)
        self._open(blank[0])
        self._keep_one_blank()

    def _keep_one_blank(self) -> None:
        """Move what lives in the emptiest page into the active one when no page is blank."""
        if not self._blank():
            self._free(self._emptiest(but=self._active)[1])

    def _blank(self) -> list[int]:
        return [page for page in range(self._pages) if self._header(page)[0] == _BLANK]

    def _emptiest(self, but: int | None = None) -> tuple[int, int]:
        """(live entries, page) of the used page with the fewest."""
        live = {page: 0 for page in range(self._pages) if page != but and self._header(page)[0] != _BLANK}
        for item in self._items.values():
            if item.page in live:
                live[item.page] += item.span
        return min((entries, page) for page, entries in live.items())

    def _open(self, page: int) -> None:
        self._nor.erase(self._base + page * PAGE)
        body = struct.pack("<IB", self._sequence, 0xFE).ljust(24, b"\xff")
        self._sequence += 1
        self._nor.program(self._base + page * PAGE, struct.pack("<I", _ACTIVE) + body + struct.pack("<I", _crc(body)))
        self._active, self._next = page, 0

    def _free(self, page: int) -> None:
        self._set_state(page, _FREEING)
        for item in [item for item in self._items.values() if item.page == page]:
            data = self._bytes(item) if item.kind in _BYTES_TYPES else b""
            self._write(item.namespace, item.kind, item.key, item.chunk, item.value, data)
        self._nor.erase(self._base + page * PAGE)

    # Recovery.

    def _recover(self) -> None:
        headers = {page: self._header(page) for page in range(self._pages)}
        for page, (state, _) in headers.items():
            if state not in (_ACTIVE, _FULL, _FREEING, _BLANK):
                self._nor.erase(self._base + page * PAGE)
        used = sorted((seq, page) for page, (state, seq) in headers.items() if state in (_ACTIVE, _FULL, _FREEING))
        for sequence, page in used:
            self._sequence = sequence + 1
            for item in self._scan(page):
                old = self._items.get(item.identity)
                self._items[item.identity] = item
                if old:
                    self._mark(old.page, old.index, old.span, _ERASED)
        self._resume(headers, [page for _, page in used])
        self._drop_orphans()
        if self._active is not None:
            self._keep_one_blank()

    def _resume(self, headers: dict[int, tuple[int, int]], used: list[int]) -> None:
        """Go on in the newest active page; finish a move that a power cut has stopped."""
        active = [page for page in used if headers[page][0] == _ACTIVE]
        for page in active[:-1]:
            self._set_state(page, _FULL)
        if active:
            self._active = active[-1]
            self._next = self._first_free(self._active)
        for page in used:
            if headers[page][0] == _FREEING:
                if self._active is None:
                    self._new_page()
                self._free(page)

    def _scan(self, page: int) -> Iterator[_Item]:
        """The written entries that hold; what a torn write has left is marked erased."""
        raw = self._read(self._base + page * PAGE, PAGE)
        index = 0
        while index < _ENTRIES:
            state = raw[32 + index // 4] >> index % 4 * 2 & 3
            entry = raw[_FIRST + index * 32 : _FIRST + index * 32 + 32]
            span = 1
            if state == _WRITTEN:
                item = self._item(page, index, entry, raw)
                if item:
                    span = item.span
                    self._mark(page, index, span, _WRITTEN)
                    yield item
                else:
                    self._mark(page, index, 1, _ERASED)
            elif state != _ERASED and entry.strip(b"\xff"):
                self._mark(page, index, 1, _ERASED)
            index += span

    def _item(self, page: int, index: int, entry: bytes, raw: bytes) -> _Item | None:
        namespace, kind, span, chunk, crc = struct.unpack_from("<BBBBI", entry)
        if crc != _crc(entry[:4] + entry[8:]) or not 0 < span <= _ENTRIES - index:
            return None
        value = entry[24:]
        if kind in _BYTES_TYPES:
            size, _, data_crc = struct.unpack("<HHI", value)
            at = _FIRST + (index + 1) * 32
            if _crc(raw[at : at + size]) != data_crc:
                return None
        key = entry[8:24].split(b"\0")[0].decode("latin-1")
        return _Item(page, index, namespace, kind, span, chunk, key, value)

    def _first_free(self, page: int) -> int:
        bitmap = self._read(self._base + page * PAGE + 32, 32)
        states = [bitmap[index // 4] >> index % 4 * 2 & 3 for index in range(_ENTRIES)]
        return max((index + 1 for index, state in enumerate(states) if state != _EMPTY), default=0)

    def _drop_orphans(self) -> None:
        """Chunks that no index names belong to a set that a power cut has stopped, or to the value before the last."""
        named = set()
        for item in self._items.values():
            if item.kind == _BLOB_INDEX:
                _, chunks, start = struct.unpack_from("<IBB", item.value)
                named |= {(item.namespace, item.key, start + n) for n in range(chunks)}
        for item in list(self._items.values()):
            if item.kind == _BLOB_DATA and (item.namespace, item.key, item.chunk) not in named:
                self._erase(item)
