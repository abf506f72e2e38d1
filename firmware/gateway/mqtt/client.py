"""The connection: reading, writing, deadlines, reconnecting. The rules of the protocol are in `session`.

Three tasks live as long as a connection: one opens it and writes, one reads, one watches the deadlines. The first failure ends all three;
`run` then tells of it, waits and connects again. Nothing here raises into the application.
"""

import asyncio
import random as _random
from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

from . import codec
from .codec import Failure, Violation, call
from .opener import readable, writable
from .session import Session

_FAREWELL_MS = const(1000)


class Client:
    """A reconnecting MQTT 5 client.

    `connect`: see `opener` · `will`: None or callable() -> (topic, payload, qos, retain[, properties]) or None, called before
    every CONNECT; 0x18 in its properties is the delay · `on_message(topic, payload, properties)`: `payload` is a memoryview that
    is valid during the call only; `"retain"` is in `properties` of a retained message; QoS 1 is acknowledged when the call has
    returned, and when it raises, the connection is closed without the acknowledgement, so that the server sends it again ·
    `on_connect(session_present)` · `on_disconnect(reason)`: an attempt or a connection has ended; a `Failure`, an OSError of the
    network, or the ValueError of `ssl` that names what is wrong with the certificate · `resend`: after a lost session, publish
    again what was not acknowledged; otherwise it becomes UNKNOWN · `random()`: float in 0…1 for the jitter.
    Bounds: `queue_limit` messages, `max_packet` bytes received, `receive_maximum` unacknowledged QoS 1 messages from the server; a
    buffer of `tx_bytes` gathers what is sent at once (a payload that does not fit is sent from where it is).
    Times: `handshake_ms` from the first SYN to CONNACK, `ack_ms` for an acknowledgement or PINGRESP, `backoff_ms` (first, last)
    between attempts, `kick_ms` between attempts that `kick()` brings forward. `round` attempts follow one another without a wait,
    for openers that lead to so many servers in turn; those of a round that a kick began or met end after `hurry_ms`.
    """

    def __init__(self, client_id, connect, *, keep_alive_s=30, session_expiry_s=0, clean_start=False, will=None,
                 on_message=None, on_connect=None, on_disconnect=None, user=None, password=None, properties=None,
                 receive_maximum=16, max_packet=4096, queue_limit=64, resend=True, random=_random.random,
                 handshake_ms=15000, ack_ms=5000, backoff_ms=(1000, 60000), kick_ms=10000, tx_bytes=1460, round=1,
                 hurry_ms=5000):  # fmt: skip
        self.connected = False
        self.last_error = None
        self.on_message = on_message
        self.on_connect = on_connect
        self.on_disconnect = on_disconnect
        self.connect = connect
        self.keep_alive_s = keep_alive_s
        self.session_expiry_s = self._expiry_s = session_expiry_s
        self.will = will
        self._login = (user, password)
        self.random = random
        self.handshake_ms = handshake_ms
        self.ack_ms = ack_ms
        self.backoff_ms = backoff_ms
        self.kick_ms = kick_ms
        self.round = round
        self.hurry_ms = hurry_ms
        self._hurry = 0
        self._rx = bytearray(max_packet)
        self._tx = bytearray(max(tx_bytes, 4 * receive_maximum + 8))
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._kick = asyncio.Event()
        self._kicked = False
        self._kicked_at = ticks_add(ticks_ms(), -kick_ms)
        self._closing = self._moving = False
        self._task = None
        self._properties = {0x11: session_expiry_s, 0x21: receive_maximum, 0x27: max_packet}
        self._properties.update(properties or {})
        self._session = session = Session(client_id, queue_limit, receive_maximum, max_packet, resend, self._wake.set)
        session.clean = clean_start
        session.owner = self
        self.publish = session.publish
        self.subscribe = session.subscribe
        self.unsubscribe = session.unsubscribe
        self.forget = session.forget

    @property
    def queued(self):
        """How many messages have no final state yet."""
        return len(self._session.queue)

    def kick(self):
        """Something urgent is queued: ends a wait between attempts, at most once in `kick_ms`."""
        if not self.connected:
            self._kicked = True
            self._hurry = self.round if self.round > 1 else 0
            self._kick.set()

    def reconnect(self):
        """Leaves the server, whose session stays, and connects again without a wait. When the opener leads to another server
        then, `forget()` in `on_disconnect` gives what is unacknowledged its fate: identifiers belong to one server."""
        if self.connected:
            self._moving = True
            self._leave(0)

    async def close(self, reason=0):
        """Says DISCONNECT (4: with the will) and ends `run`; every open message gets its final state."""
        self._closing = True
        if self._task is None:
            self._session.abandon()
            return
        if self.connected:
            self._leave(reason)
            try:
                await asyncio.wait_for_ms(self._ended.wait(), _FAREWELL_MS)
            except asyncio.TimeoutError:
                pass
        task = self._task
        if task is not None:
            task.cancel()
        while self._task is not None:
            await asyncio.sleep_ms(1)

    async def run(self):
        """Connects, and connects again after every failure, until `close`."""
        self._task = asyncio.current_task()
        self._closing = False
        attempt = 0
        try:
            while not self._closing:
                started = ticks_ms()
                error = await self._connection(attempt)
                if self._closing:
                    break
                self.last_error = error
                self._hurry -= self._hurry > 0
                call(self.on_disconnect, error)
                lasted = ticks_diff(ticks_ms(), started) > self.handshake_ms and self._was_connected
                attempt = 0 if lasted or self._moving else attempt + 1
                if self._moving:
                    self._moving = False
                elif not attempt % self.round:
                    await self._pause(self._wait_ms(attempt // self.round, error))
        except asyncio.CancelledError:
            if not self._closing:
                raise
        finally:
            self._task = None
            if self._closing:
                self._session.abandon()

    def _wait_ms(self, attempt, error):
        first, last = self.backoff_ms
        if isinstance(error, Failure) and error.permanent:
            return last
        return int(min(last, first << min(max(attempt - 1, 0), 16)) * self.random())

    async def _pause(self, wait_ms):
        started = ticks_ms()
        while True:
            left = wait_ms - ticks_diff(ticks_ms(), started)
            if self._kicked:
                since = ticks_diff(ticks_ms(), self._kicked_at)
                left = min(left, self.kick_ms - since) if 0 <= since < self.kick_ms else 0
            if left <= 0:
                break
            try:
                await asyncio.wait_for_ms(self._kick.wait(), left)
            except asyncio.TimeoutError:
                pass
            self._kick.clear()
        if self._kicked:
            self._kicked = False
            self._kicked_at = ticks_ms()

    # One connection.

    async def _connection(self, attempt):
        """Connects and stays connected; returns the exception that ended it."""
        self._error = None
        self._was_connected = False
        self._ended.clear()
        self._started = ticks_ms()
        session = self._session
        self._sock = None
        self._tasks = []
        try:
            self._start(self._watch())
            self._start(self._open(attempt))
            await self._ended.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            sock = self._sock
            if sock is not None:
                try:
                    sock.readinto(
                        self._rx
                    )  # closing with unread bytes would send RST, which can overtake our DISCONNECT
                except (OSError, ValueError):
                    pass
                sock.close()
            self.connected = False
            session.lost()
            if not self._expiry_s:
                session.forget()
        return self._error

    def _start(self, step):
        self._tasks.append(asyncio.create_task(self._guard(step)))

    async def _open(self, attempt):
        self._sock = sock = await self.connect(attempt)
        self._heard_at = self._sent_at = ticks_ms()
        self._start(self._read(sock))
        await self._write(sock)

    def _leave(self, reason):
        """The next thing that is sent is what was to be acknowledged, and DISCONNECT: then the connection ends."""
        self._session.farewell = reason
        self._session.stir()

    async def _guard(self, step):
        try:
            await step
        except Exception as error:
            if self._error is None:
                self._error = error
                if isinstance(error, Violation):
                    self._leave(error.reason)
                    await asyncio.sleep_ms(_FAREWELL_MS)
        self._ended.set()

    def accepted(self, present, values):
        """The session tells of a CONNACK with reason 0."""
        self.connected = self._was_connected = True
        self._kicked = False
        self._hurry = 0
        self._ping_ms = 500 * min([s for s in (self.keep_alive_s, values.get(0x13)) if s] or (0,))
        self._expiry_s = values.get(0x11, self.session_expiry_s)
        call(self.on_connect, present)

    async def _read(self, sock):
        buf = self._rx
        view = memoryview(buf)
        n = 0
        while True:
            got = sock.readinto(view[n:])
            if got is None:
                await readable(sock)
                continue
            if not got:
                raise Failure("connection closed")
            n += got
            self._heard_at = ticks_ms()
            used = self._session.received(buf, n)
            if used:
                n -= used
                view[:n] = view[used : used + n]
            await asyncio.sleep_ms(0)

    async def _write(self, sock):
        session = self._session
        tx = self._tx
        session.clean = session.clean or not self.session_expiry_s
        await self._put(sock, memoryview(codec.connect(
            session.client_id, self.keep_alive_s, session.clean, self._properties, self.will and self.will(), *self._login
        )))  # fmt: skip
        view = memoryview(tx)
        leaving = False
        while not leaving:
            leaving = session.farewell is not None
            n = session.fill(tx)
            if n:
                await self._put(sock, view[:n])
                if session.bulk:
                    await self._put(sock, memoryview(session.bulk))
                    session.bulk = b""
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _put(self, sock, view):
        while view:
            # A TLS write that would block must be repeated with the very same bytes (mbedtls_ssl_write).
            n = sock.write(view)
            if n is None:
                await writable(sock)
            else:
                view = view[n:]
        self._sent_at = ticks_ms()

    async def _watch(self):
        """Ends the connection when what is awaited does not come: CONNACK, the oldest acknowledgement, or PINGRESP."""
        session = self._session
        watched = "CONNACK"
        since = self._started
        while True:
            await asyncio.sleep_ms(max(10, min(500, self.ack_ms // 8)))
            now = ticks_ms()
            awaited = "CONNACK"
            if self.connected:
                awaited = session.awaiting()
                if awaited is None and self._ping_ms:
                    if watched == "PINGRESP" and ticks_diff(self._heard_at, since) < 0:
                        awaited = watched
                    elif max(ticks_diff(now, self._sent_at), ticks_diff(now, self._heard_at)) >= self._ping_ms:
                        awaited = "PINGRESP"
                        session.ping = True
                        session.stir()
            if awaited is not watched:
                watched = awaited
                since = now
            elif awaited is not None and ticks_diff(now, since) > (
                self.ack_ms if self.connected else self.hurry_ms if self._hurry else self.handshake_ms
            ):
                raise Failure("no answer in time")
