"""`pki init`: the root, the device CA, the broker's and the receiver's certificates, the receipt, command and configuration keys and the trust list.

root ── device CA ── gateway TLS and signing certificates, reception TLS client certificate
  ├──── broker server certificate          (gateways trust the root alone)
  └──── trust list                         (which keys may sign receipts, commands and configuration)

The root is needed again only to renew the broker's certificate or the trust list: keep its key off line.
Every notBefore is its issuer's, because a gateway's clock may be as old as its firmware; the certificates of CAs and
devices never expire (99991231235959Z, IEEE 802.1AR-2018 section 8.7), and there is no CRL: an expired one mutes everybody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.wire import cbor
from tryggport.wire.envelope import SigningKey, kid_of

NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
SERVICE_LIFE = timedelta(days=3653)
SIGNING_PURPOSE = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # id-kp-documentSigning, RFC 9336: no TLS stack takes it
TRUST_AAD = "trygg/1/trust"
ROLE_RECEIPT, ROLE_COMMAND, ROLE_UPDATE, ROLE_CONFIGURATION = 1, 2, 4, 8
LOCAL_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Issuer:
    """A CA: its certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Names:
    """Subject of a certificate: common name, and for a server the host names or addresses it answers to."""

    common: str
    hosts: tuple[str, ...] = ()


def init(folder: Path, broker_names: Sequence[str] = (), passphrase: bytes | None = None) -> None:
    """Makes a whole PKI in `folder`. Raises TryggError and changes nothing when there is one already.

    `passphrase` encrypts the keys of the two CAs; the services start unattended, so theirs rest on file modes.
    """
    if (folder / f"{files.ROOT}.pem").exists() or (folder / f"{files.ROOT}.key").exists():
        raise TryggError(f"There is a PKI in {folder} already.", "Nothing was overwritten. Name another folder.")
    broker = Names("tryggport broker", _unique((*LOCAL_NAMES, *broker_names)))
    _alternative_names(broker)
    files.make_folder(folder)
    files.make_folder(folder / files.GATEWAYS)

    root = self_signed(Names("Tryggport root"))
    device_ca = Issuer(*_new_certificate(root, Names("Tryggport device CA"), ca=True))
    save_issuer(folder, files.ROOT, root, passphrase)
    save_issuer(folder, files.DEVICE_CA, device_ca, passphrase)
    files.write_new(folder / files.CLIENT_CAS, pem(device_ca.certificate) + pem(root.certificate))
    issue_broker(folder, root, broker)
    _save(folder, files.RECEPTION, *_new_certificate(device_ca, Names("reception"), ExtendedKeyUsageOID.CLIENT_AUTH))

    trusted = []
    for name, role in (
        (files.RECEIPT_KEY, ROLE_RECEIPT),
        (files.CONFIGURATION_KEY, ROLE_CONFIGURATION),
        (files.COMMAND_KEY, ROLE_COMMAND),
    ):
        key = new_key()
        files.write_new(folder / f"{name}.key", files.key_pem(key, None))
        trusted.append((key.public_key(), role))
    files.write_new(folder / files.TRUST_LIST, trust_list(root.key, 1, trusted))


def issue_broker(folder: Path, root: Issuer, names: Names, life: timedelta = SERVICE_LIFE) -> None:
    """Writes broker.pem and broker.key for a server of these names."""
    _save(folder, files.BROKER, *_new_certificate(root, names, ExtendedKeyUsageOID.SERVER_AUTH, life=life))


def issue_workers(folder: Path, passphrase: bytes | None = None) -> None:
    """Writes certificate and key of each worker of the reception that has none yet (TP-REC-200).

    Raises TryggError where certificates are wanting and the device CA's key is not here.
    """
    missing = [name for name in files.WORKERS if not (folder / f"{name}.pem").exists()]
    if missing and not (folder / f"{files.DEVICE_CA}.key").exists():
        what = f"The worker {missing[0]} has no certificate, and the device CA's key is not here."
        raise TryggError(
            what, "Where it is, type: tryggport pki workers --dir DIR; then copy the reception-*.pem and .key."
        )
    if missing:
        device_ca = load_issuer(folder, files.DEVICE_CA, passphrase)
        for name in missing:
            _save(folder, name, *_new_certificate(device_ca, Names(name), ExtendedKeyUsageOID.CLIENT_AUTH))


