"""Ways to hand an alarm over: a signed web hook, and the console while somebody looks at it. SCAIP is tryggport.scaip's.

A channel tries once, within a bounded time, and says what came of it. It raises nothing and never means that anybody has taken
the case: only a named person does that.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, select

from tryggport.errors import TryggError
from tryggport.reception.database import Database
from tryggport.reception.schema import watchers
from tryggport.reception.tenants import Scope
from tryggport.wire.event import Event

DELIVERED, REFUSED, UNDELIVERED = "delivered", "refused", "undelivered"
TIMEOUT_S = 5.0  # TP-BND-067
WATCH_MS = 30_000  # TP-BND-068: how long one sign of a watching person is believed


@dataclass(frozen=True, slots=True)
class Notice:
    """One alarm of a case on its way to one receiver. `ref` (16 hex digits) is the same at every attempt and every receiver.

    `event` is None for what has no readable event: an unreadable alarm, or an outage, which `about` describes.
    """

    ref: str
    case_id: int
    municipality_id: int | None
    municipality: str | None
    home: str | None
    gateway: str
    cid: str | None
    call_back: str | None
    kind: str
    state: str
    received_ms: int
    about: str | None = None
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of an attempt: DELIVERED, REFUSED (never to be tried again) or UNDELIVERED (to be tried again), and why."""

    outcome: str
    detail: str = ""


class Channel(Protocol):
    def deliver(self, notice: Notice) -> Delivery:
        """Tries once, within a bounded time. May be called from several threads."""


class Webhook:
    """POST of a JSON object over HTTPS. 2xx: delivered; other 4xx than 408, 425 and 429: refused.

    `Tryggport-Signature: t=<Unix s>,v1=<hex HMAC-SHA256 over "<t>.<body>">` proves who sent it; `Idempotency-Key` is the ref.
    `cafile`: PEM of the CAs to trust instead of the system's. Raises TryggError for a URL or a key that cannot be used.
    """

    def __init__(
        self, url: str, secret_file: Path, cafile: Path | None = None, clock_s: Callable[[], float] = time.time
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise TryggError(f"The web hook {url} is not an https:// address.", usage=True)
        try:
            self._secret = secret_file.read_bytes().strip()
            self._tls = ssl.create_default_context(cafile=str(cafile) if cafile else None)
        except OSError as e:
            raise TryggError(f"The key of the web hook {url} cannot be read: {e.strerror}.") from None
        if len(self._secret) < 16:
            raise TryggError(f"The key of the web hook in {secret_file} is shorter than 16 characters.")
        self._address = (parts.hostname, parts.port or 443)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._clock_s = clock_s

    def deliver(self, notice: Notice) -> Delivery:
        names = [field.name for field in fields(notice) if field.name not in ("event", "municipality_id")]
        known = {name: getattr(notice, name) for name in names}
        body = json.dumps(known | _of_event(notice.event)).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": notice.ref}
        headers["Tryggport-Signature"] = sign(self._secret, body, int(self._clock_s()))
        connection = http.client.HTTPSConnection(*self._address, timeout=TIMEOUT_S, context=self._tls)
        try:
            connection.request("POST", self._path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as e:
            return Delivery(UNDELIVERED, str(e) or type(e).__name__)
        finally:
            connection.close()
        if 200 <= status < 300:
            return Delivery(DELIVERED, f"HTTP {status}")
        refused = 400 <= status < 500 and status not in (408, 425, 429)
        return Delivery(REFUSED if refused else UNDELIVERED, f"HTTP {status}")


def sign(secret: bytes, body: bytes, at_s: int) -> str:
    """The signature header of a web hook."""
    return f"t={at_s},v1={hmac.new(secret, b'%d.' % at_s + body, hashlib.sha256).hexdigest()}"


class Console:
    """The screen of the reception itself: delivered only while a person says that he looks (`watch`)."""

    def __init__(self, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms

    def deliver(self, notice: Notice) -> Delivery:
        sees = watchers.c.municipality_id.is_(None) | (watchers.c.municipality_id == notice.municipality_id)
        looks = select(watchers.c.who).where(sees, watchers.c.until_ms > self._clock_ms()).order_by(watchers.c.who)
        with self._database.read() as tx:
            who = tx.execute(looks).scalars().first()
        return Delivery(DELIVERED, f"{who} looks") if who else Delivery(UNDELIVERED, "nobody looks at the console")


def watch(scope: Scope, who: str, at_ms: int) -> None:
    """`who` looks at the cases of the scope; to be said again within WATCH_MS."""
    if not who.strip():
        raise TryggError("Somebody looks at the cases.", "Say who: --by NAME", usage=True)
    row = {"who": who.strip()[:64], "municipality_id": scope.municipality_id, "until_ms": at_ms + WATCH_MS}
    with scope.database.write() as tx:
        tx.execute(delete(watchers).where((watchers.c.who == row["who"]) | (watchers.c.until_ms < at_ms)))
        tx.execute(insert(watchers).values(row))


def _of_event(event: Event | None) -> dict[str, object]:
    if event is None:
        return {}
    found = {"epoch": event.epoch.hex(), "seq": event.seq, "test": event.test, "utc_ms": event.utc_ms}
    return found | {"sensor": event.sensor, "location": event.location, "severity": event.severity}
