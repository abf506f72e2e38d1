"""`tryggport reception`: the receiver of an alarm centre."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception import canary, crew, open_database, tenants, views
from tryggport.reception.service import no_step
from tryggport.reception.wording import words
from tryggport.reception.worker import Plan, Worker
from tryggport.registry import commands
from tryggport.scaip.settings import settings
from tryggport.texts import spoken

app = typer.Typer(no_args_is_help=True, help="Receive, verify, store and receipt what gateways send.")
EPOCH_BYTES = 8
# Each row that is written lets go of Python's lock, and a thread that computes keeps it for 5 ms by default: a thousand rows beside a
# look at ten thousand gateways took seconds.
SWITCH_S = 0.0005
# A batch makes tens of thousands of objects and next to no cycles: to look for those at the usual 700 takes a tenth of the time.
COLLECT_AT = (50_000, 20, 100)
DEFAULT_DB = "sqlite:///reception.db"
DatabaseUrl = Annotated[str, typer.Option("--db", help="SQLAlchemy URL of the database.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Municipality = Annotated[
    str | None, typer.Option("--municipality", help="Only what is this municipality's; without it, all.")
]
Language = Annotated[
    str, typer.Option("--lang", default_factory=spoken, help="nb or en.", show_default="the terminal's")
]


@app.command()
def run(
    pki: Annotated[Path, typer.Option("--pki", help="Folder of the PKI.")],
    broker: Annotated[
        list[str] | None,
        typer.Option("--broker", metavar="HOST:PORT", help="The MQTT broker, localhost:8883; again for further paths."),
    ] = None,
    db: DatabaseUrl = DEFAULT_DB,
    dead_man: Annotated[
        str | None,
        typer.Option("--dead-man", metavar="URL", help="https:// URL that is called while alarms come through."),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="PEM of the CAs of web hooks and the dead-man URL; else the system's.")
    ] = None,
    scaip_listen: Annotated[
        list[str],
        typer.Option(
            "--scaip-listen", metavar="T:HOST:PORT", help="Where SCAIP replies reach us; without it, no SCAIP."
        ),
    ] = [],  # noqa: B006
    scaip_advertise: Annotated[
        str, typer.Option("--scaip-advertise", metavar="HOST", help="Our host as centres see it.")
    ] = "",
    scaip_credentials: Annotated[
        Path | None, typer.Option("--scaip-credentials", help="TOML: user and password by host of a SCAIP receiver.")
    ] = None,
    scaip_cert: Annotated[
        Path | None, typer.Option("--scaip-cert", help="PEM of our certificate towards centres.")
    ] = None,
    scaip_key: Annotated[Path | None, typer.Option("--scaip-key", help="PEM of its key.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=len(files.WORKERS), help="How many processes; needs PostgreSQL.")
    ] = 1,
    trace: Annotated[bool, typer.Option("--trace", help="Print each step as a JSON line.")] = False,
    of_crew: Annotated[bool, typer.Option("--of-crew", hidden=True)] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C. Prints "ready" when gateways can be heard. SIGHUP replaces workers one by one."""
    if workers > 1:
        crew.run(workers, pki, db, _say)
        return
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)
    plan = Plan(
        pki=pki,
        database_url=db,
        brokers=[split_address(address) for address in broker or ["localhost:8883"]],
        pulses=[canary.dead_man(dead_man, ca)] if dead_man else [],
        cafile=ca,
        scaip=settings(scaip_listen, scaip_advertise, scaip_credentials, ca, scaip_cert, scaip_key)
        if scaip_listen
        else None,
    )
    worker = Worker(plan, _say_as, print_step if trace else no_step)
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, lambda *_: worker.stop())
    if of_crew:
        crew.end_with_parent(worker.stop)
    worker.run()


