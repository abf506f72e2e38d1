"""The files of a PKI folder: written once, readable by their owner only."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tryggport.errors import TryggError

ROOT = "root"
DEVICE_CA = "device-ca"
BROKER = "broker"
RECEPTION = "reception"
WORKERS = (
    RECEPTION,
    *(f"{RECEPTION}-{number}" for number in range(2, 9)),
)  # TP-BND-240: each has a name at the brokers
RECEIPT_KEY = "receipt"
COMMAND_KEY = "command"
CONFIGURATION_KEY = "configuration"
CONFIGURATION = "config.cbor"  # of a gateway, in its folder: what it was given last
CLIENT_CAS = "client-cas.pem"  # what a broker checks its clients against
TRUST_LIST = "trust.cbor"
GATEWAYS = "gateways"


def make_folder(path: Path) -> None:
    """A folder that only its owner may enter."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise TryggError(f"The folder {path} cannot be made: {e.strerror}.", "Name another folder.") from None


def write_new(path: Path, content: bytes) -> None:
    """Writes a file of mode 0600 that must not exist yet."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise TryggError(f"{path} exists already.", "Nothing was overwritten.") from None
    except OSError as e:
        raise TryggError(f"{path} cannot be written: {e.strerror}.") from None


def write_over(path: Path, content: bytes) -> None:
    """Replaces a file in one step, so that a reader sees the old one or the new one."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    write_new(fresh, content)
    fresh.replace(path)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TryggError(f"{path} does not exist.", "Make the keys first: tryggport pki init --dir DIR") from None
    except OSError as e:
        raise TryggError(f"{path} cannot be read: {e.strerror}.") from None


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def load_key(path: Path, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key in PEM. Raises TryggError for a wrong passphrase or another kind of key."""
    pem = read(path)
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not passphrase:
        raise TryggError(f"The key {path} is encrypted.", "Name the file with its passphrase: --passphrase-file FILE")
    try:
        key = load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError):
        why = "the passphrase is wrong" if encrypted else "it is not a private key in PEM"
        raise TryggError(f"The key {path} cannot be read: {why}.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TryggError(f"The key {path} is not a P-256 key.")
    return key


def load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read(path))
    except ValueError:
        raise TryggError(f"{path} is not a certificate in PEM.") from None


def read_passphrase(path: Path | None) -> bytes | None:
    """The first line of the file, or None without a file."""
    if path is None:
        return None
    lines = read(path).splitlines()
    if not lines or not lines[0].strip():
        raise TryggError(f"The passphrase file {path} is empty.")
    return lines[0].strip()
