"""`pki show`: what is in a PKI folder and until when it holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.pki.authority import NEVER, TRUST_AAD
from tryggport.pki.gateways import gateway_ids
from tryggport.wire import cbor
from tryggport.wire.envelope import Envelope, kid_of


@dataclass(frozen=True)
class Certificate:
    """One certificate: whose, the id of its key, and its last second (None: it does not expire)."""

    name: str
    subject: str
    kid: str
    not_after: str | None


def show(folder: Path) -> dict[str, Any]:
    """Certificates, trust list and gateways of a PKI folder; no secret is read."""
    root = files.load_certificate(folder / f"{files.ROOT}.pem")
    names = (files.ROOT, files.DEVICE_CA, files.BROKER, files.RECEPTION)
    return {
        "certificates": [asdict(_certificate(folder, name)) for name in names],
        "trust": read_trust_list(files.read(folder / files.TRUST_LIST), root),
        "gateways": gateway_ids(folder),
    }


def read_trust_list(data: bytes, root: x509.Certificate) -> dict[str, Any]:
    """Version and keys of a trust list. Raises TryggError unless the root signed it."""
    version, entries = trust_entries(data, root)
    return {"version": version, "keys": [{"kid": kid_of(key).hex(), "roles": roles} for key, roles in entries]}


def trust_entries(data: bytes, root: x509.Certificate) -> tuple[int, list[tuple[ec.EllipticCurvePublicKey, int]]]:
    """Version and (key, roles) of a trust list. Raises TryggError unless the root signed it."""
    key = root.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TryggError("The root certificate has no P-256 key.")
    envelope = Envelope.from_bytes(data)
    envelope.verify(key, TRUST_AAD)
    content = cbor.decode(envelope.payload)
    curve = ec.SECP256R1()
    return content[1], [
        (ec.EllipticCurvePublicKey.from_encoded_point(curve, public), roles) for _, roles, public in content[2]
    ]


def _certificate(folder: Path, name: str) -> Certificate:
    certificate = files.load_certificate(folder / f"{name}.pem")
    key = certificate.public_key()
    end = certificate.not_valid_after_utc
    return Certificate(
        name=name,
        subject=certificate.subject.rfc4514_string(),
        kid=kid_of(key).hex() if isinstance(key, ec.EllipticCurvePublicKey) else "",
        not_after=None if end == NEVER else end.isoformat(),
    )
