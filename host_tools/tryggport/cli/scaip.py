"""`tryggport scaip`: alarms into the system that a centre already has."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from tryggport.errors import TryggError
from tryggport.scaip import codes, errand, quirks
from tryggport.scaip.agent import Agent
from tryggport.scaip.behaviour import NAMED, PATTERNS, behaviour, script
from tryggport.scaip.centre import Centre, Seen
from tryggport.scaip.codes import Home
from tryggport.scaip.courier import REPLY_S, check_receivers
from tryggport.scaip.errand import Checked, Errand
from tryggport.scaip.settings import read_credentials, settings
from tryggport.wire import kinds
from tryggport.wire.event import Event

app = typer.Typer(no_args_is_help=True, help="Deliver alarms by SCAIP, and test with a simulated centre.")
To = Annotated[list[str], typer.Option("--to", metavar="SIP", help="Receiver, best first; may be repeated.")]
Listens = Annotated[
    list[str], typer.Option("--listen", metavar="T:HOST:PORT", help="Where to be reached: udp, tcp or tls.")
]
Advertise = Annotated[str, typer.Option("--advertise", metavar="HOST", help="Our host as others see it.")]
Logins = Annotated[Path | None, typer.Option("--credentials", help="TOML: user and password by receiver host.")]
Ca = Annotated[Path | None, typer.Option("--ca", help="PEM of those who may vouch for a receiver.")]
Cert = Annotated[Path | None, typer.Option("--cert", help="PEM of our certificate.")]
Key = Annotated[Path | None, typer.Option("--key", help="PEM of its key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Cid = Annotated[str, typer.Option("--cid", help="The home's number at the centre.")]
ReplyS = Annotated[float, typer.Option("--reply", metavar="SECONDS", help="How long to wait for an answer.")]
ANY_PORT = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]
SIP_PORT = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
STYLES = {"ME": "bold red", "RE": "green", "IN": "cyan", "PI": "dim"}


@app.command()
def centre(
    listen: Listens = SIP_PORT,
    behave: Annotated[str, typer.Option("--behave", help="What to do with the first messages: busy,lost,503")] = "",
    always: Annotated[str, typer.Option("--always", help="What to do with all others.")] = "ok",
    credentials: Annotated[
        Path | None, typer.Option("--credentials", help="TOML: ask for this login (digest).")
    ] = None,
    cert: Cert = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Simulate an alarm centre. Type a behaviour and Enter for the next message; Ctrl-C ends."""
    wanted = settings(listen, cert=cert, key=key)
    login = next(iter(read_credentials(credentials).values()), None) if credentials else None
    console = Console(highlight=False, soft_wrap=True)

    def show(seen: Seen) -> None:
        if as_json:
            print(json.dumps(seen.as_dict(), ensure_ascii=False), flush=True)
        else:
            style = STYLES.get(seen.request.mty, "") if seen.request else "yellow"
            clock = time.strftime("%H:%M:%S", time.localtime(seen.at_s))
            console.print(Text(f"{clock} {seen.told()}", style=style))

    async def serve() -> None:
        agent = Agent(_nobody, wanted.listen, "", None, wanted.server_tls)
        made = Centre(agent, behaviours=script(behave), always=behaviour(always), credentials=login, on_seen=show)
        await agent.open()
        ports = ", ".join(f"{name.lower()} {port}" for name, port in agent.ports.items())
        print(f"centre: listening, {ports}. Behaviours: {' '.join(NAMED)} · {PATTERNS}", file=sys.stderr, flush=True)
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=_listen_to_keys, args=(loop, made), daemon=True).start()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
        await agent.close()
        print(f"centre: {len(made.seen)} messages", file=sys.stderr)

    asyncio.run(serve())


