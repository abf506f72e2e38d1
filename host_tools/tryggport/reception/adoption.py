"""Messages that a worker's death left at the brokers: when nobody takes its seat, the leader fetches them (TP-REC-207).

Until then the brokers go on giving the dead worker its share, and gateways publish again what was not receipted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

from tryggport.errors import in_words
from tryggport.reception import seats
from tryggport.reception.database import Database
from tryggport.reception.seats import Seat

PATIENCE_S = 10.0  # TP-BND-243: so long a seat waits for whoever is to take it
LOOK_S = 1.0


class Adoption:
    """A context that runs while we lead. `fetch` empties a seat, and returns whether nothing is left at any broker."""

    def __init__(
        self, database: Database, fetch: Callable[[Seat], bool], leads: Callable[[], bool], say: Callable[[str], None],
        patience_s: float = PATIENCE_S,
    ) -> None:  # fmt: skip
        self._database = database
        self._fetch = fetch
        self._leads = leads
        self._say = say
        self._patience_s = patience_s
        self._free_since_s: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="adoption", daemon=True)

    def __enter__(self) -> Self:
        if self._database.is_postgresql:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                if self._leads():
                    self.tick()
            except Exception as e:
                self._say(in_words(e))

    def tick(self) -> None:
        """Empties the seats that have been free for long enough. Raises TryggError."""
        now_s = time.monotonic()
        with self._database.read() as tx:
            free = seats.orphans(tx)
        self._free_since_s = {number: self._free_since_s.get(number, now_s) for number in free}
        for number in free:
            if now_s - self._free_since_s[number] < self._patience_s:
                continue
            seat = seats.try_take(self._database, number)
            if seat is not None:
                empty = False
                try:
                    empty = self._fetch(seat)
                finally:
                    seat.give_back(empty=empty)
                    self._free_since_s.pop(number, None)
