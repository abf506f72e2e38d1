"""A SIP user agent for MESSAGE: client and server transactions over UDP, TCP and TLS (RFC 3261 section 17, RFC 3428).

Everything runs on one asyncio loop. A request that comes again is answered again and handled once. UDP answers go where
RFC 3261 section 18.2.2 and RFC 3581 say; on streams whatever belongs to a connection goes back over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from tryggport.errors import TryggError
from tryggport.scaip import sip
from tryggport.scaip.locate import TCP, TLS, UDP, Target
from tryggport.scaip.sip import SipError, SipMessage

T1_S, T2_S = 0.5, 4.0  # RFC 3261 section 17.1.2.2
MAX_DATAGRAM = 1300  # RFC 3261 section 18.1.1
ANSWERS_KEPT = 4096  # TP-BND-203
CONNECTIONS = 256  # TP-BND-204
READ = 65536
GOODBYE_S = 1.0
IDLE_S = 900.0  # TP-BND-211
UNREAD = 262_144  # TP-BND-214: more than all that may be under way to one peer (TP-BND-208)


class NoAnswerError(TryggError):
    """A request that got no final answer: nobody there, no trust, or silence."""


class ClosedError(NoAnswerError):
    """The peer closed the stream before it answered."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to be reached: transport, address and port (0: any)."""

    transport: str
    host: str = "127.0.0.1"
    port: int = 0


@dataclass(eq=False)
class Route:
    """One way to a peer: a stream, or an address behind our UDP socket. `used`: a request of ours went over it."""

    transport: str
    peer: str
    write: Callable[[bytes], None]
    stream: asyncio.StreamWriter | None = None
    address: tuple[str, int] | None = None
    used: bool = False


@dataclass
class _Pending:
    answer: asyncio.Future[SipMessage]
    route: Route
    proceeding: bool = False


Handler = Callable[[SipMessage, Route], Awaitable[SipMessage | None]]


