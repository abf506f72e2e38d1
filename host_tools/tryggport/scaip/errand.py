"""Single messages for people at a terminal: send one, test a home, onboard a list of homes. Nothing is kept, nothing repeated."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tryggport.errors import TryggError
from tryggport.scaip import codes
from tryggport.scaip.agent import Agent
from tryggport.scaip.codes import CONTROLLER, Home
from tryggport.scaip.courier import REPLY_S, Courier
from tryggport.scaip.judge import Verdict
from tryggport.scaip.message import RESET, Request
from tryggport.scaip.settings import Settings

AT_ONCE = 8
MAX_CSV = 10_000_000
GATEWAY = re.compile("[a-z0-9-]{4,24}")
CID = re.compile("[0-9]{1,16}")
NUMBER = re.compile(r"\+[0-9]{4,15}")


@dataclass(frozen=True, slots=True)
class Errand:
    """One message to one receiver; `raw`: media type and body to send as they are instead."""

    what: str
    request: Request
    receiver: str
    raw: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a receiver said of one errand."""

    errand: Errand
    verdict: Verdict

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        v = self.verdict
        found = {"what": self.errand.what, "cid": self.errand.request.cid, "receiver": self.errand.receiver}
        return found | {"ref": self.errand.request.ref, "delivered": v.delivered, "snu": v.snu, "why": v.why}


def run(errands: Sequence[Errand], settings: Settings, reply_s: float = REPLY_S) -> list[Checked]:
    """Sends all of them; the messages of one home to one receiver go in their order."""
    return asyncio.run(_run(errands, settings, reply_s))


def test_of(home: Home, receivers: Sequence[str]) -> list[Errand]:
    """Heartbeat, test alarm and its reset, for each receiver."""
    found = []
    for receiver in receivers:
        crd, cha = home.media
        alarm = Request(ref=_ref(), cid=home.cid, dty=CONTROLLER, stc=codes.TEST_OVER[0], stt="PRØVE", crd=crd, cha=cha)
        reset = dataclasses.replace(alarm, ref=_ref(), mty=RESET)
        found.append(Errand("heartbeat", codes.heartbeat(home, _ref(), 0), receiver))
        found += [Errand("test alarm", alarm, receiver), Errand("reset", reset, receiver)]
    return found


def onboarding_of(homes: dict[str, Home], receivers: Sequence[str]) -> list[Errand]:
    """A heartbeat of each home for each receiver: whether the centre knows the home."""
    beats = [(home, receiver) for home in homes.values() for receiver in receivers]
    return [Errand("heartbeat", codes.heartbeat(home, _ref(), 0), receiver) for home, receiver in beats]


def read_homes(path: Path) -> dict[str, Home]:
    """Homes by gateway from a CSV with the columns gateway, cid and, if there is a number to call back, call_back.

    Raises TryggError that names every bad line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise TryggError(f"{path} cannot be read: {e.strerror}.") from None
    except UnicodeDecodeError:
        raise TryggError(f"{path} is not UTF-8.", "Save it as CSV UTF-8.") from None
    if len(text) > MAX_CSV:
        raise TryggError(f"{path} is larger than {MAX_CSV} characters.")
    first = text.split("\n", 1)[0]
    table = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in first else ",", strict=True)
    homes: dict[str, Home] = {}
    faults: list[str] = []
    try:
        if missing := {"gateway", "cid"} - set(table.fieldnames or ()):
            raise TryggError(f"{path} has no column {sorted(missing)[0]}.", "Its first line is: gateway,cid,call_back")
        for row in table:
            fault = _take(
                homes,
                {
                    name: (value or "").strip()
                    for name, value in row.items()
                    if isinstance(name, str) and not isinstance(value, list)
                },
            )
            faults += [f"line {table.line_num}: {fault}"] if fault else []
    except csv.Error as e:
        raise TryggError(f"{path} is not CSV: {e}.") from None
    if faults:
        more = f" … and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise TryggError(f"{path} has {len(faults)} bad lines. {'; '.join(faults[:10])}{more}")
    if not homes:
        raise TryggError(f"{path} names no home.")
    return homes


def passed_before(report: Path) -> set[tuple[str, str]]:
    """Homes and receivers (cid, address) that an earlier report says are through."""
    if not report.exists():
        return set()
    with report.open(encoding="utf-8", newline="") as file:
        return {(r["cid"], r["receiver"]) for r in csv.DictReader(file) if r.get("result") == "ok"}


def write_report(report: Path, homes: dict[str, Home], checked: Sequence[Checked]) -> None:
    """Adds one line for each home and receiver."""
    gateways = {home.cid: gateway for gateway, home in homes.items()}
    new = not report.exists()
    with report.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["gateway", "cid", "receiver", "result", "why"])
        for one in checked:
            cid, result = one.errand.request.cid, "ok" if one.verdict.delivered else "failed"
            writer.writerow([gateways[cid], cid, one.errand.receiver, result, one.verdict.why])


def _take(homes: dict[str, Home], row: dict[str, str]) -> str:
    """Adds a home, or says what is wrong with its line."""
    gateway, cid, number = row.get("gateway", ""), row.get("cid", ""), row.get("call_back", "").replace(" ", "")
    if not GATEWAY.fullmatch(gateway):
        return f"{gateway[:40]!r} is not a gateway id"
    if not CID.fullmatch(cid) or not cid.isascii():
        return f"{cid[:40]!r} is not a cid of 1 to 16 digits"
    if number and not NUMBER.fullmatch(number):
        return f"{number[:40]!r} is not a number like +4791234567"
    if gateway in homes:
        return f"{gateway} is there twice"
    if any(home.cid == cid for home in homes.values()):
        return f"cid {cid} is there twice"
    homes[gateway] = Home(cid, number or None)
    return ""


async def _run(errands: Sequence[Errand], settings: Settings, reply_s: float) -> list[Checked]:
    agent = Agent(_nobody, settings.listen, settings.advertise, settings.client_tls, settings.server_tls)
    courier = Courier(agent, credentials=settings.credentials)
    slots = asyncio.Semaphore(AT_ONCE)
    await agent.open()

    async def in_order(group: list[Errand]) -> list[Checked]:
        async with slots:
            return [
                Checked(one, await courier.attempt(one.request, one.receiver, reply_s=reply_s, raw=one.raw))
                for one in group
            ]

    groups: dict[tuple[str, str], list[Errand]] = {}
    for one in errands:
        groups.setdefault((one.request.cid, one.receiver), []).append(one)
    try:
        done = await asyncio.gather(*map(in_order, groups.values()))
    finally:
        await agent.close()
    return [checked for group in done for checked in group]


def _ref() -> str:
    return secrets.token_hex(8)


async def _nobody(*_: object) -> None:
    return None
