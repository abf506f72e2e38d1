"""`tryggport provision`: give one gateway its identity over its serial port."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tryggport.devices.configuration import Placement
from tryggport.devices.provision import provision
from tryggport.errors import TryggError
from tryggport.pki import files

NTP_PORT = 123


def command(
    gateway: Annotated[str, typer.Argument(help="The gateway's id: 4 to 24 of a-z, 0-9 and -.")],
    port: Annotated[str, typer.Option("--port", help="Serial port, as `mpremote devs` lists them.")],
    broker: Annotated[
        list[str], typer.Option("--broker", help="HOST:PORT of the broker; may be given again for more.")
    ],
    pki: Annotated[Path, typer.Option("--pki", help="Folder made by `tryggport pki init`.")] = Path("pki"),
    grace_s: Annotated[
        int, typer.Option("--grace", min=0, max=60, help="Seconds in which a fall can be cancelled at home.")
    ] = 0,
    sensor: Annotated[
        str, typer.Option("--sensor", help="Where the fall sensor is worn: waist, pocket or pendant.")
    ] = "waist",
    location: Annotated[int, typer.Option("--location", min=0, max=999, help="SCAIP location code; 2 is home.")] = 2,
    time_server: Annotated[
        list[str] | None,
        typer.Option(
            "--time-server",
            help="HOST[:PORT] of a time server (SNTP), asked when the gateway's clock is too old to be let in; up to four times.",
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase of the device CA's key.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give a board that has an identity another one.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make keys on the gateway, certify them, and hand over trust and settings. Harmless to run again."""
    placement = Placement(
        gateway, tuple(_endpoint(text) for text in broker), grace_s * 1000, sensor, location,
        time_servers=tuple(_endpoint(text if ":" in text else f"{text}:{NTP_PORT}") for text in time_server or ()),
    )  # fmt: skip
    passphrase = files.read_passphrase(passphrase_file)
    with Console(stderr=True).status("Provisioning ...") as status:
        report = provision(
            port,
            placement,
            pki,
            passphrase=passphrase,
            replace=replace,
            progress=lambda s: status.update(f"Provisioning: {s}"),
        )
    if json:
        print(jsonlib.dumps(report))
    else:
        print(f"Gateway {report['gateway']} is provisioned (board {report['hardware']}, signing key {report['kid']}).")


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise TryggError(f"{text!r} is not HOST:PORT.", "For example: --broker alarm.example.no:8883", usage=True)
    return host, int(port)
