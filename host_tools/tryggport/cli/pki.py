"""`tryggport pki`: keys and certificates of a municipality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tryggport import pki
from tryggport.cli.reception import DEFAULT_DB
from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception import open_database
from tryggport.registry import changes

DatabaseUrl = Annotated[str, typer.Option("--db", help="Database of the reception that brings it to the gateways.")]
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
def workers(
    folder: Folder,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="Its first line opens the key of the device CA.")
    ] = None,
) -> None:
    """Make the certificates of a reception's further workers, where they are not there yet."""
    pki.issue_workers(folder, files.read_passphrase(passphrase_file))
    print(f"{len(files.WORKERS)} workers have a certificate in {folder}.")


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


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="receipt, command or configuration.")],
    folder: Folder,
    db: DatabaseUrl = DEFAULT_DB,
    finish: Annotated[bool, typer.Option("--finish", help="Drop the old key; gateways must have the new one.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --finish: although some have not.")] = False,
    lost: Annotated[bool, typer.Option("--lost", help="The key is lost or stolen: drop it at once.")] = False,
    passphrase_file: Annotated[Path | None, typer.Option("--passphrase-file", help="For the root key.")] = None,
) -> None:
    """Change a signing key: first both are trusted, then --finish drops the old one. Needs the root key."""
    if finish and lost:
        raise TryggError("A rotation is finished, or a key is lost.", "Say one of --finish and --lost.", usage=True)
    database, passphrase = open_database(db), files.read_passphrase(passphrase_file)
    if finish:
        listed = changes.finish(database, folder, name, passphrase, force=force)
        print(f"Trust list {listed.version} without the old {name} key is on its way. {name}.key is the new one.")
    elif lost:
        listed = changes.replace_lost(database, folder, name, passphrase)
        print(f"Trust list {listed.version} without the lost {name} key is on its way. {name}.key is a new one.")
    else:
        listed = changes.rotate(database, folder, name, passphrase)
        print(
            f"Trust list {listed.version} with a second {name} key is on its way. See who has it: tryggport gateways list"
        )
        print(f"Then: tryggport pki rotate {name} --finish")


@app.command()
def push(
    folder: Folder,
    gateway: Annotated[list[str] | None, typer.Argument(help="To these; without any, to all.")] = None,
    db: DatabaseUrl = DEFAULT_DB,
) -> None:
    """Send the present trust list to gateways once more."""
    version = changes.push_trust(open_database(db), folder, gateway or ())
    print(f"Trust list {version} is on its way.")
