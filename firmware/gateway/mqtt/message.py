"""Handles: what the application holds of a publication, a subscription or an unsubscription."""

import asyncio

from micropython import const

from .codec import call

QUEUED = const(0)
SENT = const(1)
ACKED = const(2)
UNKNOWN = const(3)
REFUSED = const(4)

# First byte of the packet without DUP: the kind of a handle. Publications are below SUBSCRIBE.
PUBLISH = const(0x30)
SUBSCRIBE = const(0x82)
UNSUBSCRIBE = const(0xA2)


class QueueFull(OSError):  # noqa: N818
    """As many messages wait as the queue limit allows: nothing was queued."""


class Message:
    """Handle of a publication, subscription or unsubscription.

    `state`: QUEUED, SENT, ACKED, UNKNOWN, REFUSED · `reason`: reason code of the acknowledgement, or why it was refused ·
    `properties`: those of the acknowledgement · `done`: None or a callable(message), called when the state is final.
    """

    state = QUEUED
    reason = None
    properties = None
    done = None
    _id = 0
    _event = None

    def __init__(self, kind, topic, payload, extra):
        self._kind = kind
        self.topic = topic
        self._payload = payload
        self._extra = extra

    async def wait(self):
        """Waits until the fate is known; returns the message."""
        if self._event is None:
            self._event = asyncio.Event()
            if self.final():
                self._event.set()
        await self._event.wait()
        return self

    def final(self):
        """True when the state will not change any more."""
        return self.state > SENT or (self.state == SENT and self._kind < PUBLISH + 2)

    def _finish(self, state, reason=None, properties=None):
        self.state = state
        self.reason = reason
        self.properties = properties
        self._id = 0
        self._payload = None
        if self._event is not None:
            self._event.set()
        if self.done is not None:
            call(self.done, self)