@dataclass
class Agent:
    """`handler` gets each new MESSAGE and returns the response, or None to stay silent.

    `advertise`: the host that others reach us at. `client_tls`, `server_tls`: trust towards receivers, our certificate
    for those who connect to us. A connection that is silent for `idle_s` is closed; ours are opened anew when needed.
    """

    handler: Handler
    listen: Sequence[Listen] = (Listen(UDP), Listen(TCP))
    advertise: str = ""
    client_tls: ssl.SSLContext | None = None
    server_tls: ssl.SSLContext | None = None
    idle_s: float = IDLE_S
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pending: dict[str, _Pending] = {}
        self._answers: OrderedDict[tuple[str, str, str], bytes | None] = OrderedDict()
        self._streams: dict[Target, Route] = {}
        self._accepted: set[int] = set()
        self._opening: defaultdict[Target, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._servers: list[asyncio.Server] = []
        self._datagrams: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listens. Raises TryggError when an address cannot be had."""
        loop = asyncio.get_running_loop()
        for where in self.listen:
            tls = self.server_tls if where.transport == TLS else None
            if where.transport == TLS and tls is None:
                raise TryggError("To be reached over TLS it needs a certificate.", "Give --cert and --key.", usage=True)
            try:
                if where.transport == UDP:
                    made = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (where.host, where.port))
                    self._datagrams = made[0]
                    self.ports[UDP] = made[0].get_extra_info("sockname")[1]
                    continue
                server = await asyncio.start_server(self._accept, where.host, where.port, ssl=tls)
            except OSError as e:
                await self.close()
                raise TryggError(
                    f"{where.transport} port {where.port} of {where.host} cannot be opened: {e.strerror or e}."
                ) from None
            self._servers.append(server)
            self.ports[where.transport] = server.sockets[0].getsockname()[1]
        self.advertise = self.advertise or (self.listen[0].host if self.listen else "127.0.0.1")

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        if self._datagrams is not None:
            self._datagrams.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def address(self, user: str, transport: str) -> str:
        """The URI at which a peer reaches us over a transport."""
        secure = transport == TLS
        port = self.ports.get(transport, 0)
        suffix = f":{port}" if port else ""
        more = ";transport=tcp" if transport == TCP else ""
        return f"{'sips' if secure else 'sip'}:{user}@{_bracketed(self.advertise)}{suffix}{more}"

    def message(self, uri: str, transport: str, user: str, body: bytes, media_type: str) -> SipMessage:
        """A MESSAGE from `user` at us, to go by this transport."""
        port = self.ports.get(transport) or self.ports.get(UDP, 5060)
        via = f"{transport} {_bracketed(self.advertise)}:{port}"
        return sip.request(uri, via, self.address(user, transport), body, media_type)

    async def route(self, target: Target, timeout_s: float) -> Route:
        """A way to the target; streams are kept and used again. Raises NoAnswerError."""
        loop = asyncio.get_running_loop()
        where = f"{target.host}:{target.port} ({target.transport})"
        try:
            async with asyncio.timeout(timeout_s):
                if target.transport == UDP:
                    found = await loop.getaddrinfo(target.host, target.port, family=self._family())
                    host, port = found[0][4][:2]
                    return self._datagram_route((str(host), int(port)))
                async with self._opening[target]:
                    return self._streams.get(target) or await self._connect(target)
        except TimeoutError:
            raise NoAnswerError(f"{where} does not answer within {timeout_s:g} s.") from None
        except ssl.SSLCertVerificationError as e:
            raise NoAnswerError(f"The certificate of {where} is not trusted: {e.verify_message}.") from None
        except (OSError, IndexError) as e:
            number = getattr(e, "errno", None)
            why = os.strerror(number) if number and number > 0 else str(e)
            raise NoAnswerError(f"{where} cannot be reached: {why}.") from None

    async def _connect(self, target: Target) -> Route:
        tls = (self.client_tls or ssl.create_default_context()) if target.transport == TLS else None
        name = target.name if tls else None
        reader, writer = await asyncio.open_connection(target.host, target.port, ssl=tls, server_hostname=name)
        route = self._streams[target] = _stream_route(target.transport, writer)
        self._start(self._read(reader, route))
        return route

    async def transact(self, request: SipMessage, route: Route, timeout_s: float) -> SipMessage:
        """Sends a request, over UDP again and again (timers E and F), and returns the final response. Raises NoAnswerError."""
        if route.stream is not None and route.stream.is_closing():
            self._forget(route)
            raise ClosedError(f"{route.peer} closed the connection.")
        route.used = True
        data = request.to_bytes()
        reliable = route.transport != UDP
        if not reliable and len(data) > MAX_DATAGRAM:
            raise NoAnswerError(f"A message of {len(data)} bytes is too large for UDP.", "Use ;transport=tcp or sips:")
        loop = asyncio.get_running_loop()
        pending = self._pending[request.branch] = _Pending(loop.create_future(), route)
        deadline, wait_s = loop.time() + min(timeout_s, 64 * T1_S), T1_S
        try:
            while (left_s := deadline - loop.time()) > 0:
                route.write(data)
                await asyncio.wait({pending.answer}, timeout=left_s if reliable else min(wait_s, left_s))
                if pending.answer.done():
                    return pending.answer.result()
                wait_s = T2_S if pending.proceeding else min(2 * wait_s, T2_S)
        finally:
            del self._pending[request.branch]
        self._forget(route)  # a dead connection is not used again
        raise NoAnswerError(f"{route.peer} ({route.transport}) is silent for {timeout_s:g} s.")

    def receive(self, data: bytes, route: Route) -> None:
        """One message from a peer. What is not SIP is dropped, as is an answer that nobody waits for."""
        try:
            message = sip.parse(data)
        except SipError:
            return
        if not message.method:
            self._receive_response(message)
        elif message.method != "ACK":
            self._start(self._serve(message, route))

    def _receive_response(self, response: SipMessage) -> None:
        pending = self._pending.get(response.branch)
        if pending is None or pending.answer.done():
            return
        if response.code < 200:
            pending.proceeding = True
        else:
            pending.answer.set_result(response)

    async def _serve(self, request: SipMessage, route: Route) -> None:
        via = sip.top(request.get("via"))
        key = (
            request.branch,
            request.get("call-id"),
            via.partition(";")[0] + request.get("cseq"),
        )  # some reuse a branch
        if key in self._answers:
            again = self._answers[key]
            if again is not None:
                self._back(via, route).write(again)
            return
        self._answers[key] = None
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        answer = await self._answer(request, route)
        if answer is not None:
            data = _stamped(answer, route).to_bytes()
            self._answers[key] = data
            self._back(via, route).write(data)

    async def _answer(self, request: SipMessage, route: Route) -> SipMessage | None:
        if request.method == "OPTIONS":
            return sip.respond(request, 200).with_header("allow", "MESSAGE, OPTIONS")
        if request.method != "MESSAGE":
            return sip.respond(request, 405).with_header("allow", "MESSAGE, OPTIONS")
        return await self.handler(request, route)

    def _back(self, via: str, route: Route) -> Route:
        """The way of the response: with `rport` where the request came from, else the port that its Via names."""
        if route.address is None or ";rport" in via.replace(" ", "").lower():
            return route
        _, _, sent_by = via.partition(";")[0].strip().rpartition(" ")
        port = sent_by.rpartition(":")[2] if not sent_by.endswith("]") else ""
        number = int(port) if port.isdecimal() and port.isascii() and 0 < int(port) < 65536 else 5060
        return self._datagram_route((route.address[0], number))

    def _datagram_route(self, address: tuple[str, int]) -> Route:
        def write(data: bytes) -> None:
            if self._datagrams is not None:
                self._datagrams.sendto(data, address)

        return Route(UDP, f"{address[0]}:{address[1]}", write, address=address)

    def _family(self) -> int:
        return self._datagrams.get_extra_info("socket").family if self._datagrams is not None else 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = TLS if writer.get_extra_info("ssl_object") else TCP
        route = _stream_route(transport, writer)
        if len(self._accepted) >= CONNECTIONS:
            writer.close()
            return
        self._accepted.add(id(route))
        self._start(self._read(reader, route))

    async def _read(self, reader: asyncio.StreamReader, route: Route) -> None:
        buffer = bytearray()
        try:
            while data := await asyncio.wait_for(reader.read(READ), self.idle_s):
                buffer += data
                while message := sip.split_stream(buffer):
                    self.receive(message, route)
        except (OSError, SipError, TimeoutError):
            pass
        finally:
            self._forget(route)
            for pending in self._pending.values():
                if pending.route is route and not pending.answer.done():
                    pending.answer.set_exception(ClosedError(f"{route.peer} closed the connection."))
            if route.stream is not None:
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(route.stream.wait_closed(), GOODBYE_S)

    def _forget(self, route: Route) -> None:
        self._accepted.discard(id(route))
        self._streams = {target: kept for target, kept in self._streams.items() if kept is not route}
        if route.stream is not None:
            route.stream.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._agent.receive(data, self._agent._datagram_route(address[:2]))


def _stream_route(transport: str, writer: asyncio.StreamWriter) -> Route:
    address = writer.get_extra_info("peername") or ("somebody", 0)

    def write(data: bytes) -> None:
        if not writer.is_closing():
            with contextlib.suppress(OSError):
                writer.write(data)
            if writer.transport.get_write_buffer_size() > UNREAD:
                writer.transport.abort()  # it asks and does not read what it is answered

    return Route(transport, f"{address[0]}:{address[1]}", write, stream=writer)


def _stamped(answer: SipMessage, route: Route) -> SipMessage:
    """`received` and `rport` in the topmost Via of a response (RFC 3261 section 18.2.1, RFC 3581)."""
    host, _, port = route.peer.rpartition(":")
    first, comma, rest = answer.get("via").partition(",")
    stamped = sip.stamp(first, host, port)
    headers = list(answer.headers)
    at = [name for name, _ in headers].index("via")
    headers[at] = ("via", stamped + comma + rest)
    return SipMessage(tuple(headers), answer.body, code=answer.code, phrase=answer.phrase)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
