"""The network between a virtual board and the world: one loopback forwarder for each target that the firmware resolves.

While the network is down no byte passes in either direction and no connection ends: what is under way waits, as
retransmissions would. `delay_ms` is the round trip time. A power cut leaves the far side with a dead peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from typing import Any

from tryggport.board import nameserver

_CHUNK = 1 << 16
_QUEUE = 64
_TRIES = 16
_RESET = struct.pack("ii", 1, 0)
Target = tuple[str, int]


class Network:
    """`hosts` names addresses that the host does not know. `halfopen_s`: how long a dead board's connections stay open and
    silent towards the far side before they are reset."""

    def __init__(self, hosts: dict[str, str], halfopen_s: float = 0.0) -> None:
        self._hosts = hosts
        self.halfopen_s = halfopen_s
        self.delay_ms = 0.0
        self.link = True
        self._up = asyncio.Event()
        self._up.set()
        self._ports: dict[Target, int] = {}
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._lives: set[_Connection] = set()

    @property
    def up(self) -> bool:
        return self._up.is_set()

    def switch(self, up: bool, link: bool) -> None:
        """`link` is what the board's interface reports; a network that is down behind a good link is silent."""
        self.link = link
        if up:
            self._up.set()
        else:
            self._up.clear()

    async def passing(self) -> None:
        """Wait until the network is up."""
        await self._up.wait()

    async def route(self, host: str, port: int) -> int:
        """The loopback port, of TCP and of UDP, that leads to the target.

        Raises OSError when the name is unknown or the network is down.
        """
        if not self.up:
            raise OSError("network down")
        target = (host, port)
        if target not in self._ports:
            address = target if target == nameserver.ADDRESS else ((await self._resolve(host))[0], port)
            self._ports[target] = self._open(address)
        return self._ports[target]

    async def _resolve(self, host: str) -> list[str]:
        """Dotted quads. Raises OSError."""
        known = self._hosts.get(host, host)
        found = await asyncio.get_running_loop().getaddrinfo(
            known, None, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
        return [str(entry[4][0]) for entry in found]

    def drop_board(self) -> None:
        """The board has lost its power: its connections die without a word to the far side."""
        for connection in list(self._lives):
            connection.orphan(self.halfopen_s)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()

    def _open(self, address: Target) -> int:
        """A TCP listener and a UDP socket on one port, for the firmware may ask for an address before it knows for what."""
        for _ in range(_TRIES):
            listener = _bound(socket.SOCK_STREAM, 0)
            port = int(listener.getsockname()[1])
            try:
                datagrams = _bound(socket.SOCK_DGRAM, port)
            except OSError:
                listener.close()
                continue
            listener.listen(16)
            self._sockets += [listener, datagrams]
            self._spawn(self._accept(listener, address))
            self._spawn(
                self._names(datagrams) if address == nameserver.ADDRESS else self._datagrams(datagrams, address)
            )
            return port
        raise OSError("no free port")

    async def _accept(self, listener: socket.socket, address: Target) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(listener)
            self._spawn(self._serve(near, address))

    async def _serve(self, near: socket.socket, address: Target) -> None:
        far = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        far.setblocking(False)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(self, near, far)
        self._lives.add(connection)
        try:
            await connection.run(address)
        finally:
            self._lives.discard(connection)
            near.close()
            far.close()

    async def _names(self, near: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            query, source = await loop.sock_recvfrom(near, _CHUNK)
            with contextlib.suppress(ValueError):
                self._spawn(self._datagram(near, source, await nameserver.answer(query, self._resolve), trips=2))

    async def _datagrams(self, near: socket.socket, address: Target) -> None:
        loop = asyncio.get_running_loop()
        ways: dict[Target, socket.socket] = {}
        while True:
            data, source = await loop.sock_recvfrom(near, _CHUNK)
            if source not in ways:
                ways[source] = far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                far.setblocking(False)
                self._sockets.append(far)
                self._spawn(self._answers(far, near, source))
            self._spawn(self._datagram(ways[source], address, data))

    async def _answers(self, far: socket.socket, near: socket.socket, source: Target) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._spawn(self._datagram(near, source, await loop.sock_recv(far, _CHUNK)))

    async def _datagram(self, to: socket.socket, address: Target, data: bytes, trips: int = 1) -> None:
        """One datagram on its way; it is lost when the network is down at either end of the delay."""
        if self.up:
            await asyncio.sleep(trips * self.delay_ms / 2000)
        if self.up:
            with contextlib.suppress(OSError):
                to.sendto(data, address)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _bound(kind: int, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, kind)
    bound.setblocking(False)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound


class _Connection:
    """One TCP connection: `near` is the board's end, `far` the target's."""

    def __init__(self, network: Network, near: socket.socket, far: socket.socket) -> None:
        self._network = network
        self._near, self._far = near, far
        self._halfopen_s: float | None = None
        self._work: asyncio.Task[None] | None = None

    def orphan(self, halfopen_s: float) -> None:
        self._halfopen_s = halfopen_s
        if self._work:
            self._work.cancel()

    async def run(self, address: Target) -> None:
        self._work = asyncio.get_running_loop().create_task(self._forward(address))
        try:
            await asyncio.wait([self._work])
        finally:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._halfopen_s:
            await asyncio.sleep(self._halfopen_s)
        if self._halfopen_s is not None:
            self._reset()

    async def _forward(self, address: Target) -> None:
        loop = asyncio.get_running_loop()
        await self._network.passing()
        await asyncio.sleep(self._network.delay_ms / 1000)
        try:
            await loop.sock_connect(self._far, address)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._way(self._near, self._far))
                ways.create_task(self._way(self._far, self._near))
        except* OSError:
            self._reset()

    async def _way(self, source: socket.socket, sink: socket.socket) -> None:
        """Bytes in one direction, each chunk half a round trip after it came, until the source has ended."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_in(source, queue))
            data = b"-"
            while data:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._network.passing()
                if data:
                    await loop.sock_sendall(sink, data)
            sink.shutdown(socket.SHUT_WR)

    async def _take_in(self, source: socket.socket, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            try:
                data = await loop.sock_recv(source, _CHUNK)
            except OSError:
                await self._network.passing()
                raise
            await queue.put((loop.time() + self._network.delay_ms / 2000, data))

    def _reset(self) -> None:
        for end in (self._near, self._far):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