@app.command()
def status(
    language: Language, db: DatabaseUrl = DEFAULT_DB, municipality: Municipality = None, as_json: AsJson = False
) -> None:
    """Show how the gateways are, what was refused and what could not be read."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        report = views.overview(scope) | {"workers": views.workers(scope)}
    if as_json:
        print(json.dumps(report, indent=2))
        return
    print(", ".join(f"{count} {_.told(name)}" for name, count in report["counts"].items()))
    if leader := report["workers"]["leader"]:
        print(_("leads: {worker}").format(worker=leader))
    for gateway in report["gateways"]:
        seen = local_time(gateway["seen_ms"]) if gateway["seen_ms"] else _("never")
        path = _("path {number}").format(number=gateway["path"])
        where = f"{gateway['gateway']:24}  {path}  {_.told(gateway['state']):8}"
        print(f"{where}  {_('heard')} {seen}  {_('unsettled alarms')} {gateway['alarms']}")
    for refusal in report["refusals"]:
        whose = refusal["gateway"] or _("unknown gateways")
        line = _("refused {count} of {whose}: {reason}")
        print(line.format(count=refusal["count"], whose=whose, reason=refusal["reason"]))
    for item in report["conflicts"]:
        line = _("conflict from {gateway} at {time}: other bytes for {seq}")
        print(line.format(gateway=item["gateway"], time=local_time(item["received_ms"]), seq=item["seq"]))
    for item in report["unreadable"]:
        line = _("unreadable from {gateway} at {time}, {copies} x: {why}")
        when = local_time(item["received_ms"])
        print(line.format(gateway=item["gateway"], time=when, copies=item["copies"], why=item["why"]))


@app.command()
def worklist(
    language: Language,
    municipality: Municipality = None,
    db: DatabaseUrl = DEFAULT_DB,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """What there is to do: a line each, which goes by itself when it is mended."""
    _ = words(language)
    with scope_of(db, municipality) as scope:
        found = views.work_list(scope)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    found = [row | {"since": local_time(row["first_ms"]), "sentence": _.told(row["sentence"])} for row in found]
    if as_csv:
        columns = ("since", "municipality", "home", "gateway", "kind", "sentence")
        lines = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        lines.writeheader()
        lines.writerows(found)
    else:
        for row in found:
            print(f"{row['since']}  {row['sentence']}")


@contextlib.contextmanager
def scope_of(db: str, municipality: str | None = None) -> Iterator[tenants.Scope]:
    """The database as that municipality sees it, or the centre; closed on leaving. Raises TryggError."""
    with contextlib.closing(open_database(db, create=False)) as database:
        yield tenants.centre(database) if municipality is None else tenants.municipality(database, municipality)


def _say(sentence: str) -> None:
    _say_as("reception", sentence)


def _say_as(name: str, sentence: str) -> None:
    print(f"{name}: {sentence}", flush=True)


@app.command()
def resend(
    gateway: Annotated[str, typer.Argument(help="Which gateway.")],
    pki: Annotated[Path, typer.Option("--pki", help="Folder of the PKI, with command.key.")],
    first: Annotated[int | None, typer.Option("--first", min=0, help="From this number on; by default all.")] = None,
    last: Annotated[int | None, typer.Option("--last", min=0, help="Up to this number.")] = None,
    epoch: Annotated[str | None, typer.Option("--epoch", help="In hexadecimal; by default the present one.")] = None,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for each answer.")] = 60.0,
    db: DatabaseUrl = DEFAULT_DB,
    as_json: AsJson = False,
) -> None:
    """Have a gateway send events again that it still holds: after the database was restored from an older copy."""
    try:
        named = None if epoch is None else bytes.fromhex(epoch)
    except ValueError:
        named = b""
    if named is not None and len(named) != EPOCH_BYTES:
        raise TryggError(f"{epoch!r} is not an epoch: 16 hexadecimal digits.", usage=True)
    found = commands.resend(open_database(db, create=False), pki, gateway, first, last, named, wait_s)
    if as_json:
        print(json.dumps(dataclasses.asdict(found)))
        return
    print(f"{gateway} sends {found.sent} of {found.asked} events again.")
    if found.missing:
        print("No longer held: " + ", ".join(f"{low}-{high}" for low, high in found.missing))


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[address]:port`. Raises TryggError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise TryggError(f"{address!r} is not HOST:PORT.", "Example: --broker localhost:8883", usage=True)
    return host.strip("[]"), int(port)


def print_list(rows: list[dict[str, Any]], as_json: bool, line: Callable[[dict[str, Any]], str]) -> None:
    """What a verb that lists prints: JSON for programs, else a line for each row."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(line(row))


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
