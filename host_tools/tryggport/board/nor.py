"""NOR flash as it behaves, faults included; runs in CPython and in MicroPython.

A program only clears bits, an erase sets one block to ones, both take time and both can be cut by a power failure. The
virtual board keeps its flash in it, and the tests of the journal tear it. Nothing here knows what is stored.

Under flash encryption the chip holds ``data XOR key stream``, so an erased byte reads as anything: ``key`` turns that on.
"""

from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    Buffer = bytes | bytearray | memoryview

UNIT = 16  # what flash encryption programs at once
PAGE = 256
ERASE_US = 45_000
PAGE_PROGRAM_US = 700
EIO = 5


class PowerCut(Exception):  # noqa: N818
    """The supply failed. Every further operation raises this until `power_on`."""


class Misuse(Exception):  # noqa: N818
    """Strict mode: the caller did what encrypted flash does not survive."""


class Nor:
    """`size` bytes in blocks of `block` bytes.

    file      an open unbuffered binary file (mode r+b) to hold the bytes; a short one is filled up with erased bytes
    key       key stream of the flash encryption, repeated over the addresses; a prime length makes all blocks differ
    strict    raise `Misuse` when a program is not made of whole, aligned 16-byte units or touches a unit twice
    sleep_ms  called with the whole milliseconds that an operation takes; `busy_us` counts them in any case
    """

    def __init__(
        self,
        size: int,
        block: int = 4096,
        file: "BinaryIO | None" = None,
        key: bytes = b"",
        strict: bool = False,
        sleep_ms: "Callable[[int], object] | None" = None,
    ) -> None:
        if size % block:
            raise ValueError("size must be a multiple of block")
        self.size, self.block, self.key = size, block, key
        self.erases = self.programs = self.programmed_bytes = self.busy_us = 0
        self.wear = array("I", [0] * (size // block))  # erases of each block
        self.dead: dict[int, str] = {}  # block -> "silent" or "error"
        self._file = file
        self._bytes = bytearray(0 if file else size)
        end = file.seek(0, 2) if file else 0
        while end < size:
            self._store(end, b"\xff" * min(block, size - end))
            end += block
        self._units = bytearray(size // UNIT // 8 + 1 if strict else 0)  # units programmed since the erase
        self._sleep_ms = sleep_ms
        self._debt_us = 0
        self._weak: dict[int, int] = {}  # address -> bits that read either way since a cut
        self._noise = 0x2545F491
        self._off = False
        self._countdown = 0
        self._cut: tuple[str, int, int, bool] | None = None  # kind, byte, noise, weak

    def read_into(self, addr: int, buf: "bytearray | memoryview") -> None:
        """Fill `buf` from `addr` on."""
        self._check(addr, len(buf))
        raw = self._load(addr, len(buf))
        for weak, bits in self._weak.items():
            if addr <= weak < addr + len(buf):
                chance = self._random()
                raw[weak - addr] ^= bits if chance & 1 else bits & chance if chance & 2 else 0
        buf[:] = self._crypt(addr, raw)

    def program(self, addr: int, data: "Buffer") -> None:
        """Clear the bits that are 0 in `data`."""
        self._check(addr, len(data))
        if self._units:
            self._claim(addr, len(data))
        self.programs += 1
        self.programmed_bytes += len(data)
        self._spend(PAGE_PROGRAM_US * len(data) // PAGE)
        dead = self.dead.get(addr // self.block)
        if dead == "error":
            raise OSError(EIO)
        raw = self._crypt(addr, data)
        cut = self._due("program")
        if cut:
            raw = self._torn_program(addr, raw, *cut)
        if not dead:
            self._store(addr, _and(self._load(addr, len(raw)), raw))
        if cut:
            raise PowerCut("program")

    def erase(self, addr: int) -> None:
        """Erase the block that starts at `addr`."""
        if addr % self.block:
            raise ValueError("not the start of a block")
        self._check(addr, self.block)
        number = addr // self.block
        self.erases += 1
        self.wear[number] += 1
        self._spend(ERASE_US)
        if self.dead.get(number) == "error":
            raise OSError(EIO)
        cut = self._due("erase")
        if number not in self.dead:
            self._store(addr, self._torn_erase(addr, cut[0], cut[1]) if cut else b"\xff" * self.block)
        self._forget(addr)
        if cut:
            raise PowerCut("erase")

    def plan_cut(self, op: int, byte: int = 0, kind: str = "any", noise: int = 0, weak: bool = False) -> None:
        """Fail at operation `op` (0 is the next) of `kind` "program", "erase" or "any", once `byte` bytes are done.

        The byte under way keeps half of the bits that it should lose. With `noise` (a seed) the bytes behind it are in
        disorder too: a program has cleared some of their bits, an erase has left garbage. With `weak` the undecided
        bits of a program read either way from now on. Returns nothing; see `cut_pending`.
        """
        self._countdown, self._cut = op, (kind, byte, noise, weak)

    @property
    def cut_pending(self) -> bool:
        """Whether a planned cut has not happened yet."""
        return self._cut is not None

    def power_on(self) -> None:
        """Supply back; a cut that has not happened is forgotten. Strict mode wants every block erased before its use."""
        self._off, self._cut = False, None
        for i in range(len(self._units)):
            self._units[i] = 0xFF

    def flip(self, addr: int, bit: int) -> None:
        """Let one stored bit (0...7) read inverted from now on."""
        raw = self._load(addr, 1)
        raw[0] ^= 1 << bit
        self._store(addr, raw)

    def kill_block(self, number: int, how: str = "silent") -> None:
        """From now on block `number` keeps what it holds: "silent" takes no notice, "error" raises OSError(EIO)."""
        self.dead[number] = how

    def snapshot(self) -> bytes:
        """The raw bytes of the chip."""
        return bytes(self._load(0, self.size))

    def copy_from(self, other: "Nor") -> None:
        """Hold what `other`, of the same size, holds."""
        self._store(0, other.snapshot())
        self._units[:] = other._units
        self._weak = dict(other._weak)
        self._off, self._cut = False, None

    def _check(self, addr: int, length: int) -> None:
        if self._off:
            raise PowerCut("off")
        if addr < 0 or addr + length > self.size:
            raise ValueError("outside the flash")

    def _load(self, addr: int, length: int) -> bytearray:
        if self._file is None:
            return self._bytes[addr : addr + length]
        self._file.seek(addr)
        return bytearray(self._file.read(length))

    def _store(self, addr: int, raw: "Buffer") -> None:
        if self._file is None:
            self._bytes[addr : addr + len(raw)] = raw
        else:
            self._file.seek(addr)
            self._file.write(raw)

    def _crypt(self, addr: int, data: "Buffer") -> "Buffer":
        if not self.key:
            return data
        n, at = len(data), addr % len(self.key)
        stream = (self.key * ((at + n) // len(self.key) + 1))[at : at + n]
        return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(n, "little")

    def _claim(self, addr: int, length: int) -> None:
        if addr % UNIT or length % UNIT or not length:
            raise Misuse(f"program of {length} bytes at {addr}")
        for unit in range(addr // UNIT, (addr + length) // UNIT):
            if self._units[unit >> 3] & 1 << (unit & 7):
                raise Misuse(f"programmed twice at {unit * UNIT}")
            self._units[unit >> 3] |= 1 << (unit & 7)

    def _forget(self, addr: int) -> None:
        for weak in [a for a in self._weak if addr <= a < addr + self.block]:
            del self._weak[weak]
        if self._units:
            for unit in range(addr // UNIT, (addr + self.block) // UNIT):
                self._units[unit >> 3] &= ~(1 << (unit & 7))

    def _spend(self, us: int) -> None:
        self.busy_us += us
        if self._sleep_ms:
            self._debt_us += us
            if self._debt_us >= 1000:
                self._sleep_ms(self._debt_us // 1000)
                self._debt_us %= 1000

    def _due(self, kind: str) -> "tuple[int, int, bool] | None":
        """(byte, noise, weak) when the planned cut is now."""
        if self._cut is None or self._cut[0] not in (kind, "any"):
            return None
        self._countdown -= 1
        if self._countdown >= 0:
            return None
        _, byte, noise, weak = self._cut
        self._off, self._cut = True, None
        return byte, noise, weak

    def _torn_program(self, addr: int, raw: "Buffer", byte: int, noise: int, weak: bool) -> bytearray:
        torn = bytearray(b"\xff" * len(raw))
        byte = min(byte, len(raw))
        torn[:byte] = raw[:byte]
        if byte == len(raw):
            return torn
        torn[byte] = raw[byte] | (0xAA if byte & 1 else 0x55)
        if weak:
            self._weak[addr + byte] = torn[byte] ^ raw[byte]
            self._seed(addr + byte + noise)
        if noise:
            self._seed(noise)
            for i in range(byte + 1, min(len(raw), byte + PAGE)):
                torn[i] = raw[i] | self._random()
        return torn

    def _torn_erase(self, addr: int, byte: int, noise: int) -> bytearray:
        torn = self._load(addr, self.block)
        torn[:byte] = b"\xff" * min(byte, self.block)
        if byte < self.block:
            torn[byte] |= 0xAA
        if noise:
            self._seed(noise)
            for i in range(byte, self.block):
                torn[i] = self._random()
        return torn

    def _seed(self, noise: int) -> None:
        self._noise = (noise * 0x9E3779B1 | 1) & 0xFFFFFFFF

    def _random(self) -> int:
        x = self._noise
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        self._noise = x
        return x >> 11 & 0xFF


def _and(old: "Buffer", new: "Buffer") -> bytes:
    return (int.from_bytes(old, "little") & int.from_bytes(new, "little")).to_bytes(len(old), "little")


class BlockDevice:
    """MicroPython's extended block device protocol over blocks `first` … `first + count - 1` of a `Nor`.

    As `esp32.Partition`: without an offset a write erases first, with one it only programs; `ioctl` 4 is the number of
    blocks, 5 their size, 6 erases one. `vfs.VfsLfs2` and the journal take it alike.
    """

    def __init__(self, nor: Nor, first: int = 0, count: "int | None" = None) -> None:
        self.nor, self._base = nor, first * nor.block
        self._count = nor.size // nor.block - first if count is None else count

    def readblocks(self, n: int, buf: "bytearray | memoryview", off: int = 0) -> None:
        self.nor.read_into(self._address(n, off, len(buf)), buf)

    def writeblocks(self, n: int, buf: "Buffer", off: "int | None" = None) -> None:
        block = self.nor.block
        addr = self._address(n, off or 0, len(buf))
        if off is None:
            for start in range(addr, addr + len(buf), block):
                self.nor.erase(start)
        self.nor.program(addr, buf)

    def ioctl(self, op: int, arg: int) -> int:
        if op == 4:
            return self._count
        if op == 5:
            return self.nor.block
        if op == 6:
            self.nor.erase(self._address(arg, 0, self.nor.block))
        return 0

    def _address(self, n: int, off: int, length: int) -> int:
        addr = n * self.nor.block + off
        if addr < 0 or addr + length > self._count * self.nor.block:
            raise ValueError("outside the partition")
        return self._base + addr
