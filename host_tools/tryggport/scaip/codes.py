"""What an event of ours is in SCAIP (protocols/events.toml through wire.kinds), and back.

The codes carry the meaning for any centre. `ite` carries it once more, exactly, with the time and identity that SCAIP has no
tag for: ``fall raised 2026-11-22T03:10:05Z kitchen-7/17``; so our own reader gets back the very kind and state.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tryggport.scaip.message import HEARTBEAT, INFORMATION, MESSAGE, RESET, Request, printable
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.kinds import Kind

CONTROLLER = 2
RESTORED = 94
LOG, UNDEFINED, AUTOMATIC = 62, 1, 9
TEST_OVER = (102, 103)  # by path: primary, redundant
_UNKNOWN = "kind-{}"
_ITE = re.compile(r"([a-z0-9_-]+) (raised|updated|cleared)( test)? (\S+) ([a-z0-9-]{4,24})/([0-9]{1,10})")


@dataclass(frozen=True, slots=True)
class Home:
    """A home as the centre knows it: `cid` of 1 to 16 digits; `call_back`: number or sip: address of its voice alarm."""

    cid: str
    call_back: str | None = None

    @property
    def media(self) -> tuple[str, int]:
        """The tags crd and cha: the centre calls back, or there is no voice."""
        if not self.call_back:
            return "no-voice:", 0
        return (self.call_back if self.call_back.startswith("sip") else f"tel:{self.call_back}"), 1


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a request says of an event. `seq` and `gateway` only when its sender was ours."""

    kind: int
    state: int
    test: bool
    gateway: str | None = None
    seq: int | None = None
    utc: str | None = None


def reference(gateway: str, epoch: bytes, seq: int) -> str:
    """The `ref` of an event: the same at every attempt, and not to be guessed by who has not seen the event."""
    return hashlib.sha256(b"scaip" + gateway.encode() + epoch + seq.to_bytes(8, "big")).digest()[:8].hex()


def request_for(event: Event, home: Home, *, alarm: bool) -> Request:
    """The message for an event; `alarm`: of the alarm class, should its kind be one that this version does not know."""
    kind = kinds.KINDS.get(event.kind)
    mty, dty, stc = _codes(kind, event.state, alarm)
    crd, cha = home.media
    return Request(
        ref=reference(event.gateway, event.epoch, event.seq),
        cid=home.cid,
        mty=mty,
        dty=dty,
        stc=TEST_OVER[0] if event.test else stc,
        stt=_status_text(event, kind),
        did=_device_id(event.sensor),
        dte=printable(event.sensor or "", 32) or None,
        lco=event.location,
        cha=cha,
        crd=crd,
        ite=_identity_text(event, kind),
    )


def unreadable_alarm(home: Home, ref: str) -> Request:
    """The message for an alarm that was signed by the home's gateway and cannot be read (TP-WIR-017)."""
    crd, cha = home.media
    return Request(ref=ref, cid=home.cid, dty=CONTROLLER, stc=UNDEFINED, stt="Uleselig alarm", cha=cha, crd=crd)


def heartbeat(home: Home, ref: str, path: int) -> Request:
    """The sign of life of a home over its primary path (0) or a redundant one (1, 2, …)."""
    return Request(ref=ref, cid=home.cid, mty=HEARTBEAT, dty=CONTROLLER, stc=TEST_OVER[min(path, 1)], crd="no-voice:")


def meaning(request: Request) -> Meaning | None:
    """Kind and state of a request, by its `ite` when it is ours, else by its codes; None when no kind of ours fits."""
    if request.mty == HEARTBEAT:
        return None
    found = _ITE.fullmatch(request.ite or "")
    if found:
        name, state, test, utc, gateway, seq = found.groups()
        codes = {kind.name: code for code, kind in kinds.KINDS.items()}
        code = codes.get(name) or int(name.removeprefix("kind-"))
        states = {text: number for number, text in kinds.STATES.items()}
        return Meaning(code, states[state], bool(test), gateway, int(seq), None if utc == "-" else utc)
    for code, kind in kinds.KINDS.items():
        for state in (kinds.STATE_RAISED, kinds.STATE_CLEARED, kinds.STATE_UPDATED):
            if _codes(kind, state, kind.alarm) == (request.mty, request.dty, request.stc):
                return Meaning(code, state, False)
    return None


def _codes(kind: Kind | None, state: int, alarm: bool) -> tuple[str, int, int]:
    """mty, dty, stc. A cancel and a restoral are resets; what is learnt later of an alarm is information."""
    raised = kind.scaip if kind else (MESSAGE, UNDEFINED, AUTOMATIC) if alarm else (INFORMATION, UNDEFINED, LOG)
    if state == kinds.STATE_CLEARED:
        _, dty, stc = (kind and kind.cleared) or (RESET, raised[1], RESTORED)
        return RESET, dty, stc
    if state == kinds.STATE_UPDATED:
        return INFORMATION, raised[1], raised[2]
    return raised


def _status_text(event: Event, kind: Kind | None) -> str:
    verdicts = {kinds.VERDICT_RECOVERED: "er oppe igjen", kinds.VERDICT_LONG_LIE: "ligger fortsatt"}
    name = kind.nb if kind else f"Hendelse {event.kind}"
    verdict = event.data.get(kinds.DATA_VERDICT) if event.state == kinds.STATE_UPDATED else None
    more = verdicts.get(verdict, "") if isinstance(verdict, int) else ""
    return printable(f"{'PRØVE: ' * event.test}{name}{', ' * bool(more)}{more}", 32)


def _device_id(sensor: str | None) -> str | None:
    """The sensor's name where it fits the tag, else eight digits that stand for it."""
    if sensor is None:
        return None
    if re.fullmatch("[0-9A-Za-z_.-]{1,8}", sensor, re.ASCII):
        return sensor
    return hashlib.sha256(sensor.encode()).hexdigest()[:8].upper()


def _identity_text(event: Event, kind: Kind | None) -> str:
    name = kind.name if kind else _UNKNOWN.format(event.kind)
    utc = "-"
    if event.utc_ms is not None:
        utc = f"{datetime.fromtimestamp(event.utc_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{name} {kinds.STATES[event.state]}{' test' * event.test} {utc} {event.gateway}/{event.seq}"
