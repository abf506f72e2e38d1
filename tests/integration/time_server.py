"""A time server (SNTP, RFC 4330) on loopback that lies on command."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from typing import Self

NTP_S = 2_208_988_800  # from 1900 to 1970
POLL_S = 0.1


class TimeServer:
    """`says` is what it answers with: "the time", a Unix time in s, "kiss", "stratum 16", "another originate", "short", "garbage"
    or "nothing". `asked` counts the questions."""

    def __init__(self) -> None:
        self.says: str | float = "the time"
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(POLL_S)
        self.endpoint = ("localhost", int(self._socket.getsockname()[1]))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="time server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                question, source = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            self.asked += 1
            for answer in self._answers(question):
                self._socket.sendto(answer, source)

    def _answers(self, question: bytes) -> list[bytes]:
        says = self.says
        if says == "nothing":
            return []
        if says == "garbage":
            return [os.urandom(48), b"", os.urandom(400)]
        utc_s = says if isinstance(says, int | float) else time.time()
        stratum = {"kiss": 0, "stratum 16": 16}.get(str(says), 2)
        originate = os.urandom(8) if says == "another originate" else question[40:48]
        stamp = struct.pack(">II", int(utc_s + NTP_S) & 0xFFFFFFFF, int(utc_s % 1 * 2**32))
        head = struct.pack(">BBBbII4s", 0x24, stratum, 6, -20, 0, 0, b"DENY" if says == "kiss" else b"GPS\0")
        answer = head + stamp + originate + stamp + stamp
        return [answer[:40] if says == "short" else answer]
