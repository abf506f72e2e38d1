"""All connections of the reception: one broker is one path, and a gateway may come by any of them."""

from __future__ import annotations

import dataclasses
import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception.link import Link, Message
from tryggport.reception.standby import Standby
from tryggport.wire import topics

Ticket = tuple[int, int]  # path, packet identifier
_STATUS = f"/{topics.STATUS}"
_NONE = -1  # what is acknowledged already came over no connection


class Links:
    """The paths in the order of `brokers`, [(host, port)]. One that works is enough: the others are named and tried again for ever."""

    def __init__(
        self, brokers: Sequence[tuple[str, int]], pki_dir: Path, say: Callable[[str], None], *,
        name: str = files.RECEPTION, serves: bool = True, leads: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self._arrived: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._say = say
        self._leads = leads
        self._standby: Standby[Message] = Standby()
        self._released: deque[Message] = deque()
        self._unsettled: deque[list[Message]] = deque()  # each message taken, and the statuses put aside behind it
        self.paths = range(len(brokers))
        several = len(brokers) > 1
        self._links = [
            Link(host, port, pki_dir, say, self._arrived, path, named=several, name=name, serves=serves)
            for path, (host, port) in enumerate(brokers)
        ]

    def open(self) -> None:
        """Connects all. Raises TryggError, that of the first, when none lets us in."""
        failures: list[tuple[Link, TryggError]] = []
        for link in self._links:
            try:
                link.open()
            except TryggError as e:
                failures.append((link, e))
        if len(failures) == len(self._links):
            raise failures[0][1]
        for link, failure in failures:
            self._say(f"{failure} Trying again, and serving without it.")
            link.open_later()

    @property
    def connected(self) -> bool:
        return any(link.connected for link in self._links)

    def leave(self) -> None:
        """Nothing new arrives from now on, and `close` ends the sessions."""
        for link in self._links:
            link.leave()

    def flush(self, timeout_s: float) -> None:
        """Waits until the brokers that are there have our receipts."""
        deadline_s = time.monotonic() + timeout_s
        while not all(link.idle for link in self._links) and time.monotonic() < deadline_s:
            time.sleep(0.01)

    def close(self, *, end: bool = False) -> bool:
        """`end`: after `leave` the sessions too. Returns whether no broker keeps one."""
        return all([link.close(end=end) for link in self._links])

    def take(self, timeout_s: float) -> Message | None:
        """The next message of any path, or None; `timeout_s` 0 does not wait. Raises TryggError when a connection's thread has died.

        Of a worker that does not lead, no status: what came lately follows when it does.
        """
        leads = self._leads()
        if leads:
            self._released.extend(self._standby.release())
            if self._released:
                return self._hand_out(self._released.popleft())
        end_s = time.monotonic() + timeout_s
        try:
            while True:
                left_s = end_s - time.monotonic()
                message = self._arrived.get(left_s > 0, left_s if left_s > 0 else None)
                if leads or not message.topic.endswith(_STATUS):
                    return self._hand_out(message)
                self._standby.keep(message.path, message.topic, dataclasses.replace(message, connection=_NONE))
                if self._unsettled:
                    self._unsettled[-1].append(message)
                else:
                    self._acknowledge([message])
        except queue.Empty:
            for link in self._links:
                link.check()
            return None

    def publish(self, path: int, topic: str, payload: bytes) -> Ticket:
        """Hands a receipt to the connection of `path`, which keeps it over reconnects."""
        return path, self._links[path].publish(topic, payload)

    def up(self) -> list[int]:
        """The paths that are connected; all of them when none is."""
        return [path for path in self.paths if self._links[path].connected] or list(self.paths)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """The oldest that were taken, in that order, as MQTT wants it (4.6), and the statuses that were put aside among them."""
        self._acknowledge([each for _ in messages for each in self._unsettled.popleft()])

    def _hand_out(self, message: Message) -> Message:
        self._unsettled.append([message])
        return message

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        for path, link in enumerate(self._links):
            link.acknowledge([message for message in messages if message.path == path])

    def delivered(self) -> list[Ticket]:
        """What the brokers have acknowledged since the last call."""
        return [(path, packet_id) for path, link in enumerate(self._links) for packet_id in link.delivered()]
