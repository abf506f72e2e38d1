"""`tryggport registry`: municipalities, their homes, and which gateway serves which."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tryggport.cli.reception import DEFAULT_DB, AsJson, DatabaseUrl, Municipality, local_time, print_list, scope_of
from tryggport.errors import TryggError
from tryggport.reception import escalation, installations, open_database, placing, tenants, views
from tryggport.reception.ledger import now_ms
from tryggport.reception.lists import Step

app = typer.Typer(no_args_is_help=True, help="Say which gateway serves which home, replace and revoke gateways.")
municipality_app = typer.Typer(no_args_is_help=True, help="The municipalities that this reception serves.")
app.add_typer(municipality_app, name="municipality")
Name = Annotated[str, typer.Argument(help="Name of the municipality.")]
Gateway = Annotated[str, typer.Argument(help="Id of the gateway.")]
By = Annotated[str, typer.Option("--by", help="Who.")]
Owner = Annotated[str, typer.Option("--municipality", help="The municipality.")]


@municipality_app.command("add")
def add(
    name: Name,
    by: By,
    db: DatabaseUrl = DEFAULT_DB,
    oldest_firmware: Annotated[str | None, typer.Option("--oldest-firmware", help="Older ones are to update.")] = None,
    untested_days: Annotated[int | None, typer.Option("--untested-days", min=1, help="A test alarm so often.")] = None,
) -> None:
    """Add a municipality; its people see its homes and no other's. Makes the database where there is none."""
    with contextlib.closing(open_database(db)) as database:
        scope = tenants.centre(database)
        installations.add_municipality(scope, name, by, oldest_firmware=oldest_firmware, untested_days=untested_days)
    print(f"The municipality {name} is added.")


@municipality_app.command("list")
def list_municipalities(db: DatabaseUrl = DEFAULT_DB, as_json: AsJson = False) -> None:
    """The municipalities and how many homes they have."""
    with scope_of(db) as scope:
        found = views.list_municipalities(scope)
    print_list(found, as_json, lambda row: f"{row['name']:24}  {row['homes']} homes")


@app.command("import")
def import_csv(
    csv: Annotated[Path, typer.Option("--csv", help="Columns home, gateway; if wanted cid, call_back, area.")],
    municipality: Owner,
    by: By,
    db: DatabaseUrl = DEFAULT_DB,
) -> None:
    """Install what a file says: all of it, or nothing when a line is bad. Harmless to run again."""
    with scope_of(db) as scope:
        done = placing.import_csv(scope, municipality, csv, by, now_ms())
    for number, sentence in done.bad:
        print(f"line {number}: {sentence}")
    if done.bad:
        raise TryggError(
            f"{len(done.bad)} lines of {csv} are bad; nothing was imported.", "Mend them and run it again."
        )
    print(f"{done.added} installations added, {done.unchanged} were there already.")


@app.command("list")
def list_installations(
    db: DatabaseUrl = DEFAULT_DB,
    municipality: Municipality = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that have ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Which gateway serves which home."""
    with scope_of(db, municipality) as scope:
        found = views.list_installations(scope, ended=ended)
    print_list(found, as_json, _line)


@app.command()
def show(
    home: Annotated[str, typer.Argument(help="The home's pseudonym.")],
    db: DatabaseUrl = DEFAULT_DB,
    municipality: Municipality = None,
    as_json: AsJson = False,
) -> None:
    """All gateways that have served a home, newest first."""
    with scope_of(db, municipality) as scope:
        found = views.show_home(scope, home)
    print_list(found, as_json, _line)


@app.command()
def replace(
    gateway: Gateway,
    by_gateway: Annotated[str, typer.Option("--with", help="Id of the gateway that takes its place.")],
    by: By,
    db: DatabaseUrl = DEFAULT_DB,
    municipality: Municipality = None,
) -> None:
    """Put another gateway in a home; the history stays with the home."""
    with scope_of(db, municipality) as scope:
        installations.replace(scope, gateway, by_gateway, by, now_ms())
    print(f"{by_gateway} has taken the place of {gateway}.")


@app.command()
def revoke(
    gateway: Gateway,
    by: By,
    why: Annotated[str, typer.Option("--why", help="Such as: stolen.")],
    db: DatabaseUrl = DEFAULT_DB,
    municipality: Municipality = None,
) -> None:
    """Trust a gateway no more: it serves no home, and what it sends is quarantined."""
    with scope_of(db, municipality) as scope:
        installations.revoke(scope, gateway, by, why, now_ms())
    print(f"{gateway} is revoked. Take it out of the broker's access list too.")


class _StepLine(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: str
    name: str
    target: str = ""
    wait_s: float = Field(60, gt=0, allow_inf_nan=False)
    secret_file: str | None = None


class _StepFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    step: list[_StepLine]


@app.command("escalation")
def escalation_list(
    municipality: Name,
    file: Annotated[Path | None, typer.Option("--file", help="TOML with a [[step]] for each receiver.")] = None,
    by: Annotated[str, typer.Option("--by", help="Who; needed with --file.")] = "",
    db: DatabaseUrl = DEFAULT_DB,
    as_json: AsJson = False,
) -> None:
    """Show whom a municipality's cases go to, in order; --file sets it anew."""
    if file is not None and not by.strip():
        raise TryggError("Somebody changes the list.", "Say who: --by NAME", usage=True)
    with scope_of(db) as scope:
        if file is not None:
            escalation.set_steps(scope, municipality, _steps(file), by)
        found = views.list_steps(scope, municipality)
    print_list(
        found,
        as_json,
        lambda row: f"{row['kind']:8}  {row['name']:24}  {row['target']}  then waits {row['wait_ms'] / 1000:g} s",
    )


def _steps(path: Path) -> list[Step]:
    try:
        lines = _StepFile.model_validate(tomllib.loads(path.read_text())).step
    except OSError as e:
        raise TryggError(f"{path} cannot be read: {e.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise TryggError(f"{path} is not TOML: {e}.") from None
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise TryggError(
            f"{path}: {where}: {first['msg'].lower()}.", "Each [[step]] has kind, name, target, wait_s."
        ) from None
    return [Step(line.kind, line.name, line.target, int(line.wait_s * 1000), line.secret_file) for line in lines]


def _line(row: dict[str, object]) -> str:
    since = local_time(int(str(row["from_ms"])))
    until = f" until {local_time(int(str(row['to_ms'])))}" if row["to_ms"] is not None else ""
    cid = f"  cid {row['cid']}" if row["cid"] else ""
    return f"{row['municipality']:16}  {row['home']:16}  {row['gateway']:24}  since {since}{until}{cid}"
