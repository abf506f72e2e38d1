"""A simulated alarm receiving centre: takes SCAIP over UDP, TCP and TLS, answers, and misbehaves on demand.

It keeps what it has seen, knows an alarm that comes again by its reference, and checks what commercial receivers check: that the
mandatory tags are there and that the user in From is the `cid`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tryggport.scaip import codes, digest, locate, names, sip
from tryggport.scaip.agent import Agent, NoAnswerError, Route
from tryggport.scaip.behaviour import NAMED, Behaviour, behaviour, body_of, with_status
from tryggport.scaip.digest import Credentials
from tryggport.scaip.message import MEDIA_TYPE, OK, OTHER, Reply, Request, ScaipError, parse
from tryggport.scaip.sip import SipMessage

KEPT = 10_000
ANSWER_S = 10.0
REALM = "tryggport-centre"


@dataclass(frozen=True, slots=True)
class Seen:
    """One message that came. `request` is None when it could not be read; `copy`: how often its reference came before."""

    at_s: float
    peer: str
    transport: str
    from_user: str
    request: Request | None
    raw: bytes
    snu: int
    code: int
    copy: int
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        r = self.request
        found: dict[str, Any] = {"t_ms": int(self.at_s * 1000), "transport": self.transport, "peer": self.peer}
        found |= {
            "from": self.from_user,
            "code": self.code,
            "snu": self.snu,
            "copy": self.copy,
            "why": self.why or None,
        }
        if r is not None:
            found |= {"ref": r.ref, "cid": r.cid, "mty": r.mty, "dty": r.dty, "stc": r.stc, "did": r.did, "dte": r.dte}
            found |= {"lco": r.lco, "stt": r.stt, "ite": r.ite, "crd": r.crd}
        return {key: value for key, value in found.items() if value is not None}

    def told(self) -> str:
        """For a person: what it is, where, and what was answered."""
        r = self.request
        if r is None:
            return f"unreadable from {self.from_user or self.peer}: {self.why}"
        what = f"{names.MESSAGE_TYPES.get(r.mty, r.mty):11} {names.device(r.dty)}: {names.status(r.stc)}"
        where = ", ".join(text for text in (r.lco is not None and names.place(r.lco), r.lte, r.dte or r.did) if text)
        said = "no answer" if not self.code else f"{self.code}" if self.code >= 300 else names.reply(self.snu)
        again = f" (again, {self.copy + 1} times)" if self.copy else ""
        more = f" · {r.stt}" if r.stt else ""
        return f"{r.cid:>16}  {what}{f' · {where}' if where else ''}{more}  → {said}{again}"


class Centre:
    """`behaviours` are used up one a message; then it behaves like `always`. `credentials`: it asks for them (digest)."""

    def __init__(
        self,
        agent: Agent,
        *,
        behaviours: Sequence[Behaviour] = (),
        always: Behaviour = NAMED["ok"][0],
        credentials: Credentials | None = None,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        on_seen: Callable[[Seen], None] = lambda seen: None,
    ) -> None:
        self.agent = agent
        self.seen: deque[Seen] = deque(maxlen=KEPT)
        self.script: deque[Behaviour] = deque(behaviours)
        self.always = always
        self.challenged = 0
        self.unconfirmed: list[str] = []
        self._credentials = credentials
        self._algorithms = algorithms
        self._nonce = secrets.token_hex(12)
        self._copies: dict[str, int] = {}
        self._on_seen = on_seen
        self._tasks: set[asyncio.Task[None]] = set()
        agent.handler = self._receive

    def behave(self, *texts: str) -> None:
        """What to do with the next messages, in the words of `behaviour`."""
        self.script.extend(behaviour(text) for text in texts)

    async def _receive(self, message: SipMessage, route: Route) -> SipMessage | None:
        if self._credentials is not None and not self._admitted(message):
            self.challenged += 1
            return self._challenge(message)
        found = self.script.popleft() if self.script else self.always
        request, snu, ref, why = _read(message)
        if found.snu == OK and snu != OK:
            found = with_status(found, snu)
        copy = self._copies.get(ref, 0)
        self._copies[ref] = copy + 1
        if len(self._copies) > KEPT:
            del self._copies[next(iter(self._copies))]
        seen = Seen(time.time(), route.peer, route.transport, message.from_user, request, message.body, found.snu,
                    found.code, copy, why)  # fmt: skip
        self.seen.append(seen)
        self._on_seen(seen)
        if found.code == 0:
            return None
        if found.code == 401:
            return self._challenge(message)
        return self._respond(message, route, found, Reply(ref=ref or "0", snu=found.snu, ste=why[:128] or None, mre=0))

    def _respond(self, message: SipMessage, route: Route, found: Behaviour, reply: Reply) -> SipMessage:
        if found.foreign:
            reply = Reply(ref=secrets.token_hex(8), snu=reply.snu)
        body, media_type = body_of(reply, found.odd)
        media_type = media_type or MEDIA_TYPE
        if found.apart:
            task = asyncio.ensure_future(self._reply(message, route, body, media_type, found))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return sip.respond(message, found.code, body if found.inside else b"", media_type)

    async def _reply(self, message: SipMessage, route: Route, body: bytes, media_type: str, found: Behaviour) -> None:
        """The reply as a MESSAGE to where the alarm came from."""
        await asyncio.sleep(found.delay_s)
        uri = message.get("from").partition("<")[2].partition(">")[0] or f"sip:{message.from_user}@{route.peer}"
        for _ in range(found.copies):
            mine = self.agent.message(uri, route.transport, "centre", body, media_type)
            try:
                await self.agent.transact(mine, await self._way(uri, route), ANSWER_S)
            except NoAnswerError as e:
                self.unconfirmed.append(e.message)

    async def _way(self, uri: str, route: Route) -> Route:
        """Back over the connection it came by; should that be gone, to the address the sender says it has."""
        if route.stream is None or not route.stream.is_closing():
            return route
        found = locate.parse_uri(uri)
        port = found.port or locate.PORT[route.transport]
        return await self.agent.route(locate.Target(route.transport, found.host, port, found.host), ANSWER_S)

    def _admitted(self, message: SipMessage) -> bool:
        who = self._credentials
        given = message.get("authorization")
        return who is not None and digest.matches(given, who, "MESSAGE", REALM, self._nonce)

    def _challenge(self, message: SipMessage) -> SipMessage:
        answer = sip.respond(message, 401)
        challenges = [digest.challenge(REALM, self._nonce, name) for name in self._algorithms]
        headers = tuple(("www-authenticate", text) for text in challenges)
        return SipMessage((*answer.headers, *headers), code=401, phrase=answer.phrase)


def _read(message: SipMessage) -> tuple[Request | None, int, str, str]:
    """The request, the status number it deserves, its reference as far as known, and why it is not accepted."""
    try:
        found = parse(message.body)
    except ScaipError as e:
        return None, e.snu, e.ref, e.message
    if isinstance(found, Reply):
        return None, OTHER, found.ref, "A reply came where a request was expected."
    if found.cid != message.from_user:
        return found, OTHER, found.ref, f"From is {message.from_user or 'nobody'}, not the cid."
    return found, OK, found.ref, ""


def meaning_of(seen: Seen) -> codes.Meaning | None:
    """Which event of ours a message is, if any."""
    return codes.meaning(seen.request) if seen.request is not None else None