def renew(
    folder: Path,
    name: str,
    broker_names: Sequence[str] = (),
    passphrase: bytes | None = None,
    life: timedelta = SERVICE_LIFE,
) -> datetime:
    """A new certificate for the key of `broker`, `reception` or another worker, for the same names and any more; returns its last second.

    Nothing else changes, and it begins when its issuer does: a gateway whose clock is years behind takes it all the same.
    `passphrase`: of the root for the broker, of the device CA for the reception.
    """
    issuers = {files.BROKER: files.ROOT} | dict.fromkeys(files.WORKERS, files.DEVICE_CA)
    if name not in issuers:
        raise TryggError(f"There is no certificate {name} to renew.", "Say broker or reception.", usage=True)
    old = files.load_certificate(folder / f"{name}.pem")
    key = old.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TryggError(f"The certificate {name} has no P-256 key.")
    names = Names(_common_name(old), _unique((*_host_names(old), *broker_names)))
    purpose = next(iter(old.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value))
    end = datetime.now(UTC).replace(microsecond=0) + life
    renewed = sign_leaf(load_issuer(folder, issuers[name], passphrase), names, key, purpose, end)
    files.write_over(folder / f"{name}.pem", pem(renewed))
    return end


def trust_list(
    root: ec.EllipticCurvePrivateKey, version: int, keys: Sequence[tuple[ec.EllipticCurvePublicKey, int]]
) -> bytes:
    """The signed list {1: version, 2: [[kid, roles, public key of 65 bytes], …]} in an envelope with aad trygg/1/trust."""
    rows = [[kid_of(key), roles, point(key)] for key, roles in keys]
    return SigningKey(root).seal(cbor.encode({1: version, 2: rows}), TRUST_AAD)


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """The uncompressed point, 65 bytes (SEC 1 section 2.3.3)."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def self_signed(names: Names) -> Issuer:
    """A new root. Its notBefore is a day ago, for clocks that are a little behind."""
    key = new_key()
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    builder = _builder(names, key.public_key(), _name(names), start, NEVER)
    return Issuer(_as_ca(builder, path_length=1).sign(key, hashes.SHA256()), key)


def sign_leaf(
    issuer: Issuer, names: Names, public: ec.EllipticCurvePublicKey, purpose: x509.ObjectIdentifier, not_after: datetime
) -> x509.Certificate:
    """An end entity's certificate for one purpose: digitalSignature and that extended key usage."""
    start = issuer.certificate.not_valid_before_utc
    builder = _builder(names, public, issuer.certificate.subject, start, not_after)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if names.hosts:
        builder = builder.add_extension(_alternative_names(names), critical=False)
    return _identified(builder, issuer).sign(issuer.key, hashes.SHA256())


def load_issuer(folder: Path, name: str, passphrase: bytes | None) -> Issuer:
    certificate = files.load_certificate(folder / f"{name}.pem")
    return Issuer(certificate, files.load_key(folder / f"{name}.key", passphrase))


def save_issuer(folder: Path, name: str, issuer: Issuer, passphrase: bytes | None) -> None:
    _save(folder, name, issuer.certificate, issuer.key, passphrase)


def _new_certificate(
    issuer: Issuer,
    names: Names,
    purpose: x509.ObjectIdentifier | None = None,
    *,
    ca: bool = False,
    life: timedelta = SERVICE_LIFE,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = new_key()
    if ca or purpose is None:
        start = issuer.certificate.not_valid_before_utc
        builder = _builder(names, key.public_key(), issuer.certificate.subject, start, NEVER)
        certificate = _identified(_as_ca(builder, path_length=0), issuer).sign(issuer.key, hashes.SHA256())
    else:
        end = datetime.now(UTC).replace(microsecond=0) + life
        certificate = sign_leaf(issuer, names, key.public_key(), purpose, end)
    return certificate, key


def _save(
    folder: Path,
    name: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    passphrase: bytes | None = None,
) -> None:
    files.write_new(folder / f"{name}.key", files.key_pem(key, passphrase))
    files.write_new(folder / f"{name}.pem", pem(certificate))


def _builder(
    names: Names, public: ec.EllipticCurvePublicKey, issuer: x509.Name, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(names))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _as_ca(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    return builder.add_extension(_usage(key_cert_sign=True), critical=True)


def _identified(builder: x509.CertificateBuilder, issuer: Issuer) -> x509.CertificateBuilder:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    return builder.add_extension(authority, critical=False)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(names: Names) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names.common)])


def _alternative_names(names: Names) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for host in names.hosts:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            if not host or not host.isascii() or any(c.isspace() for c in host):
                raise TryggError(f"{host!r} is not a host name or address.", usage=True) from None
            found.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(found)


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _host_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _unique(hosts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hosts))
