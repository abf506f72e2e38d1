"""Which key speaks for which gateway (the certificates in gateways/ of the PKI folder, checked against the device CA), and which
one signs our receipts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.pki.gateways import signing_key_of
from tryggport.wire.envelope import UNKNOWN_GATEWAY, UNKNOWN_KEY, EnvelopeError, SigningKey, kid_of

RECHECK_S = 2.0  # one look at the disk a gateway in this time; a new, replaced or removed certificate shows within it
REMEMBERED = 50_000  # ids, registered or made up


@dataclass(slots=True)
class _Entry:
    kid: bytes
    key: ec.EllipticCurvePublicKey | None
    public: bytes  # the key as an uncompressed point
    stamp: tuple[int, int] | None  # mtime in ns and inode of the certificate; None: there is none
    checked_s: float


class KeyRing:
    """Signing keys by gateway id, read when first needed. `clock_s` is monotonic."""

    def __init__(self, pki_dir: Path, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._gateways = pki_dir / files.GATEWAYS
        self._device_ca = files.load_certificate(pki_dir / f"{files.DEVICE_CA}.pem")
        self._clock_s = clock_s
        self._entries: dict[str, _Entry] = {}

    def key(self, gateway: str, kid: bytes) -> tuple[ec.EllipticCurvePublicKey, bytes]:
        """The key `kid` of `gateway`, and as an uncompressed point. Raises EnvelopeError(unknown_gateway | unknown_key)."""
        now = self._clock_s()
        entry = self._entries.get(gateway)
        if entry is None or now - entry.checked_s >= RECHECK_S:
            entry = self._look(gateway, entry, now)
        if entry.key is None:
            raise EnvelopeError(UNKNOWN_GATEWAY)
        if entry.kid != kid:
            raise EnvelopeError(UNKNOWN_KEY)
        return entry.key, entry.public

    def _look(self, gateway: str, entry: _Entry | None, now: float) -> _Entry:
        path = self._gateways / gateway / "sign.pem"
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
        except OSError:
            stamp = None
        if entry is not None and entry.stamp == stamp:
            entry.checked_s = now
            return entry
        if len(self._entries) >= REMEMBERED:
            self._entries.clear()
        fresh = _Entry(b"", None, b"", stamp, now)
        if stamp is not None:
            try:
                fresh.key = signing_key_of(files.load_certificate(path), self._device_ca, gateway)
                fresh.kid = kid_of(fresh.key)
                fresh.public = fresh.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            except TryggError:
                pass  # not a certificate of ours: the gateway is as unknown as without one, and its envelopes are counted
        self._entries[gateway] = fresh
        return fresh


class ReceiptKey:
    """The key that signs receipts. A rotation replaces its file; the new one is in use from then on."""

    def __init__(self, pki_dir: Path) -> None:
        self._path = pki_dir / f"{files.RECEIPT_KEY}.key"
        self._stamp = self._look()
        self._key = SigningKey(files.load_key(self._path))

    def current(self) -> SigningKey:
        """A file that is missing or not a key leaves the one before in use: its receipts are better than none."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            with contextlib.suppress(TryggError):
                self._key = SigningKey(files.load_key(self._path))
        return self._key

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino
