"""Brings one SCAIP request to one receiver and waits for its reply, wherever the reply comes: in the 200, or as a MESSAGE.

Invariant: an attempt is delivered only by a reply with status number 0 and this very `ref` (TP-SCA-005).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tryggport.errors import TryggError
from tryggport.scaip import digest, judge, locate, sip
from tryggport.scaip.agent import Agent, ClosedError, NoAnswerError, Route
from tryggport.scaip.digest import Credentials
from tryggport.scaip.judge import Verdict
from tryggport.scaip.locate import Locator, Target
from tryggport.scaip.message import MEDIA_TYPE, Reply, Request, ScaipError, parse
from tryggport.scaip.sip import SipMessage

UNAVAILABLE = 503
REPLY_S = 10.0  # TP-BND-205
AUTH = {401: ("www-authenticate", "authorization"), 407: ("proxy-authenticate", "proxy-authorization")}
Late = Callable[[Reply, str], None]


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
        self._waiting: defaultdict[str, list[tuple[str, asyncio.Future[Reply]]]] = defaultdict(list)
        self.unreadable: Counter[int] = Counter()  # by status number: a text is the sender's, who may be anybody
        agent.handler = self._receive

    async def attempt(
        self, request: Request, receiver: str, *, reply_s: float = REPLY_S, raw: tuple[str, bytes] | None = None
    ) -> Verdict:
        """One try at one receiver, at most `reply_s` long. Raises TryggError only for a bad address or request.

        raw: media type and body to send instead of the request's own XML.
        """
        uri = locate.parse_uri(receiver)
        media_type, content = raw or (MEDIA_TYPE, request.to_xml())
        body = content, media_type
        loop = asyncio.get_running_loop()
        replied: asyncio.Future[Reply] = loop.create_future()
        entry = (receiver, replied)
        self._waiting[request.ref].append(entry)
        deadline = loop.time() + reply_s
        exchange = asyncio.ensure_future(self._exchange(request, uri, body, deadline))
        try:
            both: tuple[asyncio.Future[Any], ...] = (exchange, replied)
            await asyncio.wait(both, timeout=reply_s, return_when=asyncio.FIRST_COMPLETED)
            if replied.done():  # the separate MESSAGE may overtake the 200
                return judge.of_reply(replied.result(), reduced=request == request.reduced())
            if not exchange.done():
                return judge.silence("does not answer", reached=False)
            return await self._after(exchange.result(), request, replied, deadline)
        finally:
            exchange.cancel()
            self._waiting[request.ref].remove(entry)
            if not self._waiting[request.ref]:
                del self._waiting[request.ref]

    async def _after(
        self, answer: SipMessage | Verdict, request: Request, replied: asyncio.Future[Reply], deadline: float
    ) -> Verdict:
        """The exchange is over: judge the reply in the response, or wait for the one that comes on its own."""
        if isinstance(answer, Verdict):
            return answer
        if answer.code >= 300:
            return judge.of_failure(answer.code, answer.phrase)
        reduced = request == request.reduced()
        inside = self._inside(answer)
        if inside is not None and inside.ref == request.ref:
            return judge.of_reply(inside, reduced=reduced)
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        await asyncio.wait({replied}, timeout=left_s)
        if replied.done():
            return judge.of_reply(replied.result(), reduced=reduced)
        wrong = f", but a reply for {inside.ref}" if inside is not None else ""
        return judge.silence(f"answers {answer.code} without confirming the alarm{wrong}", reached=False, took=True)

    async def _exchange(
        self, request: Request, uri: locate.Uri, body: tuple[bytes, str], deadline: float
    ) -> SipMessage | Verdict:
        """The final response of the first target that has one; a 503 leads to the next one (RFC 3263 section 4.3)."""
        targets = await self._locator.targets(uri)
        why = "does not answer"
        unavailable: SipMessage | None = None
        loop = asyncio.get_running_loop()
        for place, target in enumerate(targets):
            share_s = (deadline - loop.time()) / (len(targets) - place)
            try:
                answer = await self._ask(request, uri, target, body, share_s)
            except NoAnswerError as e:
                why = e.message.rstrip(".")
                continue
            if answer.code != UNAVAILABLE:
                return answer
            unavailable = answer
        return unavailable or judge.silence(why, reached=False)

    async def _ask(
        self, request: Request, uri: locate.Uri, target: Target, body: tuple[bytes, str], timeout_s: float
    ) -> SipMessage:
        """One transaction, or two when the first is answered with a challenge."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        message = self._agent.message(uri.text, target.transport, request.cid, *body)
        answer = await self._transact(message, target, deadline)
        who = self._credentials.get(uri.host)
        if answer.code not in AUTH or who is None:
            return answer
        challenge, header = AUTH[answer.code]
        given = digest.answer(answer.all(challenge), who, "MESSAGE", uri.text)
        if given is None:
            return answer
        return await self._transact(sip.again(message, header, given), target, deadline)

    async def _transact(self, message: SipMessage, target: Target, deadline: float) -> SipMessage:
        """Over the stream that is open; where its peer has closed it meanwhile, once more over a fresh one: some close after
        each answer, others after a while, and an alarm must not wait for its next attempt because of that."""
        loop = asyncio.get_running_loop()
        route = await self._agent.route(target, deadline - loop.time())
        reused = route.used
        try:
            return await self._agent.transact(message, route, deadline - loop.time())
        except ClosedError:
            if not reused:
                raise
        route = await self._agent.route(target, deadline - loop.time())
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
        heard = self._waiting.get(found.ref, ())
        waiting = [f for receiver, f in heard if not f.done() and is_trusted((receiver,), route.transport)]
        for future in waiting:
            future.set_result(found)
        if not waiting:
            self._on_reply(found, route.transport)
        return sip.respond(message, 200)


def is_trusted(receivers: Sequence[str], transport: str) -> bool:
    """Whether a reply by this transport may be theirs: who is addressed over TLS confirms over TLS (TP-SCA-008)."""
    return transport == locate.TLS or not any(locate.parse_uri(receiver).secure for receiver in receivers)


def check_receivers(receivers: Sequence[str]) -> tuple[str, ...]:
    """Raises TryggError unless there is one and each is a SIP address."""
    if not receivers:
        raise TryggError("No receiver is named.", "Example: --to sips:alarm@arc.example", usage=True)
    for receiver in receivers:
        locate.parse_uri(receiver)
    return tuple(receivers)
