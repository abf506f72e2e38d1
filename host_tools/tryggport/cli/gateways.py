"""`tryggport gateways`: the gateways at work, what they have, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tryggport.cli.reception import DEFAULT_DB, AsJson, DatabaseUrl, local_time, print_list, split_address
from tryggport.reception import open_database, views
from tryggport.reception.tenants import centre
from tryggport.registry import changes, commands
from tryggport.wire import order

app = typer.Typer(no_args_is_help=True, help="See and change gateways that are at work.")
Pki = Annotated[Path, typer.Option("--pki", help="Folder of the PKI.")]
Gateway = Annotated[str, typer.Argument(help="Which gateway.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for the answer; 0: do not.")]
DEFAULT_WAIT_S = 30.0


@app.command("list")
def list_gateways(pki: Pki, db: DatabaseUrl = DEFAULT_DB, as_json: AsJson = False) -> None:
    """Show all gateways, with the trust list and the configuration that each has confirmed."""
    rows = changes.overview(open_database(db, create=False), pki)
    print_list(rows, as_json, _version_line)


@app.command("orders")
def list_orders(
    gateway: Annotated[str | None, typer.Argument(help="Only those of this gateway.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    db: DatabaseUrl = DEFAULT_DB,
    as_json: AsJson = False,
) -> None:
    """Show what was asked of gateways, newest first, and what they answered."""
    rows = views.list_orders(centre(open_database(db, create=False)), gateway, limit)
    print_list(rows, as_json, _order_line)


@app.command()
def configure(
    gateway: Gateway,
    pki: Pki,
    broker: Annotated[list[str] | None, typer.Option("--broker", help="HOST:PORT; may be given again.")] = None,
    grace_s: Annotated[int | None, typer.Option("--grace", min=0, max=60, help="Seconds to cancel a fall.")] = None,
    sensor: Annotated[str | None, typer.Option("--sensor", help="waist, pocket or pendant.")] = None,
    location: Annotated[int | None, typer.Option("--location", min=0, max=999, help="SCAIP location code.")] = None,
    db: DatabaseUrl = DEFAULT_DB,
) -> None:
    """Change settings of a gateway that is at work. It keeps them when it still reaches the reception with them."""
    given: dict[str, Any] = {
        "brokers": tuple(split_address(text) for text in broker) if broker else None,
        "grace_ms": None if grace_s is None else grace_s * 1000,
        "sensor": sensor,
        "location": location,
    }
    given = {name: value for name, value in given.items() if value is not None}
    changes.configure(open_database(db, create=False), pki, gateway, **given)
    print(f"The configuration is on its way. See what becomes of it: tryggport gateways orders {gateway}")


@app.command()
def restart(gateway: Gateway, pki: Pki, wait_s: Wait = DEFAULT_WAIT_S, db: DatabaseUrl = DEFAULT_DB) -> None:
    """Restart a gateway."""
    _command(db, pki, gateway, wait_s, order.RESTART)


@app.command("test-alarm")
def raise_test_alarm(gateway: Gateway, pki: Pki, wait_s: Wait = DEFAULT_WAIT_S, db: DatabaseUrl = DEFAULT_DB) -> None:
    """Have a gateway raise a test alarm, which takes the way of every alarm."""
    _command(db, pki, gateway, wait_s, order.TEST_ALARM)


@app.command("factory-reset")
def factory_reset(
    gateway: Gateway,
    pki: Pki,
    force: Annotated[bool, typer.Option("--force", help="Although alarms wait to be sent: they are lost.")] = False,
    wait_s: Wait = DEFAULT_WAIT_S,
    db: DatabaseUrl = DEFAULT_DB,
) -> None:
    """Erase keys, papers and journal of a gateway. It must be provisioned again."""
    _command(db, pki, gateway, wait_s, order.FACTORY_RESET, force)


def _command(db: str, pki: Path, gateway: str, wait_s: float, what: int, *arguments: Any) -> None:
    database = open_database(db, create=False)
    order_id = commands.send(database, pki, gateway, what, *arguments)
    done = commands.wait(database, order_id, wait_s) is not None
    print("Done." if done else f"No answer yet. See what becomes of it: tryggport gateways orders {gateway}")


def _version_line(row: dict[str, Any]) -> str:
    return f"{row['gateway']:24}  trust list {row['trust'] or '-'}  configuration {row['configuration'] or '-'}"


def _order_line(row: dict[str, Any]) -> str:
    asked = f"{local_time(row['queued_ms'])}  {row['gateway']:24}  {row['order']:14}  {row['number']:14}"
    return f"{asked}  {row['state']}"
