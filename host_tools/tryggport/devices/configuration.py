"""A gateway's configuration: what it says, how it is signed, and the version that only rises (firmware: settings.py).

The last one of each gateway is kept beside its certificates, in gateways/<id>/config.cbor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.wire import cbor
from tryggport.wire.envelope import Envelope, SigningKey

PROVISIONED = "provisioned.cbor"  # [version of the configuration, of the trust list]
CONFIG_AAD = "trygg/1/config"
SENSORS = ("waist", "pocket", "pendant")
GRACE_MAX_MS = 60_000
BROKERS_MAX = 4
MAX_TIME_SERVERS = 4


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


def seal(folder: Path, placement: Placement) -> bytes:
    """The signed configuration, with the version after the last one of this gateway. Raises TryggError."""
    _check(placement)
    key = SigningKey(files.load_key(folder / f"{files.CONFIGURATION_KEY}.key"))
    known = _path(folder, placement.gateway)
    config = {
        1: placement.gateway,
        2: version_of(files.read(known)) + 1 if known.exists() else 1,
        3: [list(broker) for broker in placement.brokers],
        4: time.time_ns() // 1_000_000,
        5: placement.grace_ms,
        6: placement.sensor,
        7: placement.location,
        8: placement.heartbeat_s,
    }
    if placement.time_servers:
        config[9] = [list(server) for server in placement.time_servers]
    return key.seal(cbor.encode(config), CONFIG_AAD)


def remember(folder: Path, gateway: str, envelope: bytes) -> None:
    """Keeps what the gateway was given: its version is used up."""
    files.write_over(_path(folder, gateway), envelope)


def provisioned(folder: Path, gateway: str, config: bytes, trust: bytes) -> None:
    """Keeps what the gateway was given over its serial port."""
    remember(folder, gateway, config)
    home = folder / files.GATEWAYS / gateway
    files.write_over(home / PROVISIONED, cbor.encode([version_of(config), _content(trust)[1]]))


def provisioned_version(folder: Path, gateway: str) -> int:
    """Version of the configuration that the gateway was provisioned with; 0 when that was not from this folder."""
    return _provisioned(folder, gateway)[0]


def provisioned_trust(folder: Path, gateway: str) -> int:
    """The same of its trust list."""
    return _provisioned(folder, gateway)[1]


def _provisioned(folder: Path, gateway: str) -> list[int]:
    path = folder / files.GATEWAYS / gateway / PROVISIONED
    return list(cbor.decode(files.read(path))) if path.exists() else [0, 0]


def version_of(envelope: bytes) -> int:
    """The version in a configuration of our own."""
    version: int = _content(envelope)[2]
    return version


def last_given(folder: Path, gateway: str) -> Placement:
    """What the gateway was given last. Raises TryggError when it was not provisioned from this folder."""
    path = _path(folder, gateway)
    if not path.exists():
        raise TryggError(
            f"The configuration of {gateway} is not in {folder}.", "Was it provisioned with another --pki folder?"
        )
    config = _content(files.read(path))
    brokers, time_servers = (tuple((host, port) for host, port in config.get(key, ())) for key in (3, 9))
    return Placement(config[1], brokers, config[5], config[6], config[7], config[8], time_servers)


def _content(envelope: bytes) -> dict[int, Any]:
    content: dict[int, Any] = cbor.decode(Envelope.from_bytes(envelope).payload)
    return content


def _check(placement: Placement) -> None:
    if placement.sensor not in SENSORS:
        raise TryggError(
            f"A fall sensor cannot be worn at the {placement.sensor}.",
            f"Choose {', '.join(SENSORS[:-1])} or {SENSORS[-1]}.",
            usage=True,
        )
    if not 0 < len(placement.brokers) <= BROKERS_MAX:
        raise TryggError(f"A gateway has 1 to {BROKERS_MAX} brokers.", "Example: --broker localhost:8883", usage=True)
    if len(placement.time_servers) > MAX_TIME_SERVERS:
        raise TryggError(
            f"A gateway asks at most {MAX_TIME_SERVERS} time servers.", "One or three is best.", usage=True
        )
    if not 0 <= placement.grace_ms <= GRACE_MAX_MS:
        raise TryggError("The grace of a fall is 0 to 60 s.", usage=True)


def _path(folder: Path, gateway: str) -> Path:
    return folder / files.GATEWAYS / gateway / files.CONFIGURATION
