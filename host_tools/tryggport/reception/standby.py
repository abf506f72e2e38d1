"""Statuses of a worker that does not lead: the leader stores them, and should it die now, the next one has the last ones here.

Every worker gets every status. Each of them stored by everyone would come as often as there are workers, and late ones would look
like boxes that have come back (TP-REC-016).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

KEEP_S = 30.0  # TP-BND-245: longer than it takes until somebody leads again
LAST = 2  # of a gateway on a path: the birth of a connection, and its end
REMEMBERED = 50_000  # gateways; then what is old goes
_M = TypeVar("_M")


class Standby(Generic[_M]):
    """The last messages by whom they are of. `clock_s` is monotonic."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._kept: dict[tuple[int, str], deque[tuple[float, _M]]] = {}

    def keep(self, path: int, topic: str, message: _M) -> None:
        if len(self._kept) >= REMEMBERED:
            oldest_s = self._clock_s() - KEEP_S
            self._kept = {key: kept for key, kept in self._kept.items() if kept[-1][0] >= oldest_s}
        self._kept.setdefault((path, topic), deque(maxlen=LAST)).append((self._clock_s(), message))

    def release(self) -> list[_M]:
        """What came lately, oldest first; it is not kept any more."""
        oldest_s = self._clock_s() - KEEP_S
        kept, self._kept = self._kept, {}
        found = [item for lasts in kept.values() for item in lasts if item[0] >= oldest_s]
        return [message for _, message in sorted(found, key=lambda item: item[0])]
