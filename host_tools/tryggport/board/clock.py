"""The real-time clock of a virtual board, and the calendar that its C library sees.

With the host's clock the RTC is right at power-on and the firmware may move it. A cold clock starts at 2000-01-01 at every
power-on; libfaketime moves the C library's calendar along with it, because mbedTLS checks certificates by that one.
"""

from __future__ import annotations

import calendar
import os
import sys
import time
from pathlib import Path

from tryggport.errors import TryggError

_COLD = calendar.timegm((2000, 1, 1, 0, 0, 0))
_LIBRARIES = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
    "/opt/homebrew/lib/faketime/libfaketime.1.dylib",
)


def libfaketime() -> Path:
    """Where the library is. Raises TryggError with the line to type."""
    for pattern in _LIBRARIES:
        for found in Path("/").glob(pattern[1:]):
            return found
    install = "brew install libfaketime" if sys.platform == "darwin" else "sudo apt-get install faketime"
    raise TryggError("A board with a cold clock needs libfaketime.", f"Type: {install}")


def sweep(pid: int) -> None:
    """Takes away what libfaketime leaves behind of an ended process: one that gets the same number later could not start."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)  # noqa: S108


class Clock:
    """`offset_ms` is what the RTC is ahead of the calendar of the child's C library."""

    def __init__(self, folder: Path, cold: bool) -> None:
        self._library = libfaketime() if cold else None
        self._file = folder / "faketime"
        self._ahead_s = 0.0

    @property
    def offset_ms(self) -> int:
        return 0 if self._library else round(self._ahead_s * 1000)

    def utc_s(self) -> float:
        """What the RTC shows."""
        return time.time() + self._ahead_s

    def power_on(self) -> None:
        self._set(_COLD if self._library else time.time())

    def set(self, utc_s: float) -> None:
        self._set(utc_s)

    def _set(self, utc_s: float) -> None:
        self._ahead_s = utc_s - time.time()
        if self._library:
            new = self._file.with_suffix(".new")
            new.write_text(f"{self._ahead_s:+.6f}\n")
            os.replace(new, self._file)

    def environment(self) -> dict[str, str]:
        """What the child needs in its environment to see this clock."""
        if not self._library:
            return {}
        preload = "DYLD_INSERT_LIBRARIES" if sys.platform == "darwin" else "LD_PRELOAD"
        return {
            preload: str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file.resolve()),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
