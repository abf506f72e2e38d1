"""`tryggport reception`: the receiver of an alarm centre."""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tryggport.errors import TryggError
from tryggport.reception import Reception, open_database, views

app = typer.Typer(no_args_is_help=True, help="Receive, verify, store and receipt what gateways send.")
DEFAULT_DB = "sqlite:///reception.db"
DatabaseUrl = Annotated[str, typer.Option("--db", help="SQLAlchemy URL of the database.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    pki: Annotated[Path, typer.Option("--pki", help="Folder of the PKI.")],
    broker: Annotated[
        list[str] | None,
        typer.Option("--broker", metavar="HOST:PORT", help="The MQTT broker, localhost:8883; again for further paths."),
    ] = None,
    db: DatabaseUrl = DEFAULT_DB,
    trace: Annotated[bool, typer.Option("--trace", help="Print each step as a JSON line.")] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C. Prints "ready" when gateways can be heard."""
    (host, port), *others = [split_address(address) for address in broker or ["localhost:8883"]]
    steps: dict[str, Any] = {"on_step": print_step} if trace else {}
    steps["say"] = lambda text: print(f"reception: {text}", flush=True)
    reception = Reception(pki, db, host, port, others=others, **steps)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: reception.stop())
    reception.run()


@app.command()
def status(db: DatabaseUrl = DEFAULT_DB, as_json: AsJson = False) -> None:
    """Show how the gateways are, what was refused and what could not be read."""
    report = views.overview(open_database(db, create=False))
    if as_json:
        print(json.dumps(report, indent=2))
        return
    print(", ".join(f"{count} {name}" for name, count in report["counts"].items()))
    for gateway in report["gateways"]:
        seen = local_time(gateway["seen_ms"]) if gateway["seen_ms"] else "never"
        where = f"{gateway['gateway']:24}  path {gateway['path']}  {gateway['state']:8}"
        print(f"{where}  heard {seen}  unsettled alarms {gateway['alarms']}")
    for refusal in report["refusals"]:
        print(f"refused {refusal['count']} of {refusal['gateway'] or 'unknown gateways'}: {refusal['reason']}")
    for item in report["conflicts"]:
        print(f"conflict from {item['gateway']} at {local_time(item['received_ms'])}: other bytes for {item['seq']}")
    for item in report["unreadable"]:
        print(
            f"unreadable from {item['gateway']} at {local_time(item['received_ms'])}, {item['copies']} x: {item['why']}"
        )


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[address]:port`. Raises TryggError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise TryggError(f"{address!r} is not HOST:PORT.", "Example: --broker localhost:8883", usage=True)
    return host.strip("[]"), int(port)


def local_time(unix_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ms / 1000))


def print_step(name: str, detail: dict[str, Any]) -> None:
    """One step as a JSON line, with the time in ms since 1970."""
    line = {"t_ms": time.time_ns() // 1_000_000, "step": name, **detail}
    print(json.dumps(line, default=_plain), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {key: item for key, item in found.items() if key != "encoded" and item is not None}
    return dict(value)
