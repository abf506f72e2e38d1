"""Certificates of gateways: issued for keys that are made on the gateway and never leave it (TP-WIR-005)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.pki.authority import NEVER, SIGNING_PURPOSE, Issuer, Names, load_issuer, pem, point, sign_leaf
from tryggport.wire.topics import GATEWAY_ID

RESERVED_IDS = frozenset(files.WORKERS)
PURPOSES = {"tls": ExtendedKeyUsageOID.CLIENT_AUTH, "sign": SIGNING_PURPOSE}


@dataclass(frozen=True)
class DeviceCertificates:
    """The two certificates of a gateway, DER."""

    tls_der: bytes
    sign_der: bytes


def check_gateway_id(gateway_id: str) -> None:
    """Raises TryggError for an id that no gateway may have."""
    if not GATEWAY_ID.match(gateway_id):
        raise TryggError(f"{gateway_id!r} is not a gateway id.", "4 to 24 of a-z, 0-9 and hyphen.", usage=True)
    if gateway_id in RESERVED_IDS:
        raise TryggError(f"The name {gateway_id} is the receiver's own.", "Give the gateway another id.", usage=True)


def issue_device(
    folder: Path,
    tls_csr_der: bytes,
    sign_csr_der: bytes,
    gateway_id: str,
    *,
    replace: bool = False,
    passphrase: bytes | None = None,
) -> DeviceCertificates:
    """Certificates for the two keys of a gateway; also written to gateways/<id>/tls.pem and sign.pem.

    For the keys that the gateway has certificates for already the same ones come back. Other keys need `replace`.
    Raises TryggError when a request is not signed by its key, is not for `gateway_id`, or both are for one key.
    """
    check_gateway_id(gateway_id)
    keys = {"tls": _requested_key(tls_csr_der, gateway_id), "sign": _requested_key(sign_csr_der, gateway_id)}
    if point(keys["tls"]) == point(keys["sign"]):
        raise TryggError(f"The gateway {gateway_id} asks for both certificates with one key.", "It needs two keys.")
    home = folder / files.GATEWAYS / gateway_id
    known = {name: _issued(home / f"{name}.pem") for name in PURPOSES}
    foreign = [name for name in PURPOSES if known[name] and _key_point(known[name]) != point(keys[name])]
    if foreign and not replace:
        raise TryggError(
            f"The gateway {gateway_id} has certificates for other keys.",
            "Is the id taken twice? If the gateway was wiped, say --replace: the old keys are refused from then on.",
        )
    same = all(known.values()) and not foreign
    issued = known if same else _issue(folder, home, keys, gateway_id, passphrase)
    der = {name: certificate.public_bytes(Encoding.DER) for name, certificate in issued.items() if certificate}
    return DeviceCertificates(der["tls"], der["sign"])


def signing_key_of(
    certificate: x509.Certificate, device_ca: x509.Certificate, gateway_id: str
) -> ec.EllipticCurvePublicKey:
    """The key of a gateway's signing certificate. Raises TryggError unless the device CA issued it for that and for him."""
    try:
        certificate.verify_directly_issued_by(device_ca)
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as e:
        raise TryggError(f"The signing certificate of {gateway_id} is not one of the device CA: {e}.") from None
    key = certificate.public_key()
    if SIGNING_PURPOSE not in purposes or _common_name(certificate.subject) != gateway_id:
        raise TryggError(f"The signing certificate of {gateway_id} is not for signing as {gateway_id}.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TryggError(f"The signing certificate of {gateway_id} has no P-256 key.")
    return key


def gateway_ids(folder: Path) -> list[str]:
    """Ids of all gateways with certificates, sorted."""
    home = folder / files.GATEWAYS
    return sorted(path.name for path in home.iterdir() if (path / "sign.pem").exists()) if home.is_dir() else []


def _issue(
    folder: Path, home: Path, keys: dict[str, ec.EllipticCurvePublicKey], gateway_id: str, passphrase: bytes | None
) -> dict[str, x509.Certificate | None]:
    device_ca: Issuer = load_issuer(folder, files.DEVICE_CA, passphrase)
    files.make_folder(home)
    issued: dict[str, x509.Certificate | None] = {}
    for name, purpose in PURPOSES.items():
        certificate = sign_leaf(device_ca, Names(gateway_id), keys[name], purpose, NEVER)
        files.write_over(home / f"{name}.pem", pem(certificate))
        issued[name] = certificate
    return issued


def _requested_key(csr_der: bytes, gateway_id: str) -> ec.EllipticCurvePublicKey:
    try:
        csr = x509.load_der_x509_csr(csr_der)
        signed = csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TryggError(f"What {gateway_id} sent is not a certificate request (PKCS #10, DER).") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TryggError(f"The certificate request of {gateway_id} is not for a P-256 key.")
    if not signed:
        raise TryggError(f"The certificate request of {gateway_id} is not signed by its own key.")
    name = _common_name(csr.subject)
    if name != gateway_id:
        raise TryggError(f"The certificate request is for {name!r}, not for {gateway_id}.")
    return key


def _issued(path: Path) -> x509.Certificate | None:
    return files.load_certificate(path) if path.exists() else None


def _key_point(certificate: x509.Certificate | None) -> bytes:
    key = certificate.public_key() if certificate else None
    return point(key) if isinstance(key, ec.EllipticCurvePublicKey) else b""


def _common_name(name: x509.Name) -> str:
    values = [attribute.value for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return str(values[0]) if len(values) == 1 else ""
