"""`tryggport pki`: keys and certificates of a municipality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tryggport import pki
from tryggport.pki import files

app = typer.Typer(no_args_is_help=True, help="Make and show the keys and certificates of an installation.")
Folder = Annotated[Path, typer.Option("--dir", help="Folder of the PKI.")]


@app.command()
def init(
    folder: Folder,
    broker_name: Annotated[
        list[str] | None,
        typer.Option("--broker-name", help="Host name or address that gateways reach the broker by; may be repeated."),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option("--passphrase-file", help="Encrypt the keys of the two CAs with the first line of it."),
    ] = None,
) -> None:
    """Make the root, the device CA, the broker's and the reception's certificates, the receipt key and the trust list."""
    pki.init(folder, broker_name or (), files.read_passphrase(passphrase_file))
    print(f"The PKI is in {folder}. Keep {folder / 'root.key'} off line: it is needed again only to renew.")


@app.command()
def renew(
    name: Annotated[str, typer.Argument(help="Whose certificate: broker or reception.")],
    folder: Folder,
    broker_name: Annotated[
        list[str] | None, typer.Option("--broker-name", help="One more name or address of the broker; may be repeated.")
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="Its first line opens the key of the CA that issues it.")
    ] = None,
) -> None:
    """Make a new certificate for the same key. Gateways need nothing, not even those that were off for years."""
    end = pki.renew(folder, name, broker_name or (), files.read_passphrase(passphrase_file))
    print(f"{folder / name}.pem holds until {end:%Y-%m-%d}. Copy it to where it is used, and start the {name} anew.")


@app.command()
def show(folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show certificates, until when they hold, which keys sign receipts, and the gateways."""
    report = pki.show(folder)
    if as_json:
        print(json.dumps(report, indent=2))
        return
    for certificate in report["certificates"]:
        print(f"{certificate['name']:10}  key {certificate['kid']}  until {certificate['not_after'] or 'for ever'}")
    keys = ", ".join(f"{key['kid']} (roles {key['roles']})" for key in report["trust"]["keys"])
    print(f"trust list  version {report['trust']['version']}: {keys}")
    print(f"gateways    {len(report['gateways'])}: {' '.join(report['gateways'])}")
