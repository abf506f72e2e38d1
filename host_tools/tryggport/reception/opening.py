"""Verifies the envelopes that arrived together and takes out what is in them (TP-WIR-004).

In two steps: `begin` hands the signatures to another process where they are many (verifier.py), `end` has the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from tryggport.reception.keyring import KeyRing
from tryggport.reception.link import Message
from tryggport.reception.store import Arrival
from tryggport.wire import topics
from tryggport.wire.envelope import BAD_SIGNATURE, MALFORMED, UNKNOWN_GATEWAY, Envelope, EnvelopeError
from tryggport.wire.event import decode_events
from tryggport.wire.fields import PayloadError
from tryggport.wire.order import Result
from tryggport.wire.status import Status
from tryggport.wire.verifier import Item, Verifier

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
    public: bytes

    def reason(self) -> str:
        """Why it is refused; empty when the signature verifies."""
        try:
            self.envelope.verify(self.key, self.topic)
        except EnvelopeError as e:
            return e.reason
        return ""


@dataclass(slots=True)
class Begun:
    """Messages whose signatures are being verified; `reasons` of those that are sealed, once they are known."""

    messages: Sequence[Message]
    found: list[_Sealed | Opened]
    sealed: list[_Sealed]
    reasons: list[str] | None


class Opener:
    """Opens messages; of what was begun, one lot at most may not be known yet. `on_step` is called with received, verified and
    refused as Reception says."""

    def __init__(self, keys: KeyRing, on_step: Callable[[str, dict[str, Any]], None]) -> None:
        self._keys = keys
        self._on_step = on_step
        self._verifier = Verifier()

    def close(self) -> None:
        self._verifier.close()

    def begin(self, messages: Sequence[Message]) -> Begun:
        """Has the signatures verified."""
        for message in messages:
            self._on_step("received", {"topic": message.topic, "bytes": len(message.payload)})
        found = [self._unseal(message) for message in messages]
        sealed = [item for item in found if isinstance(item, _Sealed)]
        taken = self._verifier.begin([Item(item.public, item.topic, item.envelope) for item in sealed])
        return Begun(messages, found, sealed, None if taken else [item.reason() for item in sealed])

    def wait(self, begun: Begun) -> None:
        """Until it is known which signatures are right."""
        if begun.reasons is None:
            right = self._verifier.end()
            if right is None:  # it has failed
                begun.reasons = [item.reason() for item in begun.sealed]
            else:
                begun.reasons = ["" if each else BAD_SIGNATURE for each in right]

    def end(self, begun: Begun) -> list[Opened]:
        """What is in each of the messages, in their order."""
        self.wait(begun)
        reasons = iter(begun.reasons or ())
        opened = [_content(item, next(reasons)) if isinstance(item, _Sealed) else item for item in begun.found]
        for message, found in zip(begun.messages, opened, strict=True):
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
            return _Sealed(gateway, leaf, message.topic, envelope, *self._keys.key(gateway, envelope.kid))
        except EnvelopeError as e:
            return Opened("" if e.reason == UNKNOWN_GATEWAY else gateway, refused=e.reason)


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
