"""Brings one SCAIP request to one receiver and waits for its reply, wherever the reply comes: in the 200, or as a MESSAGE.

Invariants
  I1  an attempt is delivered only by a reply with status number 0 and this very `ref` (TP-SCA-005).
  I2  a reply counts for the one receiver that it can be shown to come from, else for none (TP-SCA-013): by the connection on which
      the alarm went out, or because no other has taken the alarm and none that was asked can still do so.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from tryggport.errors import TryggError
from tryggport.scaip import digest, judge, locate, sip
from tryggport.scaip.agent import Agent, ClosedError, NoAnswerError, Route
from tryggport.scaip.digest import Credentials
from tryggport.scaip.judge import Verdict
from tryggport.scaip.late import Receivers, Unconfirmed, is_trusted
from tryggport.scaip.locate import Locator, Target
from tryggport.scaip.message import MEDIA_TYPE, OK, Reply, Request, ScaipError, parse
from tryggport.scaip.sip import SipMessage

UNAVAILABLE = 503
REPLY_S = 10.0  # TP-BND-205
AUTH = {401: ("www-authenticate", "authorization"), 407: ("proxy-authenticate", "proxy-authorization")}
Late = Callable[[Reply, str], None]


@dataclass(eq=False)
class _Asked:
    """One attempt under way. `of`: the list that it is made for; `ways`: where it has gone out; `took`: see Verdict."""

    receiver: str
    of: Receivers
    replied: asyncio.Future[Reply]
    ways: set[str] = field(default_factory=set)
    took: bool = False


class Courier:
    """`on_reply` hears of each reply that no attempt waits for: late, repeated, or for nothing of ours.

    credentials: user and password by the host of the receiver's address.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        locator: Locator | None = None,
        credentials: Mapping[str, Credentials] | None = None,
        on_reply: Late = lambda reply, peer: None,
    ) -> None:
        self._agent = agent
        self._locator = locator or Locator(lambda n: secrets.randbelow(n + 1))
        self._credentials = credentials or {}
        self._on_reply = on_reply
        self._waiting: defaultdict[str, list[_Asked]] = defaultdict(list)
        self._held: dict[str, tuple[Reply, str]] = {}  # by ref, while it cannot be told whose it is
        self._late = Unconfirmed()
        self.unreadable: Counter[int] = Counter()  # by status number: a text is the sender's, who may be anybody
        agent.handler = self._receive

    async def attempt(
        self,
        request: Request,
        receiver: str,
        *,
        reply_s: float = REPLY_S,
        of: Receivers = (),
        raw: tuple[str, bytes] | None = None,
    ) -> Verdict:
        """One try at one receiver, at most `reply_s` long. Raises TryggError only for a bad address or request.

        of: the list that the receiver is in, if it is to be known when a reply comes after the attempt was given up (`confirmed`).
        raw: media type and body to send instead of the request's own XML.
        """
        uri = locate.parse_uri(receiver)
        media_type, content = raw or (MEDIA_TYPE, request.to_xml())
        body = content, media_type
        asked = _Asked(receiver, of or (receiver,), asyncio.get_running_loop().create_future())
        self._waiting[request.ref].append(asked)
        try:
            verdict = await self._attempt(request, uri, body, reply_s, asked)
            if of:
                self._late.over(request.ref, of, asked.ways, verdict)
            return verdict
        finally:
            self._waiting[request.ref].remove(asked)
            if not self._waiting[request.ref]:
                del self._waiting[request.ref]
            self._tell(request.ref)

    def confirmed(self, ref: str, receivers: Receivers) -> bool:
        """Whether one of the list has confirmed the alarm since its attempt was given up."""
        return self._late.confirmed(ref, receivers)

    async def _attempt(
        self, request: Request, uri: locate.Uri, body: tuple[bytes, str], reply_s: float, asked: _Asked
    ) -> Verdict:
        deadline = asyncio.get_running_loop().time() + reply_s
        exchange = asyncio.ensure_future(self._exchange(request, uri, body, deadline, asked.ways))
        try:
            both: tuple[asyncio.Future[Any], ...] = (exchange, asked.replied)
            await asyncio.wait(both, timeout=reply_s, return_when=asyncio.FIRST_COMPLETED)
            if asked.replied.done():  # the separate MESSAGE may overtake the 200
                return judge.of_reply(asked.replied.result(), reduced=request == request.reduced())
            if not exchange.done():
                return judge.silence("does not answer", reached=False)
            return await self._after(exchange.result(), request, asked, deadline)
        finally:
            exchange.cancel()

    async def _after(self, answer: SipMessage | Verdict, request: Request, asked: _Asked, deadline: float) -> Verdict:
        """The exchange is over: judge the reply in the response, or wait for the one that comes on its own."""
        if isinstance(answer, Verdict):
            return answer
        if answer.code >= 300:
            return judge.of_failure(answer.code, answer.phrase)
        reduced = request == request.reduced()
        inside = self._inside(answer)
        if inside is not None and inside.ref == request.ref:
            return judge.of_reply(inside, reduced=reduced)
        asked.took = True
        self._tell(request.ref)
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        await asyncio.wait({asked.replied}, timeout=left_s)
        if asked.replied.done():
            return judge.of_reply(asked.replied.result(), reduced=reduced)
        wrong = f", but a reply for {inside.ref}" if inside is not None else ""
        return judge.silence(f"answers {answer.code} without confirming the alarm{wrong}", reached=False, took=True)

    async def _exchange(
        self, request: Request, uri: locate.Uri, body: tuple[bytes, str], deadline: float, ways: set[str]
    ) -> SipMessage | Verdict:
        """The final response of the first target that has one; a 503 leads to the next one (RFC 3263 section 4.3)."""
        targets = await self._locator.targets(uri)
        why = "does not answer"
        unavailable: SipMessage | None = None
        loop = asyncio.get_running_loop()
        for place, target in enumerate(targets):
            share_s = (deadline - loop.time()) / (len(targets) - place)
            try:
                answer = await self._ask(request, uri, target, body, share_s, ways)
            except NoAnswerError as e:
                why = e.message.rstrip(".")
                continue
            if answer.code != UNAVAILABLE:
                return answer
            unavailable = answer
        return unavailable or judge.silence(why, reached=False)

    async def _ask(
        self,
        request: Request,
        uri: locate.Uri,
        target: Target,
        body: tuple[bytes, str],
        timeout_s: float,
        ways: set[str],
    ) -> SipMessage:
        """One transaction, or two when the first is answered with a challenge."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        message = self._agent.message(uri.text, target.transport, request.cid, *body)
        answer = await self._transact(message, target, deadline, ways)
        who = self._credentials.get(uri.host)
        if answer.code not in AUTH or who is None:
            return answer
        challenge, header = AUTH[answer.code]
        given = digest.answer(answer.all(challenge), who, "MESSAGE", uri.text)
        if given is None:
            return answer
        return await self._transact(sip.again(message, header, given), target, deadline, ways)

    async def _transact(self, message: SipMessage, target: Target, deadline: float, ways: set[str]) -> SipMessage:
        """Over the stream that is open; where its peer has closed it meanwhile, once more over a fresh one: some close after
        each answer, others after a while, and an alarm must not wait for its next attempt because of that."""
        loop = asyncio.get_running_loop()
        route = await self._agent.route(target, deadline - loop.time())
        reused = route.used
        ways.add(_way(route))
        try:
            return await self._agent.transact(message, route, deadline - loop.time())
        except ClosedError:
            if not reused:
                raise
        route = await self._agent.route(target, deadline - loop.time())
        ways.add(_way(route))
        return await self._agent.transact(message, route, deadline - loop.time())

    def _inside(self, answer: SipMessage) -> Reply | None:
        if not answer.body:
            return None
        try:
            found = parse(answer.body)
        except ScaipError as e:
            self.unreadable[e.snu] += 1
            return None
        return found if isinstance(found, Reply) else None

    async def _receive(self, message: SipMessage, route: Route) -> SipMessage | None:
        """A MESSAGE to us: a reply is answered 200 whatever it is for; we receive no alarms."""
        try:
            found = parse(message.body)
        except ScaipError as e:
            self.unreadable[e.snu] += 1
            return sip.respond(message, 400)
        if isinstance(found, Request):
            return sip.respond(message, 403)
        self._hear(found, route)
        return sip.respond(message, 200)

    def _hear(self, reply: Reply, route: Route) -> None:
        """A reply of its own: the connection says whose it is, or what the others have answered does."""
        way = _way(route)
        asked = self._asked(reply.ref, route.transport)
        there = {one for one in asked if way in one.ways}
        earlier = self._late.went(reply.ref, way)
        theirs = {one.of for one in there} | earlier
        if len(theirs) == 1 and self._give(reply, [one for one in asked if one.of in theirs], there):
            return
        if earlier and not there:
            self._late.hear(reply, route.transport, earlier)
            self._on_reply(reply, route.transport)
            return
        if reply.ref not in self._held or self._held[reply.ref][0].snu != OK:
            self._held[reply.ref] = reply, route.transport
        self._tell(reply.ref)

    def _tell(self, ref: str) -> None:
        """Whose the reply is that is held, as soon as none can still take the alarm of those that were asked for it."""
        if ref not in self._held:
            return
        reply, transport = self._held[ref]
        asked = self._asked(ref, transport)
        took = self._late.took(ref) | {one.of for one in asked if one.took}
        if any(one.ways and one.of not in took for one in asked):
            return
        del self._held[ref]
        by = {one for one in asked if one.took}
        if len(took) == 1 and self._give(reply, [one for one in asked if one.of in took], by):
            return
        if len(took) < 2:
            self._late.hear(reply, transport)
        self._on_reply(reply, transport)

    def _give(self, reply: Reply, asked: Sequence[_Asked], by: Set[_Asked]) -> bool:
        """To those of one list that wait. A confirmation is for the whole list, anything else only for who said it."""
        given = [one for one in asked if reply.snu == OK or one in by]
        for one in given:
            one.replied.set_result(reply)
        return bool(given)

    def _asked(self, ref: str, transport: str) -> list[_Asked]:
        """The attempts that a reply by this transport may be for."""
        waiting = self._waiting.get(ref, ())
        return [one for one in waiting if not one.replied.done() and is_trusted((one.receiver,), transport)]


def _way(route: Route) -> str:
    return f"{route.transport} {route.peer}"


def check_receivers(receivers: Sequence[str]) -> tuple[str, ...]:
    """Raises TryggError unless there is one and each is a SIP address."""
    if not receivers:
        raise TryggError("No receiver is named.", "Example: --to sips:alarm@arc.example", usage=True)
    for receiver in receivers:
        locate.parse_uri(receiver)
    return tuple(receivers)
