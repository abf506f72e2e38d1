"""A gateway that runs on the host: real keys, real envelopes, a real MQTT 5 connection. No journal, no sensors.

It publishes what it is told to, byte for byte, and checks the receipts that come back as a gateway must (TP-WIR-013).
"""

from __future__ import annotations

import os
import queue
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tryggport import pki
from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.wire import kinds, topics
from tryggport.wire.envelope import Envelope, EnvelopeError, SigningKey
from tryggport.wire.event import Event, encode_events
from tryggport.wire.fields import PayloadError
from tryggport.wire.receipt import Receipt
from tryggport.wire.status import Status

CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys of a gateway."""

    tls: ec.EllipticCurvePrivateKey
    sign: ec.EllipticCurvePrivateKey


class Gateway:
    """A provisioned gateway of `pki_dir`, with fresh keys unless it is given some. `seq` counts from 0 in an epoch of its own."""

    def __init__(self, pki_dir: Path, gateway_id: str, keys: Keys | None = None) -> None:
        self.id = gateway_id
        self.pki_dir = pki_dir
        self.epoch = os.urandom(8)
        self.next_seq = 0
        self.connects = 0
        keys = keys or Keys(ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1()))
        self.tls_key = keys.tls
        self.key = SigningKey(keys.sign)
        requests = (csr(self.tls_key, gateway_id), csr(self.key.private, gateway_id))
        self.certificates = pki.issue_device(pki_dir, *requests, gateway_id)
        self.receipts: queue.Queue[Receipt] = queue.Queue()
        self.bad_receipts = 0
        receipt_key = files.load_key(pki_dir / f"{files.RECEIPT_KEY}.key").public_key()
        self._receipt_key = receipt_key
        self._client: paho.Client | None = None
        self._acknowledged = threading.Condition()
        self._reasons: dict[int, str] = {}

    def event(self, kind: int = kinds.FALL, **fields: Any) -> Event:
        """The next event; read back from its bytes, so that it keeps them."""
        values: dict[str, Any] = {"boot": 1, "uptime_ms": time.monotonic_ns() // 1_000_000, "severity": 3, "kind": kind}
        event = Event(gateway=self.id, epoch=self.epoch, seq=self.next_seq, **(values | fields))
        self.next_seq += 1
        return Event.from_bytes(event.to_bytes())

    def status(self, **fields: Any) -> Status:
        """The heartbeat of now; `boot` 1, `connect` the connections so far."""
        values: dict[str, Any] = {"boot": 1, "connect": self.connects, "online": True, "next_seq": self.next_seq}
        values |= {"alarms": 0, "events": 0, "uptime_ms": time.monotonic_ns() // 1_000_000, "firmware": "sim"}
        return Status(gateway=self.id, epoch=self.epoch, **(values | fields))

    def seal(self, *events: Event, leaf: str = topics.ALARM) -> bytes:
        """An envelope of these events for a topic of ours."""
        return self.key.seal(encode_events(events), topics.topic(self.id, leaf))

    @contextmanager
    def connected(self, host: str, port: int) -> Iterator[Gateway]:
        """Connected and subscribed to our receipts; the session is kept. Raises TryggError when the broker refuses."""
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self.id, protocol=paho.MQTTv5)
        client.tls_set_context(self.tls())
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_socket_open = _send_at_once
        ready = threading.Event()
        client.on_connect = lambda c, *_: c.subscribe(topics.topic(self.id, topics.RECEIPT), qos=1)
        client.on_subscribe = lambda *_: ready.set()
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        try:
            client.connect(host, port, keepalive=30, clean_start=False, properties=properties)
        except OSError as e:
            raise TryggError(f"The gateway {self.id} does not reach the broker at {host}:{port}: {e}") from None
        self.connects += 1
        client.loop_start()
        self._client = client
        try:
            if not ready.wait(CONNECT_TIMEOUT_S):
                raise TryggError(f"The broker at {host}:{port} does not let the gateway {self.id} in.")
            yield self
        finally:
            client.disconnect()
            client.loop_stop()
            self._client = None

    def post(self, payload: bytes, leaf: str = topics.ALARM, gateway: str = "", *, retain: bool = False) -> int:
        """Publishes at QoS 1 and returns the packet identifier without waiting."""
        if self._client is None:
            raise TryggError(f"The gateway {self.id} is not connected.")
        return self._client.publish(topics.topic(gateway or self.id, leaf), payload, qos=1, retain=retain).mid

    def publish(self, payload: bytes, leaf: str = topics.ALARM, gateway: str = "", *, retain: bool = False) -> str:
        """Publishes at QoS 1 and waits for the PUBACK, whose reason it returns; `gateway`: on the topic of another."""
        packet_id = self.post(payload, leaf, gateway, retain=retain)
        with self._acknowledged:
            if not self._acknowledged.wait_for(lambda: packet_id in self._reasons, CONNECT_TIMEOUT_S):
                raise TryggError(f"The broker does not acknowledge what {self.id} published.")
            return self._reasons.pop(packet_id)

    def send(self, *events: Event, leaf: str = topics.ALARM) -> str:
        """Seals and publishes."""
        return self.publish(self.seal(*events, leaf=leaf), leaf)

    def birth(self, **fields: Any) -> str:
        """Publishes our status, retained."""
        payload = self.status(**fields).to_bytes()
        return self.publish(self.key.seal(payload, topics.topic(self.id, topics.STATUS)), topics.STATUS, retain=True)

    def receipt(self, timeout_s: float = 10) -> Receipt:
        """The next receipt. Raises TryggError when none comes."""
        try:
            return self.receipts.get(timeout=timeout_s)
        except queue.Empty:
            raise TryggError(f"No receipt for {self.id} came within {timeout_s} s.") from None

    def check(self, sealed: bytes) -> Receipt:
        """The receipt in an envelope for our receipt topic. Raises EnvelopeError, PayloadError."""
        envelope = Envelope.from_bytes(sealed)
        envelope.verify(self._receipt_key, topics.topic(self.id, topics.RECEIPT))
        return Receipt.from_bytes(envelope.payload)

    def tls(self) -> ssl.SSLContext:
        """Mutual TLS with our certificate."""
        context = ssl.create_default_context(cafile=str(self.pki_dir / f"{files.ROOT}.pem"))
        certificate = x509.load_der_x509_certificate(self.certificates.tls_der).public_bytes(Encoding.PEM)
        with tempfile.TemporaryDirectory() as folder:  # ssl takes a key only from a file
            path = Path(folder) / "tls.pem"
            files.write_new(path, certificate + files.key_pem(self.tls_key, None))
            context.load_cert_chain(path)
        return context

    def _on_message(self, _c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        try:
            self.receipts.put(self.check(bytes(message.payload)))
        except (EnvelopeError, PayloadError):
            self.bad_receipts += 1

    def _on_publish(self, _c: Any, _u: Any, packet_id: int, reason: ReasonCode, _p: Any) -> None:
        with self._acknowledged:
            self._reasons[packet_id] = str(reason)
            self._acknowledged.notify_all()


def csr(key: ec.EllipticCurvePrivateKey, common_name: str) -> bytes:
    """A certificate request (PKCS #10, DER)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.DER)


def _send_at_once(_c: Any, _u: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
