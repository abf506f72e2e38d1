"""Changed configurations and trust lists on their way to gateways, and who has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tryggport.devices import configuration
from tryggport.errors import TryggError
from tryggport.pki import files, rotation
from tryggport.pki.gateways import gateway_ids
from tryggport.pki.rotation import TrustList
from tryggport.reception import orders
from tryggport.reception.database import Database
from tryggport.wire.order import CONFIGURATION, TRUST


def push_trust(database: Database, folder: Path, gateways: Sequence[str] = ()) -> int:
    """Queues the present trust list for these gateways, by default for all. Returns its version."""
    present = rotation.present_trust_list(folder)
    for gateway in _known(folder, gateways):
        orders.queue(database, gateway, TRUST, present.version, present.envelope)
    return present.version


def configure(database: Database, folder: Path, gateway: str, **changes: Any) -> int:
    """Queues a configuration with `changes` to what the gateway was given last (fields of Placement). Returns its id."""
    _known(folder, [gateway])
    placement = dataclasses.replace(configuration.last_given(folder, gateway), **changes)
    envelope = configuration.seal(folder, placement)
    configuration.remember(folder, gateway, envelope)
    return orders.queue(database, gateway, CONFIGURATION, configuration.version_of(envelope), envelope)


def rotate(database: Database, folder: Path, name: str, passphrase: bytes | None) -> TrustList:
    """Makes the next key and queues the trust list with both for all gateways."""
    listed = rotation.start(folder, name, passphrase)
    push_trust(database, folder)
    return listed


def finish(database: Database, folder: Path, name: str, passphrase: bytes | None, *, force: bool = False) -> TrustList:
    """Drops the old key, for all gateways. Raises TryggError while some have not got the new one, unless `force`.

    A gateway keeps no trust list that does not cover its configuration; so when that key changes, each gets its
    configuration anew first, signed by the new key.
    """
    present = rotation.present_trust_list(folder)
    without = [row["gateway"] for row in overview(database, folder) if row["trust"] < present.version]
    if without and not force and rotation.is_under_way(folder, name):
        raise TryggError(
            f"{len(without)} gateways have not confirmed trust list {present.version}: {' '.join(without[:20])}.",
            "Wait for them, or say --force: who has not got the list by then must be provisioned again.",
        )
    listed = rotation.finish(folder, name, passphrase)
    if name == files.CONFIGURATION_KEY:
        for gateway in gateway_ids(folder):
            configure(database, folder, gateway)
    push_trust(database, folder)
    return listed


def replace_lost(database: Database, folder: Path, name: str, passphrase: bytes | None) -> TrustList:
    """A key is lost: queues a trust list without it, signed by the root, for all gateways."""
    if name == files.CONFIGURATION_KEY:
        raise TryggError(
            "Gateways keep no trust list that does not cover their configuration, so this key is not dropped at once.",
            f"Rotate it, which needs no old key: tryggport pki rotate {name}, then --finish",
            usage=True,
        )
    listed = rotation.replace_lost(folder, name, passphrase)
    push_trust(database, folder)
    return listed


def overview(database: Database, folder: Path) -> list[dict[str, Any]]:
    """Each gateway of the PKI folder with the versions that it was provisioned with or has confirmed since; 0: not known."""
    trust, config = orders.confirmed(database), orders.confirmed(database, CONFIGURATION)
    return [
        {
            "gateway": gateway,
            "trust": max(trust.get(gateway, 0), configuration.provisioned_trust(folder, gateway)),
            "configuration": max(config.get(gateway, 0), configuration.provisioned_version(folder, gateway)),
        }
        for gateway in gateway_ids(folder)
    ]


def _known(folder: Path, gateways: Sequence[str]) -> Sequence[str]:
    known = gateway_ids(folder)
    for gateway in gateways:
        if gateway not in known:
            raise TryggError(f"There is no gateway {gateway} in {folder}.", "See all: tryggport gateways list")
    return gateways or known
