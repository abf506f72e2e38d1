"""Gives one gateway its identity: keys are made on the gateway, a signing request comes out, certificates and settings go in.

Harmless to run again: the gateway keeps its keys, and nothing takes effect before the last step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tryggport import pki
from tryggport.devices import configuration
from tryggport.devices.configuration import Placement
from tryggport.devices.link import Link
from tryggport.errors import TryggError
from tryggport.pki import authority, files


def provision(
    port: str, placement: Placement, pki_folder: Path, *, passphrase: bytes | None = None, replace: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:  # fmt: skip
    """Provisions the gateway on `port` and restarts it. Returns {"gateway", "hardware", "firmware", "kid"}.

    `progress` is called with the name of each step. Raises TryggError; the gateway then works as before.
    """
    pki.check_gateway_id(placement.gateway)
    settings = _common_files(placement, pki_folder)
    with Link(port) as link:
        progress("hello")
        found = link.call("hello")
        if found["gateway"] not in (None, placement.gateway) and not replace:
            raise TryggError(
                f"The board on {port} is already gateway {found['gateway']}.",
                "Type --replace to give it another identity.",
            )
        progress("keys")
        requests = link.call("requests", placement.gateway)
        progress("certificates")
        csr = {name: bytes.fromhex(requests[name]) for name in ("tls", "sign")}
        issued = pki.issue_device(
            pki_folder, csr["tls"], csr["sign"], placement.gateway, replace=replace, passphrase=passphrase
        )
        folder = link.call("stage")["folder"]
        for name, data in (settings | {"tls.der": issued.tls_der}).items():
            progress(name)
            link.write(f"{folder}/{name}", data)
        progress("commit")
        done = link.call("commit", placement.gateway)
    configuration.provisioned(pki_folder, placement.gateway, settings["config.cbor"], settings["trust.cbor"])
    return {
        "gateway": placement.gateway,
        "hardware": found["hardware"],
        "firmware": found["firmware"],
        "kid": done["kid"],
    }


def _common_files(placement: Placement, folder: Path) -> dict[str, bytes]:
    """The files that do not depend on the gateway's keys."""
    root = files.load_certificate(folder / f"{files.ROOT}.pem")
    public = root.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise TryggError(
            f"The root certificate in {folder} has no P-256 key.", "Make the keys with: tryggport pki init"
        )
    return {
        "root.pub": authority.point(public),
        "trust.cbor": files.read(folder / files.TRUST_LIST),
        "config.cbor": configuration.seal(folder, placement),
        "ca.der": root.public_bytes(Encoding.DER),
    }
