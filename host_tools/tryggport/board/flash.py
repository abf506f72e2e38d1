"""The flash chip of a virtual board: one file, seen through the NOR model."""

from __future__ import annotations

import fcntl
from pathlib import Path

from tryggport.board.nor import Nor
from tryggport.devices import partitions
from tryggport.errors import TryggError


class Flash:
    """`path` holds the bytes; `image` replaces them first. A flash that is blank at 0x8000 gets `default`.
    Raises TryggError when another board has the file open."""

    def __init__(self, path: Path, size: int, default: list[partitions.Partition], image: Path | None = None) -> None:
        path.touch(mode=0o600)
        self._file = path.open("r+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            self._file.close()
            raise TryggError(
                f"A virtual board runs in {path.parent} already.", "Use another folder, or end that one."
            ) from e
        if image:
            self._file.truncate(0)
            self._file.write(image.read_bytes())
        self.nor = Nor(size, file=self._file)
        if not self.read(partitions.TABLE_OFFSET, partitions.TABLE_BYTES).strip(b"\xff"):
            self.nor.program(partitions.TABLE_OFFSET, partitions.to_bytes(default))
        self._debt_us = 0

    def close(self) -> None:
        self._file.close()

    def read(self, address: int, n: int) -> bytes:
        data = bytearray(n)
        self.nor.read_into(address, data)
        return bytes(data)

    def table(self) -> list[partitions.Partition]:
        """The partitions that the flash itself names; none when the table is damaged."""
        try:
            return partitions.from_bytes(self.read(partitions.TABLE_OFFSET, partitions.TABLE_BYTES))
        except TryggError:
            return []

    def rows(self) -> bytes:
        """The valid rows of the table as the flash holds them, 32 bytes each."""
        return self.read(partitions.TABLE_OFFSET, 32 * len(self.table()))

    def partition(self, label: str) -> partitions.Partition | None:
        return next((row for row in self.table() if row.label == label), None)

    def spent_ms(self, since_us: int) -> int:
        """Whole milliseconds that the chip was busy since `nor.busy_us` read `since_us`; the rest is carried over."""
        self._debt_us += self.nor.busy_us - since_us
        ms, self._debt_us = divmod(self._debt_us, 1000)
        return ms
