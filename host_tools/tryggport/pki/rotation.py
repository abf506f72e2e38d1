"""Signing keys change: both are trusted for a while, then the old one is not any more (protocols/commands.md).

    start    <name>.next.key is made; trust list with the old and the new key
    finish   trust list without the old key; <name>.next.key becomes <name>.key

Only the root can say so: its key is needed for each list. Every step may be repeated after it was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.pki.authority import (
    ROLE_COMMAND,
    ROLE_CONFIGURATION,
    ROLE_RECEIPT,
    load_issuer,
    new_key,
    point,
    trust_list,
)
from tryggport.pki.overview import trust_entries

ROLES = {
    files.RECEIPT_KEY: ROLE_RECEIPT,
    files.COMMAND_KEY: ROLE_COMMAND,
    files.CONFIGURATION_KEY: ROLE_CONFIGURATION,
}


@dataclass(frozen=True)
class TrustList:
    """A trust list as it is signed: what gateways get."""

    version: int
    envelope: bytes


def present_trust_list(folder: Path) -> TrustList:
    """The newest list of a PKI folder. Raises TryggError unless its root signed it."""
    envelope = files.read(folder / files.TRUST_LIST)
    version, _ = trust_entries(envelope, files.load_certificate(folder / f"{files.ROOT}.pem"))
    return TrustList(version, envelope)


def start(folder: Path, name: str, passphrase: bytes | None = None) -> TrustList:
    """Makes the next key called `name` and a trust list with both. Raises TryggError when one is under way."""
    role = _role(name)
    path = _next(folder, name)
    if path.exists():
        raise TryggError(
            f"A rotation of the {name} key is under way.", f"Finish it: tryggport pki rotate {name} --finish"
        )
    root = load_issuer(folder, files.ROOT, passphrase)  # before anything is written: the passphrase may be wrong
    key = new_key()
    version, entries = trust_entries(files.read(folder / files.TRUST_LIST), root.certificate)
    listed = trust_list(root.key, version + 1, [*entries, (key.public_key(), role)])
    files.write_new(path, files.key_pem(key, None))
    files.write_over(folder / files.TRUST_LIST, listed)
    return TrustList(version + 1, listed)


def finish(folder: Path, name: str, passphrase: bytes | None = None) -> TrustList:
    """Signs a trust list in which the next key is the only one of its role, and puts it in the place of the old one."""
    role = _role(name)
    if not _next(folder, name).exists():
        raise TryggError(
            f"No rotation of the {name} key is under way.", f"Begin one: tryggport pki rotate {name}", usage=True
        )
    return _only(folder, name, role, passphrase)


def replace_lost(folder: Path, name: str, passphrase: bytes | None = None) -> TrustList:
    """The key called `name` is lost, or in other hands: a new one at once, and a trust list without the old."""
    role = _role(name)
    load_issuer(folder, files.ROOT, passphrase)
    path = _next(folder, name)
    if not path.exists():
        files.write_new(path, files.key_pem(new_key(), None))
    return _only(folder, name, role, passphrase)


def is_under_way(folder: Path, name: str) -> bool:
    return _next(folder, name).exists()


def _only(folder: Path, name: str, role: int, passphrase: bytes | None) -> TrustList:
    root = load_issuer(folder, files.ROOT, passphrase)
    key = files.load_key(_next(folder, name)).public_key()
    version, entries = trust_entries(files.read(folder / files.TRUST_LIST), root.certificate)
    kept = [(public, roles & ~role) for public, roles in entries if point(public) != point(key)]
    listed = trust_list(root.key, version + 1, [*((public, roles) for public, roles in kept if roles), (key, role)])
    files.write_over(folder / files.TRUST_LIST, listed)
    _next(folder, name).replace(folder / f"{name}.key")
    return TrustList(version + 1, listed)


def _next(folder: Path, name: str) -> Path:
    return folder / f"{name}.next.key"


def _role(name: str) -> int:
    if name not in ROLES:
        raise TryggError(f"There is no key called {name}.", f"Choose {', '.join(ROLES)}.", usage=True)
    return ROLES[name]
