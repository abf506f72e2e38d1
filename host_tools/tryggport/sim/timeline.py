"""What happened when, from all parts of the chain, on one clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Moment:
    """`t_ms`: time.monotonic in ms; `source`: board, reception, home or hand; `name`: a step, a signal, what a person did."""

    t_ms: float
    source: str
    name: str
    detail: dict[str, Any] = field(default_factory=dict)


def now_ms() -> float:
    return time.monotonic() * 1000


class Timeline:
    """Collects moments from several threads; `listen` is called with each, in the thread that brings it."""

    def __init__(self) -> None:
        self._moments: list[Moment] = []
        self._changed = threading.Condition()
        self._listeners: list[Callable[[Moment], None]] = []

    def listen(self, listener: Callable[[Moment], None]) -> None:
        self._listeners.append(listener)

    def add(self, source: str, name: str, t_ms: float | None = None, detail: dict[str, Any] | None = None) -> None:
        moment = Moment(now_ms() if t_ms is None else t_ms, source, name, detail or {})
        with self._changed:
            self._moments.append(moment)
            self._changed.notify_all()
        for listener in self._listeners:
            listener(moment)

    def since(self, t_ms: float) -> list[Moment]:
        with self._changed:
            return [moment for moment in self._moments if moment.t_ms >= t_ms]

    def wait(
        self, source: str, name: str, *, since: float = 0.0, timeout_s: float = 20.0, seq: int | None = None
    ) -> Moment | None:
        """The first moment `name` of `source` (about event `seq`) at or after `since`, or None when it does not come in time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for moment in self._moments:
                    if (moment.source, moment.name) != (source, name) or moment.t_ms < since:
                        continue
                    if seq is None or moment.detail.get("seq") == seq:
                        return moment
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