@app.command()
def send(
    to: To,
    cid: Cid,
    kind: Annotated[str, typer.Option("--kind", help="Kind of event.")] = "help",
    state: Annotated[str, typer.Option("--state", help="raised, updated or cleared")] = "raised",
    test: Annotated[bool, typer.Option("--test", help="As a test alarm.")] = False,
    sensor: Annotated[str | None, typer.Option("--sensor", help="Name of the sensor.")] = None,
    location: Annotated[int | None, typer.Option("--location", help="SCAIP location code, 0…999.")] = None,
    quirk: Annotated[
        str | None, typer.Option("--quirk", help=f"As a real device has it: {' '.join(quirks.QUIRKS)}")
    ] = None,
    listen: Listens = ANY_PORT,
    advertise: Advertise = "",
    credentials: Logins = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    reply_s: ReplyS = REPLY_S,
    as_json: AsJson = False,
) -> None:
    """Send one message to each receiver, and say what came back. Exit code 0: every one has it."""
    code = next((k.code for k in kinds.KINDS.values() if k.name == kind), None)
    states = {name: number for number, name in kinds.STATES.items()}
    if code is None or state not in states or (quirk and quirk not in quirks.QUIRKS):
        names = " ".join(k.name for k in kinds.KINDS.values())
        raise TryggError("There is no such kind, state or quirk.", f"Kinds: {names}", usage=True)
    errands = []
    for receiver in check_receivers(to):
        event = Event(gateway="terminal", epoch=secrets.token_bytes(8), seq=0, boot=1, uptime_ms=0, kind=code,
                      state=states[state], test=test, sensor=sensor, location=location)  # fmt: skip
        request = codes.request_for(event, Home(cid), alarm=True)
        raw = quirks.quirky(quirk, cid, request.ref) if quirk else None
        errands.append(Errand(quirk or f"{kind} {state}", request, receiver, raw))
    ours = settings(listen, advertise, credentials, ca, cert, key)
    _report(errand.run(errands, ours, reply_s), as_json)


@app.command("test")
def check_home(
    to: To,
    cid: Cid,
    call_back: Annotated[str | None, typer.Option("--call-back", help="Number of its voice alarm.")] = None,
    listen: Listens = ANY_PORT,
    advertise: Advertise = "",
    credentials: Logins = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    reply_s: ReplyS = REPLY_S,
    as_json: AsJson = False,
) -> None:
    """Test one home at each receiver: heartbeat, test alarm, reset."""
    ours = settings(listen, advertise, credentials, ca, cert, key)
    _report(errand.run(errand.test_of(Home(cid, call_back), check_receivers(to)), ours, reply_s), as_json)


@app.command()
def onboard(
    to: To,
    homes_csv: Annotated[Path, typer.Option("--csv", help="Columns: gateway, cid, call_back.")],
    report: Annotated[Path, typer.Option("--report", help="What is through; run again to go on.")] = Path(
        "onboarded.csv"
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file.")] = False,
    listen: Listens = ANY_PORT,
    advertise: Advertise = "",
    credentials: Logins = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    reply_s: ReplyS = REPLY_S,
    as_json: AsJson = False,
) -> None:
    """Check a list of homes, and that each receiver knows each of them (a heartbeat). Harmless to run again."""
    homes = errand.read_homes(homes_csv)
    ours = settings(listen, advertise, credentials, ca, cert, key)
    errands = errand.onboarding_of(homes, check_receivers(to))
    passed = errand.passed_before(report)
    left = [one for one in errands if (one.request.cid, one.receiver) not in passed]
    if dry_run:
        print(f"{homes_csv}: {len(homes)} homes, {len(left)} of {len(errands)} checks to do")
        return
    checked = errand.run(left, ours, reply_s)
    errand.write_report(report, homes, checked)
    failed = [one for one in checked if not one.verdict.delivered]
    if as_json:
        numbers = {
            "homes": len(homes),
            "ok": len(errands) - len(failed),
            "failed": len(failed),
            "skipped": len(errands) - len(left),
        }
        print(json.dumps(numbers | {"checks": [one.as_dict() for one in checked]}, indent=2, ensure_ascii=False))
    else:
        for one in failed:
            print(f"{one.errand.request.cid:>16}  {one.errand.receiver}: {one.verdict.why}")
        print(f"{len(errands) - len(failed)} of {len(errands)} are through, {len(failed)} are not. See {report}")
    raise typer.Exit(1 if failed else 0)


def _report(checked: list[Checked], as_json: bool) -> None:
    if as_json:
        print(json.dumps([one.as_dict() for one in checked], indent=2, ensure_ascii=False))
    else:
        for one in checked:
            mark = "ok    " if one.verdict.delivered else "FAILED"
            print(f"{mark}  {one.errand.what:14}  {one.errand.receiver}: {one.verdict.why}")
    raise typer.Exit(0 if all(one.verdict.delivered for one in checked) else 1)


def _listen_to_keys(loop: asyncio.AbstractEventLoop, made: Centre) -> None:
    """Each line typed is what to do with the next messages."""
    for line in sys.stdin:
        try:
            wanted = script(line)
        except TryggError as e:
            print(f"centre: {e.message} {e.hint}", file=sys.stderr)
        else:
            loop.call_soon_threadsafe(made.script.extend, wanted)


async def _nobody(*_: object) -> None:
    return None
