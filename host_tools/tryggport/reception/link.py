"""The reception's connection to one broker: MQTT 5 over mutual TLS, a session that outlives us, acknowledged by hand.

All workers share the alarms, events and results among them; each sees every status (standby.py says what becomes of those).
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception.intake import Intake
from tryggport.wire import topics

KEEP_ALIVE_S = 30  # TP-BND-004
RECEIVE_MAXIMUM = 2000  # TP-BND-019
RECEIPTS_IN_FLIGHT = 1000
SESSION_EXPIRY_S = 14 * 24 * 3600
CONNECT_TIMEOUT_S = 15
LEAVE_S = 2.0  # TP-BND-244
RECONNECT_S = (1, 60)
QUEUED = 2 * RECEIVE_MAXIMUM  # what the broker may have sent before and after a reconnect
FULL_S = 0.05  # then look again
EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


@dataclass(frozen=True, slots=True)
class Message:
    """One publication from the broker, not acknowledged yet."""

    topic: str
    payload: bytes
    retained: bool
    packet_id: int
    connection: int
    path: int


class Link:
    """Puts what gateways send over path number `path` into `arrived`, and publishes receipts. `say` gets a sentence whenever the
    connection comes or goes; `named`: which says the broker's address. `name`: whose session it is; without `serves` it fetches
    what that session holds and takes nothing new."""

    def __init__(
        self, host: str, port: int, pki_dir: Path, say: Callable[[str], None], arrived: queue.SimpleQueue[Message],
        path: int = 0, *, named: bool = False, name: str = files.RECEPTION, serves: bool = True,
    ) -> None:  # fmt: skip
        self._address = (host, port)
        self._name = f"the broker at {host}:{port}" if named else "the broker"
        self._path = path
        self._serves = serves
        self._say = say
        self._arrived = arrived
        self.connected = False
        self._delivered: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._under_way = 0  # receipts that the broker has not acknowledged
        self._counting = threading.Lock()
        self._gone = threading.Event()  # no subscription is left
        self._outcome: queue.SimpleQueue[str] = queue.SimpleQueue()  # of the first connect: "" or what went wrong
        self._connection = 0
        self._ready = False
        self._closed = threading.Event()
        self._network: threading.Thread | None = None
        self._intake: Intake | None = None
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5, manual_ack=True)
        client.tls_set_context(_tls(pki_dir, name))
        client.max_inflight_messages_set(RECEIPTS_IN_FLIGHT)
        client.reconnect_delay_set(*RECONNECT_S)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_open = self._on_socket_open
        self._client = client

    def open_later(self) -> None:
        """After `open` has failed: goes on trying."""
        host, port = self._address
        self._closed.clear()
        self._ready = True  # say when it is there
        self._client.connect_async(host, port, keepalive=KEEP_ALIVE_S, clean_start=False, properties=_properties())
        self._start()

    def open(self) -> None:
        """Connects and subscribes. Raises TryggError when the first attempt fails; later ones are repeated for ever."""
        host, port = self._address
        try:
            self._client.connect(host, port, keepalive=KEEP_ALIVE_S, clean_start=False, properties=_properties())
        except ssl.SSLCertVerificationError as e:
            raise _distrust(e, host, port) from None
        except ssl.SSLError as e:
            raise TryggError(f"TLS with the broker at {host}:{port} fails: {e.reason}.") from None
        except OSError as e:
            why = e.strerror or str(e)
            raise TryggError(
                f"No broker answers at {host}:{port}: {why}.", "Start it, or name it with --broker."
            ) from None
        self._start()
        try:
            wrong = self._outcome.get(timeout=CONNECT_TIMEOUT_S)
        except queue.Empty:
            wrong = "it does not answer"
        if wrong:
            self.close()
            raise TryggError(f"The broker at {host}:{port} does not let the reception in: {wrong}.", _DOUBT)

    def _start(self) -> None:
        before = set(threading.enumerate())
        self._client.loop_start()
        new = set(threading.enumerate()) - before
        self._network = next((thread for thread in new if thread.name.startswith("paho")), None)

    def leave(self) -> None:
        """The broker sends nothing new from now on: it goes to the other workers."""
        self._serves = False
        self._client.unsubscribe([topics.subscription(leaf) for leaf in topics.UP])
        self._gone.wait(LEAVE_S)

    def close(self, *, end: bool = False) -> bool:
        """The broker keeps the session and what arrives meanwhile; after `leave` and with `end` it keeps nothing.

        Returns whether nothing is left there.
        """
        ends = end and self.connected and self._gone.is_set()
        self._closed.set()
        self._client.disconnect(properties=_last_words() if ends else None)
        self._client.loop_stop()
        return ends

    @property
    def idle(self) -> bool:
        """Whether the broker has acknowledged all receipts, or is not there to do so."""
        return self._under_way <= 0 or not self.connected

    def check(self) -> None:
        """Raises TryggError when the network thread has died."""
        if self._network is not None and not self._network.is_alive():
            raise TryggError("The connection to the broker died of a fault in this program.", _RESTART)

    def publish(self, topic: str, payload: bytes) -> int:
        """Hands a receipt to the connection, which keeps it over reconnects; returns its packet identifier."""
        with self._counting:
            self._under_way += 1
        return self._client.publish(topic, payload, qos=1).mid

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """PUBACK; nothing for those whose connection is gone, for then the broker sends them again."""
        intake = self._intake
        current = [message.packet_id for message in messages if message.connection == self._connection]
        if current and intake is not None:
            intake.answer(current)
            self._client.ack(current[-1], 1)  # wakes the thread that writes them

    def delivered(self) -> list[int]:
        """Packet identifiers that the broker has acknowledged since the last call."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._delivered.get_nowait())
        return found

    def _on_connect(self, client: paho.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
        if reason.is_failure:
            self._outcome.put(f"it says {str(reason).lower()}")
            return
        if not self._serves:
            client.unsubscribe([topics.subscription(leaf) for leaf in topics.UP])
            return
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        client.subscribe([(topics.subscription(leaf), options) for leaf in topics.UP])
        client.unsubscribe([topics.topic("+", leaf) for leaf in topics.SHARED])  # of a reception before workers

    def _on_subscribe(self, _c: Any, _u: Any, _m: Any, reasons: list[ReasonCode], _p: Any) -> None:
        refused = [str(reason).lower() for reason in reasons if reason.is_failure]
        self._outcome.put(f"the subscription is refused, {refused[0]}" if refused else "")
        if self._ready and not refused:
            self._say(f"connected to {self._name} again")
        self.connected = not refused
        self._ready = True

    def _on_unsubscribe(self, _c: Any, _u: Any, _m: Any, _r: Any, _p: Any) -> None:
        if not self._serves:
            self.connected = True
            self._gone.set()
            self._outcome.put("")

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
        self._connection += 1
        self._outcome.put("it closes the connection")
        if self.connected and not self._closed.is_set():
            self._say(f"{self._name} is gone ({str(reason).lower()}); trying again")
        self.connected = False

    def _on_socket_open(self, _c: Any, _u: Any, sock: Any) -> None:
        """Without TCP_NODELAY a receipt waits for the acknowledgement of the packet before it, up to 40 ms (Nagle)."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection += 1
        sock.begin(self._take)
        self._intake = sock

    def _take(self, topic: str, payload: bytes, retained: bool, packet_id: int) -> None:
        while self._arrived.qsize() >= QUEUED and not self._closed.wait(FULL_S):
            continue
        self._arrived.put(Message(topic, payload, retained, packet_id, self._connection, self._path))

    def _on_publish(self, _c: Any, _u: Any, packet_id: int, _r: Any, _p: Any) -> None:
        with self._counting:
            self._under_way -= 1
        self._delivered.put(packet_id)


def _properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    return properties


def _last_words() -> Properties:
    properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    return properties


_RESTART = "Nothing is lost. Start the reception again, and report the lines above."
_DOUBT = "Was the broker set up with the certificates of the same PKI (client-cas.pem)?"


def _tls(pki_dir: Path, name: str) -> ssl.SSLContext:
    for needed in (f"{files.ROOT}.pem", f"{name}.pem", f"{name}.key"):
        files.read(pki_dir / needed)
    try:
        context = ssl.create_default_context(cafile=str(pki_dir / f"{files.ROOT}.pem"))
        context.load_cert_chain(pki_dir / f"{name}.pem", pki_dir / f"{name}.key")
    except ssl.SSLError as e:
        raise TryggError(f"The reception's certificate in {pki_dir} cannot be used: {e.reason}.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = Intake
    return context


def _distrust(e: ssl.SSLCertVerificationError, host: str, port: int) -> TryggError:
    what = f"The certificate of the broker at {host}:{port}"
    if e.verify_code == EXPIRED:
        return TryggError(f"{what} has expired.", "Renew it with the root key, and start the broker again.")
    if e.verify_code in OTHER_NAME:
        return TryggError(
            f"{what} is not for the name {host}.", "Use a name given to: tryggport pki init --broker-name"
        )
    return TryggError(
        f"{what} is not of this PKI ({e.verify_message}).", "Is --pki the folder the broker was set up with?"
    )
