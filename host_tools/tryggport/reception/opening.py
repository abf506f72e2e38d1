"""Verifies the envelopes that arrived together and takes out what is in them (TP-WIR-004).

OpenSSL verifies without holding Python's global lock, so many signatures are checked on all cores; a few are not worth the hand-over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from tryggport.reception.keyring import KeyRing
from tryggport.reception.link import Message
from tryggport.reception.store import Arrival
from tryggport.wire import topics
from tryggport.wire.envelope import MALFORMED, UNKNOWN_GATEWAY, Envelope, EnvelopeError
from tryggport.wire.event import decode_events
from tryggport.wire.fields import PayloadError
from tryggport.wire.order import Result
from tryggport.wire.status import Status

CORES = min(os.cpu_count() or 1, 8)
ALONE = 32  # so many envelopes one thread verifies in the time of a hand-over or two
Own = TypeVar("Own", Status, Result)


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in one message; nothing when it was refused, for the reason `refused` (a key of envelope.REASONS)."""

    gateway: str
    arrivals: list[Arrival] = field(default_factory=list)
    status: Status | None = None
    result: Result | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class _Sealed:
    """An envelope of a known gateway whose signature is to be verified with `key`."""

    gateway: str
    leaf: str
    topic: str
    envelope: Envelope
    key: ec.EllipticCurvePublicKey

    def reason(self) -> str:
        """Why it is refused; empty when the signature verifies."""
        try:
            self.envelope.verify(self.key, self.topic)
        except EnvelopeError as e:
            return e.reason
        return ""


class Opener:
    """Opens messages; `on_step` is called with received, verified and refused as Reception says."""

    def __init__(self, keys: KeyRing, on_step: Callable[[str, dict[str, Any]], None]) -> None:
        self._keys = keys
        self._on_step = on_step
        self._pool = ThreadPoolExecutor(CORES - 1, thread_name_prefix="verify") if CORES > 1 else None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def open(self, messages: Sequence[Message]) -> list[Opened]:
        """What is in each of the messages, in their order."""
        for message in messages:
            self._on_step("received", {"topic": message.topic, "bytes": len(message.payload)})
        sealed = [self._unseal(message) for message in messages]
        reasons = iter(self._reasons([item for item in sealed if isinstance(item, _Sealed)]))
        opened = [_content(item, next(reasons)) if isinstance(item, _Sealed) else item for item in sealed]
        for message, found in zip(messages, opened, strict=True):
            if found.refused:
                self._on_step("refused", {"gateway": found.gateway, "reason": found.refused})
            else:
                own = found.status or found.result
                items = [own] if own else [arrival.item for arrival in found.arrivals]
                self._on_step("verified", {"topic": message.topic, "items": items})
        return opened

    def _unseal(self, message: Message) -> _Sealed | Opened:
        gateway = ""
        try:
            gateway, leaf = topics.split(message.topic) or _unknown()
            envelope = Envelope.from_bytes(message.payload)
            return _Sealed(gateway, leaf, message.topic, envelope, self._keys.key(gateway, envelope.kid))
        except EnvelopeError as e:
            return Opened("" if e.reason == UNKNOWN_GATEWAY else gateway, refused=e.reason)

    def _reasons(self, sealed: Sequence[_Sealed]) -> list[str]:
        if self._pool is None or len(sealed) <= ALONE:
            return [item.reason() for item in sealed]
        share = -(-len(sealed) // CORES)
        parts = [sealed[at : at + share] for at in range(0, len(sealed), share)]
        futures = [self._pool.submit(_reasons, part) for part in parts[1:]]
        return [reason for found in (_reasons(parts[0]), *(f.result() for f in futures)) for reason in found]


def _reasons(sealed: Sequence[_Sealed]) -> list[str]:
    return [item.reason() for item in sealed]


def _content(sealed: _Sealed, reason: str) -> Opened:
    gateway, payload = sealed.gateway, sealed.envelope.payload
    if reason:
        return Opened(gateway, refused=reason)
    try:
        if sealed.leaf == topics.STATUS:
            return Opened(gateway, status=_own(Status.from_bytes, gateway, payload))
        if sealed.leaf == topics.RESULT:
            return Opened(gateway, result=_own(Result.from_bytes, gateway, payload))
    except EnvelopeError as e:
        return Opened(gateway, refused=e.reason)
    is_alarm = sealed.leaf == topics.ALARM
    return Opened(gateway, [Arrival(gateway, is_alarm, item) for item in decode_events(payload, gateway)])


def _unknown() -> NoReturn:
    raise EnvelopeError(UNKNOWN_GATEWAY)


def _own(read: Callable[[bytes], Own], gateway: str, payload: bytes) -> Own:
    """A status or result that cannot be read is refused: unlike an event it comes again by itself."""
    try:
        found = read(payload)
    except PayloadError:
        raise EnvelopeError(MALFORMED) from None
    if found.gateway != gateway:
        raise EnvelopeError(MALFORMED)
    return found
