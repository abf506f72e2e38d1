"""Gives one gateway its identity: keys are made on the gateway, a signing request comes out, certificates and settings go in.

Harmless to run again: the gateway keeps its keys, and nothing takes effect before the last step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tryggport import pki
from tryggport.devices.link import Link
from tryggport.errors import TryggError
from tryggport.pki import authority, files
from tryggport.wire import cbor
from tryggport.wire.envelope import SigningKey

MAX_TIME_SERVERS = 4
SENSORS = ("waist", "pocket", "pendant")
CONFIG_AAD = "trygg/1/config"


@dataclass(frozen=True)
class Placement:
    """Where and how a gateway is to work. `brokers`: (host, port), the first is preferred; `location`: SCAIP lco (2 = home);
    `time_servers`: (host, port), at most four, more than half of which must agree."""

    gateway: str
    brokers: tuple[tuple[str, int], ...]
    grace_ms: int = 0
    sensor: str = "waist"
    location: int = 2
    heartbeat_s: int = 300
    time_servers: tuple[tuple[str, int], ...] = ()


def provision(
    port: str, placement: Placement, pki_folder: Path, *, passphrase: bytes | None = None, replace: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:  # fmt: skip
    """Provisions the gateway on `port` and restarts it. Returns {"gateway", "hardware", "firmware", "kid"}.

    `progress` is called with the name of each step. Raises TryggError; the gateway then works as before.
    """
    pki.check_gateway_id(placement.gateway)
    if placement.sensor not in SENSORS:
        raise TryggError(
            f"A fall sensor cannot be worn at the {placement.sensor}.",
            f"Choose {', '.join(SENSORS[:-1])} or {SENSORS[-1]}.",
            usage=True,
        )
    if len(placement.time_servers) > MAX_TIME_SERVERS:
        raise TryggError(
            f"A gateway asks at most {MAX_TIME_SERVERS} time servers.", "One or three is best.", usage=True
        )
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
    key = SigningKey(files.load_key(folder / f"{files.CONFIGURATION_KEY}.key"))
    config = {
        1: placement.gateway,
        2: 1,
        3: [list(broker) for broker in placement.brokers],
        4: time.time_ns() // 1_000_000,
        5: placement.grace_ms,
        6: placement.sensor,
        7: placement.location,
        8: placement.heartbeat_s,
    }
    if placement.time_servers:
        config[9] = [list(server) for server in placement.time_servers]
    return {
        "root.pub": authority.point(public),
        "trust.cbor": files.read(folder / files.TRUST_LIST),
        "config.cbor": key.seal(cbor.encode(config), CONFIG_AAD),
        "ca.der": root.public_bytes(Encoding.DER),
    }
