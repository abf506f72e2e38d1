"""All connections of the reception: one broker is one path, and a gateway may come by any of them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from pathlib import Path

from tryggport.errors import TryggError
from tryggport.reception.link import Link, Message

Ticket = tuple[int, int]  # path, packet identifier


class Links:
    """The paths in the order of `brokers`, [(host, port)]. One that works is enough: the others are named and tried again for ever."""

    def __init__(self, brokers: Sequence[tuple[str, int]], pki_dir: Path, say: Callable[[str], None]) -> None:
        self._arrived: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._say = say
        self.paths = range(len(brokers))
        several = len(brokers) > 1
        self._links = [
            Link(host, port, pki_dir, say, self._arrived, path, named=several)
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

    def close(self) -> None:
        for link in self._links:
            link.close()

    def take(self, timeout_s: float) -> Message | None:
        """The next message of any path, or None; `timeout_s` 0 does not wait. Raises TryggError when a connection's thread has died."""
        try:
            return self._arrived.get(timeout_s > 0, timeout_s or None)
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
        """In the order of arrival, as MQTT wants it (4.6)."""
        for path, link in enumerate(self._links):
            link.acknowledge([message for message in messages if message.path == path])

    def delivered(self) -> list[Ticket]:
        """What the brokers have acknowledged since the last call."""
        return [(path, packet_id) for path, link in enumerate(self._links) for packet_id in link.delivered()]
